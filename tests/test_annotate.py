"""The session: nothing lost and nothing twice, whatever the person does and whenever the program dies;
labels out and in; audits."""
import inspect
import json
import shutil
import threading
import time

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from worlds import clustered

from anchoral.annotator.audit import draw_audit, estimate, strata
from anchoral.annotator.log import read_log
from anchoral.annotator.session import Session, choose
from anchoral.annotator.stopping import stops
from anchoral.annotator.widget import annotate, hear
from anchoral.data import Task, from_frame
from anchoral.filters import make_filter
from anchoral.head import Head
from anchoral.index import ExactIndex
from anchoral.loop import ActiveLearner
from anchoral.strategies import make_strategy
from anchoral.study.results import load_results

VECTORS, WHICH = clustered(120, 8)
TRUTH = (WHICH >= 6).astype(int)
TEXTS = [f"text number {i} of cluster{c:02d}" for i, c in enumerate(WHICH)]
RARE = int(np.flatnonzero(TRUTH)[0])


def parts(examples=(RARE,), filter="anchoral", learner=None):
    params = dict(n_anchors=2, n_neighbours=5) if filter == "anchoral" else {}
    return ActiveLearner(ExactIndex(VECTORS), VECTORS, learner or Head(2, (1,)), make_filter(filter, **params),
                         make_strategy("entropy"), 2, (1,), examples=examples)


def task(labels=None):
    return Task("toy", TEXTS, np.full(120, -1) if labels is None else labels, ("other", "rare"), (1,))


def begin(folder, query_size=4, **kw): return Session(parts(), task(), folder, query_size=query_size, **kw)


@pytest.fixture
def session(tmp_path):
    s = begin(tmp_path/"s")
    yield s
    s.close()


def label(s, n):
    for _ in range(n):
        i = s.wait()
        s.answer(int(TRUTH[i]))


def state(s):
    return s.labels, s.skipped, s.book.queue, [(b.kind, b.ids, b.iteration) for b in s.book.batches], s.frame().to_csv()


class Person(RuleBasedStateMachine):
    "Answers, skips, double clicks, takes back, changes, restores, searches, audits, and closes at any moment."

    def __init__(self):
        super().__init__()
        import tempfile
        self.folder = tempfile.mkdtemp()
        self.answers = {}

    @initialize(ahead=st.integers(0, 1), size=st.integers(1, 6))
    def open(self, ahead, size):
        self.kw = dict(ahead=ahead, query_size=size)
        self.s = begin(self.folder, **self.kw)

    @rule(skip=st.booleans(), wrong=st.booleans())
    def answer(self, skip, wrong):
        if (i := self.s.wait()) is None: return
        c = None if skip else int(TRUTH[i]) ^ wrong
        seq = self.s.view()["seq"]
        assert self.s.answer(c, id=i, seq=seq)
        self.answers[i] = c
        # a double click, a stale key
        assert not self.s.answer(c, id=i) and not self.s.answer(1 - int(TRUTH[i]), seq=seq)

    @rule(bad=st.sampled_from([2, -1, "outrage", True, 1.5]))
    def outside(self, bad):
        with pytest.raises(ValueError): self.s.answer(bad)

    @rule()
    def undo(self):
        i = self.s.undo()
        assert (i is None) == (not self.answers) and (i is None or i == list(self.answers)[-1])
        self.answers.pop(i, None)

    @rule(k=st.integers(0, 999), c=st.sampled_from([0, 1, None]))
    def change(self, k, c):
        if not self.answers: return
        i = list(self.answers)[k % len(self.answers)]
        self.s.change(i, c)
        self.answers[i] = c

    @rule()
    def restore(self):
        ids = [i for i, c in self.answers.items() if c is None]
        self.s.restore(ids)
        for i in ids: del self.answers[i]
        assert set(ids) <= set(self.s.book.queue)

    @rule(i=st.integers(0, 119))
    def found(self, i):
        if i in self.answers:
            with pytest.raises(ValueError, match="change"): self.s.look_at([i])
        else:
            self.s.look_at([i])
            assert i in self.s.book.queue

    @rule()
    def audit(self):
        told = {a.label for i, a in self.s.book.answers.items() if a.by != "audit"}
        if {0, 1} <= told and len(self.answers) < 120: self.s.audit(self.s.predict(), 5)

    @rule(settled=st.booleans(), torn=st.booleans())
    def reopen(self, settled, torn):
        """Settled, the session is found as it was;
        otherwise with the same labels and the same text, and a thread's batch may have come in."""
        if settled: self.s.settle()
        before, was = state(self.s), self.s.current
        self.s.close()
        if torn:
            with open(self.s.folder/"log.jsonl", "ab") as f: f.write(b'{"do":"answer","id":3')
        self.s = begin(self.folder, **self.kw)
        after = state(self.s)
        assert before[:2] == after[:2] and (was is None or self.s.current == was)
        if settled: assert before == after

    @invariant()
    def nothing_lost(self):
        if not hasattr(self, "s"): return
        book = self.s.book
        assert {i: a.label for i, a in book.answers.items()} == self.answers and not self.s.error
        assert not set(book.queue) & set(self.answers) and len(set(book.queue)) == len(book.queue)
        learnt = {i: c for ids, labels in book.training() for i, c in zip(ids, labels)}
        assert all(self.answers[i] == c for i, c in learnt.items())
        audited = {i for i, a in book.answers.items() if a.by == "audit"}
        assert not (set(self.s.skipped) | audited) & set(learnt)

    def teardown(self):
        if hasattr(self, "s"): self.s.close()
        shutil.rmtree(self.folder)


TestPerson = Person.TestCase
TestPerson.settings = settings(max_examples=10, stateful_step_count=20, deadline=None,
                               suppress_health_check=list(HealthCheck))


@pytest.mark.parametrize("ahead", [0, 1])
def test_cut_off_anywhere_asks_the_same(tmp_path, ahead):
    "The log cut after any event and opened again leads to the labels and batches of the session that was never cut."
    whole = begin(tmp_path/"whole", ahead=ahead)
    label(whole, 25)
    whole.settle().close()
    lines = (tmp_path/"whole/log.jsonl").read_bytes().splitlines(keepends=True)
    want = [(b.kind, b.ids, b.iteration) for b in whole.book.batches]
    for at in range(0, len(lines), 5):
        folder = tmp_path/f"{ahead}-{at}"
        folder.mkdir()
        (folder/"log.jsonl").write_bytes(b"".join(lines[:at]))
        s = begin(folder, ahead=ahead)
        label(s, 25 - len(s.labels))
        s.settle().close()
        assert s.labels == whole.labels and [(b.kind, b.ids, b.iteration) for b in s.book.batches] == want, at


def test_speed_of_the_person_does_not_matter(tmp_path):
    "A slow model and a fast one ask the same; with a batch ahead the person does not wait for the first."
    class Slow(Head):
        def fit(self, *args):
            time.sleep(.15)
            return super().fit(*args)
    a = begin(tmp_path/"a")
    b = Session(parts(learner=Slow(2, (1,))), task(), tmp_path/"b", query_size=4)
    for s in (a, b):
        label(s, 30)
        s.settle().close()
    assert a.labels == b.labels and [x.ids for x in a.book.batches] == [x.ids for x in b.book.batches]


def test_each_batch_comes_from_the_model_before(session):
    label(session, 30)
    session.settle()
    model = [(n, b) for n, b in enumerate(session.book.batches) if b.kind == "model"]
    assert len(model) > 3
    for (n, b), (m, c) in zip(model[1:], model[2:]):  # after the first two, which share the first model
        assert c.iteration == b.iteration + 1
    n, b = model[3]
    before = [x for k, x in enumerate(session.book.batches) if x.ids and k < n - 1 and x.closed]
    training = [(x.ids, [session.labels[i] for i in x.ids]) for x in before]
    masked = [i for x in session.book.batches[:n] for i in x.ids]
    assert choose(parts(), 4, training, masked)["ids"] == b.ids and b.iteration == len(before) - 1
    f = session.frame()
    assert f[f.by == "model"].score.between(0, 1).all() and (f[f.by != "model"].iteration == -1).all()
    assert f.wait.notna().all()


def test_next_text_does_not_wait_for_the_model(tmp_path):
    "While a model trains, answers are taken and the next text is there: it trains until they all are."
    trained = threading.Event()
    class Slow(Head):
        def fit(self, *args):
            assert trained.wait(120)  # a hang guard
            return super().fit(*args)
    s = Session(parts(learner=Slow(2, (1,))), task(), tmp_path/"s", query_size=8)
    def chosen(): return next((b.ids for b in s.book.batches if b.kind == "model"), [])
    def training(): return s._busy and {0, 1} <= {s.labels[i] for b in s.book.batches if b.closed for i in b.ids}
    while not training(): label(s, 1)
    answered = 0
    while s.book.queue[1:]:
        s.answer(int(TRUTH[s.current]))
        answered += 1
        assert s.current is not None and s._busy and not chosen()
    assert answered > 2
    trained.set()
    s.settle()
    assert chosen()
    s.close()


def test_labels_in_the_table_come_first(tmp_path):
    known = np.full(120, -1)
    known[:30] = TRUTH[:30]
    s = Session(parts(()), task(known), tmp_path/"s", query_size=4)
    i = s.wait()
    assert s.book.batches[1].kind == "model" and s.book.batches[1].iteration == 0 and i >= 30 and len(s.labels) == 30
    assert s.undo() is None and len(s.labels) == 30  # what the table said is not taken back, only changed
    s.change(0, 1 - int(TRUTH[0]))
    s.close()
    again = Session(parts(()), task(known), tmp_path/"s", query_size=4)
    assert again.labels[0] == 1 - TRUTH[0]
    again.close()


def test_damage_is_named(tmp_path, session):
    label(session, 6)
    session.close()
    log = session.folder/"log.jsonl"
    lines = log.read_bytes().splitlines(keepends=True)
    log.write_bytes(b"".join([*lines[:2], b"garbage\n", *lines[3:]]))
    with pytest.raises(ValueError, match="line 3"): begin(session.folder)
    log.write_bytes(b"".join(lines) + lines[-1][:-4])
    assert len(read_log(log)) == len(lines) and log.read_bytes() == b"".join(lines)


def test_full_disk_changes_nothing(session, monkeypatch):
    i = session.wait()
    session.settle()
    before, size = state(session), (session.folder/"log.jsonl").stat().st_size
    def full(fd): raise OSError(28, "No space left on device")
    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError): session.answer("rare")
    assert state(session) == before and (session.folder/"log.jsonl").stat().st_size == size
    monkeypatch.undo()
    assert session.answer("rare", id=i)


def test_one_process_at_a_time(session):
    import subprocess
    import sys
    code = ("from filelock import FileLock, Timeout\n"
            f"try: FileLock({str(session.folder/'.lock')!r}).acquire(timeout=0)\n"
            "except Timeout: print('held')")
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "held\n"


def test_opened_again_in_the_same_kernel(session):
    "Running the cell again gives a session that works; the older object says so and loses nothing."
    label(session, 3)
    second = begin(session.folder)
    assert second.labels == session.labels and "opened again" in session.view()["message"]
    with pytest.raises(ValueError, match="closed"): session.answer(1)
    label(second, 1)
    second.close()


def test_an_error_in_the_thread_is_told_and_mended(tmp_path):
    class Broken(Head):
        broken = True
        def fit(self, *args):
            if self.broken: raise MemoryError("out of memory")
            return super().fit(*args)
    learner = Broken(2, (1,))
    s = Session(parts(learner=learner), task(), tmp_path/"s", query_size=3)
    with pytest.raises(RuntimeError, match="every answer is safe.*out of memory"): label(s, 30)
    n = len(s.labels)
    assert "out of memory" in s.view()["message"] and n >= 4
    learner.broken = False
    s.retry()
    label(s, 3)
    assert len(s.labels) == n + 3
    s.close()


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_labels_out_and_in(tmp_path, session, kind):
    label(session, 12)
    session.skip()
    session.wait()
    session.peek()
    session.answer(1)
    session.export(tmp_path/f"labels.{kind}")
    other = begin(tmp_path/"other")
    assert other.load(tmp_path/f"labels.{kind}") == 14
    a, b = (s.frame().drop(columns="batch").sort_values("id") for s in (session, other))
    pd.testing.assert_frame_equal(a.reset_index(drop=True), b.reset_index(drop=True), check_dtype=False)
    assert other.load(tmp_path/f"labels.{kind}") == 0
    session.change(int(a.id.iloc[0]), 1 - int(session.labels.get(int(a.id.iloc[0]), 0)))
    session.export(tmp_path/f"labels.{kind}")
    with pytest.raises(ValueError, match="overwrite=True"): other.load(tmp_path/f"labels.{kind}")
    assert other.load(tmp_path/f"labels.{kind}", overwrite=True) == 1
    assert other.labels == session.labels and other.skipped == session.skipped
    other.close()


@pytest.mark.parametrize("rows, match", [([dict(text=TEXTS[0], label="rarer")], "rarer.*did you mean 'rare'"),
                                         ([dict(text="unknown", label="rare")], "not in the pool"),
                                         ([dict(id=500, label="rare")], "row numbers of this pool.*rows="),
                                         ([dict(text=TEXTS[0])], "label"), ([dict(label="rare")], "text")])
def test_wrong_tables_change_nothing(session, rows, match):
    before = session.labels
    with pytest.raises(ValueError, match=match): session.load(pd.DataFrame(rows))
    assert session.labels == before


@pytest.mark.parametrize("rows, match", [([dict(text="a"), dict(text=None)], "missing or empty"),
                                         ([dict(text="a", label="x"), dict(text="a", label="y")], "two labels")])
def test_wrong_data_files(rows, match):
    df = pd.DataFrame(rows).assign(label=[r.get("label") for r in rows])
    with pytest.raises(ValueError, match=match): from_frame(df, label="label", classes=["x", "y"], minority="y")


def test_a_session_belongs_to_its_pool(session, tmp_path):
    other = Task("toy", [f"another {t}" for t in TEXTS], np.full(120, -1), ("other", "rare"), (1,))
    with pytest.raises(ValueError, match="another task"): Session(parts(), other, session.folder)
    label(session, 1)  # and the open session goes on
    with pytest.raises(ValueError, match="query_size"): begin(tmp_path/"x", query_size=0)
    with pytest.raises(ValueError, match="119 texts"):
        Session(parts(), Task("toy", TEXTS[1:], np.full(119, -1), ("other", "rare"), (1,)), tmp_path/"x")
    assert not (tmp_path/"x").exists()


def test_numbers_are_names(tmp_path):
    "In a table a label 1 is the class called 1, wherever that class stands."
    t = Task("toy", TEXTS, np.full(120, -1), ("1", "2"), (1,))
    s = Session(parts(), t, tmp_path/"s")
    assert s.load(pd.DataFrame(dict(id=[3, 4, 5], label=[1, 2, 1.0])), rows="id") == 3
    assert s.labels == {3: 0, 4: 1, 5: 0}
    s.close()


def test_labels_told_elsewhere_are_not_lost_silently(tmp_path):
    al = parts()
    al.tell([1, 2], [0, 1])
    with pytest.raises(ValueError, match="told 2 labels already"): Session(al, task(), tmp_path/"s")


def test_nothing_left(tmp_path):
    s = Session(parts(filter="none"), task(), tmp_path/"s", query_size=50)
    label(s, 120)
    assert s.wait() is None and not s.answer(1)
    assert s.view()["message"] == "Nothing left to ask: every text has an answer."
    s.undo()
    assert s.wait() is not None
    s.close()


def test_empty_subpool_is_said(tmp_path):
    "AnchorAL with one neighbour can run dry before the pool does."
    def dry(state, rng): return make_filter("none")(state, rng).__class__(np.empty(0, np.int64))
    al = ActiveLearner(ExactIndex(VECTORS), VECTORS, Head(2, (1,)), dry, make_strategy("entropy"), 2, (1,))
    known = np.full(120, -1)
    known[:60] = TRUTH[:60]
    s = Session(al, task(known), tmp_path/"s")
    assert s.wait() is None and "subpool is empty" in s.view()["message"]
    s.look_at([100])
    assert s.wait() == 100
    s.close()


def test_nothing_shows_what_the_model_thinks_unless_asked(session):
    while session.wait() not in [i for b in session.book.batches if b.kind == "model" for i in b.ids]: label(session, 1)
    shown = json.dumps(session.view())
    assert "prob" not in shown and "anchor" not in shown and "sim" not in shown
    asked = session.peek()
    assert abs(sum(asked["probs"].values()) - 1) < 1e-4 and asked["anchor"] in session.labels
    i = session.current
    session.answer(1)
    assert bool(session.frame().set_index("id").peeked[i]) and session.frame().peeked.sum() == 1


def test_messages_from_the_page(session):
    sent, i = [], session.wait()
    seq = session.view()["seq"]
    hear(session, dict(do="answer", id=i, label=1, seq=seq), sent.append, lambda: None)
    for m in (dict(do="answer", id=i, label=0, seq=seq), dict(do="answer", label="<b>"), dict(do="nonsense"), dict(),
              dict(do="undo", seq=seq)):
        hear(session, m, sent.append, lambda: None)
    assert session.labels == {i: 1} and [m["do"] for m in sent].count("heard") == 6


def test_widget_without_anywidget(session, monkeypatch, capsys):
    import sys
    monkeypatch.setitem(sys.modules, "anywidget", None)
    from anchoral.annotator.widget import _annotator
    _annotator.cache_clear()
    session.wait()
    assert annotate(session) is None
    said = capsys.readouterr().out
    assert "anchoral[annotate]" in said and "[1] other" in said
    _annotator.cache_clear()


def test_widget_as_text(session):
    "Where widgets are not shown, the output is the plain text."
    session.wait()
    bundle, _ = annotate(session)._repr_mimebundle_()
    assert TEXTS[session.current] in bundle["text/plain"]


def test_find(session):
    cluster = int(WHICH[5])
    words = session.find(f"cluster{cluster:02d}", k=200)
    assert set(words.id[:3]) <= set(np.flatnonzero(WHICH == cluster)) and words.score.is_monotonic_decreasing
    alike = session.find(like=5, k=4)
    want = VECTORS @ VECTORS[5]
    want[5] = -9
    assert alike.id.tolist() == np.argsort(-want, kind="stable")[:4].tolist()
    session.look_at([7])
    label(session, 1)
    assert 7 not in session.find(like=5, k=120).id.tolist() and session.frame().by.iloc[-1] == "found"
    for kw, match in [(dict(), "one of the two"), (dict(words="a", like=3), "one of the two"),
                      (dict(like=120), "no text 120")]:
        with pytest.raises(ValueError, match=match): session.find(**kw)


def test_find_on_a_large_pool_is_ready_when_the_next_session_opens(tmp_path, monkeypatch):
    "The words are read from the moment the first one is open; closing it ends that; the next has them from the cache."
    pytest.importorskip("bm25s")
    from anchoral import index
    monkeypatch.setattr(index, "_LARGE_POOL", 100)
    monkeypatch.setenv("ANCHORAL_CACHE", str(tmp_path/"cache"))
    real, built = index._build_words, []
    def build(texts, cut, watch):
        built.append(len(texts))
        while len(built) == 1: watch(.5)
        return real(texts, cut, watch)
    monkeypatch.setattr(index, "_build_words", build)
    first = begin(tmp_path/"s")
    first.wait()
    first.close()
    assert built == [len(TEXTS)] and not first._words._thread.is_alive()
    cluster = int(WHICH[5])
    for _ in range(2):
        session = begin(tmp_path/"s")
        assert len(session.find(f"cluster{cluster:02d}")) and built == [len(TEXTS)]*2
        session.close()


def test_predict(tmp_path, session):
    with pytest.raises(ValueError, match="no text is labelled"): session.predict()
    label(session, 30)
    scores = session.predict(tmp_path/"scores.csv", batch=7, model="querying")
    assert (tmp_path/"scores.csv").read_text().count("\n") == 121
    assert np.allclose(pd.read_csv(tmp_path/"scores.csv").score, scores.score)
    ids = sorted(session.labels)
    head = Head(2, (1,)).fit(VECTORS[ids], np.array([session.labels[i] for i in ids]))
    assert np.allclose(scores.p_rare, head.outputs(VECTORS).probs[:, 1], atol=1e-6)
    assert scores.label.dropna().map(("other", "rare").index).to_dict() == session.labels


def test_predict_delivers_a_model_of_its_own(session):
    "Another route to the same: the search of scikit-learn by hand, and the odds moved to the threshold."
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import average_precision_score, fbeta_score
    from sklearn.model_selection import StratifiedKFold, cross_val_predict
    label(session, 40)
    scores = session.predict()
    assert list(scores) == ["id", "label", "predicted", "score", "p_other", "p_rare"]
    assert ((scores.predicted == "rare") == (scores.score >= .5)).all()
    made = session._made[1]
    ids = sorted(session.labels)
    x, y = VECTORS[ids].astype(float), np.array([session.labels[i] for i in ids])
    cv = StratifiedKFold(min(5, y.sum()), shuffle=True, random_state=0)
    tried = {}
    for C in (1, 10, 100, 1000):
        for weight in (None, "balanced"):
            model = LogisticRegression(C=C, class_weight=weight, max_iter=1000)
            out = cross_val_predict(model, x, y, cv=cv, method="predict_proba")[:, 1]
            folds = [average_precision_score(y[test], out[test]) for _, test in cv.split(x, y)]
            tried[C, weight == "balanced"] = np.mean(folds), out
    best, out = tried[made.learner.C, made.learner.balanced]
    assert best == max(value for value, _ in tried.values())
    f2 = {t: fbeta_score(y, out >= t, beta=2) for t in out}
    assert f2[min(f2, key=lambda t: abs(t - made.threshold))] == max(f2.values())
    plain = made.learner.outputs(VECTORS).probs[:, 1]
    assert np.array_equal(scores.score >= .5, plain.astype(float) >= made.threshold - 1e-6)
    assert (np.diff(scores.score[np.argsort(plain)]) >= -1e-6).all()  # the order of the texts is the learner's
    assert f"C={made.learner.C:g}" in session.delivered and "cross-validation" in session.delivered


def test_audit_is_never_trained_on(session):
    label(session, 20)
    before = session.predict()
    sample = session.audit(before, 15)
    assert session.book.queue[:15] == sample.id.tolist() and "audit" in session.peek()["why"]
    for _ in range(15): session.answer(1 - int(TRUTH[session.current]))  # all wrong: the model must not notice
    assert session.predict().drop(columns="label").equals(before.drop(columns="label"))
    assert session.audit_report().high.notna().any()


def test_audit_report_counts_a_text_once(session):
    "What is answered after the audit was drawn is in its strata already; a session opened again knows that too."
    label(session, 20)
    session.audit(session.predict(), 15)
    for _ in range(15): session.answer(int(TRUTH[session.current]))
    report = session.audit_report()
    label(session, 30)
    pd.testing.assert_frame_equal(session.audit_report(), report)


def test_strata_and_sample():
    rng = np.random.default_rng(0)
    scores = np.r_[rng.uniform(.5, 1, 20), rng.beta(.3, 10, 980)]
    s = strata(scores)
    assert ((s == 0) == (scores >= .5)).all()
    assert all(scores[s == h].min() >= scores[s == h + 1].max() for h in range(3))
    for n in (1, 4, 50, 1000, 2000):
        d = draw_audit(scores, np.arange(1000), n, rng)
        assert d.id.is_unique and (len(d) == min(n, 1000) or n < 4) and (s[d.id] == d.stratum).all()
    whole = draw_audit(scores, np.arange(1000), 1000, rng)
    truth = rng.random(1000) < scores
    e = estimate(whole.assign(rare=truth[whole.id]))
    want = [truth.mean(), truth[s == 0].mean(), truth[s == 0].sum() / truth.sum()]
    # a census leaves no doubt
    assert np.allclose(e.estimate, want) and np.allclose(e.low, want) and np.allclose(e.high, want)


def test_intervals_hold_what_they_promise():
    rng = np.random.default_rng(1)
    scores = rng.beta(.2, 5, 4000)
    truth = rng.random(4000) < scores ** 1.5  # a model that is over-confident
    want = dict(prevalence=truth.mean(), precision=truth[scores >= .5].mean(),
                recall=truth[scores >= .5].sum() / truth.sum())
    inside = []
    for s in range(80):
        d = draw_audit(scores, np.arange(4000), 120, np.random.default_rng(s))
        e = estimate(d.assign(rare=truth[d.id]), draws=1500)
        inside.append([e.low[k] <= v <= e.high[k] for k, v in want.items()])
    assert (np.mean(inside, 0) >= .95).all(), np.mean(inside, 0)


def test_hint_is_as_often_wrong_as_it_says():
    df = load_results("offline")
    s = stops(df[(df.variant == "anchoral") & (df.strategy == "entropy")])
    hinted = s[s.hint]
    assert (len(s), len(hinted), int((hinted.gain > .03).sum())) == (48, 42, 6)  # one in seven, as `hint` says


def test_threads_are_gone(tmp_path):
    s = begin(tmp_path/"s")
    label(s, 9)
    s.close()
    assert not [t for t in threading.enumerate() if t.name == "anchoral-annotate"]


def test_the_session_needs_no_extra():
    "Importing it brings in neither the widget nor the keyword search."
    import subprocess
    import sys
    code = ("import sys, anchoral.annotator.widget, anchoral.teach.figure1; "
            "print([m for m in ('anywidget', 'bm25s', 'sklearn', 'torch', 'ipywidgets') if m in sys.modules])")
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "[]\n"


API = ("answer audit audit_report change close current export find frame hint labels load look_at merge overlap peek "
       "plain predict restore retry say settle skip skipped undo view wait").split()


@pytest.mark.parametrize("name", API)
def test_an_editor_can_complete_a_session(name):
    "Its methods are in the class, so that editors and type checkers find them, with all types."
    place = next(vars(c) for c in Session.__mro__ if name in vars(c))[name]
    function = place.fget if isinstance(place, property) else place
    assert function.__module__ == "anchoral.annotator.session" and function.__qualname__.endswith(f".{name}")
    signature = inspect.signature(function)
    given = [p for p in signature.parameters.values() if p.name != "self"]
    assert all(p.annotation is not p.empty for p in given) and signature.return_annotation is not signature.empty
