"""One contract for every filter, strategy and anchor selection; one brute-force twin for every piece of Algorithm 1."""
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from worlds import clustered, state

from anchoral.anchors import ANCHORS, kmeans_plusplus
from anchoral.contracts import check_filter, check_query, check_strategy
from anchoral.filters import FILTERS, Subpool, anchoral, average, keep_top, make_filter, randsub, seals
from anchoral.index import ExactIndex, _topk
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
