"""The index: what it refuses, HNSW against exact search, what exact search recalls, and keywords."""
import re
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from worlds import clustered

from anchoral import index as index_module
from anchoral.anchors import State
from anchoral.files import clear_cache
from anchoral.filters import anchoral
from anchoral.index import BM25, ExactIndex, HNSWIndex, Keywords, _build_order, make_index
from anchoral.study.config import make_config, resolve
from anchoral.study.runs import run


def jaccard(a, b): return len(np.intersect1d(a, b)) / len(np.union1d(a, b))


def hnsw_against_exact(vectors, labels, history, minority):
    "Mean Jaccard of AnchorAL's subpools over the states of a history."
    exact, hnsw, told, scores = ExactIndex(vectors), HNSWIndex(vectors), np.full(len(vectors), -1), []
    for t, ids in enumerate(history):
        told[ids] = labels[ids]
        subpools = [anchoral(State(i, told, told >= 0, history[:t+1], minority), np.random.default_rng(t)).ids
                    for i in (exact, hnsw)]
        scores.append(jaccard(*subpools))
    return np.mean(scores), hnsw


def test_hnsw_subpools_on_real_embeddings(tmp_path):
    c = make_config(task="reuters-metals", encoder="lsa", budget=600)
    rounds = run(c, tmp_path)
    history = [np.array(b) for b in [rounds[0]["initial"], *(r["query"] for r in rounds[:-1])]]
    experiment = resolve(c)
    task, index = experiment.task, experiment.index
    mean, hnsw = hnsw_against_exact(index.vectors, task.labels, history, task.minority)
    assert mean >= .99
    hnsw.save(tmp_path/"index")
    again = HNSWIndex.load(tmp_path/"index", index.vectors)
    assert again.graph.ef == 200
    np.testing.assert_array_equal(again.neighbours(np.arange(20), 50)[0], hnsw.neighbours(np.arange(20), 50)[0])


def test_hnsw_subpools_at_100_000():
    "Clustered vectors of which a growing, dense part is labelled."
    vectors, which = clustered(100_000, 64, clusters=200, seed=1, spread=.5)
    truth = (which >= 190).astype(int)
    rare, rest, rng = np.flatnonzero(truth), np.flatnonzero(truth == 0), np.random.default_rng(0)
    def batch(): return np.concatenate([rng.choice(rare[5:], 10, False), rng.choice(rest[95:], 15, False)])
    history = [np.concatenate([rare[:5], rest[:95]]), *(batch() for _ in range(8))]
    seen = set()
    history = [np.array([i for i in h.tolist() if not (i in seen or seen.add(i))]) for h in history]
    assert hnsw_against_exact(vectors, truth, history, (1,))[0] >= .99


def test_hnsw_build_repeats():
    vectors = clustered(3000, 32)[0]
    a, b = (HNSWIndex(vectors).neighbours(np.arange(100), 20)[0] for _ in range(2))
    np.testing.assert_array_equal(a, b)


def test_build_order():
    "Every id once, the same with any number of threads, and similar instances mostly side by side."
    from threadpoolctl import threadpool_limits
    vectors, which = clustered(3000, 32)
    order = _build_order(vectors)
    np.testing.assert_array_equal(np.sort(order), np.arange(3000))
    with threadpool_limits(1): np.testing.assert_array_equal(_build_order(vectors), order)
    beside = lambda o: (which[o][1:] == which[o][:-1]).mean()
    assert beside(order[300:]) > 2*beside(np.arange(3000))
    assert _build_order(vectors[:1]).tolist() == [0] and sorted(_build_order(vectors[:7])) == list(range(7))


def test_walk_that_loses_its_way_is_answered_exactly(monkeypatch):
    "An instance that its own walk does not meet."
    vectors = clustered(3000, 32)[0]
    index, exact = HNSWIndex(vectors), ExactIndex(vectors)
    far = np.argsort(vectors @ vectors[5])[:400]
    monkeypatch.setattr(HNSWIndex, "_walk", lambda self, q, k: np.tile(far[:k], (len(q), 1)))
    for exclude in (None, np.arange(3000) == 5):
        np.testing.assert_array_equal(index.neighbours([5], 20, exclude)[0], exact.neighbours([5], 20, exclude)[0])


def test_graph_of_another_recipe_is_not_used(tmp_path, monkeypatch):
    vectors = clustered(300, 16)[0]
    make_index(vectors, "hnsw", tmp_path)
    monkeypatch.setattr(HNSWIndex, "recipe", "hnsw-next")
    make_index(vectors, "hnsw", tmp_path)
    assert len(list(tmp_path.iterdir())) == 2


def test_crowded_query_is_answered_exactly():
    "All near neighbours of the query are excluded: the graph alone would miss some of the far ones."
    vectors, which = clustered(4000, 16, clusters=4, spread=.2, seed=2)
    exclude = which == which[0]
    exclude[0] = True
    np.testing.assert_array_equal(HNSWIndex(vectors).neighbours([0], 30, exclude)[0],
                                  ExactIndex(vectors).neighbours([0], 30, exclude)[0])


@pytest.mark.parametrize("vectors, says", [
    (np.full((3, 2), np.nan, np.float32), "3 rows are not of unit length, first at [0, 1, 2]"),
    (np.zeros((2, 2), np.float32), "2 rows are not of unit length"),
    (np.eye(3), "must be float32, got float64"), (np.ones(3, np.float32), "vectors must be (n, d)"),
])
def test_vectors(vectors, says):
    with pytest.raises(ValueError, match=re.escape(says)): make_index(vectors)


@pytest.mark.parametrize("damage", [lambda f: (f/"graph.json").write_text("{"),
                                    lambda f: (f/"graph.json").write_text("{}"),
                                    lambda f: (f/"graph.hnsw").unlink()])
def test_damaged_index(tmp_path, damage):
    pytest.importorskip("hnswlib")
    from anchoral.index import HNSWIndex
    vectors = clustered(60)[0]
    HNSWIndex(vectors).save(tmp_path)
    damage(tmp_path)
    with pytest.raises(ValueError, match="is damaged .*delete the folder to build it again"):
        HNSWIndex.load(tmp_path, vectors)
    other = vectors.copy(); other[7] = -other[7]
    HNSWIndex(vectors).save(tmp_path)
    with pytest.raises(ValueError, match="built from other vectors"): HNSWIndex.load(tmp_path, other)


def test_index_calls():
    index = ExactIndex(clustered(20)[0])
    for call, says in [(lambda: index.search(index.vectors[:1], 0), "k must be at least 1"),
                       (lambda: index.neighbours([.5], 1), "ids must be whole numbers"),
                       (lambda: index.neighbours(np.ones(20, bool), 1), "for a mask use np.flatnonzero"),
                       (lambda: index.neighbours([0], 1, np.array([3])), "exclude must be (20,) bool"),
                       (lambda: index.search(np.full((1, 16), np.nan), 1), "NaN or infinity"),
                       (lambda: index.neighbours([20], 1), "ids must lie in 0 to 19, got 20 to 20")]:
        with pytest.raises(ValueError, match=re.escape(says)): call()


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 999), st.integers(1, 12), st.booleans(),
       st.lists(st.sampled_from("nnnra"), min_size=2, max_size=8))
def test_what_is_remembered_is_what_a_search_finds(seed, k, copies, steps):
    """Bit for bit, over iterations in which anchors stay (n), others come in (a) and some instances are restored (r);
    with texts that occur many times, too."""
    rng = np.random.default_rng(seed)
    n, d = int(rng.integers(500, 900)), int(rng.integers(4, 40))
    vectors = clustered(n, d, seed=seed)[0]
    if copies: vectors = np.ascontiguousarray(vectors[rng.integers(0, n//10, n)])
    index, memory, exclude = ExactIndex(vectors, block=50), {}, rng.random(n) < .1
    anchors = rng.choice(n, 8, replace=False)
    for step in steps:
        if step == "a": anchors[rng.choice(8, 3, replace=False)] = rng.choice(n, 3)
        if step == "r": exclude[rng.choice(n, 20)] = False
        want = index.neighbours(anchors, k, exclude)
        got = index.recall(anchors, k, exclude, memory)
        for mine, wanted in zip(got, want): np.testing.assert_array_equal(mine, wanted)
        exclude[want[0][want[0] >= 0][::3]] = True


def test_a_subpool_does_not_depend_on_the_memo():
    "AnchorAL over ten iterations: with the memo of all, and with none, in the order and with the scores of a search."
    vectors, which = clustered(3000, 24)
    index, labels, history, memo = ExactIndex(vectors, block=128), np.full(3000, -1), [], {}
    no_memory = type("NoMemory", (), dict(vectors=vectors, __len__=lambda self: 3000, neighbours=index.neighbours))()
    new = np.random.default_rng(0).choice(3000, 30, replace=False)
    for t in range(10):
        labels[new] = which[new] % 2
        history.append(new)
        subpools = [anchoral(State(i, labels, labels >= 0, history, (1,), memo=m), np.random.default_rng(t))
                    for i, m in ((index, memo), (index, {}), (no_memory, {}))]
        for other in subpools[1:]:
            np.testing.assert_array_equal(subpools[0].ids, other.ids)
            np.testing.assert_array_equal(subpools[0].scores, other.scores)
        new = subpools[0].ids[:25]
    assert len(memo["neighbours"]) > 20


def test_anchors_that_stay_are_not_searched_again(monkeypatch):
    "Only new instances read the pool, and one whose neighbours were used up."
    index, asked = ExactIndex(clustered(3000, 24)[0], block=128), []
    search = ExactIndex.search
    def counted(self, vectors, k, exclude=None):
        asked.append(len(vectors))
        return search(self, vectors, k, exclude)
    monkeypatch.setattr(ExactIndex, "search", counted)
    memory, exclude = {}, np.zeros(3000, bool)
    for anchors in ([1, 2, 3], [1, 2, 3], [3, 1, 4], [4]): index.recall(anchors, 10, exclude, memory)
    assert asked == [3, 1]
    exclude[memory[4][0][:11]] = True
    index.recall([3, 4], 10, exclude, memory)
    assert asked[:3] == [3, 1, 1] and len(memory[4][0]) == 20


def test_a_search_of_ones_own_is_the_one_that_is_asked():
    "A subclass that answers in its own way is not bypassed."
    class Mine(ExactIndex):
        def neighbours(self, ids, k, exclude=None): return np.zeros((len(ids), k), int), np.ones((len(ids), k))
    assert (Mine(clustered(300)[0], block=10).recall([1, 2], 3, np.zeros(300, bool), {})[0] == 0).all()


# Words

def pool_of_words(n=300):
    words = "tin copper gold silver zinc lead nickel alum platinum iron".split()
    return [f"{words[i % 10]} {words[i // 10 % 10]} number {i}" for i in range(n)]


@pytest.fixture
def large(tmp_path, monkeypatch):
    "A pool of three hundred texts counts as large, and there is a cache of its own."
    pytest.importorskip("bm25s")
    monkeypatch.setattr(index_module, "_LARGE_POOL", 100)
    monkeypatch.setenv("ANCHORAL_CACHE", str(tmp_path/"cache"))
    return tmp_path/"cache/index"


def kept(home): return [path for path in home.iterdir() if path.name.startswith("words-")]


def test_a_keyword_index_is_built_once_and_kept(large, monkeypatch):
    "The second opening reads it; other texts, or another way to cut them, have one of their own."
    texts, done = pool_of_words(), []
    want = BM25(texts, watch=done.append).scores("gold tin")
    assert done == sorted(done) and done[0] == 0 and done[-1] > .7 and len(kept(large)) == 1
    with monkeypatch.context() as patched:
        patched.setattr(index_module, "_build_words", lambda *a: pytest.fail("built again"))
        np.testing.assert_array_equal(BM25(texts).scores("gold tin"), want)
    BM25(texts[1:]), BM25(texts, tokens="characters"), BM25(texts, tokens=str.split)
    assert len(kept(large)) == 3  # what a function of yours cuts is not kept


@pytest.mark.parametrize("damage", ["flip", "cut", "lost", "list"])
def test_a_damaged_keyword_index_is_built_again(large, caplog, damage):
    texts = pool_of_words()
    want = BM25(texts).scores("gold tin")
    folder, = kept(large)
    path = folder/"data.csc.index.npy"
    data = bytearray(path.read_bytes())
    data[-3] ^= 4
    if damage == "flip": path.write_bytes(data)
    if damage == "cut": path.write_bytes(data[:-8])
    if damage == "lost": path.unlink()
    if damage == "list": (folder/"files.json").write_text("{")
    np.testing.assert_array_equal(BM25(texts).scores("gold tin"), want)
    assert damage == "lost" or "is damaged" in caplog.text
    caplog.clear()
    BM25(texts)
    assert not caplog.text


def test_clearing_the_cache_deletes_the_keyword_index(large):
    BM25(pool_of_words())
    clear_cache()
    assert not large.exists()


def test_keywords_are_read_in_the_background(large, monkeypatch, capsys):
    "Whoever asks early waits, and sees how far it is; an error is theirs, and the next time it works."
    texts, real, gate = pool_of_words(), index_module._build_words, threading.Event()
    def slow(*args):
        gate.wait(20)
        return real(*args)
    monkeypatch.setattr(index_module, "_build_words", slow)
    monkeypatch.delenv("TQDM_DISABLE")
    words = Keywords(texts)
    assert words._thread.is_alive()
    threading.Timer(.5, gate.set).start()
    assert words.ready().scores("gold").max() > 0
    assert "reading the words of all texts, once" in capsys.readouterr().err
    monkeypatch.setattr(index_module, "_build_words", lambda *a: 1/0)
    words = Keywords(texts[1:])
    with pytest.raises(ZeroDivisionError): words.ready()
    monkeypatch.setattr(index_module, "_build_words", real)
    assert words.ready().scores("gold").max() > 0


def test_keywords_that_nobody_needs_any_more_are_not_read_to_the_end(large, monkeypatch):
    def endless(texts, cut, watch):
        while True: watch(.1)
    monkeypatch.setattr(index_module, "_build_words", endless)
    words = Keywords(pool_of_words())
    words.stop()
    assert not words._thread.is_alive() and (not large.exists() or not kept(large))


def test_texts_without_spaces_are_found_by_pieces():
    pytest.importorskip("bm25s")
    texts = ["今天黄金价格上涨到历史最高水平", "黄金价格今天没有变化而白银下跌", "明天北方大部分地区将有大雨天气"]
    with pytest.warns(UserWarning, match="BM25 compares them by pieces of two and three characters"):
        scores = BM25(texts).scores("黄金")
    assert (scores[:2] > 0).all() and scores[2] == 0
    assert BM25(texts, tokens=list).scores("金")[:2].min() > 0
    with pytest.raises(ValueError, match="unknown tokens 'letters'"): BM25(texts, tokens="letters")
