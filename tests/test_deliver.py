"What a session delivers: the searched model, what to label next, the curve, the audit's plan, and when to stop."
import re
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import cohen_kappa_score
from test_annotate import RARE, TEXTS, TRUTH, begin, label, parts, task
from worlds import clustered

from anchoral.annotator import stopping
from anchoral.annotator.audit import planned_size, score_pool
from anchoral.annotator.deliver import Delivery, deliver, nothing_rare, quality_curve, trained_rows
from anchoral.annotator.log import Answer, Book
from anchoral.annotator.session import Session
from anchoral.annotator.stopping import (
    CRITERIA,
    classification_change,
    hint_of,
    overall_uncertainty,
    prediction_stability,
    stops,
)
from anchoral.data import Task
from anchoral.filters import make_filter
from anchoral.head import Head
from anchoral.index import ExactIndex
from anchoral.loop import ActiveLearner
from anchoral.strategies import make_strategy
from anchoral.study.results import load_results, results_dir

ROOT = Path(__file__).parents[1]


@pytest.fixture
def session(tmp_path):
    s = begin(tmp_path/"s")
    yield s
    s.close()


def rows(n=80, n_rare=12, seed=0):
    "Labelled rows of two overlapping clouds."
    rng = np.random.default_rng(seed)
    y = (np.arange(n) < n_rare).astype(int)
    return rng.normal(size=(n, 6)) + y[:, None], y


# ---------------------------------------------------------------- the model

def test_a_threshold_at_one_half_keeps_order_and_proportions():
    x, y = rows()
    made = deliver(x, np.where(y, 1 + np.arange(len(y)) % 2, 0), 3, (1, 2))
    plain, moved = made.learner.outputs(x).probs.astype(float), made.probs(x)
    before, after = plain[:, 1:].sum(1), moved[:, 1:].sum(1)
    assert np.allclose(moved.sum(1), 1) and ((after >= .5) == (before >= made.threshold - 1e-12)).mean() > .98
    assert (np.diff(after[np.argsort(before)]) >= -1e-12).all()
    assert np.allclose(moved[:, 1]*plain[:, 2], moved[:, 2]*plain[:, 1], atol=1e-6)


def test_the_delivered_model_asks_for_no_more_evidence_than_balanced_weights():
    for seed in range(6):
        x, y = rows(seed=seed)
        made = deliver(x, y, 2, (1,))
        assert 0 < made.threshold <= (.5 if made.learner.balanced else y.mean())
        plain = Head(2, (1,), C=made.learner.C).fit(x, y).outputs(x).probs[:, 1]
        assert (made.probs(x)[:, 1] >= .5).sum() >= (plain >= .5).sum()


@pytest.mark.parametrize("n_rare, says", [(1, "nothing can be cross-validated"), (2, "2-fold"), (3, "3-fold"),
                                          (12, "5-fold")])
def test_as_many_folds_as_the_labels_allow(n_rare, says):
    x, y = rows(n_rare=n_rare)
    made = deliver(x, y, 2, (1,))
    assert isinstance(made, Delivery) and says in str(made) and f"{n_rare} of them rare" in str(made)


def test_the_order_of_the_answers_does_not_change_the_model():
    labels = {int(i): int(TRUTH[i]) for i in np.random.default_rng(0).permutation(120)[:60]}
    ids, y = trained_rows(labels, ("other", "rare"))
    again, z = trained_rows(dict(sorted(labels.items())), ("other", "rare"))
    assert np.array_equal(ids, again) and np.array_equal(y, z) and (np.diff(ids) > 0).all()
    with pytest.raises(ValueError, match="no text is labelled 'rare' yet"): trained_rows({3: 0}, ("other", "rare"))


def three_classes(tmp_path, missing=2):
    "A session over three classes, of which class 2 is nowhere in the pool."
    vectors, which = clustered(120, 8)
    truth = (which >= 6).astype(int)
    al = ActiveLearner(ExactIndex(vectors), vectors, Head(3, (1, 2)),
                       make_filter("anchoral", n_anchors=2, n_neighbours=5), make_strategy("entropy"), 3, (1, 2),
                       examples=[int(np.flatnonzero(truth)[0])])
    pool = Task("toy", TEXTS, np.full(120, -1), ("other", "rare", "nowhere"), (1, 2))
    return Session(al, pool, tmp_path/"three", query_size=4), truth


def test_a_class_that_is_nowhere_blocks_neither_questions_nor_prediction_nor_the_hint(tmp_path):
    s, truth = three_classes(tmp_path)
    for _ in range(30): s.answer(int(truth[s.wait()]))
    s.settle()
    assert s.book.batches[-1].kind == "model" and "'nowhere' yet, so the model does not look for any" in s.plain()
    assert "'nowhere' yet" in s.hint() and "too few for a hint" in s.hint()
    for model in ("delivery", "querying"):
        scores = s.predict(model=model)
        assert (scores.p_nowhere == 0).all() and np.isfinite(scores.score).all() and set(scores.predicted) <= {
            "other", "rare"}
    assert len(s.review(5)) == 5 and s.quality().quality.notna().any()
    s.look_at([s.wait()])
    s.answer("nowhere")
    assert s.view()["note"] == "" and (s.predict().p_nowhere > 0).all()
    s.close()


def test_a_learner_of_your_own_is_delivered_as_it_is(tmp_path):
    class Own:
        n_classes = 2
        def __init__(self): self.head = Head(2, (1,), C=3.)
        def prepare(self, texts, fit_on=None): raise AssertionError("not needed")
        def fit(self, *args):
            self.head.fit(*args)
            return self
        def outputs(self, x, ids=None): return self.head.outputs(x, ids)
    s = Session(parts(learner=Own()), task(), tmp_path/"s", query_size=4)
    label(s, 25)
    assert np.allclose(s.predict().score, s.predict(model="querying").score)
    assert "Own with its own settings" in s.delivered and len(s.review(3)) == 3
    with pytest.raises(ValueError, match="only a head does"): s.quality()
    with pytest.raises(ValueError, match="unknown model 'old'"): s.predict(model="old")
    s.close()


def test_predicted_follows_the_score_also_with_several_rare_classes():
    probs = np.array([[.45, .3, .25], [.6, .3, .1], [0, .5, .5]])
    scores = score_pool(lambda ids: probs[ids], 3, {}, ("a", "b", "c"), (1, 2), batch=2)
    assert scores.predicted.tolist() == ["b", "a", "b"] and scores.score.tolist() == [.55, .4, 1]


# ---------------------------------------------------------------- what to label next

def test_review_ranks_what_has_no_answer(session):
    label(session, 25)
    scores = session.predict()
    session.audit(scores, 10)
    first = session.review(20)
    assert list(first) == ["id", "score", "text"] and len(first) == 20
    assert not set(first.id) & set(session.book.answers) and first.text.tolist() == [TEXTS[i] for i in first.id]
    waiting = {i for b in session.book.batches if b.kind == "audit" for i in b.ids}
    left = scores[scores.label.isna() & ~scores.id.isin(waiting)].sort_values(["score", "id"], ascending=[False, True])
    assert first.id.tolist() == left.id.tolist()[:20] and len(session.review(1000)) == len(left)
    session.look_at(session.review(3).id)
    with pytest.raises(ValueError, match="k must be"): session.review(0)


def test_a_model_is_made_once_for_the_same_labels(session):
    assert "No model was made yet" in session.delivered
    label(session, 20)
    session.predict()
    made = session._made[1]
    assert session.review(2) is not None and session._made[1] is made
    label(session, 3)
    assert "Since then you gave 3 labels more." in session.delivered
    session.review(2)
    assert session._made[1] is not made and "Since then" not in session.delivered


def test_a_table_without_a_rare_call_is_said_in_a_plain_sentence(tmp_path, caplog):
    known = np.full(120, -1)
    known[np.flatnonzero(TRUTH == 0)[:20]] = 0
    known[RARE] = 1
    s = Session(parts(()), task(known), tmp_path/"s", query_size=4)
    s.settle()
    with caplog.at_level("WARNING"):
        scores = s.predict()
        assert (nothing_rare(scores) != "") == (scores.score[scores.label.isna()].max() < .5)
    frame = pd.DataFrame(dict(label=["rare", None], score=[.9, .2]))
    assert nothing_rare(frame).startswith("The model calls no text rare;") and "review()" in nothing_rare(frame)
    assert not nothing_rare(frame.assign(score=.5)) and not nothing_rare(frame.assign(label="x"))
    s._scores = lambda *args, **kw: scores.assign(score=.1)
    with caplog.at_level("WARNING"): s.predict()
    assert "The model calls no text rare" in caplog.text
    s.close()


# ---------------------------------------------------------------- the curve

def test_the_curve_is_tested_on_the_same_texts_everywhere():
    x, y = rows(120, 20)
    order = np.random.default_rng(1).permutation(120)
    curve = quality_curve(Head(2, (1,)), x[order], y[order])
    assert curve.labels.is_monotonic_increasing and curve.labels.iloc[-1] == 120 and curve.rare.iloc[-1] == 20
    assert (curve.low <= curve.quality).all() and (curve.quality <= curve.high).all()
    assert set(curve.measured) == {"cross-validation"}
    test_x, test_y = rows(400, 40, seed=5)
    audited = quality_curve(Head(2, (1,)), x[order], y[order], (test_x, test_y == 1, np.ones(400)))
    assert set(audited.measured) == {"audit"} and audited.quality.iloc[-1] > .3
    with pytest.raises(ValueError, match="a curve needs two of each"): quality_curve(Head(2, (1,)), x[20:], y[20:])


def test_the_session_s_curve_uses_an_audit_that_found_something(session):
    label(session, 30)
    assert set(session.quality().measured) == {"cross-validation"}
    session.audit(session.predict(), 40)
    label(session, 40)
    audited = [i for i, a in session.book.answers.items() if a.by == "audit"]
    found = 0 < sum(TRUTH[audited]) < len(audited)
    assert set(session.quality().measured) == {"audit" if found else "cross-validation"}


# ---------------------------------------------------------------- the audit

@pytest.mark.parametrize("answered", [40, 3, 1])
def test_an_audit_travels_with_export_and_load(session, tmp_path, answered):
    "Also half answered: a stratum of which no text has an answer counts on the other side as well."
    label(session, 24)
    session.audit(session.predict(), 40)
    label(session, answered)
    label(session, 0 if answered < 40 else 8)
    for name in ("labels.csv", "labels.parquet"):
        path = session.export(tmp_path/name)
        other = Session(parts(()), task(), tmp_path/f"to-{name}", query_size=4)
        other.load(path)
        pd.testing.assert_frame_equal(other.audit_report(), session.audit_report())
        trained = {i for ids, _ in other.book.training() for i in ids}
        assert not trained & {i for i, a in other.book.answers.items() if a.by == "audit"}
        batches = len(other.book.batches)
        assert other.load(path) == 0 and other.settle() and [
            b.kind for b in other.book.batches[batches:] if b.kind == "audit"] == []
        again = other.export(tmp_path/f"again-{name}")
        other.close()
        third = Session(parts(()), task(), tmp_path/f"third-{name}", query_size=4)
        third.load(again)
        pd.testing.assert_frame_equal(third.audit_report(), session.audit_report())
        third.close()


def test_without_an_audit_the_table_is_as_before(session):
    label(session, 10)
    assert "stratum" not in session.frame()


def test_the_interval_comes_first(session):
    label(session, 24)
    session.audit(session.predict(), 20)
    label(session, 20)
    assert list(session.audit_report()) == ["low", "high", "estimate"]


def test_an_audit_plans_its_size(session):
    sizes, shares = pd.Series({0: 50, 1: 300, 2: 600, 3: 3000}), pd.Series({0: .9, 1: .05, 2: .01, 3: .002})
    needed = [planned_size(sizes, shares, within=w) for w in (.3, .2, .1, .05)]
    assert needed == sorted(needed) and needed[0] < needed[-1] <= 3950
    assert planned_size(pd.Series({1: 10}), pd.Series({1: .5}), within=.01) == 10  # all of them
    with pytest.raises(ValueError, match="within must lie"): planned_size(sizes, shares, within=0)
    label(session, 24)
    scores = session.predict()
    said = session.audit_plan(scores, within=.2)
    assert "± 0.2 at this prevalence" in said and re.search(r"n=\d+", said)
    n = int(re.search(r"n=(\d+)", session.audit_plan(scores))[1])
    assert len(session.audit(scores, n=None)) == n
    label(session, 5)
    assert "needs an audit of about" in session.audit_plan(scores)


# ---------------------------------------------------------------- when to stop

def test_criteria_measure_what_their_papers_say():
    rng = np.random.default_rng(0)
    before, after = rng.integers(0, 3, 500), rng.integers(0, 3, 500)
    assert prediction_stability(before, after) == cohen_kappa_score(before, after)
    assert prediction_stability(before, before) == 1 and np.isnan(prediction_stability(np.zeros(9), np.zeros(9)))
    assert classification_change(before, after) == (before != after).mean() and classification_change([1], [1]) == 0
    probs = rng.dirichlet([1, 1, 1], 50)
    entropy = -(probs*np.log(probs)).sum(1)/np.log(3)
    assert np.isclose(overall_uncertainty(probs), entropy.mean()) and overall_uncertainty([[0, 1.]]) == 0
    for f in (prediction_stability, classification_change):
        with pytest.raises(ValueError, match="the same texts"): f([1, 2], [1])
        with pytest.raises(ValueError, match="the same texts"): f([], [])
    with pytest.raises(ValueError, match="a row of probabilities"): overall_uncertainty([.5, .5])


def test_criteria_say_stop_where_their_papers_do():
    says = {name: rule for name, (_, rule) in CRITERIA.items()}
    stable = says["stable predictions"]([np.nan, .99, .98, .98, 1, 1, 1])
    assert stable.tolist() == [False] * 5 + [True, True]  # the mean of three
    assert not says["stable predictions"]([np.nan] * 5).any()
    assert says["no classification change"]([np.nan, .1, 0]).tolist() == [False, False, True]
    assert says["low overall uncertainty"]([.2, .05, .049]).tolist() == [False, False, True]


def book_of(labels, size=10, rare=(1,)):
    book = Book(2, rare)
    for i, c in enumerate(labels): book.put(i, Answer(c, "model", i//size, i//size))
    return book


def test_the_hint_asks_twice_and_only_while_the_model_calls_something_rare():
    asked = []
    def calls(n):
        def count():
            asked.append(n)
            return n
        return count
    few = [1]*5 + [0]*104
    assert "too few for a hint" in hint_of(book_of([0]*99), 100, 2, calls(9))
    assert "continue" in hint_of(book_of([0]*60 + [1]*3 + [0]*60), 100, 2, calls(9))
    assert "for the first time" in hint_of(book_of([0]*100), 100, 2, calls(9))  # there is no batch before
    assert "for the first time" in hint_of(book_of(few), 100, 2, calls(9))
    assert not asked  # the pool is scored last
    assert "Stopping may be reasonable" in hint_of(book_of(few + [0]*11), 100, 2, calls(9))
    assert "no hint" in hint_of(book_of(few + [0]*11), 100, 2, calls(0)) and asked == [9, 0]


def test_a_session_s_hint_looks_at_its_own_model(session):
    label(session, 100)
    said = session.hint(window=8, most=8)
    scores = session.predict(model="querying")
    calls = (scores.score[scores.label.isna()] >= .5).any()
    assert ("Stopping may be reasonable" if calls else "so this is no hint") in said


def measured():
    df = load_results("offline")
    runs = df[(df.variant == "anchoral") & (df.strategy == "entropy")]
    both = runs.merge(pd.read_csv(results_dir()/"stopping.csv"), on=["run", "iteration"], validate="one_to_one")
    assert len(both) == len(runs)
    return both.assign(calls=both.called > 0)


def test_the_hint_s_numbers_are_those_of_the_saved_runs():
    s = stops(measured(), twice=True, calls="calls")
    stopped = s[s.hint]
    said = hint_of(book_of([0]*120), 100, 2, lambda: 1)
    assert (len(s), len(stopped), int((stopped.gain > .03).sum())) == (48, 29, 0)
    assert "29 of 48 simulations came to this hint, and none of the 29 too early" in said
    once, twice = stops(measured()), stops(measured(), twice=True)
    assert (once.gain > .03).sum() == 6 and (twice.gain > .03).sum() == 3


def test_a_saved_run_made_again_has_the_saved_measures():
    "The replay of the page, on the vectors of one task where they are in the cache."
    from anchoral import embeddings
    from anchoral.study.results import load_ids
    from anchoral.tasks import load_task
    reuters = load_task("reuters-agri")
    try:
        name = embeddings.find_encoder("minilm", 128, None).name
    except ImportError:
        pytest.skip("no torch")
    store = embeddings._open_store(embeddings._encoder_folder(name))
    if not all(key in store.rows for key in embeddings._text_keys(reuters.texts)): pytest.skip("not encoded here")
    vectors = embeddings._gather(store, embeddings._text_keys(reuters.texts))
    cells = nbformat.read(ROOT/"nbs/annotator/stopping.ipynb", 4).cells
    space = dict(vars(stopping))
    exec(next(c.source for c in cells if c.source.startswith("def replayed(")), space)
    saved = pd.read_csv(results_dir()/"stopping.csv")
    runs = load_results("offline").query("task == 'reuters-agri' and variant == 'anchoral' and strategy == 'entropy'")
    run = runs.run.iloc[0]
    ids = load_ids("offline").query("run == @run")
    batches = [ids.id[ids.iteration == t].to_numpy() for t in sorted(ids.iteration.unique())][:6]
    again = space["replayed"](reuters, vectors, batches)
    want = saved[saved.run == run].reset_index(drop=True)[:6]
    for column in ("stability", "change", "uncertainty", "called"):
        np.testing.assert_allclose(again[column], want[column], atol=2e-3)


# ---------------------------------------------------------------- the tutorial

def test_the_tutorial_shows_the_delivered_model_beside_the_old_one():
    "Recall on unseen texts, from the committed output: at least that of a class-weighted, cross-validated head."
    cells = nbformat.read(ROOT/"nbs/tutorials/bring-your-own-data.ipynb", 4).cells
    shown = next(c for c in cells if c.source.strip().endswith("held_out.astype({\"called\": int}).round(2)"))
    html = shown.outputs[-1].data["text/html"]
    recall = {name: float(value) for name, value in
              re.findall(r"<th>([a-z ,]+)</th>\s*<td>\d+</td>\s*<td>([\d.]+)</td>", html)}
    assert recall["delivered"] >= recall["balanced, by accuracy"] > recall["asks the questions"]


# ---------------------------------------------------------------- a table with rows of its own

def test_a_table_with_copies_and_empty_rows_is_delivered_and_audited_row_by_row(tmp_path):
    "What `predict` gives has a row per row of the table; a plan, an audit and a load understand it."
    texts = [*TEXTS, TEXTS[3], None]
    table = pd.DataFrame(dict(body=texts, key=[f"k{i}" for i in range(len(texts))]))
    pool = Task.from_frame(table, text="body", classes=["other", "rare"], minority="rare", id="key", drop_empty=True)
    s = Session(parts(), pool, tmp_path/"s", query_size=4)
    label(s, 25)
    scores = s.predict()
    assert len(scores) == 122 and scores.key.tolist() == table.key.tolist()
    assert scores.score.iloc[120] == scores.score.iloc[3] and pd.isna(scores.score.iloc[121])
    assert "needs an audit of about" in s.audit_plan(scores)
    s.audit(scores, 20)
    label(s, 20)
    report = s.audit_report()
    other = Session(parts(()), pool, tmp_path/"other", query_size=4)
    other.load(s.export(tmp_path/"labels.csv"))
    pd.testing.assert_frame_equal(other.audit_report(), report)
    other.close()
    s.close()
