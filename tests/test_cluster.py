"""Runs on Dask: workers that die, locks that are held, job queues, and what a wrong word says."""
import json
import logging
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

import nbformat
import pytest
from saved import configs
from worlds import without_clocks

from anchoral import cli
from anchoral.study import cluster as cluster_module
from anchoral.study import profiles
from anchoral.study.config import run_id
from anchoral.study.runs import locked, read_iterations, run

ROOT = Path(__file__).parents[1]
TINY = profiles.Profile("", dict(task="reuters-agri", encoder="lsa", strategy="entropy", budget=700,
                             n_anchors=3, n_neighbours=10),
                    profiles.settings("anchoral", "seals"), profiles.head_seeds(1))


def start(*words, env=None):
    return subprocess.Popen([sys.executable, "-m", *words], env=os.environ | (env or {}),
                            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def until(what, seconds=600):
    "What `what()` gives, once it gives something."
    end = time.time() + seconds
    while time.time() < end:
        if found := what(): return found
        time.sleep(.005)
    raise TimeoutError(what)


@pytest.fixture(scope="module")
def serial(tmp_path_factory):
    "The same grid, one run after the other in this process."
    home = tmp_path_factory.mktemp("serial")
    for configs in profiles.grid_cells(TINY).values():
        for c in configs: run(c, home/run_id(c))
    return home


def victim(client, runs):
    "The process of a worker whose run is under way: two iterations done, and not its last."
    for address, keys in client.processing().items():
        for key in keys:
            rounds = read_iterations(runs/key.split("-")[1]) if key.startswith("run-") else []
            if len(rounds) >= 2 and not rounds[-1]["end"]: return address, key.split("-")[1]


@pytest.mark.parametrize("deaths_allowed", [3, 0])
def test_a_worker_that_dies_loses_nothing(tmp_path, serial, deaths_allowed):
    """A scheduler and two workers on loopback; one is killed in mid-run.
    Dask moves its run, or, where it gives up on it, we do."""
    from distributed import Client
    address, runs, said = tmp_path/"scheduler.json", tmp_path/"runs", []
    processes = [start("distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard",
                       "--scheduler-file", str(address),
                       env={"DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": str(deaths_allowed)})]
    try:
        where = until(lambda: address.exists() and json.loads(address.read_text() or "{}").get("address"))
        processes += [start("distributed.cli.dask_worker", where, "--host", "127.0.0.1", "--nthreads", "1",
                            "--no-nanny", "--no-dashboard", "--local-directory", str(tmp_path)) for _ in "ab"]
        with Client(where) as client:
            client.wait_for_workers(2, timeout=600)
            pids = client.run(os.getpid)
            assert sorted(pids.values()) == sorted(p.pid for p in processes[1:])
            def go_on(): said.append(cluster_module.run_on_cluster(TINY, runs, where, say=lambda line: None))
            thread = Thread(target=go_on)
            thread.start()
            worker, cut = until(lambda: victim(client, runs))
            os.kill(pids[worker], signal.SIGKILL)
            before = len(read_iterations(runs/cut))
            thread.join(90)
        assert str(said[0]) == "2 grid cells ran, 0 were done before, 0 failed"
    finally:
        for p in processes: p.kill(); p.wait()
    for folder in serial.iterdir():
        a, b = read_iterations(folder), read_iterations(runs/folder.name)
        assert json.dumps(without_clocks(a)).encode() == json.dumps(without_clocks(b)).encode()
        assert (folder/"config.json").read_bytes() == (runs/folder.name/"config.json").read_bytes()
        if folder.name == cut: assert 2 <= before < len(a)


def test_a_held_lock_is_waited_for(tmp_path):
    "A lost worker may still be writing when its run is given out again."
    profile = profiles.Profile("", dict(TINY.base, budget=125), TINY.settings[:1], TINY.seeds)
    (config,) = next(iter(profiles.grid_cells(profile).values()))
    got = []
    with locked(tmp_path):
        thread = Thread(target=lambda: got.append(cluster_module.run_there(config, tmp_path)))
        thread.start()
        time.sleep(.3)
        assert not got and not (tmp_path/"iterations.jsonl").exists()
    thread.join(60)
    assert got == ["budget of 125 annotations reached"]
    with locked(tmp_path), pytest.raises(OSError): cluster_module.run_there(config, tmp_path, wait=.01)


def test_a_run_that_fails_does_not_stop_the_others(tmp_path):
    from distributed import Client, LocalCluster
    broken = profiles.Profile("", dict(task="reuters-agri", encoder="lsa", budget=125),
                              (dict(variant="good"), dict(variant="bad", initial_group="cotton-candy")),
                              profiles.head_seeds(1))
    lines = []
    with LocalCluster(n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None,
                      silence_logs=logging.CRITICAL) as cluster, Client(cluster):
        summary = cluster_module.run_on_cluster(broken, tmp_path, cluster, say=lines.append)
        again = cluster_module.run_on_cluster(broken, tmp_path, cluster, say=lines.append)
    assert list(summary.failed) == ["reuters-agri-head-entropy-bad"]
    assert "cotton-candy" in next(iter(summary.failed.values()))
    assert summary.ran == again.skipped == ["reuters-agri-head-entropy-good"]
    assert lines[0].startswith("dashboard: ") and any("good, data seed 100: done" in line for line in lines)


@pytest.mark.parametrize("queue", cluster_module._QUEUES)
def test_job_scripts(queue, monkeypatch):
    "The example of the notebook is a configuration dask-jobqueue takes."
    import dask
    import dask_jobqueue  # its defaults, which a file of yours is merged into
    import yaml
    assert dask_jobqueue.__version__
    text = "\n".join(c.source for c in nbformat.read(ROOT/"nbs/study/cluster.ipynb", 4).cells)
    config = yaml.safe_load(re.search(r"```yaml\n(.*?)```", text, re.S)[1])
    if queue != "slurm":
        more = {k: yaml.safe_load("{" + v + "}") for k, v in re.findall(r"(PBS|SGE|LSF)(?: takes)? `([^`]+)`", text)}
        job = {k: v for k, v in config["jobqueue"]["slurm"].items() if k != "job-extra-directives"}
        config = {"jobqueue": {queue: job | more[queue.upper()]}}
    settings = {f"jobqueue.{queue}.{k}": v for k, v in config["jobqueue"][queue].items()}
    with dask.config.set(settings), cluster_module._make_cluster(queue, 0) as cluster:
        script = cluster.job_script()
    assert "ANCHORAL_CACHE=/shared/anchoral" in script and "distributed.cli.dask_worker" in script
    assert "--nthreads 1" in script
    assert {"slurm": "--gres=gpu:1", "pbs": "ngpus=1", "sge": "gpu=1", "lsf": '-gpu "num=1"'}[queue] in script


def test_what_a_wrong_word_says(tmp_path, capsys):
    assert cli.main(["run", "task=reuters-agri", "--cluster"]) == 1 and "--profile" in capsys.readouterr().err
    for where, says in [("slrum", "did you mean 'slurm'"), ("slurm", "jobqueue.yaml does not describe a job of slurm")]:
        assert cli.main(["run", "--profile", "tiny", "--runs", str(tmp_path), "--cluster", where]) == 1
        assert says in capsys.readouterr().err
    with pytest.raises(ValueError, match="workers must be at least 1"):
        cluster_module.run_on_cluster(TINY, tmp_path, workers=0)


def test_a_cluster_that_cannot_be_closed_does_not_hide_what_went_wrong():
    @contextmanager
    def cannot_close():
        yield "open"
        raise AssertionError("can only join a started process")  # what Dask says of a worker it starts again

    @contextmanager
    def fails_on_closing():
        try: yield "open"
        finally: raise AssertionError("can only join a started process")
    with pytest.raises(RuntimeError, match="own error"), cluster_module._closed_at_the_end(fails_on_closing()):
        raise RuntimeError("the run's own error")
    with pytest.raises(AssertionError), cluster_module._closed_at_the_end(cannot_close()): pass


class Future:
    def __init__(self, error):
        self.error = error

    def exception(self):
        return self.error


class Client:
    def __init__(self, error):
        self.error = error

    def submit(self, *args, **how):
        return Future(self.error)


def test_a_local_cluster_that_lost_its_workers_is_not_waited_for(monkeypatch):
    distributed = pytest.importorskip("distributed")

    class Alone:
        def scheduler_info(self):
            return {"workers": {}}

    def never(futures, timeout, return_when):
        assert timeout == 10
        raise TimeoutError

    monkeypatch.setattr(distributed, "wait", never)
    with pytest.raises(RuntimeError, match="none was started again"):
        cluster_module._ended(Alone(), [Future(None)], is_local=True)


def test_workers_that_die_while_texts_are_encoded_are_one_line(monkeypatch):
    pytest.importorskip("distributed")
    monkeypatch.setattr(cluster_module, "_ended", lambda client, futures, is_local: futures)
    from types import SimpleNamespace

    from distributed.scheduler import KilledWorker

    todo = {"cell": configs(1)}
    died = KilledWorker("warm-1", SimpleNamespace(address="tcp://x"), 3)
    with pytest.raises(
        RuntimeError, match="^fetching, encoding and indexing reuters-agri killed 4 workers, .*$"
    ) as e:
        cluster_module._warm_there(Client(died), todo)
    assert "\n" not in str(e.value)
    with pytest.raises(OSError, match="no network"):
        cluster_module._warm_there(Client(OSError("no network")), todo)
    cluster_module._warm_there(Client(None), todo)
    assert cluster_module._in_words(died).startswith("its workers died, one after another")
    assert cluster_module._in_words(ValueError("two\nlines")) == "ValueError: two lines"


DIES = """
import logging, os, signal, sys
from anchoral.study import cluster as cluster_module, profiles

def warm(todo):
    import os, signal, time
    time.sleep(5) # Dask does not start a worker again that dies while it starts
    os.kill(os.getpid(), signal.SIGKILL)

if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    cluster_module.warm = warm
    profile = profiles.Profile("", dict(task="reuters-agri", encoder="lsa", budget=125),
                           profiles.settings("anchoral"), profiles.head_seeds(1))
    try:
        cluster_module.run_on_cluster(profile, sys.argv[1], workers=1, say=lambda line: None)
    except RuntimeError as e:
        sys.exit(str(e))
"""


def test_a_cluster_whose_workers_die_prints_one_line(tmp_path):
    pytest.importorskip("distributed")
    (tmp_path / "dies.py").write_text(DIES)
    done = subprocess.run(
        [sys.executable, str(tmp_path / "dies.py"), str(tmp_path / "runs")],
        capture_output=True,
        text=True,
    )
    (line,) = (done.stdout + done.stderr).strip().splitlines()
    assert done.returncode == 1 and "reuters-agri killed 4 workers, one after another" in line
