"""The vector database: a whole simulation against exact search, what is excluded, an interrupted insertion."""
import shutil
import subprocess
import sys

import numpy as np
import pytest
from worlds import clustered

from anchoral.anchors import State
from anchoral.filters import anchoral, seals
from anchoral.index import ExactIndex, MilvusIndex, make_index
from anchoral.loop import Seeds
from anchoral.study import config as config_module
from anchoral.study.config import make_config, resolve
from anchoral.study.runs import run


def jaccard(a, b): return len(np.intersect1d(a, b)) / max(1, len(np.union1d(a, b)))


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    vectors, which = clustered(3000, 32, clusters=6, spread=.3)
    index = MilvusIndex(vectors, tmp_path_factory.mktemp("milvus")/"pool.db", named=500, most=1000)
    yield vectors, which, index, ExactIndex(vectors)
    index.close()


@pytest.fixture(scope="module")
def database(tmp_path_factory):
    "Runs of this module keep their index in this file."
    with pytest.MonkeyPatch.context() as m:
        path = tmp_path_factory.mktemp("database")/"pool.db"
        m.setenv("ANCHORAL_MILVUS", str(path))
        yield path
        resolve(make_config(task="reuters-agri", encoder="lsa", index="milvus")).index.close()
    config_module._shared_index.cache_clear()


@pytest.mark.parametrize("name", ["anchoral", "seals"])
def test_a_whole_simulation(tmp_path, database, name):
    "Every subpool of a run on milvus-lite is the one that exact search gives in the same state."
    c = make_config(task="reuters-agri", encoder="lsa", index="milvus", filter=name, budget=250,
                    keep_subpools=True, filter_seed=3)
    rounds = run(c, tmp_path/"run")
    assert rounds[-1]["end"] == "budget of 250 annotations reached" and database.exists()
    experiment = resolve(c)
    task, index = experiment.task, experiment.index
    assert index.kind == "milvus"
    exact, told, history, scores = ExactIndex(index.vectors), np.full(len(task.labels), -1), [], []
    for r, ids in zip(rounds[:-1], [rounds[0]["initial"], *(r["query"] for r in rounds)]):
        told[ids] = task.labels[ids]
        history.append(np.array(ids))
        state = State(exact, told, told >= 0, history, task.minority)
        want = {"anchoral": anchoral, "seals": seals}[name](state, Seeds(filter=3).rng("filter", len(history) - 1)).ids
        got = np.load(tmp_path/f"run/subpools/{r['iteration']:04d}.npy")
        assert not (told[got] >= 0).any()
        scores.append(jaccard(got, want))
    assert len(scores) == 6 and min(scores) >= .97 and np.mean(scores) >= .99, scores


@pytest.mark.parametrize("share", [0, .1, .6, .99, 1])
def test_exclusion(world, share):
    "Also of more instances than a query can name, of all near ones, and of all but a few."
    vectors, which, index, exact = world
    exclude = np.random.default_rng(0).random(len(vectors)) < share
    for mask in (exclude, exclude | (which == which[0])):
        ids, sims = index.neighbours([0, 5, 9], 40, mask)
        want, want_sims = exact.neighbours([0, 5, 9], 40, mask)
        assert not mask[ids[ids >= 0]].any() and ((ids >= 0) == (want >= 0)).all()
        assert np.mean([jaccard(a[a >= 0], b[b >= 0]) if (b >= 0).any() else 1 for a, b in zip(ids, want)]) >= .99
        np.testing.assert_allclose(sims[want >= 0], want_sims[want >= 0], atol=1e-3)


def test_more_than_a_server_gives(world):
    vectors, _, index, exact = world
    np.testing.assert_array_equal(index.neighbours([1], 1500)[0], exact.neighbours([1], 1500)[0])
    assert index.neighbours([1], 5)[0][0, 0] == 1
    with pytest.raises(ValueError, match="k must be at least 1"): index.neighbours([1], 0)


def count(client, name): return client.query(name, filter="", output_fields=["count(*)"])[0]["count(*)"]


def test_an_insertion_that_is_interrupted_resumes(tmp_path, monkeypatch):
    "After a crash between two blocks, and after half a block."
    from pymilvus import MilvusClient
    vectors, _ = clustered(1000, 16)
    def fill(): return MilvusIndex(vectors, tmp_path/"pool.db", M=16, ef_construction=100, block=100)
    insert, calls, names = MilvusClient.insert, [], []
    def failing(self, name, rows):
        if len(calls) == 3: raise ConnectionError("gone")
        calls.append(rows)
        names.append(name)
        return insert(self, name, rows if len(calls) < 3 else rows[:40])
    monkeypatch.setattr(MilvusClient, "insert", failing)
    with pytest.raises(ConnectionError): fill()
    client = MilvusClient(str(tmp_path/"pool.db"))
    client.load_collection(names[0])
    assert count(client, names[0]) == 240
    client.close()
    seen = []
    monkeypatch.setattr(MilvusClient, "insert", lambda self, name, rows: (seen.append(rows[0]["id"]),
                                                                          insert(self, name, rows)))
    index = fill()
    # 200 was replaced, not added to
    assert seen == [300, 400, 500, 600, 700, 800, 900] and count(index.client, index.name) == 1000
    index.close()
    index = fill()
    assert len(seen) == 7
    hits = index.client.search(index.name, data=list(vectors[[5, 210, 250, 999]]), limit=1)
    assert [h[0]["id"] for h in hits] == [5, 210, 250, 999]
    index.close()


def test_opened_again(tmp_path, monkeypatch):
    "The same vectors find their collection; other vectors get one of their own."
    monkeypatch.delenv("ANCHORAL_MILVUS", raising=False)
    (a, _), (b, _) = clustered(300, 8), clustered(300, 8, seed=1)
    first = make_index(a, "milvus", tmp_path)
    first.close()
    again = make_index(a, "milvus", tmp_path)
    assert again.name == first.name and count(again.client, again.name) == 300
    again.close()
    other = make_index(b, "milvus", tmp_path)
    assert other.name != first.name and sorted(other.client.list_collections()) == sorted([first.name, other.name])
    np.testing.assert_array_equal(other.neighbours([3], 10)[0], ExactIndex(b).neighbours([3], 10)[0])
    other.close()


def test_what_it_says_when_it_cannot(tmp_path):
    vectors = np.eye(2, dtype=np.float32)
    with pytest.raises(OSError, match="no Milvus at 'http://127.0.0.1:1'.*; start one"):
        MilvusIndex(vectors, "http://127.0.0.1:1")
    with pytest.raises(ValueError, match="Milvus wants an address or a path"): MilvusIndex(vectors, "")
    index = MilvusIndex(vectors, tmp_path/"pool.db")
    code = ("import numpy as np\n"
            "from anchoral.index import MilvusIndex\n"
            f"try: MilvusIndex(np.eye(2, dtype=np.float32), {str(tmp_path/'pool.db')!r})\n"
            "except OSError as e: print(e)")
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "no Milvus at" in said.stdout and "another program has it open; close that program" in said.stdout, said
    assert "Traceback" not in said.stderr, said
    index.close()


def test_damaged_data_is_named(tmp_path):
    "Cut files of a pool, and a file where milvus-lite wants a folder."
    vectors = clustered(200, 8)[0]
    MilvusIndex(vectors, tmp_path/"pool.db").close()
    for name, part in [("a.db", "schema.json"), ("b.db", "*.parquet")]:
        shutil.copytree(tmp_path/"pool.db", tmp_path/name)  # this process still serves the first
        for path in (tmp_path/name).rglob(part):
            path.write_bytes(path.read_bytes()[:50])
        with pytest.raises(OSError, match=f"Milvus at '.*{name}' failed: .*it is built again"):
            MilvusIndex(vectors, tmp_path/name)
    (tmp_path/"file.db").write_text("mine")
    with pytest.raises(OSError, match="no Milvus at '.*file.db': .*; if it is damaged, delete it"):
        MilvusIndex(vectors, tmp_path/"file.db")


def test_instances_that_a_pool_does_not_have_are_refused(world, monkeypatch):
    index = world[2]
    monkeypatch.setattr(index.client, "search", lambda *args, **kw: [[{"id": 3000}]])
    with pytest.raises(OSError, match="gave instances that the pool does not have"): index.neighbours([0], 1)
