"""One contract for every filter, strategy and anchor selection; one brute-force twin for every piece of Algorithm 1."""
import copy

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from worlds import clustered, state

from anchoral.anchors import ANCHORS, kmeans_plusplus
from anchoral.filters import FILTERS, anchoral, average, cut, make_filter, randsub, seals
from anchoral.index import ExactIndex, topk
from anchoral.strategies import STRATEGIES, Outputs, gradient_embedding

PARAMS = {"anchoral": dict(n_anchors=4, n_neighbours=8), "no-anchoring": dict(n_anchors=4, n_neighbours=8), "seals": dict(n_neighbours=8),
          "randsub": dict(subpool_size=60), "none": {}}


@pytest.mark.parametrize("n_classes", [2, 4])
@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("filter", FILTERS)
def test_filter_and_strategy(filter, strategy, n_classes):
    s, _ = state(n_classes=n_classes, skipped=5)
    before = copy.deepcopy((s.labels, s.excluded, s.history, s.index.vectors))
    def query(): return (sub := make_filter(filter, **PARAMS[filter])(s, np.random.default_rng(3))), STRATEGIES[strategy](s.outputs(sub.ids), 10, np.random.default_rng(4))
    sub, ids = query()
    assert len(np.unique(sub.ids)) == len(sub.ids) and not s.excluded[sub.ids].any()
    if sub.scores is None: assert (np.diff(sub.ids) > 0).all()
    else: assert all((a > b) or (a == b and i < j) for a, b, i, j in zip(sub.scores, sub.scores[1:], sub.ids, sub.ids[1:]))
    assert len(ids) == min(10, len(sub)) and len(np.unique(ids)) == len(ids) and np.isin(ids, sub.ids).all()
    again, ids2 = query()
    np.testing.assert_array_equal(ids, ids2)
    np.testing.assert_array_equal(sub.ids, again.ids)
    for a, b in zip(before, (s.labels, s.excluded, s.history, s.index.vectors)): np.testing.assert_equal(a, b)
    if sub.nearest is not None: assert np.isin(sub.nearest, sub.anchors).all() and len(sub.nearest) == len(sub)


@pytest.mark.parametrize("filter", FILTERS)
def test_filters_cannot_see_untold_labels(filter):
    s, truth = state()
    a = make_filter(filter, **PARAMS[filter])(s, np.random.default_rng(0)).ids
    assert (s.labels[~s.excluded] == -1).all()
    truth[~s.excluded] = 1 - truth[~s.excluded].clip(0, 1)  # another world with the same told labels
    np.testing.assert_array_equal(a, make_filter(filter, **PARAMS[filter])(s, np.random.default_rng(0)).ids)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_strategy_on_few(strategy):
    out = Outputs.of(np.array([7, 3]), [[.5, .5], [1, 0]], [[0, 1], [1, 0]])
    assert sorted(STRATEGIES[strategy](out, 5, np.random.default_rng(0)).tolist()) == [3, 7]


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_strategy_on_copies(strategy):
    "Thirty copies of one instance still make a full batch of distinct ids."
    out = Outputs.of(np.arange(30), np.tile([[.6, .4]], (30, 1)), np.ones((30, 4)))
    assert len(set(STRATEGIES[strategy](out, 10, np.random.default_rng(0)).tolist())) == 10


@pytest.mark.parametrize("pick", ANCHORS)
def test_anchor_selections(pick):
    s, _ = state()
    ids = s.labelled(0)
    a = ANCHORS[pick](ids, 5, s, np.random.default_rng(0))
    assert len(set(a.tolist())) == len(a) == (len(ids) if pick == "all" else 5) and np.isin(a, ids).all()
    np.testing.assert_array_equal(a, ANCHORS[pick](ids, 5, s, np.random.default_rng(0)))
    np.testing.assert_array_equal(np.sort(ANCHORS[pick](ids, len(ids), s, np.random.default_rng(0))), ids)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 80), st.integers(1, 30), st.integers(1, 5), st.integers(0, 99), st.booleans())
def test_exact_search_twin(n, k, q, seed, ties):
    "Exact search equals a full sort by (similarity, id), with exclusions and with tied rows."
    rng = np.random.default_rng(seed)
    vectors = clustered(n, 8, seed=seed)[0]
    if ties: vectors = np.round(vectors * 2) + 1e-3; vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    exclude = rng.random(n) < .3
    asked = rng.integers(0, n, q)
    ids, sims = ExactIndex(vectors, block=7).neighbours(asked, k, exclude)
    for i, s, a in zip(ids, sims, asked):
        want = vectors[a] @ vectors.T
        allowed = np.flatnonzero(~exclude)
        m = min(k, len(allowed))
        assert (i[m:] == -1).all() and np.isneginf(s[m:]).all() and len(set(i[:m].tolist())) == m and not exclude[i[:m]].any()
        np.testing.assert_allclose(s[:m], np.sort(want[allowed])[::-1][:m], atol=1e-6)
        np.testing.assert_allclose(s[:m], want[i[:m]], atol=1e-6)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from([-np.inf, .1, .2, .3]), min_size=1, max_size=30), st.integers(1, 35))
def test_topk_ties(sims, k):
    sims = np.array(sims, np.float32)
    ids, got = topk(sims, k)
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
    kept, kept_scores = cut(unique, scores, m)
    assert kept.tolist() == sorted(unique.tolist(), key=lambda i: (-scores[unique == i][0], i))[:m]


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 6), st.integers(1, 12), st.integers(1, 40), st.integers(0, 50))
def test_anchoral_size_is_bounded(A, K, M, seed):
    s, _ = state(n_classes=3, seed=seed)
    assert len(anchoral(s, np.random.default_rng(seed), A, K, M)) <= min(A * 3 * K, M)


def test_anchoral_with_all_anchors_and_all_neighbours_is_the_pool():
    s, _ = state()
    assert set(anchoral(s, np.random.default_rng(0), 10**6, 300, 10**6, "all", "all").ids) == set(np.flatnonzero(~s.excluded))


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


def clusters_of(rng): return clustered(int(rng.integers(2, 121)), int(rng.integers(8, 49)), seed=int(rng.integers(10**6)))[0]
def gradients(rng): return (rng.normal(size=(n := int(rng.integers(200, 800)), 24)) * 10**rng.uniform(-4, 0, (n, 1))).astype(np.float32)


@pytest.mark.parametrize("make", [clusters_of, gradients])
def test_kmeans_plusplus_draws_sklearns_points(make):
    """The same rows in the same order, for clusters and for BADGE's rows (a few long, many nearly zero), in 300 fixed cases.
    Distances are float32, scikit-learn's float64: a draw that rounding decides may differ, and what follows it then does."""
    from sklearn.cluster import kmeans_plusplus as theirs
    same = []
    for seed in range(300):
        rng = np.random.default_rng(seed)
        X, k = make(rng), int(rng.integers(1, 26))
        got = kmeans_plusplus(X, k, np.random.default_rng(seed))
        assert len(set(got.tolist())) == min(k, len(X))
        if k < len(X): same.append(np.array_equal(got, theirs(X.astype(np.float64), k, random_state=int(np.random.default_rng(seed).integers(2**31)))[1]))
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
