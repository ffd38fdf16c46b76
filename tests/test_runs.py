"""Whole runs: the same twice, the same after SIGKILL, Ctrl-C and a full disk; HNSW against exact search;
missing packages."""
import dataclasses
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
import tiny
from failures import dead
from saved import FUZZ, configs, fuzz
from worlds import without_clocks

from anchoral.files import append_line
from anchoral.study import grid
from anchoral.study.config import make_config, resolve, run_id
from anchoral.study.results import (
    collect,
    save_results,
)
from anchoral.study.runs import read_config, read_iterations, run

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


def test_a_busy_machine_does_not_change_which_method_is_faster(tmp_path):
    """Scoring the pool takes more processor seconds than scoring a small part of it,
    even where only the small part is scored while every core is busy."""
    heavy = dataclasses.replace(configs(1)[0], filter="none", strategy="ft-bertkm", budget=200)
    light = dataclasses.replace(
        configs(1)[0], filter="randsub", strategy="ft-bertkm", subpool_size=50, budget=200
    )

    def processor(config, name):
        rounds = run(config, tmp_path / name)
        assert all(r["processor"].keys() == r["seconds"].keys() for r in rounds)
        return sum(r["processor"]["select"] for r in rounds)

    slow = processor(heavy, "heavy")
    quick = processor(light, "light")
    burners = [
        subprocess.Popen([sys.executable, "-c", "while True: pass"])
        for _ in range(2 * (os.cpu_count() or 1))
    ]
    try:
        quick_while_busy = processor(light, "busy")
    finally:
        for p in burners:
            p.kill()
            p.wait()
    assert quick < slow and quick_while_busy < slow


def test_lines_of_a_run_carry_checks_and_old_ones_are_read(runs):
    c = configs(1)[0]
    path = runs / run_id(c) / "iterations.jsonl"
    lines = path.read_text().splitlines()
    assert all("check" in json.loads(line) for line in lines)
    rounds = read_iterations(path.parent)
    assert all("check" not in r for r in rounds)
    path.write_text(
        "".join(json.dumps(r) + "\n" for r in rounds[:2])
    )  # as an older version wrote them, and unfinished
    again = run(c, path.parent)
    clocks = ("seconds", "processor")
    assert [{k: v for k, v in r.items() if k not in clocks} for r in again] == [
        {k: v for k, v in r.items() if k not in clocks} for r in rounds
    ]
    assert read_iterations(path.parent) == again


def test_a_changed_digit_is_noticed_and_the_message_says_how_to_go_on(runs, folder):
    c = configs(1)[0]
    path = runs / run_id(c) / "iterations.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    lines[1] = lines[1].replace('"n_labelled": 125', '"n_labelled": 135')
    path.write_text("".join(lines))
    for read in (
        lambda: read_iterations(path.parent),
        lambda: run(c, path.parent),
        lambda: save_results("mine", runs, ""),
    ):
        with pytest.raises(
            ValueError,
            match=r"iterations.jsonl, line 2 is damaged .*the 1 lines before it are whole; "
            r"to run it again from nothing, delete .*",
        ):
            read()
    assert not grid.is_done(c, runs) and grid.is_done(configs(2)[1], runs)


def test_lines_of_a_newer_version_are_not_misread(runs, folder):
    folder_of = runs / run_id(configs(1)[0])
    rounds = read_iterations(folder_of)
    (folder_of / "iterations.jsonl").unlink()
    for r in rounds:
        append_line(folder_of / "iterations.jsonl", r | dict(confidence=0.5))
    with pytest.raises(
        ValueError,
        match="it has confidence, as a newer version of anchoral may write; update anchoral",
    ):
        read_iterations(folder_of)
    fields = read_config(folder_of)
    (folder_of / "config.json").write_text(json.dumps(fields | dict(moon="full")))
    with pytest.raises(
        ValueError,
        match="has the fields moon, which this version of anchoral does not know: update",
    ):
        read_config(folder_of)


@pytest.mark.parametrize(
    "field, value", [("n_anchors", 4), ("data_seed", 7), ("variant", "x"), ("noise", 0.5)]
)
def test_a_configuration_that_is_not_its_folder_s_is_refused(runs, folder, field, value):
    c = configs(1)[0]
    path = runs / run_id(c) / "config.json"
    path.write_text(json.dumps(read_config(path.parent) | {field: value}))
    with pytest.raises(
        ValueError,
        match=rf"{path} is damaged: its fields are those of a run named .*, not {run_id(c)}",
    ):
        collect(runs)
    with pytest.raises(ValueError, match=f"holds another configuration, which differs in {field}"):
        run(c, path.parent)
    assert not grid.is_done(c, runs)


def test_a_folder_with_a_name_of_its_own_can_be_collected(tmp_path):
    run(configs(1)[0], tmp_path / "my-first-run")
    assert set(collect(tmp_path).run) == {"my-first-run"}


def test_fuzz_rounds(runs):
    "Noticed, or only the last lines are missing: then the run is resumed from there."
    where = runs / run_id(configs(1)[0])
    rounds = read_iterations(where)
    fuzz(
        where / "iterations.jsonl",
        FUZZ // 4,
        lambda: read_iterations(where),
        lambda got: got == rounds[: len(got)],
    )


def test_fuzz_config(runs):
    df, where = collect(runs), runs / run_id(configs(1)[0])
    # the folder of a run without config.json is none: what it holds is left out, as a folder of something else is
    fuzz(where / "config.json", FUZZ // 8, lambda: collect(runs), lambda got: got.equals(df))


def test_what_killed_processes_left_is_swept(tmp_path, runs):
    c = configs(1)[0]
    where = runs / run_id(c)
    (where / "subpools").mkdir()
    gone, alive = dead(), os.getppid()
    left = [
        where / f".config.json.{gone}.tmp",
        where / f".iterations.jsonl.{gone}.tmp",
        where / "subpools" / f".0000.npy.{gone}.tmp",
    ]
    kept = [where / f".iterations.jsonl.{alive}.tmp", where / ".notes.tmp", where / "mine.tmp"]
    for p in left + kept:
        p.write_text("x")
    run(c, where)
    assert not [p for p in left if p.exists()] and all(p.exists() for p in kept)


def test_damaged_or_foreign_run_folder(tmp_path):
    c = make_config(task="reuters-agri", encoder="lsa", budget=100)
    run(c, tmp_path)
    with pytest.raises(ValueError, match="holds another configuration, which differs in budget"):
        run(make_config(task="reuters-agri", encoder="lsa", budget=125), tmp_path)
    lines = (tmp_path/"iterations.jsonl").read_text()
    (tmp_path/"iterations.jsonl").write_text(lines.replace('"iteration": 0', '"iteration": 7'))
    with pytest.raises(ValueError, match="line 1 is damaged"): run(c, tmp_path)
    (tmp_path/"iterations.jsonl").write_text(lines)
    (tmp_path/"config.json").write_text("{")
    with pytest.raises(ValueError, match="config.json is damaged"): run(c, tmp_path)


def test_iterations_without_a_configuration(tmp_path):
    (tmp_path/"iterations.jsonl").write_text("")
    with pytest.raises(ValueError, match="has iterations but no config.json"):
        run(make_config(task="reuters-agri", encoder="lsa"), tmp_path)
