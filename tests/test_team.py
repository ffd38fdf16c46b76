"""Two people on one pool: who said what, how well they agree, and one session in the end without a loss."""
import copy

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score
from worlds import clustered

from anchoral.annotator import log as log_module
from anchoral.annotator import team
from anchoral.annotator.log import Answer, Book, read_log
from anchoral.annotator.session import Session
from anchoral.annotator.team import agreement, disagreements, draw_overlap, plan_merge
from anchoral.data import Task
from anchoral.filters import make_filter
from anchoral.head import Head
from anchoral.index import ExactIndex
from anchoral.loop import ActiveLearner
from anchoral.strategies import make_strategy

N = 60
VECTORS, WHICH = clustered(N, 6)
TRUTH = (WHICH >= 4).astype(int)
TEXTS = [f"text number {i}" for i in range(N)]
TASK = Task("toy", TEXTS, np.full(N, -1), ("other", "rare"), (1,))
QUICK = settings(deadline=None, suppress_health_check=list(HealthCheck), max_examples=60)


def begin(folder, annotator="", task=TASK):
    al = ActiveLearner(ExactIndex(VECTORS), VECTORS, Head(2, (1,)),
                       make_filter("anchoral", n_anchors=2, n_neighbours=5), make_strategy("entropy"), 2, (1,))
    return Session(al, task, folder, query_size=3, annotator=annotator)


@pytest.fixture
def people(tmp_path):
    ada, bob = (begin(tmp_path/name, name) for name in ("ada", "bob"))
    yield ada, bob
    ada.close()
    bob.close()


def label(session, n, wrong=()):
    for _ in range(n):
        i = session.settle().current
        session.answer(int(TRUTH[i]) if i not in set(wrong) else 1 - int(TRUTH[i]))


def answer_both(people, overlap, answers, wrong):
    "Ask both the same texts and let both answer, the second wrongly at first; the ids of the shared texts."
    for session in people: session.settle().overlap(overlap)
    shared = people[0].overlap(overlap).id.tolist()
    label(people[0], answers[0])
    label(people[1], answers[1], wrong=shared[:wrong])
    return shared


def content(session):
    "What a session knows, whatever the order."
    return {i: (a.label, a.annotator, a.others) for i, a in sorted(session.book.answers.items())}


# Names

def test_a_name_travels_with_every_answer(tmp_path, people):
    ada, bob = people
    label(ada, 4)
    ada.skip()
    assert set(ada.frame().annotator) == {"ada"}
    for kind in ("csv", "parquet"):
        ada.export(tmp_path/f"ada.{kind}")
        other = begin(tmp_path/kind, "eve")
        assert other.load(tmp_path/f"ada.{kind}") == 5 and set(other.frame().annotator) == {"ada"}
        other.close()
    ada.close()
    again = begin(tmp_path/"ada")
    assert set(again.frame().annotator) == {"ada"}
    label(again, 1)
    assert again.frame().annotator.tolist() == ["ada"]*5 + [""]
    again.close()


def test_a_log_without_names_is_as_before(tmp_path):
    s = begin(tmp_path/"s")
    s.load(pd.DataFrame(dict(text=TEXTS[:2], label="other")))
    label(s, 2)
    s.change(0, "rare")
    s.close()
    written = (tmp_path/"s/log.jsonl").read_text()
    assert "annotator" not in written and "others" not in written


def test_who_changes_an_answer_is_its_annotator(tmp_path, people):
    ada, _ = people
    label(ada, 1)
    i = next(iter(ada.labels))
    ada.close()
    eve = begin(tmp_path/"ada", "eve")
    eve.change(i, 1 - int(TRUTH[i]))
    answer = eve.book.answers[i]
    assert (answer.label, answer.annotator, answer.others) == (1 - TRUTH[i], "eve", {"ada": TRUTH[i]})
    frame = eve.frame()
    eve.export(tmp_path/"eve.csv")
    eve.close()
    last = begin(tmp_path/"last")
    last.load(tmp_path/"eve.csv")
    assert last.book.answers[i].others == {"ada": TRUTH[i]} and last.frame().others.tolist() == frame.others.tolist()
    last.close()


@pytest.mark.parametrize("name", ["a\nb", "\ud800", 7, None])
def test_names_of_people_are_plain_text(tmp_path, name):
    with pytest.raises(ValueError, match="annotator's name"): begin(tmp_path/"s", name)
    assert not (tmp_path/"s").exists()


def test_a_cell_with_others_that_makes_no_sense_is_refused(tmp_path, people):
    ada, bob = people
    label(ada, 2)
    for cell, match in [("bob: rare", "should be JSON such as"), ('["bob"]', "should be JSON"),
                        ('{"bob": "rarer"}', "unknown class 'rarer'")]:
        with pytest.raises(ValueError, match=f"row 0.*{match}"): bob.load(ada.frame().assign(others=cell))
    assert not bob.labels


# Overlap

def test_both_get_the_same_texts_wherever_they_are_in_the_pool():
    backwards = TEXTS[::-1]
    assert [TEXTS[i] for i in draw_overlap(TEXTS, 9, 3)] == [backwards[i] for i in draw_overlap(backwards, 9, 3)]
    assert draw_overlap(TEXTS, 9, 3) != draw_overlap(TEXTS, 9, 4)
    assert len(draw_overlap(TEXTS, 500, 0)) == N
    grown = [*TEXTS, "a new one"]
    assert len(set(draw_overlap(TEXTS, 9, 3)) & set(draw_overlap(grown, 9, 3))) >= 8


def test_classes_take_turns_in_an_overlap():
    labels = {i: int(i in (3, 8)) for i in range(40)}
    drawn = draw_overlap(TEXTS, 10, 0, labels)
    assert {3, 8} <= set(drawn) and len(drawn) == len(set(drawn)) == 10
    assert sum(labels[i] for i in draw_overlap(TEXTS, 3, 0, labels)) in (1, 2)
    assert draw_overlap(TEXTS, 3, 0, {}) == []


def test_overlap_comes_first_and_only_once(people):
    ada, bob = people
    for s in people:
        drawn = s.settle().overlap(6)
        assert s.settle().book.queue[:6] == drawn.id.tolist()
        events = len(s.book.batches)
        s.overlap(6)
        assert len(s.book.batches) == events
        label(s, 6)
    assert set(ada.labels) == set(bob.labels) and set(ada.frame().by) == {"overlap"}
    assert ada.overlap(6).id.tolist() == drawn.id.tolist()


def test_overlap_with_what_the_other_labelled(people, tmp_path):
    ada, bob = people
    label(ada, 30)
    ada.skip()
    drawn = bob.overlap(8, other=ada)
    got = [ada.labels[i] for i in drawn.id]
    assert sum(got) == 4 and len(got) == 8
    ada.export(tmp_path/"ada.csv")
    assert bob.overlap(8, other=tmp_path/"ada.csv").id.tolist() == drawn.id.tolist()
    i = bob.settle().current
    assert i == drawn.id[0] and "another person answers it too" in bob.peek()["why"]
    with pytest.raises(ValueError, match="n must be a whole number"): bob.overlap(0)


# Agreement

def test_agreement_is_that_of_scikit_learn(people, tmp_path):
    ada, bob = people
    for s in people: s.settle().overlap(30)
    label(ada, 30)
    label(bob, 29, wrong=set(range(0, 60, 5)))
    bob.skip()
    found = agreement(ada, bob)
    both = [i for i in ada.labels if i in bob.labels]
    a, b = np.array([ada.labels[i] for i in both]), np.array([bob.labels[i] for i in both])
    assert found.estimate["kappa"] == pytest.approx(cohen_kappa_score(a, b))
    assert found.estimate["same label"] == (a == b).mean() and (found.texts.iloc[:2] == 29).all()
    rare = found.loc["class rare"]
    assert (rare.both, rare["only ada"], rare["only bob"]) == ((a & b).sum(), (a & ~b & 1).sum(), (b & ~a & 1).sum())
    assert rare.estimate == pytest.approx(2*(a & b).sum()/(a.sum() + b.sum()))
    assert ((found.low < found.estimate) & (found.estimate < found.high)).all()
    for kind in ("csv", "parquet"):
        ada.export(tmp_path/f"ada.{kind}"), bob.export(tmp_path/f"bob.{kind}")
        pd.testing.assert_frame_equal(agreement(tmp_path/f"ada.{kind}", tmp_path/f"bob.{kind}"), found)
        pd.testing.assert_frame_equal(agreement(ada, tmp_path/f"bob.{kind}"), found)
    swapped = agreement(bob, ada)
    assert swapped.estimate.equals(found.estimate) and swapped["only bob"].equals(found["only bob"])


@pytest.mark.parametrize("n, classes, kappa", [(20, 2, .95), (50, 2, .5), (50, 4, .9)])
def test_intervals_of_kappa_hold_the_truth(monkeypatch, n, classes, kappa):
    monkeypatch.setattr(team, "_DRAWS", 1000)
    rng = np.random.default_rng(n)
    shares = np.r_[.7, np.full(classes - 1, .3/(classes - 1))]
    truth = kappa*np.diag(shares) + (1 - kappa)*np.outer(shares, shares)
    held = []
    for counts in rng.multinomial(n, truth.ravel(), 200):
        draws = team._kappa(team._draw_tables(counts.reshape(classes, classes), seed=0))
        low, high = np.quantile(draws, [.025, .975])
        held.append(low <= kappa <= high)
    assert .88 <= np.mean(held) <= .99


def test_agreement_needs_texts_of_both(people):
    ada, bob = people
    one, two = pd.DataFrame(dict(text=["a"], label="x")), pd.DataFrame(dict(text=["b"], label="x"))
    with pytest.raises(ValueError, match=r"no text has an answer of both people, of 1 and 1 answers; .*overlap"):
        agreement(one, two)
    with pytest.raises(ValueError, match="two labels, \\['x', 'y'\\], for 'a'; give the answers of one person"):
        agreement(pd.DataFrame(dict(text=["a", "a"], label=["x", "y"])), one)
    with pytest.raises(ValueError, match="second table has no column 'text'.*rename"):
        agreement(one, one.rename(columns=dict(text="body")))
    with pytest.raises(ValueError, match="skipped each"):
        agreement(one, one.assign(label=None, skipped=True))
    with pytest.raises(ValueError, match="level"): agreement(one, one, level=95)
    same = agreement(one, one)
    assert np.isnan(same.estimate["kappa"]) and same.low["same label"] < 1 and same.estimate["class x"] == 1


def test_a_text_that_is_there_twice_is_told_apart_in_exports_only():
    columns = dict(text=["a", "a", "b"], by="model", iteration=0)
    first = pd.DataFrame(columns | dict(id=[0, 4, 2], label=["x", "y", "x"]))
    second = pd.DataFrame(columns | dict(id=[4, 0, 2], label=["y", "x", "y"]))
    assert disagreements(first, second).id.tolist() == [2]
    with pytest.raises(ValueError, match="two labels"): disagreements(first.drop(columns="by"), second)


def test_disagreements_hold_skips_and_names(people):
    ada, bob = people
    for s in people: s.settle().overlap(4)
    label(ada, 3), ada.skip()
    wrong = ada.frame().id[0]
    label(bob, 4, wrong=[wrong])
    rows = disagreements(ada, bob)
    assert rows.columns.tolist() == ["id", "text", "ada", "bob", "settled"] and rows.settled.isna().all()
    assert sorted(rows.id) == sorted([wrong, ada.skipped[0]]) and rows.id.is_monotonic_increasing
    assert rows.set_index("id").ada.isna()[ada.skipped[0]]
    plain = disagreements(*(s.frame()[["text", "label"]] for s in people))
    assert plain.columns.tolist() == ["text", "first", "second", "settled"] and len(plain) == 1


# Merge

def test_a_second_persons_session_is_merged(people, tmp_path):
    "Two sessions, an overlap with two disagreements, a table filled in, and one session that knows everything."
    ada, bob = people
    answer_both(people, overlap=10, answers=(20, 25), wrong=2)
    before, theirs = content(ada), content(bob)
    events = read_log(tmp_path/"ada/log.jsonl")
    with pytest.raises(ValueError, match=r"2 texts have two labels: text \d+ 'text number.*ada says.*bob says"):
        ada.merge(bob)
    assert content(ada) == before and read_log(tmp_path/"ada/log.jsonl") == events
    rows = disagreements(ada, bob)
    rows["settled"] = [None, rows.bob[1]]
    with pytest.raises(ValueError, match=f"1 texts have two labels: text {rows.id[0]} "): ada.merge(bob, settled=rows)
    rows["settled"] = [rows.ada[0], rows.bob[1]]
    rows.to_csv(tmp_path/"settled.csv", index=False)
    bob.export(tmp_path/"bob.csv")
    n = ada.merge(tmp_path/"bob.csv", settled=tmp_path/"settled.csv")
    assert n == ada.loaded.done.isin(["new", "changed"]).sum() and set(ada.labels) == set(before) | set(theirs)
    after = content(ada)
    for i, (c, _, _) in theirs.items():
        if i not in before: assert after[i] == (c, "bob", {})
        elif c == before[i][0]: assert after[i] == (c, "ada", {"bob": c})
    one, two = rows.id
    assert after[one] == (before[one][0], "ada", {"bob": theirs[one][0]})
    assert after[two] == (theirs[two][0], "bob", {"ada": before[two][0]})
    assert ada.merge(bob) == 0 == ada.merge(bob, settled=rows) and content(ada) == after
    ada.close()
    again = begin(tmp_path/"ada", "ada")
    assert content(again) == after
    assert len(again.predict()) == N
    again.close()


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_tables_with_keys_are_shared_too(tmp_path, kind):
    "An export has the columns of the person's own table, whatever they are called, and no column `text` of ours."
    rows = [dict(id=f"K{i}", body=text, label=None) for i, text in enumerate([*TEXTS, "", TEXTS[3]])]
    task = Task.from_frame(pd.DataFrame(rows), text="body", label="label", id="id", classes=["other", "rare"],
                           minority="rare")
    ada, bob = (begin(tmp_path/name, name, task) for name in ("ada", "bob"))
    for s in (ada, bob): s.settle().overlap(9)
    label(ada, 12)
    label(bob, 14, wrong=ada.overlap(9).id[:2])
    path = bob.export(tmp_path/f"bob.{kind}")
    pd.testing.assert_frame_equal(agreement(ada, path), agreement(ada, bob), check_dtype=False)
    differ = disagreements(ada, path)
    pd.testing.assert_frame_equal(differ, disagreements(ada, bob), check_dtype=False)
    assert len(differ) == 2 and bob.overlap(4, other=ada).id.tolist() == bob.overlap(
        4, other=ada.export(tmp_path/f"ada.{kind}")).id.tolist()
    differ.assign(settled=differ.bob).to_csv(tmp_path/"settled.csv", index=False)
    ada.merge(path, settled=tmp_path/"settled.csv")
    assert all(ada.labels[i] == c for i, c in bob.labels.items()) and ada.merge(bob) == 0
    ada.close(), bob.close()


def test_a_merge_is_there_when_the_pool_has_changed(people, tmp_path):
    "Sorted the other way, two texts more, one less, and a class more in front of the others."
    ada, bob = people
    shared = answer_both(people, overlap=8, answers=(12, 14), wrong=3)
    rows = disagreements(ada, bob)
    ada.merge(bob, settled=rows.assign(settled=[rows.bob[0], *rows.ada[1:]]))
    told = {TEXTS[i]: (TASK.classes[c], name, {n: TASK.classes[o] for n, o in others.items()})
            for i, (c, name, others) in content(ada).items()}
    ada.close()
    gone = TEXTS[shared[0]]
    texts = [text for text in [*TEXTS[::-1], "a new one", "another"] if text != gone]
    task = Task("toy", texts, np.full(len(texts), -1), ("more", "other", "rare"), (2,))
    vectors = np.vstack([VECTORS[::-1], VECTORS[:1]])
    filter, strategy = make_filter("anchoral", n_anchors=2, n_neighbours=5), make_strategy("entropy")
    al = ActiveLearner(ExactIndex(vectors), vectors, Head(3, (2,)), filter, strategy, 3, (2,))
    again = Session(al, task, tmp_path/"ada", query_size=3, annotator="ada")
    found = {texts[i]: (task.classes[c], name, {n: task.classes[o] for n, o in others.items()})
             for i, (c, name, others) in content(again).items()}
    assert found == {text: said for text, said in told.items() if text != gone}
    again.close()


def test_both_sessions_come_to_the_same_labels(people):
    ada, bob = people
    for s in people: s.settle().overlap(8)
    label(ada, 12)
    label(bob, 12, wrong=ada.overlap(8).id[:3])
    rows = disagreements(ada, bob)
    ada.merge(bob, settled=rows.assign(settled=rows.bob))
    bob.merge(ada)
    assert ada.labels == bob.labels
    assert ada.merge(bob) == bob.merge(ada) == 0


def test_a_changed_mind_is_a_new_disagreement(people):
    ada, bob = people
    for s in people:
        s.settle().overlap(3)
        label(s, 3)
    i = ada.overlap(3).id[0]
    ada.merge(bob)
    bob.change(i, 1 - TRUTH[i])
    with pytest.raises(ValueError, match=f"1 texts have two labels: text {i} "): ada.merge(bob)
    rows = disagreements(ada, bob)
    assert ada.merge(bob, settled=rows.assign(settled=rows.ada)) == 1 and ada.merge(bob) == 0
    assert ada.book.answers[i].others == {"bob": 1 - TRUTH[i]}


def test_only_what_both_answered_can_be_settled(people):
    ada, bob = people
    label(ada, 1)
    rows = ada.frame()[["text"]].assign(settled="rare")
    with pytest.raises(ValueError, match="not answered by both.*disagreements"): ada.merge(bob, settled=rows)
    with pytest.raises(ValueError, match="unknown class 'rarer'"): ada.merge(bob, settled=rows.assign(settled="rarer"))


@pytest.mark.parametrize("stage", ["before", "half a line", "after"])
def test_an_interrupted_merge_can_be_repeated(people, tmp_path, monkeypatch, stage):
    ada, bob = people
    label(ada, 6), label(bob, 9)
    before = content(ada)
    write = log_module.append_line
    def fail(path, event):
        if event["do"] != "merge": return write(path, event)
        monkeypatch.setattr(log_module, "append_line", write)
        if stage == "after": write(path, event)
        if stage == "half a line":
            with open(path, "ab") as f: f.write(b'{"do": "mer')
        raise KeyboardInterrupt
    monkeypatch.setattr(log_module, "append_line", fail)
    with pytest.raises(KeyboardInterrupt): ada.merge(bob)
    want = content(ada)
    assert set(want) == (set(before) | set(bob.labels) if stage == "after" else set(before))
    ada.close()
    again = begin(tmp_path/"ada", "ada")
    assert content(again) == want
    again.merge(bob)
    assert set(again.labels) == set(before) | set(bob.labels)
    assert again.merge(bob) == 0
    again.close()


def test_a_merged_audit_is_never_trained_on(people):
    ada, bob = people
    label(bob, 12)
    bob.audit(bob.predict(), 8)
    label(bob, 8)
    audited = set(bob.frame().id[bob.frame().by == "audit"])
    ada.merge(bob)
    assert audited and not audited & {i for ids, _ in ada.book.training() for i in ids}


# Properties, on books

LABELS = st.sampled_from([0, 1, None])


def book_of(name, labels):
    book = Book(2, [1])
    book.apply(dict(do="file", answers={str(i): vars(Answer(c, "file", 0, annotator=name)) for i, c in labels.items()}))
    return book


def merge(book, other, settled=None, settler=""):
    "The book after a merge; the same checks as in a session."
    theirs = {i: copy.deepcopy(vars(a)) for i, a in other.answers.items()}
    plan = plan_merge(book.answers, theirs, settled or {}, settler, TASK)
    event = dict(do="merge", **plan._asdict())
    assert not book.objection(event)
    changed = bool(plan.answers or plan.changes)
    if changed: book.apply(event)
    return changed


def known(book):
    return {i: (a.label, {**a.others, a.annotator: a.label}) for i, a in sorted(book.answers.items())}


@QUICK
@given(parts=st.lists(st.dictionaries(st.integers(0, 11), LABELS), min_size=2, max_size=4), data=st.data())
def test_merging_is_idempotent_and_order_does_not_matter_on_disjoint_answers(parts, data):
    seen = set()
    for labels in parts:
        for i in list(labels):
            if i in seen: del labels[i]
        seen |= set(labels)
    people = [book_of(f"person {n}", labels) for n, labels in enumerate(parts)]
    results = []
    for order in (range(len(people)), data.draw(st.permutations(range(len(people))))):
        book = book_of("me", {})
        for n in order:
            merge(book, people[n])
            assert not merge(book, people[n]), "the second time nothing changes"
        results.append(known(book))
    assert results[0] == results[1] and set(results[0]) == seen


@QUICK
@given(mine=st.dictionaries(st.integers(0, 9), LABELS), theirs=st.dictionaries(st.integers(0, 9), LABELS),
       settle=st.fixed_dictionaries({i: LABELS for i in range(10)}))
def test_nothing_is_lost_whatever_was_settled(mine, theirs, settle):
    differ = [i for i in mine if i in theirs and mine[i] != theirs[i]]
    ada, bob = book_of("ada", mine), book_of("bob", theirs)
    before = copy.deepcopy(known(ada)), known(bob)
    if differ:
        with pytest.raises(ValueError, match=f"{len(differ)} texts have two labels"): merge(ada, bob)
        assert known(ada) == before[0]
    rulings = {i: settle[i] for i in differ}
    merge(ada, bob, rulings, "eve")
    assert not merge(ada, bob) and not merge(ada, bob, rulings, "eve")
    assert known(bob) == before[1]
    for i, (label, said) in known(ada).items():
        assert label == rulings.get(i, mine.get(i, theirs.get(i)))
        for name, labels in (("ada", mine), ("bob", theirs)):
            if i in labels: assert said[name] == labels[i]
        if set(said) - {"ada", "bob"}: assert said["eve"] == rulings[i] not in (mine[i], theirs[i])
    merge(bob, ada)
    assert {i: a.label for i, a in bob.answers.items()} == {i: a.label for i, a in ada.answers.items()}
