"""One thread, no progress bars, no hub: what a test sees must not depend on the machine."""
import logging
import os
import shutil
import signal

import pytest

os.environ |= {"OMP_NUM_THREADS": "1", "TQDM_DISABLE": "1", "HF_HUB_OFFLINE": "1",
               "HF_DATASETS_DISABLE_PROGRESS_BARS": "1", "TOKENIZERS_PARALLELISM": "false",
               # milvus-lite's server answers pings and calls it has not got with errors that mean nothing
               "GRPC_VERBOSITY": "NONE"}
logging.getLogger("grpc._server").setLevel(logging.CRITICAL)


@pytest.fixture(autouse=True)
def ctrl_c_interrupts():
    "A shell that starts the tests in the background has Ctrl-C ignored, and dask-jobqueue makes it an exit."
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="module")
def three(tmp_path_factory):
    "Three finished runs."
    from saved import configs

    from anchoral.study.config import run_id
    from anchoral.study.runs import run
    home = tmp_path_factory.mktemp("three")
    for c in configs(3):
        run(c, home / run_id(c))
    return home


@pytest.fixture
def runs(three, tmp_path):
    "The same in a folder that a test may spoil."
    shutil.copytree(three, tmp_path / "runs")
    return tmp_path / "runs"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    "An empty results folder."
    (tmp_path / "results").mkdir()
    monkeypatch.setenv("ANCHORAL_RESULTS", str(tmp_path / "results"))
    return tmp_path / "results"
