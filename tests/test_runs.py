"""Whole runs: the same twice, the same after SIGKILL, Ctrl-C and a full disk; HNSW against exact search;
missing packages."""
import json
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest
import tiny
from worlds import clustered, without_clocks

from anchoral.anchors import State
from anchoral.filters import anchoral
from anchoral.index import ExactIndex, HNSWIndex, _build_order, make_index
from anchoral.study.config import make_config, resolve
from anchoral.study.runs import read_iterations, run

HERE = Path(__file__).parent
HEAD = dict(task="reuters-agri", encoder="lsa", budget=200, n_anchors=3, n_neighbours=10)


@pytest.fixture(scope="session")
def finetune(tmp_path_factory):
    "A configuration of the fine-tuned learner that takes seconds: a tiny BERT with random weights."
    folder = tmp_path_factory.mktemp("tiny")/"bert"
    tiny.build("bert", folder)
    return dict(task="reuters-agri", encoder="lsa", learner="finetune", model=str(folder), budget=150,
                epochs=1, min_steps=4, model_tokens=16,
                filter="anchoral", n_anchors=3, n_neighbours=10, strategy="badge")


def spawn(config, folder, before=""):
    code = (f"import json, sys\nsys.path.insert(0, {str(HERE)!r})\nimport conftest\n{before}\n"
            "from anchoral.study.config import make_config\nfrom anchoral.study.runs import run\n"
            "run(make_config(**json.loads(sys.argv[1])), sys.argv[2])")
    return subprocess.Popen([sys.executable, "-c", code, json.dumps(config), str(folder)],
                            stderr=subprocess.PIPE, text=True)


def interrupt(process, folder, lines, sig):
    "Send `sig` as soon as the run folder has `lines` complete lines."
    path = Path(folder)/"iterations.jsonl"
    deadline = time.time() + 600
    while process.poll() is None and time.time() < deadline:
        if path.exists() and path.read_bytes().count(b"\n") >= lines: break
        time.sleep(.002)
    process.send_signal(sig)
    return process.communicate()[1]


def test_same_config_twice(tmp_path):
    a, b = run(make_config(**HEAD), tmp_path/"a"), run(make_config(**HEAD), tmp_path/"b")
    assert json.dumps(without_clocks(a)) == json.dumps(without_clocks(b))
    assert a[-1]["end"] and a[-1]["n_labelled"] == 200


def test_same_in_another_process(tmp_path):
    p = spawn(HEAD, tmp_path/"a")
    assert p.communicate()[1] is not None and p.returncode == 0
    assert without_clocks(read_iterations(tmp_path/"a")) == without_clocks(run(make_config(**HEAD), tmp_path/"b"))


@pytest.mark.parametrize("filter", ["seals", "randsub", "none", "no-anchoring"])
@pytest.mark.parametrize("strategy", ["ft-bertkm", "badge", "random"])
def test_resumed_at_any_iteration(tmp_path, filter, strategy):
    "Cutting a finished run's file after each line and continuing gives the finished run."
    config = make_config(**HEAD | dict(filter=filter, strategy=strategy, subpool_size=300))
    whole = run(config, tmp_path)
    path = tmp_path/"iterations.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    for keep in range(len(lines)):
        path.write_text("".join(lines[:keep]) + lines[keep][:17])
        assert without_clocks(run(config, tmp_path)) == without_clocks(whole)


@pytest.mark.parametrize("lines", [0, 1, 3])
def test_sigkill_head(tmp_path, lines):
    config = HEAD | dict(filter="seals", strategy="entropy")
    p = spawn(config, tmp_path/"killed")
    interrupt(p, tmp_path/"killed", lines, signal.SIGKILL)
    assert p.returncode in (-signal.SIGKILL, 0)
    killed, whole = (run(make_config(**config), tmp_path/name) for name in ("killed", "whole"))
    assert without_clocks(killed) == without_clocks(whole)


@pytest.mark.parametrize("lines", [1, 2])
def test_sigkill_finetune(tmp_path, finetune, lines):
    whole = run(make_config(**finetune), tmp_path/"whole")
    p = spawn(finetune, tmp_path/"killed")
    interrupt(p, tmp_path/"killed", lines, signal.SIGKILL)
    assert p.returncode == -signal.SIGKILL
    assert len(read_iterations(tmp_path/"killed")) < len(whole)
    assert without_clocks(run(make_config(**finetune), tmp_path/"killed")) == without_clocks(whole)


def test_ctrl_c(tmp_path):
    "One line, exit code 130, and the same command goes on."
    words = [f"{k}={v}" for k, v in (HEAD | dict(budget=1500)).items()]
    p = subprocess.Popen([str(Path(sys.executable).with_name("anchoral")), "run", *words, "--runs", str(tmp_path)],
                         stderr=subprocess.PIPE, text=True)
    folder = None
    while p.poll() is None and not folder:
        folder = next((f.parent for f in tmp_path.glob("single/*/iterations.jsonl")), None)
        time.sleep(.01)
    err = interrupt(p, folder, 2, signal.SIGINT)
    assert p.returncode == 130 and "run the same command to resume" in err and "Traceback" not in err
    assert len(read_iterations(folder)) >= 2


def test_full_disk(tmp_path):
    "A disk that fills up in the middle of a line loses that iteration and nothing else."
    limit = ("import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
             "resource.setrlimit(resource.RLIMIT_FSIZE, (2500, 2500))")
    config = HEAD | dict(strategy="entropy")
    resolve(make_config(**config))  # embeddings are cached before the limit
    ready = "import anchoral.study.config as r; r.resolve(r.make_config(**json.loads(sys.argv[1])))\n"
    p = spawn(config, tmp_path/"full", ready + limit)
    err = p.communicate()[1]
    assert p.returncode == 1 and "OSError" in err and "File too large" in err
    assert 1 <= len(read_iterations(tmp_path/"full")) < 5
    full, whole = (run(make_config(**config), tmp_path/name) for name in ("full", "whole"))
    assert without_clocks(full) == without_clocks(whole)


def test_locked(tmp_path):
    from anchoral.study.runs import locked
    with locked(tmp_path):
        code = f"from anchoral.study.runs import locked\nwith locked({str(tmp_path)!r}): pass"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "being written by another process" in done.stderr


def test_time_limit(tmp_path):
    rounds = run(make_config(**HEAD | dict(budget=1000, seconds=.05)), tmp_path)
    assert rounds[-1]["end"] == "time limit of 0.05 s reached" and rounds[-1]["n_labelled"] < 1000


def test_subpools_stay_bounded_and_seals_grows(tmp_path):
    "Figure 2 (a) as an inequality, on real text."
    sizes = {f: [r["subpool"] for r in run(make_config(**HEAD | dict(filter=f, budget=300)), tmp_path/f)][:-1]
             for f in ("anchoral", "seals")}
    assert max(sizes["anchoral"]) <= 3 * 2 * 10
    assert all(b >= a - 25 for a, b in zip(sizes["seals"], sizes["seals"][1:]))
    assert sizes["seals"][-1] > 1.5 * sizes["seals"][0]


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


BLOCKED = """
import sys
class Without:
    "A finder that does not find some packages, as on a machine that lacks them."
    def __init__(self, finder): self.finder = finder
    def __getattr__(self, name): return getattr(self.finder, name)
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"hnswlib", "torch", "transformers", "sentence_transformers"}: return None
        return self.finder.find_spec(name, path, target)
sys.meta_path[:] = [Without(f) for f in sys.meta_path]
"""


def test_without_hnswlib_and_torch(tmp_path):
    "Exact search, LSA, the head and the figures need neither; asking for HNSW or fine-tuning gives one clear line."
    code = BLOCKED + textwrap.dedent(f"""
        import numpy as np, pandas as pd
        from anchoral.study.config import make_config
        from anchoral.study.results import load_results
        from anchoral.study.runs import run
        rounds = run(make_config(**{HEAD | dict(budget=125)!r}), {str(tmp_path/'run')!r})
        assert rounds[-1]["end"]
        import matplotlib; matplotlib.use("agg")
        from anchoral.study.figures import figure2
        figure2(load_results("quick"))
        from anchoral.index import make_index
        from anchoral.finetune import FineTune
        from anchoral.embeddings import encode
        for f in (lambda: make_index(np.eye(4, dtype="float32"), "hnsw"), lambda: FineTune(n_classes=2),
                  lambda: encode(["a text nobody has encoded"], "minilm")):
            try: f()
            except ImportError as e: print(e)
            else: raise SystemExit("no error")
        assert not {{"torch", "hnswlib", "transformers", "sentence_transformers"}} & set(sys.modules)
    """)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.strip().splitlines()
    assert len(lines) == 3 and 'pip install "anchoral[hnsw]"' in lines[0]
    assert all('pip install "anchoral[torch]"' in line for line in lines[1:])


def test_a_saved_cell_again(tmp_path):
    """One cell of a Reuters task, drawn by the commit's hash, run from nothing:
    on this machine's kind exactly the saved ids."""
    import subprocess

    from anchoral.study.profiles import PROFILES, grid_cells
    from anchoral.study.verify import differs, drawn, verify
    word = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True,
                          cwd=Path(__file__).parent).stdout.strip()
    # one encoding serves them all
    of = {(p, name) for p in ("quick", "open") for name, configs in grid_cells(PROFILES[p]).items()
          if configs[0].encoder == "minilm"}
    (profile, name), = drawn(sorted(of), 1, word)
    table = verify(profile, tmp_path, 1, word, [name])
    other = differs(profile, table.run)
    print(f"\n{profile}, {name}: {(table.agree == table.of).sum()} of {len(table)} runs label the saved ids"
          + (f"; other {other}" if other else ""))
    assert len(table) == len(grid_cells(PROFILES[profile])[name])
    assert (table.differs_at != -1).all(), table  # the initial set depends on no processor
    if not other: assert (table.agree == table.of).all(), table.to_string()


def test_verify_draws_what_can_be_compared(tmp_path, monkeypatch):
    """Only cells all of whose runs are saved, and only into an empty folder:
    else nothing would be run, or nothing compared."""
    import pandas as pd

    from anchoral.study import config as config_module
    from anchoral.study import profiles, verify
    results, runs = tmp_path/"results", tmp_path/"runs"
    results.mkdir()
    runs.mkdir()
    monkeypatch.setenv("ANCHORAL_RESULTS", str(results))
    monkeypatch.setattr(verify, "warm", lambda todo: None)
    monkeypatch.setattr(verify, "run_job", lambda configs, name, runs: f"asked for {name}")
    every = profiles.grid_cells(profiles.PROFILES["tiny"])
    whole, half = list(every)[1], list(every)[2]
    saved = [config_module.run_id(c) for c in every[whole]] + [config_module.run_id(every[half][0])]
    pd.DataFrame(dict(run=saved, iteration=0, id=1)).to_parquet(results/"tiny-ids.parquet")
    for word in "abcdefgh":
        with pytest.raises(RuntimeError, match=f"^{whole}: asked for {whole}$"): verify.verify("tiny", runs, 3, word)
    (runs/"left").touch()
    with pytest.raises(ValueError, match="is not empty"): verify.verify("tiny", runs)
