"""From a table to a folder and back: `anchoral label` and the commands that read its folder, without a browser."""
import builtins
import json
import os
import shutil
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import pytest

from anchoral import cli
from anchoral.annotator import desk
from anchoral.annotator.desk import open_desk
from anchoral.annotator.session import _OPEN_SESSIONS
from anchoral.annotator.widget import hear

N = 400
RARE = range(380, N)  # the numbers of the tickets that are about outages


def truth(text): return "outage" if "Störung" in text else "other"


def messy(path):
    """Semicolons, latin-1, keys of its own out of order, copies, empty rows, some labels, a column of customers
    that looks like ids, cells that a spreadsheet would run. The table as it was meant."""
    kinds = ["Die Rechnung {} ist falsch.", "How do I change my {} address?", "My parcel {} never arrived.",
             "=The café in {} was lovely."]
    bodies = [f"No power in street {n}; Störung since noon." if n in RARE else kinds[n % 4].format(f"order {n}")
              for n in range(N)]
    bodies[5], bodies[17], bodies[390] = bodies[4], bodies[385], bodies[389]  # copies, of rare texts too
    bodies[7], bodies[9] = "", "   "
    frame = pd.DataFrame(dict(ticket=[f"T-{n:03}" for n in range(N)], body=bodies,
                              kind=["outage" if n in (380, 381) else "other" if n == 1 else "" for n in range(N)],
                              id=[n % 7 for n in range(N)], score="mine"))
    frame = frame.sample(frac=1, random_state=0).reset_index(drop=True)
    frame.to_csv(path, sep=";", index=False, encoding="latin-1")
    return frame


def said(capsys, *words):
    code = cli.main([str(word) for word in words])
    out, err = capsys.readouterr()
    return code, out, err


@pytest.fixture
def table(tmp_path, monkeypatch):
    "A messy table, in the folder that we are in."
    monkeypatch.chdir(tmp_path)
    return messy(tmp_path/"tickets.csv")


@pytest.fixture
def answering(monkeypatch):
    "A person at the terminal: the lines that they type first, then so many true answers, then q."
    def sit(n, *first):
        left = [*first, *[None]*n]
        def typed(prompt):
            if not left: return "q"
            line = left.pop(0)
            if line is not None: return line
            session = next(iter(_OPEN_SESSIONS.values()))
            i = session.wait()
            return "q" if i is None else truth(session.task.texts[i])
        monkeypatch.setattr(builtins, "input", typed)
    return sit


BEGIN = "label tickets.csv --text body --rare outage --label kind --id ticket --terminal".split()


def test_from_a_messy_table_and_back(table, answering, capsys):
    answering(60, "/power street", "outage", "# seen twice")
    code, out, err = said(capsys, *BEGIN)
    assert code == 0, err
    assert "400 rows" in out and "texts without an answer hold 'power street'; they come next." in out
    assert "Noted on text" in out and "64 labels are kept" in out
    code, out, err = said(capsys, "review", "tickets-labels", "--k", 15, "--queue")
    assert code == 0 and "are asked next" in out, err
    answering(15)
    assert said(capsys, "label", "tickets-labels", "--terminal")[0] == 0
    code, out, err = said(capsys, "predict", "tickets-labels")
    assert code == 0 and "400 rows" in out, err
    code, out, err = said(capsys, "audit", "tickets-labels", "--n", 30)
    assert code == 0 and "30 texts were drawn at random" in out, err
    assert "30 of its 30 texts wait" in said(capsys, "audit", "tickets-labels")[1]
    answering(30)
    assert said(capsys, *BEGIN)[0] == 0  # the first command again: it continues
    code, out, err = said(capsys, "audit", "tickets-labels")
    assert code == 0 and "recall" in out and "wait for an answer" not in out, err
    assert said(capsys, "export", "tickets-labels", "--to", "mine.parquet")[0] == 0
    check_rows(table, "tickets-labels/scores.csv", "mine.parquet")
    log = open_desk("tickets-labels")
    assert log.frame().comment.tolist().count("seen twice") == 1
    log.close()


def check_rows(table, scores, answers):
    "Both files join to the table on its key, row by row, and say what is true."
    scored, answered = pd.read_csv(scores, dtype={"ticket": str}, keep_default_na=False), pd.read_parquet(answers)
    for mine in (scored, answered):
        assert mine.ticket.tolist() == table.ticket.tolist()  # all rows, in their order, each key once
    assert answered.id.astype(int).tolist() == table.id.tolist() and set(answered.score) == {"mine"}  # theirs
    assert answered.body.fillna("").str.strip().tolist() == table.body.str.strip().tolist()
    joined = table.merge(scored, on="ticket", validate="one_to_one", suffixes=("", "_scored"))
    empty = joined.body.str.strip() == ""
    assert (joined.predicted[empty] == "").all() and (joined.predicted[~empty] != "").all()
    right = joined.predicted[~empty] == joined.body[~empty].map(truth)
    assert right.mean() > .97 and right[joined.body[~empty].str.contains("Störung")].all()
    labelled = answered[answered.label.notna()]
    assert (labelled.label == labelled.body.map(truth)).all() and labelled.id.nunique() == 7
    twins = answered[answered.body == table.set_index("ticket").body["T-385"]]
    assert set(twins.ticket) == {"T-385", "T-017"} and twins.label.nunique(dropna=False) == 1


def test_a_thousand_texts_come_to_the_first_question(tmp_path, monkeypatch, answering, capsys):
    "What makes the wait long is not done: no transformer is loaded, no graph is built."
    import sys
    monkeypatch.chdir(tmp_path)
    frame = pd.DataFrame(dict(body=[f"message {n} about {n % 37} things" for n in range(1000)]))
    frame.to_csv("t.csv", index=False)
    loaded = set(sys.modules)
    answering(0)
    code, out, err = said(capsys, "label", "t.csv", "--text", "body", "--rare", "a", "--terminal")
    assert code == 0 and "text " in out and "[2] a" in out, err
    assert not {"torch", "hnswlib"} & (set(sys.modules) - loaded)


@pytest.fixture
def folder(table, answering, capsys):
    answering(12, "/power")
    assert said(capsys, *BEGIN)[0] == 0
    return desk._folder_for("tickets.csv")


def test_an_open_session_can_be_exported(folder, capsys):
    "Whoever has it open goes on, and what is written holds every answer so far."
    session = open_desk(folder)
    i = session.wait()
    session.answer("other", comment="=1+1")
    code, out, err = said(capsys, "export", folder)
    assert code == 0, err
    rows = pd.read_csv(folder/"answers.csv")
    key = session.task.table.ticket[session.task.rows[i]]
    assert rows.set_index("ticket").comment[key] == "'=1+1"  # a spreadsheet must not run it
    session.wait()
    assert session.answer("other")
    session.close()


def test_what_the_page_may_ask_for(folder):
    "It finds texts, puts them first, corrects answers and comments on them; what is wrong changes nothing."
    session = open_desk(folder)
    def tell(**message):
        sent = []
        hear(session, message, sent.append, lambda: None)
        assert sent[-1] == dict(do="heard", seq=session.book.seq)
        return sent[0]
    ids = list(session.book.answers)[-2:]
    found = tell(do="find", words="parcel")
    assert len(found["rows"]) == 10 and all("parcel" in row["text"] for row in found["rows"])
    json.dumps(found)  # what a page can be sent
    assert tell(do="find", like=found["rows"][0]["id"])["rows"] and not tell(do="find", words="xyzzy")["rows"]
    assert all(row["id"] not in session.book.answers for row in tell(do="review")["rows"])
    tell(do="look", ids=[found["rows"][3]["id"]])
    assert session.wait() == found["rows"][3]["id"]
    tell(do="change", of=ids[0], label=None)
    tell(do="comment", of=ids[1], comment=" a note\n")
    recent = session.view()["recent"]
    assert recent[0]["comment"] == "a note" and recent[1]["label"] is None and recent[1]["id"] == ids[0]
    before = session.frame()
    for wrong in (dict(do="change", of=-1, label=0), dict(do="change", of=ids[0], label=9), dict(do="change", of=[]),
                  dict(do="comment", of=ids[0], comment=None), dict(do="comment", of=ids[0], comment="\ud800"),
                  dict(do="comment", of=ids[0], comment="x"*3000), dict(do="look", ids=[ids[0]]), dict(do="look"),
                  dict(do="look", ids=["a"]), dict(do="find", words=[]), dict(do="find", like=[]), dict(do="find")):
        assert tell(**wrong)["do"] in ("error", "heard", "found"), wrong
    assert session.frame().equals(before)
    session.close()
    again = open_desk(folder)
    assert again.frame().equals(before)
    again.close()


def test_what_the_folder_remembers_is_not_asked_again(folder, answering, capsys):
    (folder.parent/"rules.txt").write_text("Only faults of the grid.\n<b>Never</b> bills.")
    answering(0)
    words = ["--guidelines", "rules.txt", "--beside", "id", "ticket", "--terminal"]
    code, out, err = said(capsys, "label", folder, *words)
    assert code == 0 and "<b>Never</b> bills." in out and "\nid: " in out and "\nticket: T-" in out, err
    session = open_desk(folder)
    assert session.beside == ["id", "ticket"] and session.view()["guidelines"].startswith("Only faults")
    session.close()


NEW = "label tickets.csv --folder b --text body --rare outage"


@pytest.mark.parametrize("words, says", [
    ("label nowhere.csv --rare a", "no file 'nowhere.csv'"),
    ("label tickets.csv --folder b --text body", "say which class is rare: --rare NAME"),
    ("label tickets.csv --folder b --rare outage", "no column 'text' in the table, which has"),
    ("label tickets.csv --folder b --rare outage", "name the column of the texts: --text COLUMN"),
    ("label tickets.csv --folder b --text bod --rare outage", "no column 'bod'"),
    (f"{NEW} --label k", "no column 'k' of labels"), (f"{NEW} --id id", "id"), (f"{NEW} --id tikket", "'ticket'"),
    (f"{NEW} --beside tikket", "'ticket'"), (f"{NEW} --encoder minlm", "'minilm'"),
    (f"{NEW} --guidelines r", "no guidelines at r"), (f"{NEW} --encoding latin-99", "latin-99"),
    (f"{NEW} --classes a b", "'outage'"),
    ("label tickets-labels --encoder minilm", "was made with --encoder lsa, not minilm"),
    ("label tickets-labels --text id", "was made with --text body, not id"),
    ("label wrong.csv --folder tickets-labels", "belongs to another task"),
    ("label tickets-labels --rare flood", "was made with --rare ['outage'], not ['flood']"),
    ("export nowhere", "nowhere holds no desk.json"), ("predict", ". holds no desk.json"),
    ("export tickets-labels --to a.xlsx", "give a name that ends in .csv or .parquet"),
    ("predict tickets-labels --to a.xlsx", "give a name that ends in .csv or .parquet"),
    ("audit tickets-labels --n 1", "needs at least"),
])
def test_every_mistake_is_one_line(folder, words, says, capsys):
    wrong = pd.DataFrame(dict(ticket=range(99), body=[f"text {n} of somebody else" for n in range(99)], kind=""))
    wrong.to_csv("wrong.csv", index=False)
    before = sorted(os.listdir()), (folder/"desk.json").read_bytes(), (folder/"log.jsonl").read_bytes()
    code, _, err = said(capsys, *words.split())
    assert code == 1 and says in err.splitlines()[-1], err
    assert (sorted(os.listdir()), (folder/"desk.json").read_bytes(), (folder/"log.jsonl").read_bytes()) == before


def test_a_moved_table_is_found_where_you_say(folder, answering, capsys):
    os.mkdir("data")
    shutil.move("tickets.csv", "data/moved.csv")
    code, _, err = said(capsys, "export", folder)
    assert code == 1 and "tickets.csv of tickets-labels is gone; put it back, or say where it is now" in err
    answering(1)
    assert said(capsys, "label", "data/moved.csv", "--folder", folder, "--terminal")[0] == 0
    assert said(capsys, "export", folder)[0] == 0
    os.mkdir("elsewhere")  # both together need no word
    shutil.move("data", "elsewhere/data")
    shutil.move(folder, "elsewhere/tickets-labels")
    assert said(capsys, "export", "elsewhere/tickets-labels")[0] == 0


def test_a_table_that_changed_is_named_and_goes_on(table, folder, answering, capsys):
    "Rows added, deleted and sorted, and a class more: each answer stays with its text."
    before = open_desk(folder)
    answers = before.frame().set_index("text").label
    before.close()
    gone = before.task.table.ticket[before.task.rows[list(before.labels)[4]]]
    new = pd.DataFrame(dict(ticket=["N-1", "N-2"], body=["Hail in the cellar", "A flood in the cellar"],
                            kind=["other", ""], id=1, score="mine"))
    changed = pd.concat([new, table[table.ticket != gone].sort_values("body")])
    changed.to_csv("tickets.csv", sep=";", index=False, encoding="latin-1")
    code, out, err = said(capsys, "export", folder)
    assert code == 0 and "tickets.csv has changed since it was last labelled" in out, err
    def check():
        rows = pd.read_csv(folder/"answers.csv", keep_default_na=False)
        assert rows.ticket.tolist() == changed.ticket.tolist()
        for text, label in rows[rows.label != ""][["body", "label"]].to_numpy():
            assert label == ("other" if text == "Hail in the cellar" else answers.get(text, truth(text)))
        assert (rows.label[rows.body.isin(answers.index)] != "").all()
    check()
    answering(3)
    code, out, err = said(capsys, "label", folder, "--rare", "outage", "flood", "--terminal")
    assert code == 0 and "has changed" in out and "[3] flood" in out, err
    code, out, err = said(capsys, "export", folder)
    assert code == 0 and "has changed" not in out, err
    check()


def test_two_people_at_two_desks(table, answering, capsys):
    "The second person's answers come into the first one's folder, with a name on each, and out on the same rows."
    for name, words in (("ada", "/power"), ("bob", "/parcel")):
        answering(12, words)
        assert said(capsys, *BEGIN, "--folder", name, "--annotator", name)[0] == 0
    assert said(capsys, "export", "bob", "--to", "bob.parquet")[0] == 0
    session = open_desk("ada")
    assert session.annotator == "ada" and session.merge("bob.parquet") > 0
    merged = session.frame()
    session.close()
    answers = merged.annotator.value_counts()
    both = (merged.others != "").sum()  # texts that both of them answered stay ada's
    assert answers["ada"] == 12 and answers["bob"] + both == 12 and answers[""] == 3
    assert (merged.label == merged.text.map(truth)).all()
    assert said(capsys, "export", "ada", "--to", "both.parquet")[0] == 0
    rows = pd.read_parquet("both.parquet")
    assert rows.ticket.tolist() == table.ticket.tolist()
    by = rows[rows.label.notna()].groupby("annotator").body
    assert by.get_group("ada").str.contains("power").sum() >= 10
    assert by.get_group("bob").str.contains("parcel").sum() >= 10


def test_two_people_and_no_python(table, answering, capsys):
    "overlap asks both the same texts, merge says how well they agree and what to settle, and then takes in the rest."
    for name, first in (("ada", ["other"]), ("bob", ["outage"])):  # one of the first two is wrong
        answering(1)
        assert said(capsys, *BEGIN, "--folder", name, "--annotator", name)[0] == 0
        code, out, err = said(capsys, "overlap", name, "--n", "8")
        assert code == 0, err
        assert out.splitlines()[-1].startswith("8 texts are asked first: anchoral label " + name)
        answering(7, *first)
        assert said(capsys, "label", name, "--terminal")[0] == 0

    code, out, _ = said(capsys, "merge", "ada", "bob")
    assert code == 1 and "Labelled by both: 9, 8 of them alike" in out  # the 8, and the very first
    assert "Texts with two labels: 1, so nothing was merged" in out
    rows = pd.read_csv("ada/disagreements.csv")
    assert rows.ada.tolist() == ["other"] and rows.bob.tolist() == ["outage"] and rows.settled.isna().all()

    code, _, err = said(capsys, "merge", "ada", "bob")
    assert code and "ada/disagreements.csv is there already: give it by --settled, or delete it" in err
    rows.assign(settled="other").to_csv("ada/disagreements.csv", index=False)
    settled = ["--settled", "ada/disagreements.csv"]
    assert said(capsys, "merge", "ada", "bob", *settled)[0] == 0
    session = open_desk("ada")
    labels = dict(session.labels)
    session.close()
    disputed = [i for i in labels if session.task.texts[i] == rows.text[0]]
    assert [session.task.classes[labels[i]] for i in disputed] == ["other"]

    assert said(capsys, "export", "bob", "--to", "bob.csv")[0] == 0
    code, out, _ = said(capsys, "merge", "ada", "bob.csv", *settled)
    assert code == 0 and "ada: 0 answers came in or changed" in out
    code, _, err = said(capsys, "merge", "ada", "nobody")
    assert code and "no file 'nobody'" in err


def test_a_separator_is_taken_at_its_word(tmp_path, monkeypatch, answering, capsys):
    "A bar between the columns, and tabs; the folder remembers it."
    monkeypatch.chdir(tmp_path)
    for name, word, sign in (("bar", "|", "|"), ("tab", "\\t", "\t")):
        lines = [f"text{sign}note", *[f"Message {n}, in two; parts{sign}{n}" for n in range(30)]]
        (tmp_path/f"{name}.csv").write_text("\n".join(lines) + "\n")
        answering(0)
        begin = ["label", f"{name}.csv", "--rare", "outage", "--terminal"]
        code, out, err = said(capsys, *begin, "--separator", word)
        assert code == 0, err
        assert "30 rows, 30 distinct texts" in out
        assert json.loads((tmp_path/f"{name}-labels/desk.json").read_text())["reading"]["separator"] == sign
        code, _, err = said(capsys, *begin, "--separator", "x")
        assert code and "was made with --separator" in err and "not x; leave --separator out" in err
    code, _, err = said(capsys, "label", "bar.csv", "--rare", "outage", "--folder", "new", "--separator", "||")
    assert code and "separator must be one sign, got '||'" in err


@pytest.mark.parametrize("damage", [
    b"", b"{}", b"\xff", b"[]", b"\n\n",
    lambda line: line[:50], lambda line: line.replace(b'"body"', b'"kind"'), lambda line: line.replace(b"lsa", b"lsb"),
])
def test_a_damaged_desk_is_noticed(folder, damage, answering, capsys):
    path = folder/"desk.json"
    whole = path.read_bytes()
    path.write_bytes(damage(whole) if callable(damage) else damage)
    code, _, err = said(capsys, "export", folder)
    assert code == 1 and "desk.json is damaged" in err and "your answers are in log.jsonl and safe" in err
    path.unlink()  # as the message says
    answering(1)
    code, out, err = said(capsys, *BEGIN)
    assert code == 0 and "15 answers so far" in out, err
    assert json.loads(path.read_bytes()) == json.loads(whole)


def test_a_failure_before_the_first_answer_leaves_no_desk(table, monkeypatch, capsys):
    def full(*args): raise OSError(28, "No space left on device", "desk.json")
    monkeypatch.setattr(desk, "_write_desk", full)
    code, _, err = said(capsys, *BEGIN)
    assert code == 1 and "No space left" in err and not os.path.exists("tickets-labels/desk.json")
    assert Path.cwd()/"tickets-labels" not in _OPEN_SESSIONS


def test_without_jupyterlab_you_label_in_the_terminal(table, answering, monkeypatch, capsys):
    monkeypatch.setattr(desk, "find_spec", lambda name: None)
    answering(2)
    code, out, err = said(capsys, *BEGIN[:-1])
    assert code == 0 and "pip install jupyterlab and pip install" in out and "5 labels are kept" in out, err


def test_the_notebook_in_the_folder(folder, monkeypatch, capsys):
    "It is written once, names the table as text, and JupyterLab is started on it with this Python."
    started = []
    class Lab:
        def __init__(self, words, env): started.append((words, env))
        def wait(self):
            if len(started) < 2: started.append("Ctrl-C"); raise KeyboardInterrupt
            return 0
    monkeypatch.setattr(desk.subprocess, "Popen", Lab)
    monkeypatch.setattr(desk, "find_spec", lambda name: True)
    assert said(capsys, "label", folder, "--no-browser")[0] == 0
    words, env = started[0]
    assert words[1:] == ["-m", "jupyterlab", str(folder/"label.ipynb"), "--no-browser"]
    assert env["JUPYTER_PREFER_ENV_PATH"] == "1" and folder.absolute() not in _OPEN_SESSIONS
    notebook = nbformat.read(folder/"label.ipynb", 4)
    nbformat.validate(notebook)
    assert "`tickets.csv`" in notebook.cells[0].source and "annotate(session)" in notebook.cells[1].source
    (folder/"label.ipynb").write_text("mine")
    assert said(capsys, "label", folder)[0] == 0 and (folder/"label.ipynb").read_text() == "mine"


@pytest.mark.parametrize("name, folder", [
    ("tickets.csv", "tickets-labels"), ("a/b.CSV", "b-labels"), ("t.csv.gz", "t-labels"), ("t.jsonl", "t-labels"),
    ("my.tickets.parquet", "my.tickets-labels"), ("t", "t-labels")])
def test_the_name_of_a_folder(name, folder): assert str(desk._folder_for(name)) == folder


def test_classes_come_from_the_labels_and_the_rare_ones():
    table = pd.DataFrame(dict(kind=["b", None, "a", "?", "rare"]))
    known = dict(label="kind", unlabelled=["?"])
    assert desk._all_classes(table, ["rare"], known) == ["a", "b", "rare"]
    assert desk._all_classes(table, ["new"], known) == ["a", "b", "rare", "new"]
    assert desk._all_classes(table, ["x", "y"], dict(label=None)) == ["other", "x", "y"]
    assert desk._all_classes(pd.DataFrame(dict(kind=["x", np.nan])), ["x"], known) == ["other", "x"]
