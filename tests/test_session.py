"""A session cannot be wrong in silence: interrupts, damage, full disks, foreign tables, awkward names."""
import contextlib
import logging
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from worlds import clustered

from anchoral.annotator import log as log_module
from anchoral.annotator.log import Answer, Book, Log, OpenFolder, pool_facts, read_log, replay
from anchoral.annotator.session import Session, keys_of
from anchoral.annotator.stopping import stops
from anchoral.annotator.widget import hear
from anchoral.data import Task, read_table
from anchoral.files import append_line
from anchoral.filters import make_filter
from anchoral.head import Head
from anchoral.index import ExactIndex
from anchoral.loop import ActiveLearner
from anchoral.strategies import make_strategy

N = 60
VECTORS, WHICH = clustered(N, 6)
TRUTH = (WHICH >= 4).astype(int)
TEXTS = [f"text number {i}" for i in range(N)]
QUICK = settings(deadline=None, suppress_health_check=list(HealthCheck))


def learner(n_classes=2, n=N, examples=(), head=Head):
    return ActiveLearner(ExactIndex(VECTORS[:n]), VECTORS[:n], head(n_classes, (1,)),
                         make_filter("anchoral", n_anchors=2, n_neighbours=5), make_strategy("entropy"),
                         n_classes, (1,), examples=examples)


def begin(folder, classes=("other", "rare"), texts=TEXTS, labels=None, head=Head, **kw):
    labels = np.full(len(texts), -1) if labels is None else labels
    task = Task("toy", texts, labels, tuple(classes), (1,))
    kw = dict(query_size=3) | kw
    return Session(learner(len(classes), len(texts), head=head), task, folder, **kw)


@pytest.fixture
def session(tmp_path):
    s = begin(tmp_path/"s")
    yield s
    s.close()


def label(s, n):
    for _ in range(n):
        if (i := s.wait()) is not None: s.answer(int(TRUTH[i]))


def seen(s): return s.labels, s.skipped, s.current, list(s.book.answers)


# Keys

AWKWARD = [("0", "1"), ("1", "0"), ("1", "2"), ("2", "1"), ("other", "1"), ("2", "other"), ("s", "u"), ("m", "s"),
           ("skip", "undo"), ("model", "m"), (" ", "  "), ("a", "A"), ("a", " a"), ("straße", "STRASSE"),
           ("x"*3000, "y"), ("\u05d0\u05d1", "\u0645\u0631"), ("🙂", "🙃"), ("[2] b", "b"), ("\u200b", "\ufeff"),
           ("0", "1", "s", "u", "m"), tuple(map(str, range(10))), tuple(map(str, range(12))),
           tuple("abcdefghijkl")]


def shown_keys(s):
    "Key and what stands behind it, as read off the screen."
    plain = s.plain().rpartition("\n\n")[2]
    at = [(m.start(), m.end(), m[1]) for k in [*keys_of(s.task.classes), "s", "u", "m"]
          for m in [re.compile(rf"(?:^|  |\n)\[({re.escape(k)})\] ").search(plain)]]
    at.sort()
    ends = [start for start, _, _ in at[1:]] + [len(plain)]
    return {key: plain[end:stop].removesuffix("\n") for (_, end, key), stop in zip(at, ends)}


@pytest.mark.parametrize("classes", [c for c in AWKWARD if c != ("[2] b", "b")], ids=lambda c: repr(c)[:20])
def test_a_shown_key_does_what_it_shows(tmp_path, classes, capsys):
    s = begin(tmp_path/"s", classes, ahead=0)
    s.wait()
    shown = shown_keys(s)
    assert len(shown) == len(classes) + 3 and shown["s"] == "skip" and shown["u"] == "undo"
    assert s.view()["keys"] == list(shown)[:len(classes)]
    for key, name in list(shown.items())[:len(classes)]:
        i = s.wait()
        s.say(key)
        assert classes[s.labels[i]] == name
        # and in the widget, which sends the number of the class whose name is on the button
        i = s.wait()
        message = dict(do="answer", label=s.view()["keys"].index(key), id=i, seq=s.view()["seq"])
        hear(s, message, lambda m: None, lambda: None)
        assert classes[s.labels[i]] == name
    i = s.wait()
    s.say("s")
    assert s.skipped == [i]
    s.say("u")
    assert s.skipped == [] and s.wait() == i
    before = s.labels
    s.say("m")
    assert s.labels == before
    s.close()


@pytest.mark.parametrize("classes", AWKWARD, ids=lambda c: repr(c)[:20])
def test_a_typed_name_gives_that_class_or_nothing(tmp_path, classes, capsys):
    "A name that is a key of something else does what the key shows; every other name its class; none a wrong one."
    s = begin(tmp_path/"s", classes, ahead=0)
    keys = dict(zip(keys_of(classes), classes))
    for name in classes:
        i = s.wait()
        try: s.say(name)
        except ValueError as e: assert "press" in str(e) and i not in s.labels
        else:
            if name in ("s", "u", "m") and name not in keys: assert i not in s.labels
            else: assert classes[s.labels[i]] == keys.get(name, name)
    s.close()


def test_names_written_from_right_to_left_have_a_line_each(tmp_path):
    s = begin(tmp_path/"s", ("\u05d0\u05d1", "\u05d2\u05d3"))
    s.wait()
    assert "[1] \u05d0\u05d1\n[2] \u05d2\u05d3\n" in s.plain()
    s.close()


@pytest.mark.parametrize("name", ["", "a\nb", "a\rb", "a\tb", "\ud800", "a\u2028b", "\0"])
def test_names_no_screen_can_hold_are_refused(tmp_path, name):
    with pytest.raises(ValueError, match="name"): begin(tmp_path/"s", ("other", name))
    assert not (tmp_path/"s").exists()


# Tables

def table(**columns): return pd.DataFrame(columns)


def test_rows_are_matched_by_text_and_never_by_foreign_ids(session):
    foreign = table(id=[3, 1, 4, 0, 5], body=[TEXTS[i] for i in (5, 9, 2, 6, 5)], label=["rare"]*4 + ["rare"])
    with pytest.raises(ValueError, match="text="): session.load(foreign)
    with pytest.raises(ValueError, match="row 0.*does not hold the pool's row numbers"):
        session.load(foreign, text="body", rows="id")
    assert session.labels == {}
    assert session.load(foreign, text="body") == 4 and session.labels == {5: 1, 9: 1, 2: 1, 6: 1}
    assert session.loaded[["row", "id", "done"]].values.tolist() == [
        [0, 5, "new"], [1, 9, "new"], [2, 2, "new"], [3, 6, "new"], [4, 5, "new"]]
    # foreign ids beside a column that is called text
    assert session.load(foreign.rename(columns={"body": "text"}).assign(label="other")[:1], overwrite=True) == 1
    assert session.labels[5] == 0 and session.loaded.done.tolist() == ["changed"]


@pytest.mark.parametrize("columns, match", [
    (dict(id=[3], label=["rare"]), "rows="), (dict(row=[3], label=["rare"]), "text="),
    (dict(text=[TEXTS[3], TEXTS[4], TEXTS[3]], label=["rare", "rare", "other"]), "two labels at rows 0 and 2"),
    (dict(text=[TEXTS[3], None], label=["rare", "rare"]), "row 1.*not in the pool"),
    (dict(text=[TEXTS[3], 4], label=["rare", "rare"]), "row 1.*not in the pool"),
    (dict(text=[TEXTS[3], TEXTS[4]], label=["rare", "rarer"]), "row 1.*did you mean 'rare'"),
    (dict(text=[TEXTS[3]], label=[["rare"]]), "row 0.*not one value"),
])
def test_tables_that_are_not_certain_are_refused(session, columns, match):
    with pytest.raises(ValueError, match=match): session.load(table(**columns))
    assert session.labels == {} and session.loaded.empty


@pytest.mark.parametrize("number", [150.7, "x", -1, N, None, True, float("nan"), float("inf")])
def test_a_row_number_is_a_whole_number_of_this_pool(session, number):
    rows = pd.DataFrame(dict(nr=pd.Series([number], dtype=object), label=["rare"]))
    if number is True: number = 1  # pandas and Python call it 1
    with contextlib.nullcontext() if number == 1 else pytest.raises(ValueError, match="row 0.*no text"):
        session.load(rows, rows="nr")
    assert session.labels == ({1: 1} if number == 1 else {})


def test_a_text_that_stands_twice_is_told_apart_by_our_own_row_numbers_only(tmp_path):
    texts = ["same", "other text", "same"]
    a, b = begin(tmp_path/"a", texts=texts), begin(tmp_path/"b", texts=texts)
    a.look_at([2])
    a.answer("rare", id=2)
    a.export(tmp_path/"a.csv")
    assert b.load(tmp_path/"a.csv") == 1 and b.labels == {2: 1}
    with pytest.raises(ValueError, match="stands at rows \\[0, 2\\]"):
        b.load(table(id=[2], text=["same"], label=["other"]))
    a.close(), b.close()


def test_an_export_of_another_pool_is_refused(tmp_path, session):
    other = begin(tmp_path/"other", texts=[f"another {i}" for i in range(N)])
    label(other, 3)
    other.export(tmp_path/"other.csv")
    with pytest.raises(ValueError, match="row 0.*not in the pool"): session.load(tmp_path/"other.csv")
    with pytest.raises(ValueError, match="row 0.*the table says"): session.load(tmp_path/"other.csv", rows="id")
    other.close()


# Keys

def ticket_table(shift=0):
    "A table as people keep them: own numbers, own names of columns that are ours too, copies, rows without a text."
    bodies = [*TEXTS[:20], TEXTS[3], "", TEXTS[5], " ", "=1+1"]
    nr = [f"T{i + shift}" for i in range(len(bodies))]
    return pd.DataFrame(dict(id=nr, body=bodies, label=["mine", *["none"]*24], score=7)).replace("", None)


def ticket_session(folder, frame, **kw):
    task = Task.from_frame(frame, text="body", id="id", classes=["other", "rare"], minority="rare", **kw)
    return Session(learner(n=len(task.texts)), task, folder, query_size=3, ahead=0)


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_table_comes_back_row_by_row_and_can_be_loaded(tmp_path, kind):
    frame = ticket_table()
    s = ticket_session(tmp_path/"s", frame)
    s.look_at([20, 4])
    s.answer("rare", id=20), s.skip(id=4)
    label(s, 11)
    s.export(tmp_path/f"out.{kind}")
    out = read_table(tmp_path/f"out.{kind}")
    if kind == "csv":
        assert out.escaped.tolist() == ["False"]*24 + ["True"] and out.body[24] == "'=1+1"
        out = out.drop(columns="escaped").assign(body=frame.body)
    theirs = out[frame.columns].astype({"score": int})
    pd.testing.assert_frame_equal(theirs, frame, check_dtype=False)
    for row, i in enumerate(s.task.row_ids.tolist()):
        given = out.anchoral_label[row]
        assert (given == s.task.classes[s.labels[i]]) if i in s.labels else pd.isna(given)
    other = ticket_session(tmp_path/"other", frame)
    assert other.load(tmp_path/f"out.{kind}") == 13
    assert (other.labels, other.skipped) == (s.labels, s.skipped)
    x, y = (a.frame().drop(columns="batch").set_index("id").sort_index() for a in (s, other))
    pd.testing.assert_frame_equal(x, y, check_dtype=False)
    assert set(other.loaded.matched) == {"key", ""} and len(other.loaded) == 25
    plain = ticket_session(tmp_path/"plain", frame) # frame() has our ids, and no keys
    assert plain.load(s.frame()) == 13 and plain.labels == s.labels and set(plain.loaded.matched) == {"text"}
    for a in (s, other, plain): a.close()


def test_scores_have_a_row_for_each_row_of_the_table(tmp_path):
    frame = ticket_table()
    s = ticket_session(tmp_path/"s", frame, drop_empty=True)
    label(s, 15)
    scores = s.predict(tmp_path/"scores.csv")
    assert scores.id.tolist() == frame.id.tolist() and scores.score.tolist() == [7]*25
    assert scores.anchoral_score.isna().tolist() == frame.body.fillna("").str.strip().eq("").tolist()
    assert scores.anchoral_score[3] == scores.anchoral_score[20] and scores.p_rare[5] == scores.p_rare[22]
    shuffled = scores.sample(frac=1, random_state=0)
    assert s.audit(shuffled, 4).id.isin(range(21)).all()
    with pytest.raises(ValueError, match="one row per text"): s.audit(scores[:5], 4)
    assert s.audit_plan(shuffled).endswith(s.audit_plan(scores)[-30:])
    assert len(pd.read_csv(tmp_path/"scores.csv").merge(frame, on="id")) == 25
    s.close()


def test_answers_are_matched_by_key_before_text_and_what_was_done_is_told(tmp_path):
    s = ticket_session(tmp_path/"s", ticket_table())
    rows = table(id=["T9", "T20", "T21", "T1", None, "T2"], topic=["rare", "other", "rare", None, "rare", "other"],
                 body=[TEXTS[9] + " ", TEXTS[3], None, TEXTS[1], TEXTS[7], TEXTS[2]])[::-1]
    assert s.load(rows, label="topic") == 4 and s.labels == {9: 1, 3: 0, 7: 1, 2: 0}
    assert s.loaded[["id", "done", "matched"]].fillna(-1).values.tolist() == [
        [2, "new", "key"], [7, "new", "text"], [-1, "no label", ""], [-1, "left out", "key"], [3, "new", "key"],
        [9, "new", "key"]]
    assert s.load(table(id=["T22"], label=["rare"])) == 1 and s.labels[5] == 1
    before = s.labels
    for columns, match in [(dict(id=["T9"], body=[TEXTS[8]]), "the id 'T9' is the text 'text number 9' in the pool, "
                            "and the table says 'text number 8'"),
                           (dict(id=["T99"]), "no row of the task's table has the id 'T99'"),
                           (dict(id=["T3", "T20"], label=["rare", "other"]), "two labels at rows 0 and 1"),
                           (dict(nr=[3]), "no column 'body' of texts")]:
        with pytest.raises(ValueError, match=match): s.load(table(**dict(label="rare") | columns))
    assert s.labels == before
    s.close()
    numbers = ticket_table().assign(id=np.arange(25.)) # a key of numbers is the same key in a CSV
    s = ticket_session(tmp_path/"numbers", numbers)
    (tmp_path/"a.csv").write_text("id;label\n7;rare\n")
    assert s.load(tmp_path/"a.csv") == 1 and s.labels == {7: 1}
    s.close()


@settings(QUICK, max_examples=15)
@given(st.permutations(range(25)), st.sets(st.integers(0, 24), max_size=9))
def test_the_order_of_rows_changes_no_answer(order, answered):
    "Answers that are given by key in one order of the table are the same texts' answers in any other."
    with tempfile.TemporaryDirectory() as home:
        frame = ticket_table()
        rare = [f"T{n}" for n in answered - {3, 5, 20, 22}] # copies would have two labels
        said = table(id=frame.id, label=[("rare" if key in rare else None) for key in frame.id])
        got = []
        for name, rows in (("a", frame), ("b", frame.iloc[order])):
            s = ticket_session(Path(home)/name, rows)
            s.load(said)
            out = s.task.to_rows(s.frame())
            got.append(out.set_index("id").anchoral_label.dropna().to_dict())
            s.close()
        assert got[0] == got[1] == {f"T{n}": "rare" for n in answered - {3, 5, 20, 21, 22, 23}}


def test_from_a_messy_file_to_a_table_that_joins_on_its_key(tmp_path, caplog):
    "Semicolons, latin-1, own keys and names, copies, rows without a text, a few labels; shuffled on the way back."
    bodies = [f"{t}, café" for t in TEXTS] + [f"{TEXTS[7]}, café", "", " ", f"{TEXTS[8]}, café"]
    kind = ["rare" if n in np.flatnonzero(TRUTH)[:3] else "other" if n in (0, 1, 2) else "" for n in range(64)]
    rows = [f"K{n};{kind[n]};{body};{n % 7}" for n, body in enumerate(bodies)]
    (tmp_path/"mine.csv").write_bytes("\r\n".join(["id;label;text;score", *rows]).encode("latin-1"))
    task = Task.from_frame(tmp_path/"mine.csv", label="label", id="id", minority="rare")
    assert caplog.messages[-3:] == [
        "mine.csv, line 2 is not UTF-8 (byte 0xe9); read as cp1252 (Windows, latin-1), where that line is "
        "'K0;other;text number 0, café;0'. If it looks wrong, say which encoding it is: encoding=",
        "mine.csv: its columns are separated by ';', and are read so",
        "64 rows, 60 distinct texts, 2 empty rows left out"]
    s = Session(learner(), task, tmp_path/"s", query_size=3)
    assert len(s.labels) == 6
    label(s, 24)
    s.predict(tmp_path/"scores.csv"), s.export(tmp_path/"labels.csv")
    given = {task.texts[i]: task.classes[c] for i, c in s.labels.items()}
    s.close()
    before = pd.DataFrame(dict(id=[f"K{n}" for n in range(64)], body=bodies)).sample(frac=1, random_state=3)
    both = before.merge(pd.read_csv(tmp_path/"scores.csv"), on="id", validate="one_to_one")
    assert len(both) == 64 and (both.text.fillna("").str.strip() == both.body.str.strip()).all()
    assert both.anchoral_score.isna().tolist() == (both.body.str.strip() == "").tolist()
    assert both.anchoral_label.fillna("").tolist() == [given.get(body, "") for body in both.body]
    labels = pd.read_csv(tmp_path/"labels.csv").set_index("id")
    assert labels.anchoral_label.fillna("").tolist() == [given.get(body, "") for body in bodies]
    scored = both.drop_duplicates("body").dropna(subset="anchoral_score").sort_values("anchoral_id")
    rare = scored.anchoral_score.to_numpy()[TRUTH == 1].mean()
    assert rare > scored.anchoral_score.to_numpy()[TRUTH == 0].mean() + .2


def test_one_session_for_each_label_over_one_pool_and_index(tmp_path):
    frame = table(text=TEXTS, outage=[1, *[None]*59], billing=[None, 0, *[None]*58])
    index = ExactIndex(VECTORS[:N])
    sessions = {}
    for name, task in Task.per_label(frame, ["outage", "billing"]).items():
        al = ActiveLearner(index, VECTORS[:N], Head(2, (1,)), make_filter("anchoral", n_anchors=2, n_neighbours=5),
                           make_strategy("entropy"), 2, (1,))
        sessions[name] = Session(al, task, tmp_path/name, query_size=3)
    outage, billing = sessions.values()
    assert (outage.labels, billing.labels) == ({0: 1}, {1: 0})
    for _ in range(12):
        for s, truth in ((outage, TRUTH), (billing, 1 - TRUTH)): s.answer(int(truth[s.wait()]))
    both = outage.predict().merge(billing.predict(), on=["text", "outage", "billing"], suffixes=["_o", "_b"])
    assert len(both) == N and both.id_o.equals(both.id_b)
    assert np.corrcoef(both.score_o, both.score_b)[0, 1] < 0
    for s in sessions.values(): s.close()


def test_several_rare_classes_at_once(tmp_path):
    task = Task.from_frame(TEXTS, classes=["other", "rare", "odd"], minority=["rare", "odd"])
    al = ActiveLearner(ExactIndex(VECTORS[:N]), VECTORS[:N], Head(3, (1, 2)),
                       make_filter("anchoral", n_anchors=2, n_neighbours=5), make_strategy("entropy"), 3, (1, 2))
    s = Session(al, task, tmp_path/"s", query_size=3)
    truth = np.arange(N) % 2 * TRUTH + TRUTH
    s.look_at([int(np.flatnonzero(truth == c)[0]) for c in (1, 2)])
    for _ in range(30): s.answer(int(truth[s.wait()]))
    scores = s.predict()
    assert np.allclose(scores.score, scores.p_rare + scores.p_odd) and set(s.labels.values()) == {0, 1, 2}
    assert s.task.table.text.tolist() == TEXTS
    s.close()


ODD = "=+-@'\"\t\r\n,; \0\x1a\ufeff\u2028\u0085a1é字🙂\u0301\u202e\ud800＝"
NASTY = st.text(st.sampled_from(ODD) | st.characters(), min_size=1, max_size=8)


@settings(QUICK, max_examples=40)
@given(texts=st.lists(NASTY, min_size=3, max_size=6, unique=True), name=NASTY, kind=st.sampled_from(["csv", "parquet"]),
       safe=st.booleans(), skip=st.integers(0, 5))
@example(["a\rb", "\r", "c"], "x", "csv", True, 0)
@example(["=1", "'=1", "''=1"], "=x", "csv", True, 5)
@example(["'=1", "=1", "'"], "'=x", "csv", False, 5)
@example(["a\0b", "\0", "a"], "x", "csv", True, 5)
@example(["a", "b", "\ud800"], "x", "parquet", True, 5)
@example(["True", "1", "NA"], "None", "csv", True, 5)
def test_every_text_comes_back_or_is_refused_with_its_row(texts, name, kind, safe, skip):
    with tempfile.TemporaryDirectory() as home:
        home = Path(home)
        bad = [i for i, t in enumerate(texts) if re.search("[\ud800-\udfff]", t)]
        try: a = begin(home/"a", ("plain", name), texts, ahead=0)
        except ValueError as e:
            assert "class name" in str(e) or re.search(f"text {bad[0]} of the pool", str(e))
            return
        for n in range(len(texts)): a.answer(None if n == skip else n % 2, id=a.wait())
        a.export(home/f"out.{kind}", safe=safe)
        b = begin(home/"b", ("plain", name), texts, ahead=0)
        assert b.load(home/f"out.{kind}") == len(texts)
        assert (b.labels, b.skipped) == (a.labels, a.skipped)
        x, y = (s.frame().drop(columns="batch").set_index("id").sort_index() for s in (a, b))
        pd.testing.assert_frame_equal(x, y, check_dtype=False)
        a.close(), b.close()


def test_no_cell_of_a_csv_is_live_unless_it_is_asked_for(tmp_path):
    texts = ["=1+1", "+1", "-1", "@x", "\tx", "\rx", "'=1", "plain", "'quoted'"]
    s = begin(tmp_path/"s", ("other", "=class"), texts, ahead=0)
    for n in range(len(texts)): s.answer(n % 2, id=s.wait())
    s.export(tmp_path/"safe.csv"), s.export(tmp_path/"raw.csv", safe=False), s.predict(tmp_path/"scores.csv")
    def cells(name): return pd.read_csv(tmp_path/name, dtype=str, keep_default_na=False)
    live = re.compile("[=+@\t\r]|-(?![0-9.]+$)")
    for name in ("safe.csv", "scores.csv"):
        df = cells(name)
        assert not [v for c in df.columns for v in df[c] if live.match(v)]
    df = cells("safe.csv")
    assert set(df.text[df.escaped == "False"]) <= {"plain", "'quoted'"}
    assert set(cells("raw.csv").text) == set(texts) and "escaped" not in cells("raw.csv")
    s.close()


# Interrupts

STAGES = ["before", "half a line", "a line", "written", "in apply", "applied"]


class Fault:
    "Raises once, at one stage of the next write by the main thread or by the other."
    def __init__(self, patch):
        self.armed, self.apply = None, Book.apply
        patch.setattr(log_module, "append_line", self.write)
        patch.setattr(Book, "apply", lambda book, event: self.applying(book, event))

    def arm(self, stage, error, thread): self.armed = (stage, error, thread)

    def due(self, stage):
        "Is it this stage, in the thread that was meant?"
        here = threading.current_thread() is not threading.main_thread()
        return self.armed is not None and self.armed[0] == stage and self.armed[2] == here

    def at(self, stage):
        if not self.due(stage): return
        error, self.armed = self.armed[1], None
        raise error

    def write(self, path, event):
        self.at("before")
        size = path.stat().st_size if path.exists() else 0
        line = log_module.as_line(event)
        for stage, part in (("half a line", line[:len(line)//2]), ("a line", line)):
            if self.due(stage):
                with open(path, "ab") as f: f.write(part)
                if isinstance(self.armed[1], OSError): os.truncate(path, size)  # as append_line does
                self.at(stage)
        append_line(path, event)
        self.at("written")

    def applying(self, book, event):
        if self.due("in apply"):
            book.answers.pop(next(iter(book.answers), None), None)  # half of the work
            self.at("in apply")
        self.apply(book, event)
        self.at("applied")


OPS = st.sampled_from(["answer", "answer", "answer", "skip", "undo", "change", "restore", "look_at", "load"])
FAULTS = st.none() | st.tuples(st.sampled_from(STAGES), st.sampled_from([KeyboardInterrupt, OSError]), st.booleans())


def do(s, op, k):
    answered = list(s.book.answers)
    if op in ("answer", "skip"): s.answer(None if op == "skip" else k % 2, id=s.wait())
    elif op == "undo": s.undo()
    elif op == "change" and answered: s.change(answered[k % len(answered)], k % 2)
    elif op == "restore" and s.skipped: s.restore([s.skipped[0], s.skipped[0]])
    elif op == "look_at" and k % N not in answered: s.look_at([k % N, k % N])
    elif op == "load": s.load(table(text=[TEXTS[k % N]], label=["rare"]), overwrite=True)


@settings(QUICK, max_examples=30)
@given(st.lists(st.tuples(OPS, st.integers(0, N - 1), FAULTS), min_size=1, max_size=14), st.integers(0, 1))
def test_any_calls_and_interrupts_reopen_to_what_the_person_saw(ops, ahead):
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as folder:
        fault = Fault(patch)
        s = begin(folder, ahead=ahead)
        for op, k, failing in ops:
            s.wait()
            before = seen(s)
            if failing: fault.arm(failing[0], failing[1]("drawn"), failing[2])
            raised = False
            try: do(s, op, k)
            except (KeyboardInterrupt, OSError): raised = True
            except RuntimeError: pass  # what failed in the thread, told by wait
            if failing and failing[1] is OSError and failing[0] in ("before", "half a line", "a line") and raised:
                assert seen(s)[:2] == before[:2]
            fault.armed = None
            with contextlib.suppress(RuntimeError): s.settle()
            if s.error: s.retry()
            s.settle()
        saw = seen(s)
        s.close()
        again = begin(folder, ahead=ahead)
        assert seen(again) == saw and not again._disk.log.notes
        again.wait()
        again.close()


@pytest.mark.parametrize("stage", ["before", "written"])
def test_ctrl_c_while_an_answer_is_written_comes_right_after(session, monkeypatch, stage):
    i, real = session.wait(), append_line
    def interrupted(path, event):
        answers = threading.current_thread() is threading.main_thread() # what the model thread writes is no answer
        if answers and stage == "before": signal.raise_signal(signal.SIGINT)
        real(path, event)
        if answers and stage == "written": signal.raise_signal(signal.SIGINT)
    monkeypatch.setattr(log_module, "append_line", interrupted)
    with pytest.raises(KeyboardInterrupt): session.answer("rare")
    monkeypatch.undo()
    assert session.labels == {i: 1} and session.wait() not in (i, None)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_the_model_is_asked_although_an_interrupt_came_before(session, monkeypatch):
    "An answer that closed the batch was interrupted before the thread began: the next `wait` begins it."
    label(session, 2)
    session.settle()
    monkeypatch.setattr(Session, "_ask_ahead", lambda self: None)
    label(session, 4)
    monkeypatch.undo()
    assert session.current is None and session.wait(5) is not None


def broken_log(folder, *more):
    "A log as an interrupted session of an older version left it: no checks, and an event that is there twice."
    import json
    events = [dict(do="ask", b=3, batches=0), dict(do="batch", kind="random", ids=[7, 3, 9]),
              dict(do="answer", id=7, label=1), *more]
    Path(folder).mkdir()
    Path(folder, "log.jsonl").write_text("".join(json.dumps(e) + "\n" for e in events))


@pytest.mark.parametrize("more, labels, skipped", [
    ([dict(do="answer", id=7, label=0)], {7: 0}, []),
    ([dict(do="answer", id=3, label=1), dict(do="answer", id=7, label=0), dict(do="undo", id=7)], {3: 1}, []),
    ([dict(do="undo", id=7), dict(do="undo", id=7)], {}, []),
    ([dict(do="answer", id=3, label=None), dict(do="restore", ids=[3, 3])], {7: 1}, []),
    ([dict(do="answer", id=3, label=None), dict(do="restore", ids=[3]), dict(do="restore", ids=[3])], {7: 1}, []),
    ([dict(do="batch", kind="random", ids=[7, 3, 9])], {7: 1}, []),
])
def test_a_log_with_a_repeated_event_can_be_opened(tmp_path, more, labels, skipped):
    broken_log(tmp_path/"s", *more)
    s = begin(tmp_path/"s")
    assert (s.labels, s.skipped) == (labels, skipped)
    waiting = s.settle().book.queue
    assert len(set(waiting)) == len(waiting) and not set(waiting) & set(labels)
    label(s, 5)
    s.close()
    begin(tmp_path/"s").close()


@pytest.mark.parametrize("event", [dict(do="answer", id=50, label=1), dict(do="change", id=3, label=1),
                                   dict(do="leap", far=3), dict(id=3), dict(do="answer", id=3, label=1, mood="good"),
                                   dict(do="batch", kind="guess", ids=[1])])
def test_an_event_that_cannot_be_names_its_line_and_the_way_on(tmp_path, event):
    broken_log(tmp_path/"s", event, dict(do="answer", id=9, label=0))
    before = (tmp_path/"s/log.jsonl").read_bytes()
    with pytest.raises(ValueError, match="log.jsonl: line 4.*3 events before are whole.*repair=True"):
        begin(tmp_path/"s")
    assert (tmp_path/"s/log.jsonl").read_bytes() == before
    s = begin(tmp_path/"s", repair=True)
    assert s.labels == {7: 1} and (tmp_path/"s/log.damaged-1.jsonl").read_bytes() == before
    label(s, 3)
    s.close()
    begin(tmp_path/"s").close()


def test_restoring_a_text_twice_restores_it_once(session):
    i = session.wait()
    session.skip()
    session.restore([i, i])
    assert session.skipped == [] and i in session.book.queue
    session.close()
    begin(session.folder).close()


def test_a_skipped_text_of_a_file_is_asked_again_when_restored(tmp_path):
    s = begin(tmp_path/"s", texts=TEXTS[:6], ahead=0)
    s.load(table(text=[TEXTS[2]], label=[None], skipped=[True]))
    s.restore(s.skipped)
    label(s, 6)
    assert set(s.labels) == set(range(6))
    s.close()


# Damage

@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    "A closed session's folder."
    home = tmp_path_factory.mktemp("whole")/"s"
    s = begin(home)
    label(s, 12)
    s.skip()
    s.undo()
    s.change(next(iter(s.labels)), 1)
    s.settle().close()
    return home


def damages(data, rng):
    "One file's content, damaged in a drawn way."
    n, at = len(data), int(rng.integers(0, max(1, len(data))))
    lines = data.split(b"\n")
    k = int(rng.integers(0, len(lines)))
    return [data[:at], data[:at] + bytes([data[at] ^ 1 << int(rng.integers(8))]) + data[at+1:],
            b"\n".join(lines[:k] + lines[k+1:]), b"\n".join(lines[:k] + [lines[k]] + lines[k:]),
            b"\n".join(lines[::-1]), data[:at] + bytes(rng.integers(0, 256, 5).tolist()) + data[at:],
            data[:at] + data[at + int(rng.integers(1, 40)):], b"", bytes(n), None, data[at:],
            re.sub(rb"\d", lambda m: bytes([(m[0][0] - 47) % 10 + 48]), data, count=1)][int(rng.integers(12))]


@pytest.mark.parametrize("name", ["log.jsonl", "log.check", "session.json", ".lock"])
@pytest.mark.parametrize("seed", range(60 if "ANCHORAL_FUZZ" not in os.environ else int(os.environ["ANCHORAL_FUZZ"])))
def test_damage_is_noticed_or_harmless(folder, tmp_path, name, seed, caplog, damage_book):
    want = damage_book
    shutil.copytree(folder, tmp_path/"s")
    path = tmp_path/"s"/name
    data = path.read_bytes() if path.exists() else b""
    if not data and name != ".lock": raise AssertionError(f"{name} is not there")
    bad = damages(data or b" ", np.random.default_rng([seed, len(name)]))
    if bad is None: path.unlink(missing_ok=True)
    else: path.write_bytes(bad)
    rest = {p.name: p.read_bytes() for p in (tmp_path/"s").iterdir() if p.name != ".lock"}
    try: s = begin(tmp_path/"s")
    except ValueError as e:
        assert name in str(e) and ("repair=True" in str(e) or "belongs to another task" in str(e))
        assert {p.name: p.read_bytes() for p in (tmp_path/"s").iterdir() if p.name != ".lock"} == rest
        if "repair=True" not in str(e): return
        s = begin(tmp_path/"s", repair=True)
        got = {i: a.label for i, a in s.book.answers.items()}
        n = re.search(r"line \d+ is damaged.* The (\d+) events", str(e))
        if name != "log.jsonl": assert got == want
        elif n: assert got == answers_of(read_log(folder/"log.jsonl")[:int(n[1])])
        kept = [p.read_bytes() for p in (tmp_path/"s").glob("*.damaged-1.*")]
        assert kept == ([bad] if bad is not None else [])
    else:
        assert {i: a.label for i, a in s.book.answers.items()} == want
    s.wait()
    s.close()
    begin(tmp_path/"s").close()


def answers_of(events):
    book, _, why = replay(events, 2, [1])
    assert not why
    return {i: a.label for i, a in book.answers.items()}


@pytest.fixture(scope="module")
def damage_book(folder): return answers_of(read_log(folder/"log.jsonl"))


@pytest.mark.parametrize("at", [0, 1, 5, -1])
def test_a_log_cut_between_two_lines_is_noticed(folder, tmp_path, at):
    shutil.copytree(folder, tmp_path/"s")
    log = tmp_path/"s/log.jsonl"
    lines = log.read_bytes().splitlines(keepends=True)
    log.write_bytes(b"".join(lines[:at]))
    n = len(lines[:at])
    with pytest.raises(ValueError, match=f"lines are missing: {len(lines)} events were written and {n} are there"):
        begin(tmp_path/"s")
    s = begin(tmp_path/"s", repair=True)
    assert len(s._disk.log.notes) == 1
    s.close()


def test_a_half_line_is_said_and_nothing_is_lost(folder, tmp_path, damage_book, caplog):
    shutil.copytree(folder, tmp_path/"s")
    with open(tmp_path/"s/log.jsonl", "ab") as f: f.write(b'{"do": "ans')
    with caplog.at_level(logging.WARNING): s = begin(tmp_path/"s")
    assert re.search("last line of .*log.jsonl was cut off.* events before it are whole", caplog.text)
    assert {i: a.label for i, a in s.book.answers.items()} == damage_book
    s.close()


def test_a_count_that_lags_behind_is_no_damage(folder, tmp_path, damage_book, caplog):
    "The program or the power may go between an event and the count of events, and an old log has no count."
    for count in ("behind", "gone"):
        shutil.copytree(folder, tmp_path/count)
        disk = Log(tmp_path/count)
        disk.read()
        disk.ends, disk.sums = disk.ends[:-1], disk.sums[:-1]
        disk.count()
        if count == "gone": disk.check.unlink()
        with caplog.at_level(logging.WARNING): s = begin(tmp_path/count)
        assert {i: a.label for i, a in s.book.answers.items()} == damage_book and not caplog.text
        s.close()


def test_the_format_on_disk_is_the_same_for_ever(tmp_path):
    "What version 0.1.0 wrote, to the byte: a folder may be opened by any later version, and the other way round."
    task = Task("toy", ["a", "é", "c"], np.array([-1, -1, 1]), ("other", "rare"), (1,))
    first = dict(do="file", answers={"2": asdict(Answer(1, "file", 0))})
    folder = OpenFolder(tmp_path, pool_facts(task), first, repair=False)
    folder.write(dict(do="ask", b=2, batches=1))
    folder.write(dict(do="batch", kind="random", ids=[1, 0]))
    folder.write(dict(do="answer", id=1, label=None, time="2026-01-01T00:00:00.000+00:00", seconds=1.5, wait=.2,
                      peeked=False))
    folder.close()
    assert (tmp_path/"session.json").read_bytes() == (
        b'{"classes": ["other", "rare"], "minority": [1], "texts": 3, "pool": "70de222857cd6ba2", '
        b'"check": "d314a032"}\n')
    assert (tmp_path/"log.jsonl").read_bytes() == (
        b'{"do": "file", "answers": {"2": {"label": 1, "by": "file", "batch": 0, "iteration": -1, "time": "", '
        b'"seconds": null, "wait": null, "score": null, "anchor": null, "similarity": null, "peeked": false}}, '
        b'"check": "365af78f"}\n'
        b'{"do": "ask", "b": 2, "batches": 1, "check": "be0bb3bb"}\n'
        b'{"do": "batch", "kind": "random", "ids": [1, 0], "check": "30e92750"}\n'
        b'{"do": "answer", "id": 1, "label": null, "time": "2026-01-01T00:00:00.000+00:00", "seconds": 1.5, '
        b'"wait": 0.2, "peeked": false, "check": "eaad4eb1"}\n')
    count = b'{"events": 4, "lines": "3c1ce196", "check": "f63c401e"}'
    assert (tmp_path/"log.check").read_bytes() == count.ljust(127) + b"\n"


def test_logs_and_folders_without_checks_still_open(folder, tmp_path, damage_book):
    import json
    shutil.copytree(folder, tmp_path/"s")
    events = read_log(folder/"log.jsonl")
    (tmp_path/"s/log.jsonl").write_text("".join(json.dumps(e) + "\n" for e in events))
    (tmp_path/"s/log.check").unlink()
    facts = {k: v for k, v in json.loads((folder/"session.json").read_text()).items() if k != "check"}
    (tmp_path/"s/session.json").write_text(json.dumps(facts, indent=1))
    s = begin(tmp_path/"s")
    assert {i: a.label for i, a in s.book.answers.items()} == damage_book
    label(s, 2)
    s.close()
    begin(tmp_path/"s").close()


# Full disks and threads

@settings(QUICK, max_examples=25)
@given(st.integers(0, 12), st.sampled_from(["fsync", "write"]), st.integers(1, 3), st.integers(0, 1))
def test_a_full_disk_loses_nothing_and_is_told(at, call, times, ahead):
    "An answer that raises was not saved, one that does not was; what fails in the thread is told; retry goes on."
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as folder:
        s = begin(folder, ahead=ahead)
        s.settle()
        calls, real = [], getattr(os, call)
        def full(*args):
            calls.append(args)
            if at < len(calls) <= at + times: raise OSError(28, "No space left on device")
            return real(*args)
        patch.setattr(os, call, full)
        told = {}
        for _ in range(14):
            try: i = s.wait()
            except RuntimeError as e:
                assert "No space left" in str(e) and "every answer is safe" in str(e)
                assert "No space left" in s.view()["message"]
                with pytest.raises(RuntimeError, match="retry"): s.settle()
                s.retry()
                continue
            try: assert s.answer(int(TRUTH[i]))
            except OSError: assert i not in s.labels
            else: told[i] = int(TRUTH[i])
            assert s.labels == told
        patch.undo()
        s.retry()
        s.settle()
        s.close()
        again = begin(folder)
        assert again.labels == told and again.settle()
        again.close()


def test_a_thread_that_cannot_start_is_told_and_the_answer_is_saved(session, monkeypatch):
    def no(self): raise RuntimeError("can't start new thread")
    session.settle()
    monkeypatch.setattr(threading.Thread, "start", no)
    for _ in range(3): assert session.answer("other")
    assert len(session.labels) == 3
    with pytest.raises(RuntimeError, match="can't start new thread.*retry"): session.wait()
    monkeypatch.undo()
    session.retry()
    assert session.wait() is not None


@pytest.mark.parametrize("error", [SystemExit(3), MemoryError("no memory"), KeyboardInterrupt(), ValueError("odd")])
def test_whatever_ends_the_thread_is_told(tmp_path, error):
    class Broken(Head):
        broken = True
        def fit(self, *args):
            if Broken.broken: raise error
            return super().fit(*args)
    s = begin(tmp_path/"s", head=Broken)
    with pytest.raises(RuntimeError, match=type(error).__name__): label(s, N)
    with pytest.raises(RuntimeError, match="retry"): s.settle()
    Broken.broken = False
    s.retry()
    label(s, 2)
    s.close()


def test_a_page_that_is_gone_does_not_undo_an_answer(session, caplog):
    def gone(): raise ConnectionError("the page is gone")
    session.listeners += [gone]
    i = session.wait()
    assert session.answer("rare", id=i) and session.labels == {i: 1}
    session.settle()
    assert "the page is gone" in caplog.text and gone not in session.listeners


def test_leaving_python_waits_for_the_model(tmp_path):
    "No thread is cut off in the middle of training, and what it chose is on the disk."
    code = f"""
import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})
import threading
from test_session import *
class Slow(Head):
    def fit(self, *args):
        out = super().fit(*args)
        begun.set(), go_on.wait(2) # longer than Python takes to leave
        return out
begun, go_on = threading.Event(), threading.Event()
s = begin({str(tmp_path/"s")!r}, head=Slow)
while not begun.is_set():
    if (i := s.current) is not None: s.answer(int(TRUTH[i]))
print(len(s.labels))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0 and not done.stderr
    s = begin(tmp_path/"s")
    assert len(s.labels) == int(done.stdout) and "model" in {b.kind for b in s.book.batches}
    s.close()


# Time

def work(events):
    "How many steps of Python's machine a replay takes."
    steps = 0
    def trace(frame, what, arg):
        nonlocal steps
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        steps += what == "opcode"
        return trace
    before = sys.gettrace()
    sys.settrace(trace)
    try: replay(events, 2, [1])
    finally: sys.settrace(before)
    return steps


def test_opening_again_takes_time_in_proportion_to_the_events():
    def events(n):
        out = []
        for at in range(0, n, 10):
            ids = list(range(at, at + 10))
            out += [dict(do="ask", b=10, batches=at//10), dict(do="batch", kind="random", ids=ids)]
            out += [dict(do="answer", id=i, label=i % 2) for i in ids]
            out += [dict(do="undo", id=ids[-1]), dict(do="answer", id=ids[-1], label=None)]
        return out
    small, large = work(events(300)), work(events(1200))
    assert large < 4.4 * small


# What is missing, and what is refused

def test_a_class_without_a_label_is_named_with_the_way_to_look_for_it(tmp_path):
    s = begin(tmp_path/"s")
    def said(): return s.hint(), s.plain(), s.view()["note"]
    s.wait()
    for text in said(): assert "'other' or 'rare'" in text
    while 0 not in s.labels.values(): s.answer("other", id=s.wait())
    s.wait()
    for text in said():
        assert "No text is labelled 'rare' yet, so texts are drawn at random" in text
        assert "session.find(" in text and "look_at" in text and "'other'" not in text
    s.look_at([int(np.flatnonzero(TRUTH)[0])])
    s.answer("rare", id=s.wait())
    s.wait()
    assert s.view()["note"] == "" and "No text is labelled" not in s.plain() and "0 rare among the" in s.hint()
    s.close()


@pytest.mark.parametrize("call, match", [
    (lambda s, p: s.audit(p, n=0), "n must be a whole number of at least 1, got 0"),
    (lambda s, p: s.audit(p, n=-3), "n must be"), (lambda s, p: s.audit(p, n=2.5), "n must be"),
    (lambda s, p: s.audit(p, n=True), "n must be"), (lambda s, p: s.audit(p, n=1), "at least . texts"),
    (lambda s, p: s.audit(p, seed=-1), "seed must be"),
    (lambda s, p: s.audit(p.assign(score=np.nan)), "must be probabilities"),
    (lambda s, p: s.audit(p.assign(score=p.score.where(p.id != 7, 1.5))), "first text \\[7\\]"),
    (lambda s, p: s.audit(p.assign(id=3)), "once"), (lambda s, p: s.audit(p[1:]), "one row per text"),
    (lambda s, p: s.hint(window=0), "window must be"), (lambda s, p: s.hint(window=-5), "window must be"),
    (lambda s, p: s.hint(most=-1), "most must be"), (lambda s, p: s.find("text", k=0), "k must be"),
    (lambda s, p: s.predict(batch=0), "batch must be"), (lambda s, p: s.audit_report(level=1.5), "level must"),
    (lambda s, p: s.look_at([1.7]), "whole numbers"), (lambda s, p: s.look_at([True, False]), "whole numbers"),
    (lambda s, p: s.look_at([N]), "ids must lie in"), (lambda s, p: s.restore(["x"]), "whole numbers"),
    (lambda s, p: stops(pd.DataFrame(), window=0), "window must be"),
])
def test_arguments_without_a_meaning_are_refused(asked, call, match):
    s, scores = asked
    before = seen(s), len(s.book.batches)
    with pytest.raises(ValueError, match=match): call(s, scores)
    assert (seen(s), len(s.book.batches)) == before


@pytest.fixture(scope="module")
def asked(tmp_path_factory):
    s = begin(tmp_path_factory.mktemp("asked")/"s")
    label(s, 20)
    scores = s.predict()
    s.audit(scores, 5)
    s.answer(0, id=s.wait())
    yield s.settle(), scores
    s.close()


def test_messages_from_strangers_always_get_an_answer(session):
    for message in (None, 3, [], "answer", dict(do="answer", label=[1]), dict(do="answer", label={}, id=[], seq="x"),
                    dict(do="undo", seq=[]), dict(do="peek"), dict(do=["answer"])):
        sent = []
        hear(session, message, sent.append, lambda: None)
        assert sent[-1]["do"] == "heard" and session.labels == {}
