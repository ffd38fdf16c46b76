"""One contract for every filter, strategy and anchor selection; one brute-force twin for every piece of Algorithm 1."""
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from worlds import clustered, started, state

from anchoral.anchors import ANCHORS, kmeans_plusplus
from anchoral.contracts import check_filter, check_query, check_strategy
from anchoral.filters import FILTERS, Subpool, anchoral, average, keep_top, make_filter, randsub, seals
from anchoral.head import Sklearn
from anchoral.index import ExactIndex, _topk
from anchoral.loop import simulate
from anchoral.strategies import STRATEGIES, gradient_embedding

PARAMS = {"anchoral": dict(n_anchors=4, n_neighbours=8), "no-anchoring": dict(n_anchors=4, n_neighbours=8),
          "seals": dict(n_neighbours=8), "randsub": dict(subpool_size=60), "none": {}}


@pytest.mark.parametrize("n_classes", [2, 4])
@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("filter", FILTERS)
def test_filter_and_strategy(filter, strategy, n_classes):
    "Each keeps its contract, and together they give a full batch out of the subpool."
    chosen = make_filter(filter, **PARAMS[filter])
    check_filter(chosen, n_classes)
    check_strategy(STRATEGIES[strategy], n_classes)
    s, _ = state(n_classes=n_classes, skipped=5)
    outputs = s.outputs(chosen(s, np.random.default_rng(3)).ids)
    check_query(STRATEGIES[strategy](outputs, 10, np.random.default_rng(4)), outputs, 10)


@pytest.mark.parametrize("filter", FILTERS)
def test_filters_cannot_see_untold_labels(filter):
    s, truth = state()
    a = make_filter(filter, **PARAMS[filter])(s, np.random.default_rng(0)).ids
    assert (s.labels[~s.excluded] == -1).all()
    truth[~s.excluded] = 1 - truth[~s.excluded].clip(0, 1)  # another world with the same told labels
    np.testing.assert_array_equal(a, make_filter(filter, **PARAMS[filter])(s, np.random.default_rng(0)).ids)


def good_filter(state, rng): return Subpool(np.sort(rng.permutation(np.flatnonzero(~state.excluded))[:9]))
def with_filter(change): return lambda state, rng: change(good_filter(state, rng).ids, state, rng)
def remembers(ids, state, rng): return Subpool(state.memo.setdefault("first", ids))


FILTER_FAULTS = {
    "must return a Subpool": lambda ids, s, rng: ids,
    "as a NumPy array": lambda ids, s, rng: Subpool(ids.tolist()),
    "a mask of True and False": lambda ids, s, rng: Subpool(~s.excluded),
    "of float64": lambda ids, s, rng: Subpool(ids / 1),
    "must lie in 0 to 299, got 300 to 304": lambda ids, s, rng: Subpool(np.arange(300, 305)),
    "an instance twice": lambda ids, s, rng: Subpool(np.repeat(ids, 2)),
    "labelled or skipped": lambda ids, s, rng: Subpool(np.arange(len(s.labels))),
    "must ascend": lambda ids, s, rng: Subpool(ids[::-1]),
    "best first": lambda ids, s, rng: Subpool(ids, np.arange(len(ids))),
    "1 scores for 9 ids": lambda ids, s, rng: Subpool(ids, np.ones(1)),
    "one of the anchors": lambda ids, s, rng: Subpool(ids, None, s.history[0], np.full(len(ids), 299)),
    "changed the state": lambda ids, s, rng: (s.labels.__setitem__(ids, 0), Subpool(ids))[1],
    "for the same seed": lambda ids, s, rng: good_filter(s, np.random.default_rng()),
    "an empty memo": remembers,
    "fails when 3 instances are free":
        lambda ids, s, rng: Subpool(np.sort(rng.choice(np.flatnonzero(~s.excluded), 9, replace=False))),
}
STRATEGY_FAULTS = {
    "not positions": lambda o, b, rng: np.arange(min(b, len(o))),
    "when asked for": lambda o, b, rng: o.ids[:b-1],
    "an instance twice": lambda o, b, rng: np.repeat(o.ids[:1], min(b, len(o))),
    "for the same seed": lambda o, b, rng: np.random.default_rng().permutation(o.ids)[:b],
    "changed outputs.probs": lambda o, b, rng: (o.probs.__imul__(.5), o.ids[:b])[1],
}


def test_contract_accepts_and_refuses():
    "A good filter passes; each fault is refused with a message of its own."
    check_filter(good_filter)
    for message, change in FILTER_FAULTS.items():
        with pytest.raises(ValueError, match=message): check_filter(with_filter(change))
    for message, faulty in STRATEGY_FAULTS.items():
        with pytest.raises(ValueError, match=message): check_strategy(faulty)


@pytest.mark.parametrize("pick", ANCHORS)
def test_anchor_selections(pick):
    s, _ = state()
    ids = s.labelled(0)
    a = ANCHORS[pick](ids, 5, s, np.random.default_rng(0))
    assert len(set(a.tolist())) == len(a) == {"all": len(ids), "none": 0}.get(pick, 5) and np.isin(a, ids).all()
    np.testing.assert_array_equal(a, ANCHORS[pick](ids, 5, s, np.random.default_rng(0)))
    if pick != "none":
        np.testing.assert_array_equal(np.sort(ANCHORS[pick](ids, len(ids), s, np.random.default_rng(0))), ids)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 80), st.integers(1, 30), st.integers(1, 5), st.integers(0, 99), st.booleans())
def test_exact_search_twin(n, k, q, seed, ties):
    "Exact search equals a full sort by (similarity, id), with exclusions and with tied rows."
    rng = np.random.default_rng(seed)
    vectors = clustered(n, 8, seed=seed)[0]
    if ties:
        vectors = np.round(vectors * 2) + 1e-3
        vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    exclude = rng.random(n) < .3
    asked = rng.integers(0, n, q)
    ids, sims = ExactIndex(vectors, block=7).neighbours(asked, k, exclude)
    for i, s, a in zip(ids, sims, asked):
        want = vectors[a] @ vectors.T
        allowed = np.flatnonzero(~exclude)
        m = min(k, len(allowed))
        assert (i[m:] == -1).all() and np.isneginf(s[m:]).all() and len(set(i[:m].tolist())) == m
        assert not exclude[i[:m]].any()
        np.testing.assert_allclose(s[:m], np.sort(want[allowed])[::-1][:m], atol=1e-6)
        np.testing.assert_allclose(s[:m], want[i[:m]], atol=1e-6)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from([-np.inf, .1, .2, .3]), min_size=1, max_size=30), st.integers(1, 35))
def test_topk_ties(sims, k):
    sims = np.array(sims, np.float32)
    ids, got = _topk(sims, k)
    want = [i for i in sorted(range(len(sims)), key=lambda i: (-sims[i], i)) if sims[i] > -np.inf][:k]
    assert ids.tolist() == want + [-1] * (k - len(want))


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 9), st.floats(-1, 1, width=32)), min_size=1, max_size=40), st.integers(1, 12))
def test_average_and_cut_twin(pairs, m):
    "Lines 8 and 9 by dictionary."
    ids, sims = np.array([p[0] for p in pairs]), np.array([p[1] for p in pairs], np.float32)
    by_id = {}
    for i, s in pairs: by_id.setdefault(i, []).append(float(np.float32(s)))
    mean = {i: np.float32(np.mean(s)) for i, s in by_id.items()}
    unique, scores = average(ids, sims)
    np.testing.assert_allclose(scores, [mean[i] for i in unique], atol=1e-6)
    kept, kept_scores = keep_top(unique, scores, m)
    assert kept.tolist() == sorted(unique.tolist(), key=lambda i: (-scores[unique == i][0], i))[:m]


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 6), st.integers(1, 12), st.integers(1, 40), st.integers(0, 50))
def test_anchoral_size_is_bounded(A, K, M, seed):
    s, _ = state(n_classes=3, seed=seed)
    assert len(anchoral(s, np.random.default_rng(seed), A, K, M)) <= min(A * 3 * K, M)


def test_anchoral_with_all_anchors_and_all_neighbours_is_the_pool():
    s, _ = state()
    sub = anchoral(s, np.random.default_rng(0), 10**6, 300, 10**6, "all", "all")
    assert set(sub.ids) == set(np.flatnonzero(~s.excluded))


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 12), st.lists(st.integers(1, 15), min_size=1, max_size=6), st.integers(0, 50))
def test_seals_memo_is_a_cache(K, batches, seed):
    "Incremental, replayed from nothing, and written out as the definition says: the same subpool."
    s, _ = state(batches=tuple(batches), seed=seed, skipped=3)
    whole, s.history = s.history, []
    for h in whole:
        s.history = s.history + [h]
        warm = seals(s, None, n_neighbours=K).ids
    s.memo = {}
    np.testing.assert_array_equal(warm, seals(s, None, n_neighbours=K).ids)
    told, reached = np.zeros(300, bool), set()
    for h in whole:
        told[h] = True
        for i in h:
            sims = s.index.vectors[i] @ s.index.vectors.T
            reached |= set(sorted(np.flatnonzero(~told), key=lambda j: (-sims[j], j))[:K])
    assert set(warm) == reached - set(np.flatnonzero(s.excluded))


def test_skipped_instances_come_back_to_seals_when_restored():
    s, _ = state(skipped=0)
    i = seals(s, None, n_neighbours=8).ids[0]
    s.excluded[i] = True
    assert i not in seals(s, None, n_neighbours=8).ids
    s.excluded[i] = False
    assert i in seals(s, None, n_neighbours=8).ids


def test_randsub_is_uniform():
    "Every unlabelled instance is drawn about equally often."
    s, _ = state(n=60)
    free = np.flatnonzero(~s.excluded)
    counts = np.zeros(60)
    for seed in range(2000): counts[randsub(s, np.random.default_rng(seed), 10).ids] += 1
    assert abs(counts[free] / 2000 - 10 / len(free)).max() < .06 and counts[s.excluded].sum() == 0


def clusters_of(rng):
    return clustered(int(rng.integers(2, 121)), int(rng.integers(8, 49)), seed=int(rng.integers(10**6)))[0]
def gradients(rng):
    n = int(rng.integers(200, 800))
    return (rng.normal(size=(n, 24)) * 10**rng.uniform(-4, 0, (n, 1))).astype(np.float32)


@pytest.mark.parametrize("make", [clusters_of, gradients])
def test_kmeans_plusplus_draws_sklearns_points(make):
    """The same rows in the same order, for clusters and for BADGE's rows (a few long, many nearly zero),
    in 300 fixed cases. Distances are float32, scikit-learn's float64: a draw that rounding decides may differ,
    and what follows it then does."""
    from sklearn.cluster import kmeans_plusplus as theirs
    same = []
    for seed in range(300):
        rng = np.random.default_rng(seed)
        X, k = make(rng), int(rng.integers(1, 26))
        got = kmeans_plusplus(X, k, np.random.default_rng(seed))
        assert len(set(got.tolist())) == min(k, len(X))
        if k < len(X):
            drawn = int(np.random.default_rng(seed).integers(2**31))
            same.append(np.array_equal(got, theirs(X.astype(np.float64), k, random_state=drawn)[1]))
    assert np.mean(same) >= .97, np.mean(same)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 6), st.integers(1, 8), st.integers(0, 99))
def test_kmeans_plusplus_never_returns_a_row_twice(distinct, copies, seed):
    X = np.repeat(clustered(distinct, 5, seed=seed)[0], copies, 0)
    for k in range(1, len(X) + 1): assert len(set(kmeans_plusplus(X, k, np.random.default_rng(seed)).tolist())) == k


def test_gradient_embedding_is_autograd():
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    W, h = torch.tensor(rng.normal(size=(4, 6)), requires_grad=True), torch.tensor(rng.normal(size=(5, 6)))
    probs = torch.softmax(h @ W.T, 1)
    want = []
    for i in range(5):
        loss = torch.nn.functional.cross_entropy((h[i:i+1] @ W.T), probs[i:i+1].argmax(1))
        want.append(torch.autograd.grad(loss, W)[0].flatten().numpy())
    np.testing.assert_allclose(gradient_embedding(probs.detach().numpy(), h.numpy()), want, atol=1e-5)


# Any classifier of scikit-learn as a learner

def estimators():
    from sklearn.calibration import CalibratedClassifierCV
    from sklearn.decomposition import PCA
    from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
    from sklearn.linear_model import LogisticRegression, SGDClassifier
    from sklearn.naive_bayes import GaussianNB
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.neural_network import MLPClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import LinearSVC
    return {"logistic": LogisticRegression(), "sgd": SGDClassifier(loss="log_loss"), "bayes": GaussianNB(),
            "forest": RandomForestClassifier(n_estimators=5), "near": KNeighborsClassifier(3),
            "boosting": HistGradientBoostingClassifier(max_iter=3), "network": MLPClassifier((4,), max_iter=20),
            "pipeline": make_pipeline(StandardScaler(), PCA(4), LogisticRegression()),
            "alone": make_pipeline(GaussianNB()), "calibrated": CalibratedClassifierCV(LinearSVC(), cv=2)}


LINEAR = ("logistic", "sgd", "pipeline")


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("name", estimators())
def test_a_classifier_of_scikit_learn_is_a_learner(name):
    """It asks, is told, and repeats; a class without a label has probability 0; BADGE and FT-BERTKM work with a
    linear layer and are refused without."""
    queries = []
    for _ in range(2):
        al, truth = started(n_classes=3, minority=(2,), learner=Sklearn(estimators()[name]))
        queries.append(al.ask(10).tolist())
        al.tell(queries[-1], truth[queries[-1]])
    assert queries[0] == queries[1] and al.learner.n_classes == 3
    out = al.outputs(np.arange(5))
    assert out.probs.shape == (5, 3) and np.allclose(out.probs.sum(1), 1, atol=1e-5)
    two = Sklearn(estimators()[name], n_classes=4).fit(al.x[:20], truth[:20] % 2)
    assert (two.outputs(al.x[:7]).probs[:, 2:] == 0).all() and two.outputs(al.x[:0]).probs.shape == (0, 4)
    assert two.estimator is not two.fitted and not hasattr(two.estimator, "classes_")
    for strategy in ("badge", "ft-bertkm"):
        outputs = two.outputs(al.x[:30])
        if name in LINEAR:
            assert len(STRATEGIES[strategy](outputs, 5, np.random.default_rng(0))) == 5
        else:
            with pytest.raises(ValueError, match="has no linear layer.*use the strategy entropy"):
                STRATEGIES[strategy](outputs, 5, np.random.default_rng(0))


def test_the_seed_of_the_model_is_the_estimators():
    "Where its random_state was left open, in a pipeline too; one that you set stays."
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.pipeline import make_pipeline
    x, which = clustered(60)
    def forest(**more): return RandomForestClassifier(3, **more)
    for make in (forest, lambda **more: make_pipeline(forest(**more))):
        seeds = [Sklearn(make(), n_classes=2).fit(x, which % 2, seed).outputs(x).probs for seed in (0, 0, 1)]
        assert np.array_equal(seeds[0], seeds[1]) and not np.array_equal(seeds[0], seeds[2])
        fixed = [Sklearn(make(random_state=5), n_classes=2).fit(x, which % 2, s).outputs(x).probs for s in (0, 1)]
        assert np.array_equal(*fixed)


@pytest.mark.parametrize("form", ["csr", "csc", "array", "frame", "list", "tensor"])
def test_scikit_learn_reads_rows_in_any_form_and_gives_the_same(form):
    import pandas as pd
    import scipy.sparse
    from sklearn.linear_model import LogisticRegression
    if form == "tensor": pytest.importorskip("torch")
    make = dict(csr=scipy.sparse.csr_matrix, csc=scipy.sparse.csc_array, array=scipy.sparse.coo_array,
                list=lambda v: v.tolist(), frame=lambda v: pd.DataFrame(v).add_prefix("column "),
                tensor=lambda v: __import__("torch").from_numpy(v))[form]
    asked = []
    for x in (None, make):
        al, truth = started(learner=Sklearn(LogisticRegression(max_iter=2000)), x=x)
        for _ in range(2):
            asked.append(al.ask(5).tolist())
            al.tell(asked[-1], truth[asked[-1]])
    assert asked[:2] == asked[2:]
    steps = list(simulate(started(learner=Sklearn(LogisticRegression()), x=make)[0], lambda ids: truth[ids],
                          make(clustered(30)[0]), [], 30, 5))
    assert len(steps[-1].predicted) == 30
    al.learner.outputs(al.x[:9]).probs


def test_a_pipeline_reads_texts_and_a_frame_is_read_by_its_columns():
    import pandas as pd
    from sklearn.compose import make_column_transformer
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    from anchoral.data import Task
    from anchoral.loop import ActiveLearner
    frame = pd.DataFrame(dict(body=[f"{'gold mine' if i % 3 else 'wheat crop'} number {i}" for i in range(40)],
                              size=np.arange(40) % 3, kind=["a" if i % 3 else "b" for i in range(40)]))
    task = Task.from_frame(frame.head(40).assign(kind=frame.kind.where(frame.index < 9)), text="body", label="kind",
                           minority="b")
    reader = Sklearn(make_pipeline(TfidfVectorizer(), LogisticRegression()), encoder=None)
    al = ActiveLearner.from_task(task, encoder="lsa", learner=reader)
    assert len(al.ask(5)) == 5 and al.learner.predict(["gold mine"])[0].argmax() == 0
    with pytest.raises(ValueError, match="sparse matrix.*TruncatedSVD"): al.outputs(al.ask(5)).hidden
    with pytest.raises(ValueError, match="pickle"): al.learner.save("nowhere")
    columns = make_pipeline(make_column_transformer((TfidfVectorizer(), "body"), ("passthrough", ["size"])),
                            LogisticRegression())
    vectors = al.state.index.vectors
    al = ActiveLearner(ExactIndex(vectors), frame, Sklearn(columns), make_filter("anchoral"), STRATEGIES["entropy"],
                       2, (1,))
    al.tell(np.arange(9), [int(i % 3 == 0) for i in range(9)])
    assert len(al.ask(5)) == 5


def test_what_is_no_classifier_is_refused():
    from sklearn.linear_model import LogisticRegression
    from sklearn.svm import SVC, LinearSVC
    for wrong, says in ((LinearSVC(), "LinearSVC has no predict_proba: wrap it in .*CalibratedClassifierCV"),
                        (LogisticRegression, "is a class: give an object of it"), (SVC(), "no predict_proba"),
                        ("forest", "is a str: give a classifier of scikit-learn"), (None, "is a NoneType")):
        with pytest.raises(ValueError, match=says): Sklearn(wrong)
    x, which = clustered(20)
    with pytest.raises(ValueError, match="does not know how many classes"):
        Sklearn(LogisticRegression()).fit(x, which % 2)
    with pytest.raises(ValueError, match="call fit first"): Sklearn(LogisticRegression()).outputs(x)
    with pytest.raises(ValueError, match="the learner .* was made for 3 classes"):
        started(learner=Sklearn(LogisticRegression(), n_classes=3))
    with pytest.raises(ValueError, match="a int of shape"):
        started(learner=Sklearn(LogisticRegression()), x=lambda v: 3)
