"""Tasks from tables: what is refused with its row or line, what is read as it is, and nothing guessed in silence."""
import gzip
import logging
import re

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anchoral.data import Task, initial_set, read_table, share_unspaced
from anchoral.tasks import load_task

FRAME = pd.DataFrame({"text": ["tin", "oil", "gold"], "topic": ["metals", "rest", "metals"]})


# Tables

@pytest.mark.parametrize("change, says", [
    (dict(label="topics"), "unknown column 'topics'; did you mean 'topic'?"),
    (dict(text="body"), "unknown column 'body'"),
    (dict(minority="metal"), "did you mean 'metals'?"), (dict(minority=None), "must name at least one"),
    (dict(minority=["metals", "rest"]), "not all of the classes"),
    (dict(data=FRAME.assign(text=["tin", None, "gold"])), "1 missing or empty texts, first at rows [1]"),
    (dict(data=FRAME.assign(text=["tin", " ", "gold"])), "first at rows [1]"),
    (dict(data=FRAME.assign(text=["tin", "tin", "gold"])), "the same text has two labels at rows 0 and 1"),
    (dict(data=FRAME.assign(topic="rest"), minority="rest"), "has one class only"),
    (dict(data="nowhere.csv"), "no file 'nowhere.csv'"),
    (dict(test=FRAME.assign(topic=["metals", "rest", "tin"])), "unknown class 'tin'"),
    (dict(data=FRAME.iloc[:0]), "the table has no rows"),
])
def test_frame(change, says):
    args = dict(data=FRAME, text="text", label="topic", minority="metals") | change
    with pytest.raises((ValueError, FileNotFoundError), match=re.escape(says)):
        Task.from_frame(args.pop("data"), **args)



def test_frame_from_files(tmp_path):
    FRAME.to_csv(tmp_path/"a.csv"), FRAME.to_parquet(tmp_path/"a.parquet")
    class Dataset:
        def to_pandas(self): return FRAME
    for data in (FRAME, tmp_path/"a.csv", str(tmp_path/"a.parquet"), Dataset()):
        t = Task.from_frame(data, label="topic", minority="metals", test=FRAME)
        assert (t.texts, t.labels.tolist(), t.test_labels.tolist()) == (["tin", "oil", "gold"], [0, 1, 0], [0, 1, 0])
    (tmp_path/"a.txt").write_text("tin")
    with pytest.raises(ValueError, match="expected a name ending in .csv or .parquet"):
        Task.from_frame(tmp_path/"a.txt")



def test_duplicates_and_appended_rows_keep_ids():
    t = Task.from_frame(FRAME.iloc[[0, 1, 0, 2, 1]], label="topic", minority="metals")
    assert t.texts == ["tin", "oil", "gold"]
    longer = pd.concat([FRAME, FRAME.iloc[[0]], FRAME.assign(text="new")[:1]])
    assert Task.from_frame(longer, label="topic", minority="metals").texts == ["tin", "oil", "gold", "new"]



def test_labels_keep_their_names(tmp_path):
    (tmp_path/"a.csv").write_text("text,y\na,None\nb,1\nc,\n")
    t = Task.from_frame(tmp_path/"a.csv", label="y", minority="1")
    assert t.classes == ("1", "None") and t.labels.tolist() == [1, 0, -1]
    t = Task.from_frame(pd.DataFrame({"text": ["a", "b", "c"], "y": [0, 1, None]}), label="y", minority=1)
    assert t.classes == ("0", "1") and t.labels.tolist() == [0, 1, -1]
    with pytest.raises(ValueError, match="names a class twice"):
        Task.from_frame(FRAME, label="topic", minority=["metals", "metals"])



def test_rows_of_a_table():
    "Duplicates leave gaps in the row numbers; vectors made for the table are found by `rows`."
    task = Task.from_frame(FRAME.iloc[[0, 0, 1, 2]], label="topic", classes=["rest", "metals"], minority="metals")
    assert task.rows.tolist() == [0, 2, 3] and task.texts == ["tin", "oil", "gold"]
    with pytest.raises(ValueError, match="no labels"): Task.from_frame(FRAME, minority="metals")
    with pytest.raises(ValueError, match="unknown column 'text'"): Task.from_frame(pd.DataFrame(["a", "b"]))



# Things that are no table

@pytest.mark.parametrize("data, says", [
    ({"text": ["a"]}, "a dict is no table; give pd.DataFrame(data)"),
    ({"train": pd.DataFrame({"text": ["a"]})}, "holds several tables, ['train']; give one of them: data['train']"),
    (["a", "b"], "a list has no column names; give pd.DataFrame"), (np.array(["a"]), "a ndarray has no column names"),
    (pd.Series(["a"], name="body"), "a Series is one column, here 'body'; give series.to_frame('text')"),
    (3, "got int; give a data frame"), (None, "got NoneType"), (".", "is a folder; give a CSV or parquet file"),
])
def test_what_is_no_table_is_named(data, says):
    with pytest.raises(ValueError, match=re.escape(says)): read_table(data)
    if not isinstance(data, (list, pd.Series)): # which are texts, see below
        with pytest.raises(ValueError, match=re.escape(says)): Task.from_frame(data, classes=["a", "b"], minority="b")



def test_a_column_of_texts_is_a_table():
    two = dict(classes=["a", "b"], minority="b")
    for texts in (["tin", "oil", "tin"], ("tin", "oil", "tin"), pd.Series(["tin", "oil", "tin"], name="body")):
        task = Task.from_frame(texts, **two)
        assert task.texts == ["tin", "oil"] and task.row_ids.tolist() == [0, 1, 0]
        assert task.table.text.tolist() == ["tin", "oil", "tin"]
    by_index = Task.from_frame(pd.Series(["tin", "oil"], index=[7, 9]), **two)
    assert by_index.to_rows(pd.DataFrame(dict(id=[0, 1], score=[.1, .2]))).index.tolist() == [7, 9]
    with pytest.raises(ValueError, match="a list has no column names"): Task.from_frame([{"text": "tin"}], **two)
    with pytest.raises(ValueError, match="texts are not strings"): Task.from_frame(["tin", 3], **two)



def test_a_dataset_dict_is_named(caplog):
    datasets = pytest.importorskip("datasets")
    one = datasets.DatasetDict(train=datasets.Dataset.from_dict({"text": ["a", "b"], "y": ["1", "2"]}))
    two = datasets.DatasetDict(one | {"test": one["train"]})
    with pytest.raises(ValueError, match=r"a DatasetDict holds several tables, \['train', 'test'\].*data\['train'\]"):
        Task.from_frame(two, label="y", minority="1")
    for splits in (one, two["train"]):
        assert Task.from_frame(splits, label="y", minority="1").texts == ["a", "b"]
    assert "the only split, 'train', is read" in caplog.text



def test_the_names_of_a_class_label_are_used():
    datasets = pytest.importorskip("datasets")
    features = datasets.Features(text=datasets.Value("string"), y=datasets.ClassLabel(names=["rest", "metals"]))
    data = datasets.Dataset.from_dict({"text": ["a", "b", "c", "d"], "y": [1, 0, -1, None]}, features=features)
    task = Task.from_frame(data, label="y", minority="metals")
    assert task.classes == ("metals", "rest") and task.labels.tolist() == [0, 1, -1, -1]
    assert task.table.y.tolist() == ["metals", "rest", None, None]



@pytest.mark.parametrize("change, says", [
    (dict(text=[1, 2]), "2 texts are not strings, first at rows [0, 1] (int)"),
    (dict(text=["a", "\ud800"]), "1 texts hold a lone surrogate, which is half a character, first at rows [1]"),
    (dict(y=[["x"], ["y"]]), "labels: 2 cells hold several values, first at rows [0, 1]"),
])
def test_columns_of_the_wrong_kind(change, says):
    frame = pd.DataFrame(dict(text=["a", "b"], y=["x", "y"]) | change, dtype=object)
    with pytest.raises(ValueError, match=re.escape(says)): Task.from_frame(frame, label="y", minority="x")



def test_a_column_that_stands_twice_is_refused():
    frame = pd.DataFrame([["a", "b", "x"]], columns=["text", "text", "y"])
    with pytest.raises(ValueError, match="more than one column named"):
        Task.from_frame(frame, label="y", classes=["x", "z"], minority="x")



def test_one_string_is_no_list_of_classes():
    with pytest.raises(ValueError, match="classes must be a list of names, got one string"):
        Task.from_frame(pd.DataFrame({"text": ["a"]}), classes="metals", minority="m")



@pytest.mark.parametrize("labels", [np.array([[0], [1]]), [[0], [1]], np.array([0., 1.5]), ["a", "b"]])
def test_labels_are_a_row_of_whole_numbers(labels):
    with pytest.raises(ValueError, match="pool of 'x': labels must be a row of whole numbers"):
        Task("x", ["a", "b"], labels, ("a", "b"), (1,))
    assert Task("x", ["a", "b"], [0, 1], ("a", "b"), (1,)).is_minority.tolist() == [False, True]



# CSV: nothing is repaired

@pytest.mark.parametrize("content, says", [
    ("text,topic\nfirst text,a,\nsecond,b,\n", "line 2 (row 0): 3 cells for the 2 columns ['text', 'topic']; "
                                               "the row ends in a comma and the header does not"),
    ("text,topic\nfirst,a\nsecond, with a comma,b\n", "line 3 (row 1): 3 cells"),
    ("text,topic\nfirst,a\nsecond\n", "line 3 (row 1): 1 cells"),
    ("text\nfirst, second\n", "line 2 (row 0): 2 cells"),
    ("text,text\na,b\n", "more than one column named ['text']"), ("", "is empty"), ("\n\n", "is empty"),
    ('text,topic\n"a"b,c\n', "line 2: ',' expected after '\"'"), ('text,topic\n"a,b\nc,d\n', "unexpected end of data"),
    ("text,topic\na\rb,x\n", "line 2 (row 0): 1 cells"),
])
def test_a_csv_file_is_read_as_it_is_or_refused_with_its_line(tmp_path, content, says):
    path = tmp_path/"mine.csv"
    path.write_bytes(content.encode())
    with pytest.raises(ValueError, match="mine.csv.*" + re.escape(says)):
        Task.from_frame(path, label="topic", classes=["a", "b"], minority="a")



def rows_of(path, **kw):
    return read_table(path, **kw).values.tolist()


@pytest.mark.parametrize("content, says", [
    ("text;topic\na;b\n", "mine.csv: its columns are separated by ';'"),
    ("text\ttopic\na\tb\n", "mine.csv: its columns are separated by '\\t'"),
    ("text|topic\na|b\n", "separated by '|'"), ("nr;text, long\n\"a\";b\n", "separated by ';'"),
    ("text,topic\na,b\n", ""), ("text;x,topic\na,b\n", ""), ('"a;b",topic\na,b\n', ""),
])
def test_the_sign_between_columns_is_found_and_said(tmp_path, caplog, content, says):
    (tmp_path/"mine.csv").write_text(content)
    assert rows_of(tmp_path/"mine.csv") == [["a", "b"]]
    assert says in caplog.text and bool(caplog.text) == bool(says)
    assert rows_of(tmp_path/"mine.csv", separator=";" if ";" in says else None) == [["a", "b"]]


def test_a_row_that_fits_no_sign_is_named_with_its_line(tmp_path):
    (tmp_path/"mine.csv").write_text("nr;text\n1;a\n2;b;c\n")
    with pytest.raises(ValueError, match=r"line 3 \(row 1\): 3 cells for the 2 columns \['nr', 'text'\]"):
        read_table(tmp_path/"mine.csv")


@pytest.mark.parametrize("encoding, says", [
    ("latin-1", "mine.csv, line 3 is not UTF-8 (byte 0xe9); read as cp1252 (Windows, latin-1), where that line is "
                "'café,c'"), ("cp1252", "line 3 is not UTF-8"), ("utf-16", "mine.csv is UTF-16"),
    ("utf-16-le", "mine.csv is UTF-16"), ("utf-16-be", "mine.csv is UTF-16"), ("utf-8", ""), ("utf-8-sig", "")])
def test_another_encoding_is_read_and_said(tmp_path, caplog, encoding, says):
    (tmp_path/"mine.csv").write_bytes("text,y\na,b\ncafé,c\n".encode(encoding))
    task = Task.from_frame(tmp_path/"mine.csv", label="y", minority="b")
    assert task.texts == ["a", "café"] and list(task.table.columns) == ["text", "y"]
    assert says in caplog.text and bool(caplog.text) == bool(says)
    caplog.clear()
    assert rows_of(tmp_path/"mine.csv", encoding=encoding) == [["a", "b"], ["café", "c"]] and not caplog.text


@pytest.mark.parametrize("encoding", ["cp1251", "koi8-r", "gb18030", "shift_jis"])
def test_letters_of_another_script_are_not_read_as_western(tmp_path, encoding):
    rows = "прорвало трубу на улице" if encoding in ("cp1251", "koi8-r") else "金属価格上昇"
    (tmp_path/"mine.csv").write_bytes(f"text,y\n{rows},b\n{rows}1,c\n".encode(encoding))
    with pytest.raises(ValueError, match="line 2 is not UTF-8 .* no Western encoding either; say which.*encoding="):
        read_table(tmp_path/"mine.csv")
    assert rows_of(tmp_path/"mine.csv", encoding=encoding)[0] == [rows, "b"]
    with pytest.raises(ValueError, match="line 2 is not ascii.*give another encoding="):
        read_table(tmp_path/"mine.csv", encoding="ascii")
    with pytest.raises(ValueError, match="no encoding 'utf8000'"): read_table(tmp_path/"mine.csv", encoding="utf8000")


@pytest.mark.parametrize("name, content", [
    ("a.CSV", "text,y\na,b\n"), ("a.tsv", "text\ty\na\tb\n"), ("a.jsonl", '{"text": "a", "y": "b"}\n\n'),
    ("a.ndjson", '{"text": "a", "y": "b"}'), ("a.csv.gz", "text,y\na,b\n"), ("a.TSV.GZ", "text\ty\na\tb\n"),
    ("my.old.jsonl.gz", '{"y": "b", "text": "a"}\n{}'),
])
def test_every_ending_is_read(tmp_path, caplog, name, content):
    data = content.encode()
    (tmp_path/name).write_bytes(gzip.compress(data) if name.lower().endswith(".gz") else data)
    assert read_table(tmp_path/name)[["text", "y"]].iloc[0].tolist() == ["a", "b"] and not caplog.text


@pytest.mark.parametrize("name, content, says", [
    ("a.csv.gz", b"text,y\na,b\n", "a.csv.gz: not a whole gzip file"),
    ("a.csv.gz", gzip.compress(b"text,y\na,b\n", mtime=0)[:-9], "not a whole gzip file"),
    ("a.jsonl", b'{"text": "a"}\n{"text"\n', "a.jsonl, line 2 is not JSON"),
    ("a.jsonl", b'"a"\n', "line 1 is no object but '\"a\"'"), ("a.json", b"[]", "or in .tsv or .jsonl"),
    ("a.gz", b"", "expected a name ending in .csv"), ("a.parquet.gz", b"", "cannot read"),
])
def test_a_damaged_file_is_named(tmp_path, name, content, says):
    (tmp_path/name).write_bytes(content)
    with pytest.raises(ValueError, match=re.escape(says)): read_table(tmp_path/name)



def test_what_needs_no_repair_is_read(tmp_path):
    "A byte order mark, blank lines, quoted line breaks, an unnamed column as pandas writes one, a very long text."
    long = "x"*200_000
    rows = f'\ufeff,text,y\n\n0,"a\nb",x\n1,"say ""no""",\n2,{long},None\n'
    (tmp_path/"mine.CSV").write_text(rows, encoding="utf-8", newline="")
    task = Task.from_frame(tmp_path/"mine.CSV", label="y", minority="x")
    assert task.texts == ["a\nb", 'say "no"', long]
    assert task.classes == ("None", "x") and task.labels.tolist() == [1, -1, 0]



def test_a_file_that_is_no_parquet_is_named(tmp_path):
    for content in (b"", b"PAR1", b"text,y\na,b\n"):
        (tmp_path/"mine.parquet").write_bytes(content)
        with pytest.raises(ValueError, match="cannot read .*mine.parquet: not a whole parquet file"):
            Task.from_frame(tmp_path/"mine.parquet")



# Labels that may be none

@pytest.mark.parametrize("values, name", [(["x", "", "y"], ""), (["x", "nan", "y"], "nan"), ([1, -1, 0], "-1"),
                                          (["1", "-1", "0"], "-1"), ([1., -1., np.nan], "-1"),
                                          (["x", " NaN", "y"], " NaN")])
def test_a_label_that_may_be_none_is_asked_about(values, name):
    frame = pd.DataFrame({"text": ["tin", "oil", "gold"], "y": pd.Series(values)})
    rare = "x" if "x" in values else 1
    with pytest.raises(ValueError, match=re.escape(f"1 labels are {name!r}, first at rows [1]: is that a class")):
        Task.from_frame(frame, label="y", minority=rare)
    others = [c for c in dict.fromkeys(frame.y.dropna()) if c != frame.y[1]]
    names = [*others, "more"]
    task = Task.from_frame(frame, label="y", minority=rare, unlabelled=[frame.y[1]], classes=names)
    assert task.labels[0] >= 0 and task.labels[1] == -1
    if name == "-1": names = [str(int(c)) for c in others] + ["-1"]
    else: names = [*others, name]
    assert Task.from_frame(frame, label="y", minority=rare, classes=names).labels[1] == len(names) - 1


# Rows and keys

def test_what_was_read_is_one_line(caplog):
    caplog.set_level(logging.INFO)
    texts = [f"text {i % 50}" for i in range(97)] + ["", None, "  "]
    frame = pd.DataFrame({"text": texts, "nr": range(100)})
    two = dict(classes=["a", "b"], minority="b")
    task = Task.from_frame(frame, id="nr", **two)
    assert caplog.messages == ["100 rows, 50 distinct texts, 3 empty rows left out"]
    assert task.row_ids[-4:].tolist() == [46, -1, -1, -1] and task.key == "nr"
    with pytest.raises(ValueError, match=r"pool: 3 missing or empty texts, first at rows \[97, 98, 99\]"):
        Task.from_frame(frame, drop_empty=False, **two)
    with pytest.raises(ValueError, match="12 missing or empty.*drop_empty=True if 'text' is the right column"):
        Task.from_frame(frame[88:].assign(text=""), **two)
    half = frame[94:].reset_index(drop=True)
    with pytest.raises(ValueError, match="3 missing or empty"): Task.from_frame(half, **two)
    assert Task.from_frame(half, drop_empty=True, **two).row_ids.tolist() == [0, 1, 2, -1, -1, -1]
    with pytest.raises(ValueError, match="all texts in the column 'text' are empty"):
        Task.from_frame(half[3:], drop_empty=True, **two)


@pytest.mark.parametrize("keys, says", [
    ([1, 2, 1], "the key 'nr' must differ in each row, and '1' is at rows [0, 2]"),
    ([1, None, 2], "is empty in 1 rows, first [1]"), (["a", 1, "1"], "'1' is at rows [1, 2]")])
def test_a_key_names_one_row(keys, says):
    frame = FRAME.assign(nr=pd.Series(keys, dtype=object))
    metals = dict(label="topic", minority="metals")
    with pytest.raises(ValueError, match=re.escape(says)): Task.from_frame(frame, id="nr", **metals)
    with pytest.raises(ValueError, match="unknown column 'number'"): Task.from_frame(frame, id="number", **metals)
    frame.index = pd.Index(["x", "y", "z"], name="ticket")
    task = Task.from_frame(frame, id="ticket", **metals)
    assert task.table.ticket.tolist() == ["x", "y", "z"]


def test_nothing_of_theirs_is_overwritten():
    theirs = pd.DataFrame(dict(id=["a", "b", "c"], text=["tin", "oil", "tin"], label=["m", "r", None], score=[1, 2, 3],
                               anchoral_score=0), index=[5, 3, 9])
    task = Task.from_frame(theirs, label="label", minority="m", id="id")
    ours = pd.DataFrame(dict(id=[1, 0], text=["oil", "tin"], label=["r", "m"], score=[.1, .9], n=[3, 4],
                             sure=[True, False]))
    both = task.to_rows(ours)
    pd.testing.assert_frame_equal(both[theirs.columns], theirs)
    assert both.anchoral_id.tolist() == [0, 1, 0] and both.anchoral_label.tolist() == ["m", "r", "m"]
    assert both.anchoral_anchoral_score.tolist() == [.9, .1, .9] and both.n.tolist() == [4, 3, 4]
    back = task.from_rows(both.sample(frac=1, random_state=1)).sort_values("id", ascending=False)
    pd.testing.assert_frame_equal(back.reset_index(drop=True), ours.drop(columns="text"))
    assert task.from_rows(ours) is ours
    theirs["score"] = 0 # a later change of theirs
    assert task.table.score.tolist() == [1, 2, 3]
    with pytest.raises(ValueError, match=r"1 ids twice, first \[0\]"): task.to_rows(pd.DataFrame(dict(id=[0, 1, 0])))
    bare = Task("bare", ["tin", "oil"], [0, 1], ("a", "b"), (1,))
    assert bare.to_rows(ours) is ours and bare.from_rows(ours) is ours


TEXT = st.sampled_from(["tin", "oil", "gold", "tin ", "", "  ", None])


@settings(max_examples=60, deadline=None)
@given(texts=st.lists(TEXT, min_size=1, max_size=12), data=st.data())
def test_every_row_comes_back_once_with_its_own_columns(texts, data):
    "And the order of the rows changes the order of what comes back, and nothing else."
    texts = [*texts, "rain"]
    frame = pd.DataFrame(dict(text=texts, nr=range(len(texts)), label=[f"note {i}" for i in range(len(texts))]))
    def delivered(rows):
        task = Task.from_frame(rows, id="nr", classes=["a", "b"], minority="b", drop_empty=True)
        known = data.draw(st.sets(st.integers(0, len(task.texts) - 1))) if rows is frame else range(len(task.texts))
        ours = pd.DataFrame(dict(id=list(known), label=[f"of {task.texts[i]}" for i in known]), dtype=object)
        out = task.to_rows(ours.astype({"id": int}))
        pd.testing.assert_frame_equal(out[frame.columns].reset_index(drop=True), rows.reset_index(drop=True))
        for text, ours, i in zip(out.text, out.anchoral_label, task.row_ids):
            assert (ours == f"of {text}") if i in known else pd.isna(ours)
        return out
    delivered(frame)
    order = data.draw(st.permutations(range(len(texts))))
    rows = frame.iloc[order]
    one, other = (delivered(part).set_index("nr").anchoral_label for part in (frame.iloc[:], rows))
    pd.testing.assert_series_equal(one, other.sort_index())


# Several labels on one text

def test_each_label_is_a_task_over_one_pool():
    frame = pd.DataFrame(dict(body=["tin", "oil", "tin", "", "gold"], nr=[5, 6, 7, 8, 9], m=[1, 0, None, None, True],
                              e=["no", "YES", "", None, None], label=list("abcde")), dtype=object)
    tasks = Task.per_label(frame, ["m", "e"], text="body", id="nr", drop_empty=True)
    assert list(tasks) == ["m", "e"] and tasks["m"].texts is tasks["e"].texts and tasks["e"].key == "nr"
    assert tasks["m"].labels.tolist() == [1, 0, 1] and tasks["e"].labels.tolist() == [0, 1, -1]
    assert tasks["e"].classes == ("not e", "e") and tasks["e"].minority == (1,)
    one = tasks["e"].to_rows(pd.DataFrame(dict(id=[0, 2], label=["e", "not e"])))
    assert one.anchoral_label.fillna("").tolist() == ["e", "", "e", "", "not e"] and one.nr.tolist() == [5, 6, 7, 8, 9]
    for change, says in [(dict(m=[1, 0, 0, None, 1]), "the same text has two labels at rows 0 and 2"),
                         (dict(m=[1, "x", 1, 0, 1]), "column 'm' must hold yes or no.*row 1 holds 'x'"),
                         (dict(m=[1, -1, 1, 0, 1]), "row 1 holds '-1'")]:
        with pytest.raises(ValueError, match=says):
            Task.per_label(frame.assign(**change), ["m"], text="body", drop_empty=True)
    with pytest.raises(ValueError, match="unknown column 'x'"): Task.per_label(frame[:3], ["x"], text="body")
    with pytest.raises(ValueError, match="labels must be a list of columns, got 'm'"): Task.per_label(frame, "m")


# The initial set

def test_initial_set():
    t = Task.from_frame(FRAME, label="topic", minority="metals")
    with pytest.raises(ValueError, match="class 'metals' has 2 instances, the initial set needs 5"): initial_set(t)
    with pytest.raises(ValueError, match="leaves 0 for the majority"): initial_set(t, n=5)
    agri = load_task("reuters-agri")
    ids = initial_set(agri, seed=3)
    assert len(np.unique(ids)) == 100 and agri.is_minority[ids].sum() == 5
    np.testing.assert_array_equal(ids, initial_set(agri, seed=3))



# Texts without spaces

@pytest.mark.parametrize("text, unspaced", [
    ("金属价格上涨到历史最高水平第0次市场反应强烈", True), ("東京の株式市場は続落、金属株が安い", True),
    ("ราคาทองคำพุ่งสูงขึ้นเป็นประวัติการณ์ในวันนี้", True), ("ACGT"*40, True),
    ("金属 价格 上涨", False), ("서울의 주식 시장은 하락했다", False), ("Rhabarberbarbarabar öffnet", False),
    ("https://example.org/a/very/long/path/to/a/page?with=arguments&more=of-them", False), ("x", False), ("", False),
])
def test_texts_without_spaces_are_recognised(text, unspaced):
    assert share_unspaced([text]) == unspaced

