"""What must stay small: memory of a search, packages of the core, work per iteration; and the benchmark runs."""
import json
import re
import subprocess
import sys
import tracemalloc
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import pytest
from test_house import CFG
from worlds import clustered

from anchoral.anchors import State, kmeans_plusplus
from anchoral.filters import seals
from anchoral.index import ExactIndex, HNSWIndex, make_index
from anchoral.study.grid import papermill

ROOT = Path(__file__).parents[1]
OPTIONAL = ["dask", "distributed", "dask_jobqueue", "pymilvus", "milvus_lite", "small_text"]


def test_no_module_imports_an_optional_package():
    "All of anchoral, a run of each filter, and the command line's help: none of the engines is loaded."
    modules = [f"anchoral.{p.stem}" for p in (ROOT/"anchoral").glob("[a-z]*.py")]
    code = f"""
import importlib, sys, tempfile
for m in {modules!r}: importlib.import_module(m)
from anchoral.study.config import make_config
from anchoral.study.runs import run
with tempfile.TemporaryDirectory() as d:
    run(make_config(task="reuters-agri", encoder="lsa", budget=125, n_anchors=2), d)
from anchoral.cli import main
main([])
print(*[m for m in {OPTIONAL!r} if m in sys.modules], file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0 and done.stderr.split() == [], done.stderr


def test_what_the_core_requires():
    "Neither directly nor through what it requires."
    from importlib.metadata import PackageNotFoundError, requires
    norm = lambda name: re.split(r"[\s;<>=!~\[(]", name)[0].lower().replace("_", "-")
    todo, seen = {norm(r) for r in CFG["requirements"].split()}, set()
    while todo:
        name = todo.pop()
        seen.add(name)
        try: more = {norm(r) for r in requires(name) or [] if "extra ==" not in r}
        except PackageNotFoundError: more = set()
        todo |= more - seen
    assert "numpy" in seen and not seen & {o.replace("_", "-") for o in OPTIONAL}, seen


@pytest.mark.parametrize("package, extra", [("distributed", "cluster"), ("pymilvus", "milvus")])
def test_one_line_names_the_extra(package, extra):
    code = f"""
import sys
sys.modules[{package!r}] = None
import numpy as np
from anchoral.study.cluster import run_on_cluster
from anchoral.study.profiles import PROFILES
from anchoral.index import make_index
try:
    if {package!r} == "distributed": run_on_cluster(PROFILES["tiny"], "/nowhere", "tcp://127.0.0.1:1")
    else: make_index(np.eye(4, dtype="float32"), "milvus")
except ImportError as e: print(e)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert f'pip install "anchoral[{extra}]"' in done.stdout and done.stdout.count("\n") == 1, done.stderr


def test_exact_search_needs_no_array_as_long_as_the_pool():
    "So 1.05 times the embeddings are plenty, however many ask."
    vectors = clustered(60_000, 384)[0]
    index, exclude = ExactIndex(vectors), np.zeros(60_000, bool)
    tracemalloc.start()
    index.neighbours(np.arange(64), 50, exclude)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < .1 * vectors.nbytes  # a block of 16,384 rows by 64 queries, twice; of a large pool a small part
    small, big = (peak_of(n) for n in (40_000, 120_000))
    assert big < 1.2 * small  # what a search needs does not grow with the pool


def peak_of(n):
    x = np.broadcast_to(clustered(1, 64)[0], (n, 64))
    index = ExactIndex(x)
    tracemalloc.start()
    index.search(x[:20], 50)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


@pytest.mark.parametrize("n", [5, 999, 1000, 3000])
def test_blocks_do_not_show(n):
    "The same answer, ties and all, whatever the block; pools of copies included."
    rng = np.random.default_rng(n)
    x = clustered(n, 8)[0][rng.integers(0, max(1, n//3), n)]
    exclude = rng.random(n) < .3
    want = ExactIndex(x, block=10**6).neighbours(np.arange(min(n, 70)), 40, exclude)
    for block in (7, 100, 1000):
        ids, sims = ExactIndex(x, block).neighbours(np.arange(min(n, 70)), 40, exclude)
        np.testing.assert_array_equal(ids >= 0, want[0] >= 0)
        np.testing.assert_allclose(sims, want[1], atol=1e-6)
        order = np.lexsort((ids, -sims.astype(np.float64)), axis=1)
        np.testing.assert_array_equal(order, np.broadcast_to(np.arange(40), order.shape))


def test_a_session_is_opened_in_time_proportional_to_its_answers():
    "Four times the answers, in batches of one, take about four times as long; sixteen if each looked at all before."
    import time

    from anchoral.annotator.log import replay
    def events(n):
        for i in range(n):
            yield dict(do="batch", kind="found", ids=[i])
            yield dict(do="answer", id=i, label=i % 2, time="2026-01-01T00:00:00.000+00:00", seconds=1., wait=.1,
                       peeked=False)
    def seconds(n):
        log, taken = list(events(n)), []
        for _ in range(3):
            start = time.process_time()
            assert len(replay(log, 2, (1,)).book.answers) == n
            taken.append(time.process_time() - start)
        return min(taken)
    assert seconds(6000) < 8*seconds(1500)


class Counting(ExactIndex):
    "Counts what is asked of it."
    asked = 0
    def neighbours(self, ids, k, exclude=None):
        self.asked += len(ids)
        return super().neighbours(ids, k, exclude)


def test_seals_searches_only_what_is_new():
    index = Counting(clustered(2000)[0])
    labels, history, memo = np.full(2000, -1), [], {}
    for t in range(6):
        new = np.arange(25*t, 25*t + 25)
        labels[new] = t % 2
        history.append(new)
        index.asked = 0
        seals(State(index, labels, labels >= 0, history, (1,), memo=memo), None)
        assert index.asked == 25


def test_the_choice_of_an_index_is_in_the_log(caplog):
    caplog.set_level("INFO")
    assert make_index(clustered(50)[0]).kind == "exact"
    assert "index: exact search for 50 instances (exact up to 300,000; index= chooses)" in caplog.text


def test_readmes_path_builds_no_graph(tmp_path, monkeypatch):
    "However large the pool; asked for, one is built once and kept."
    from anchoral import index as index_module
    from anchoral.data import Task
    from anchoral.loop import ActiveLearner
    monkeypatch.setattr(index_module, "_EXACT_UP_TO", 5)
    monkeypatch.setenv("ANCHORAL_CACHE", str(tmp_path))
    frame = pd.DataFrame(dict(body=[f"{'gold' if i % 3 else 'tin'} price {i}" for i in range(30)], kind=["a", "b"]*15))
    task, built = Task.from_frame(frame, text="body", label="kind", minority="a"), []
    graph = index_module._build_graph
    def counted(*args):
        built.append(1)
        return graph(*args)
    monkeypatch.setattr(index_module, "_build_graph", counted)
    al = ActiveLearner.from_task(task, encoder="lsa", known=False)
    assert al.state.index.kind == "exact" and not built
    for _ in range(2): assert ActiveLearner.from_task(task, "lsa", index="hnsw", known=False).state.index.kind == "hnsw"
    assert built == [1]


def test_hnsw_keeps_one_copy():
    "Beside hnswlib's own there is none: the index holds the array it was given."
    x = clustered(500)[0]
    assert HNSWIndex(x).vectors is x and HNSWIndex(x)._exact.vectors is x


def test_kmeans_beats_sklearn():
    "Ten of 2,000 float32 rows, in turn, processor time; the benchmark measures more of it."
    import time

    from sklearn.cluster import kmeans_plusplus as theirs
    from threadpoolctl import threadpool_limits
    x, seconds = clustered(2000, 384, clusters=100)[0], {"ours": [], "theirs": []}
    calls = dict(ours=lambda r: kmeans_plusplus(x, 10, np.random.default_rng(r)),
                 theirs=lambda r: theirs(x, 10, random_state=r))
    with threadpool_limits(1):
        for r in range(12):
            for name, f in calls.items():
                start = time.process_time()
                f(r)
                seconds[name].append(time.process_time() - start)
    assert np.median(seconds["theirs"]) > 2 * np.median(seconds["ours"]), seconds  # 4 on an idle machine


def test_the_benchmark_runs(tmp_path):
    """At its smallest; a part that is measured replaces what was there of it at this scale, and nothing else;
    what another machine or other packages measured does not stay beside it."""
    page = ROOT/"nbs/benchmarks/measure.ipynb"
    cells = [c for c in nbformat.read(page, 4).cells if "parameters" in c.metadata.get("tags", [])]
    assert len(cells) == 1
    def measure(*parts): assert papermill(page, tmp_path/"out.ipynb", dict(out=str(tmp_path), parts=list(parts))) == ""
    measure("kmeans")
    old = dict(measure="before", system="", n=0, labelled=0, setting="", value=1, unit="s")
    pd.DataFrame([old | dict(scale="tiny", part="seals"), old | dict(scale="full", part="seals"),
                  old | dict(scale="tiny", part="encode")]).to_csv(tmp_path/"benchmarks.csv", index=False)
    measure("kmeans", "select", "seals", "index", "order")
    df = pd.read_csv(tmp_path/"benchmarks.csv", keep_default_na=False)
    assert list(df[df.measure == "before"].scale + df[df.measure == "before"].part) == ["fullseals", "tinyencode"]
    new = df[df.measure != "before"]
    assert set(new.part) == {"kmeans", "select", "seals", "index", "order"} and (new.value > 0).all()
    assert (new.scale == "tiny").all()
    assert new[new.measure == "the same points"].value.eq(1).all() and new[new.measure == "recall"].value.ge(.9).all()
    about = json.loads((tmp_path/"benchmarks.json").read_text())
    assert about["packages_compared"]["small-text"] == "1.4.1"
    (tmp_path/"benchmarks.json").write_text(json.dumps(about | dict(cpu="another")))
    measure("kmeans")
    assert set(pd.read_csv(tmp_path/"benchmarks.csv").part) == {"kmeans"}


def test_the_benchmark_measures_what_a_person_waits_for(tmp_path):
    "With this version and the one before it, on the same states; the page compares their queries."
    page = ROOT/"nbs/benchmarks/measure.ipynb"
    assert papermill(page, tmp_path/"out.ipynb", dict(out=str(tmp_path), parts=["waiting", "words"])) == ""
    df = pd.read_csv(tmp_path/"benchmarks.csv", keep_default_na=False)
    waiting = df[df.part == "waiting"]
    assert set(waiting.system) == {"anchoral", "anchoral before"} and len(waiting) == 6 and (df.value > 0).all()
    assert set(df[df.part == "words"].system) == {"anchoral", "anchoral before", "anchoral, from the cache"}


def test_the_page_shows_the_committed_results():
    "Every promise with a verdict, and a reason for each that is missed."
    page = nbformat.read(ROOT/"nbs/benchmarks/speed.ipynb", 4)
    text = "\n".join(o.get("data", {}).get("text/markdown", "") for c in page.cells for o in c.get("outputs", []))
    assert text.count("| met |") >= 5 and "See the numbers below" not in text
    assert page.metadata.get("papermill") is None and (ROOT/"results/benchmarks.csv").exists()
