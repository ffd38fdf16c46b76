"""A pool that changes under a session: each answer stays with its text, nothing is lost, another pool is refused."""
import json
import logging
import re
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_session import QUICK, TEXTS, begin
from worlds import clustered

from anchoral.annotator.growth import text_digests
from anchoral.annotator.log import read_log
from anchoral.annotator.session import Session
from anchoral.data import Task
from anchoral.filters import make_filter
from anchoral.head import Head
from anchoral.index import ExactIndex
from anchoral.loop import ActiveLearner
from anchoral.strategies import make_strategy

TWO = ("other", "rare")
VECTORS, WHICH = clustered(90, 6)
VECTOR_OF = {f"text number {i}": VECTORS[i] for i in range(90)}
IS_RARE = {f"text number {i}": int(WHICH[i] >= 4) for i in range(90)}
MORE = list(VECTOR_OF)[60:]


def reopen(folder, texts=TEXTS, classes=TWO, minority=("rare",), labels=None, ahead=0, **kw):
    "The folder with these texts and classes."
    rare = tuple(classes.index(name) for name in minority)
    labels = np.full(len(texts), -1) if labels is None else labels
    vectors = np.array([VECTOR_OF[t] for t in texts])
    near = make_filter("anchoral", n_anchors=2, n_neighbours=5)
    al = ActiveLearner(ExactIndex(vectors), vectors, Head(len(classes), rare), near, make_strategy("entropy"),
                       len(classes), rare)
    return Session(al, Task("toy", list(texts), labels, tuple(classes), rare), folder, query_size=3, ahead=ahead, **kw)


def work(s, n):
    "Answer `n` texts, each by what it says, every fifth with a skip."
    for k in range(n):
        i = s.wait()
        if i is None: return
        text = s.task.texts[i]
        if k % 5 == 4: s.skip()
        else: s.answer(TWO[IS_RARE[text]])


def said(s):
    "Text to class name, None where it was skipped."
    return {s.task.texts[i]: None if a.label is None else s.task.classes[a.label] for i, a in s.book.answers.items()}


def facts(s):
    "All that is known about each answer, by text."
    frame = s.frame().drop(columns=["id", "batch", "anchor", "similarity"]).set_index("text").sort_index()
    anchors = {s.task.texts[i]: None if a.anchor is None else s.task.texts[a.anchor] for i, a in s.book.answers.items()}
    return frame, anchors


def closed(folder, n=14, **kw):
    "A folder after some work, and what was said."
    s = reopen(folder, **kw)
    work(s, n)
    s.settle().close()
    return said(s), facts(s)


CHANGES = st.tuples(st.permutations(range(60)), st.sets(st.integers(0, 59), max_size=25), st.integers(0, 30),
                    st.integers(0, 60), st.booleans())


@pytest.fixture(scope="module")
def worked(tmp_path_factory):
    home = tmp_path_factory.mktemp("worked")/"s"
    return home, *closed(home, 26)


@QUICK
@given(CHANGES, st.integers(0, 8))
def test_answers_follow_their_texts_and_come_back_with_them(worked, change, n):
    "However the pool changes; opened once more it is the same; with the first pool all answers are there."
    order, gone, n_more, at, new_class = change
    home, before, (frame, anchors) = worked
    texts = [TEXTS[i] for i in order if i not in gone]
    texts = texts[:at] + MORE[:n_more] + texts[at:]
    classes = ("bug", *TWO) if new_class else TWO
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(home, folder, dirs_exist_ok=True)
        log = Path(folder, "log.jsonl").read_bytes()
        s = reopen(folder, texts, classes)
        here = {text: label for text, label in before.items() if text in texts}
        assert said(s) == here
        now, near = facts(s)
        pd.testing.assert_frame_equal(now, frame.loc[sorted(here)], check_dtype=False)
        assert near == {t: a if a in texts else None for t, a in anchors.items() if t in here}
        assert Path(folder, "log.jsonl").read_bytes().startswith(log) # nothing that was written is changed
        work(s, n)
        s.settle().close()
        more, queue = said(s), [s.task.texts[i] for i in s.book.queue]
        again = reopen(folder, texts, classes)
        assert said(again) == more and [again.task.texts[i] for i in again.book.queue] == queue
        again.close()
        back = reopen(folder, [*TEXTS, *MORE], classes)
        assert said(back) == before | more
        back.close()


def test_what_changed_is_said_once(tmp_path, caplog):
    answered, _ = closed(tmp_path/"s")
    first, second = list(answered)[:2]
    texts = [t for t in TEXTS[::-1] if t not in (first, second)] + MORE[:4]
    def line(**kw):
        caplog.clear()
        s = reopen(tmp_path/"s", **kw)
        s.settle().close()
        return caplog.messages
    assert line(texts=TEXTS) == []
    assert line(texts=texts, classes=("bug", *TWO)) == [
        "s: the pool has changed: new texts: 4; texts that are gone: 2; the order is another; new classes: bug; "
        "answers to texts that are gone: 2, which stay in log.jsonl and count again when their texts are back"]
    assert line(texts=texts, classes=("bug", *TWO)) == []
    [only] = line(texts=[*texts, first, MORE[5]], classes=("bug", *TWO))
    assert "new texts: 1; texts that are gone: 1" in only and "answers to texts that are gone: 1," in only


@pytest.mark.parametrize("change, says", [
    (dict(texts=MORE), "its pool is '.*', here it is '.*' \\(0 of its 60 texts are in both\\)"),
    (dict(texts=[*TEXTS[:14], *MORE]), "\\(14 of its 60 texts are in both\\)"),
    (dict(classes=("other", "outage"), minority=("outage",)), "its classes is \\['other', 'rare'\\]"),
    (dict(classes=("bug", "rare"), minority=("rare",)), "its classes is"),
    (dict(minority=("other",)), "its minority is \\[1\\], here it is \\[0\\]"),
    (dict(classes=("other", "rare", "bug"), minority=("bug",)), "its minority is"),
    (dict(classes=("other", "rare", "bug"), minority=("other", "rare")), "its minority is"),
])
def test_another_task_is_refused_and_nothing_changes(tmp_path, change, says):
    closed(tmp_path/"s", 4)
    before = {p.name: p.read_bytes() for p in (tmp_path/"s").iterdir()}
    with pytest.raises(ValueError, match="belongs to another task: .*" + says): reopen(tmp_path/"s", **change)
    assert {p.name: p.read_bytes() for p in (tmp_path/"s").iterdir()} == before


def test_a_finished_session_resumes_with_new_texts_and_takes_their_labels(tmp_path):
    s = reopen(tmp_path/"s", TEXTS[:12])
    work(s, 20)
    assert s.wait() is None and "every text has an answer" in s.view()["message"]
    s.close()
    texts = [*MORE[:3], *TEXTS[:12], *MORE[3:8]]
    labels = np.full(20, -1)
    labels[[0, 5, 17]] = [1, 0, 1] # two new texts, and one that is answered or skipped here
    for _ in range(2): # and again after a stop before any answer
        s = reopen(tmp_path/"s", texts, labels=labels)
        known = {s.task.texts[i]: a.label for i, a in s.book.answers.items() if s.book.batches[a.batch].kind == "file"}
        assert known == {MORE[0]: 1, MORE[5]: 1} and s.wait() is not None
        s.close()
    s = reopen(tmp_path/"s", texts, labels=labels)
    work(s, 20)
    assert s.wait() is None and len(s.book.answers) == 20
    s.close()


def test_rows_that_are_only_appended_leave_the_folder_as_older_versions_know_it(tmp_path):
    "And an older version's folder, which has no list of its texts, may grow at its end."
    closed(tmp_path/"s")
    (tmp_path/"s/texts.jsonl").unlink()
    longer = [*TEXTS, *MORE[:7]]
    with pytest.raises(ValueError, match="texts.jsonl.*is missing or damaged"): reopen(tmp_path/"s", longer[::-1])
    s = reopen(tmp_path/"s", longer)
    work(s, 6)
    s.settle().close()
    owner = json.loads((tmp_path/"s/session.json").read_text())
    fresh = begin(tmp_path/"fresh", texts=TEXTS)
    fresh.close()
    assert owner["texts"] == 67 and re.fullmatch("[0-9a-f]{16}", owner["pool"])
    ids = [e["id"] for e in read_log(tmp_path/"s/log.jsonl") if e["do"] == "answer"]
    assert [longer[i] for i in ids] == list(said(s)) and (tmp_path/"s/texts.jsonl").read_text().count("\n") == 1
    s = reopen(tmp_path/"s", longer[::-1])
    s.close()
    owner = json.loads((tmp_path/"s/session.json").read_text())
    assert owner["pool"].startswith("grown ") # which an older version refuses


def test_a_new_class_can_be_given_and_keeps_its_name(tmp_path):
    closed(tmp_path/"s")
    s = reopen(tmp_path/"s", classes=("bug", *TWO), minority=("bug", "rare"))
    i = s.wait()
    s.answer("bug", id=i)
    work(s, 9)
    s.settle()
    before, text = said(s), s.task.texts[i]
    assert before[text] == "bug" and s.predict()["p_bug"].sum() > 0
    s.close()
    other = reopen(tmp_path/"s", classes=("rare", "bug", "other"), minority=("rare", "bug"))
    assert said(other) == before
    other.close()


def test_a_loaded_audit_keeps_what_was_known_before_it(tmp_path):
    first = reopen(tmp_path/"first")
    work(first, 20)
    sample = first.audit(first.predict(), 6)
    work(first, 6)
    first.export(tmp_path/"labels.csv"), first.close()
    reopen(tmp_path/"s", TEXTS).close()
    s = reopen(tmp_path/"s", [MORE[0], *TEXTS[:0:-1]])
    frame = pd.read_csv(tmp_path/"labels.csv")
    s.load(frame[frame.text != TEXTS[0]])
    def of_audit(s):
        last = [b for b in s.book.batches if b.strata][-1]
        return {s.task.texts[i] for i in last.ids}, {s.task.texts[i] for i in last.known}
    before, report = of_audit(s), s.audit_report()
    assert before[0] == {TEXTS[i] for i in sample.id} - {TEXTS[0]} and len(before[1]) >= 10
    s.close()
    again = reopen(tmp_path/"s", [*TEXTS[1:], MORE[0]])
    assert of_audit(again) == before
    pd.testing.assert_frame_equal(again.audit_report(), report)
    again.close()


@pytest.mark.parametrize("name, content", [("texts.jsonl", b'{"texts": "00'), ("texts.jsonl", b"{}\n"),
                                           ("texts.jsonl", None), ("session.json", None)])
def test_a_damaged_list_of_texts_is_noticed_or_harmless(tmp_path, name, content):
    closed(tmp_path/"s")
    s = reopen(tmp_path/"s", TEXTS[::-1])
    s.close()
    path = tmp_path/"s"/name
    if content is None: path.unlink()
    else: path.write_bytes(content)
    if name == "session.json":
        for texts in (TEXTS[::-1], TEXTS):
            back = reopen(tmp_path/"s", texts)
            assert said(back) == said(s)
            back.close()
    else:
        with pytest.raises(ValueError, match="texts.jsonl.*missing or damaged"): reopen(tmp_path/"s", TEXTS[::-1])
    closed(tmp_path/"plain")
    if name == "texts.jsonl": # where the pool is as it was, the list is only written again
        path = tmp_path/"plain"/name
        if content is None: path.unlink()
        else: path.write_bytes(content)
        reopen(tmp_path/"plain").close()
        again = reopen(tmp_path/"plain", TEXTS[::-1])
        assert len(said(again)) == 14
        again.close()


def test_copies_of_a_text_are_told_apart_by_their_order(tmp_path):
    texts = ["text number 3", "text number 1", "text number 3"]
    assert len(set(text_digests(texts).tolist())) == 3
    s = reopen(tmp_path/"s", texts)
    s.look_at([2])
    s.answer("rare", id=2)
    s.close()
    s = reopen(tmp_path/"s", ["text number 7", "text number 3", "text number 3", "text number 1"])
    assert s.labels == {2: 1}
    s.close()


def test_no_line_is_said_where_nothing_changed(tmp_path, caplog):
    caplog.set_level(logging.WARNING)
    for _ in range(3): closed(tmp_path/"s", 3)
    assert not caplog.text and (tmp_path/"s/texts.jsonl").read_text().count("\n") == 1
