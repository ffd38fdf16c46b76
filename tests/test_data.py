"""Tasks from tables: what is refused with its row or line, what is read as it is, and nothing guessed in silence."""
import re

import numpy as np
import pandas as pd
import pytest

from anchoral.data import Task, initial_set, share_unspaced
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
    with pytest.raises(ValueError, match=re.escape(says)): Task.from_frame(data, classes=["a", "b"], minority="b")



def test_a_dataset_dict_is_named():
    datasets = pytest.importorskip("datasets")
    splits = datasets.DatasetDict(train=datasets.Dataset.from_dict({"text": ["a", "b"], "y": ["1", "2"]}))
    with pytest.raises(ValueError, match=r"a DatasetDict holds several tables, \['train'\]"):
        Task.from_frame(splits, label="y", minority="1")
    assert Task.from_frame(splits["train"], label="y", minority="1").texts == ["a", "b"]



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
    ("text,text\na,b\n", "more than one column named ['text']"), ("text;topic\na;b\n", "separated by ';'"),
    ("text\ttopic\na\tb\n", "separated by '\\t'"), ("", "is empty"), ("\n\n", "is empty"),
    ('text,topic\n"a"b,c\n', "line 2: ',' expected after '\"'"), ('text,topic\n"a,b\nc,d\n', "unexpected end of data"),
    ("text,topic\na\rb,x\n", "line 2 (row 0): 1 cells"),
])
def test_a_csv_file_is_read_as_it_is_or_refused_with_its_line(tmp_path, content, says):
    path = tmp_path/"mine.csv"
    path.write_bytes(content.encode())
    with pytest.raises(ValueError, match="mine.csv.*" + re.escape(says)):
        Task.from_frame(path, label="topic", classes=["a", "b"], minority="a")



@pytest.mark.parametrize("encoding, says", [("latin-1", "mine.csv, line 3 is not UTF-8 (byte 0xe9)"),
                                            ("utf-16", "mine.csv is UTF-16"), ("utf-16-le", "mine.csv is UTF-16")])
def test_another_encoding_is_named(tmp_path, encoding, says):
    (tmp_path/"mine.csv").write_bytes("text,y\na,b\ncafé,c\n".encode(encoding))
    with pytest.raises(ValueError, match=re.escape(says)): Task.from_frame(tmp_path/"mine.csv", label="y", minority="b")



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

