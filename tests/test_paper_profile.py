"""The paper's own grid: exactly the cells the paper prints,
and one iteration of a cell per architecture on data of the hub's schema."""
import dataclasses
from functools import partial

import numpy as np
import pandas as pd
import pytest
from test_published import HOME

from anchoral.study.config import shared_task
from anchoral.study.profiles import PROFILES, cost, grid_cells
from anchoral.study.runs import run
from anchoral.tasks import TASKS

MODEL = {"BERT-base": "bert-base", "BERT-tiny": "bert-tiny", "ALBERT-base": "albert", "DeBERTa-base": "deberta",
         "GPT-2": "gpt2", "T5-base": "t5"}
CELLS = grid_cells(PROFILES["paper"])


def key(c): return c.task, c.model, c.strategy, c.filter, c.gamma_maj, c.gamma_min, c.n_anchors, c.n_neighbours


def test_cells_are_those_of_the_tables():
    "Tables 2 and 5 at the headline settings, Table 3 at its own; its first row is a cell of Table 2."
    two, three, five = (pd.read_csv(HOME/f"table{i}.csv") for i in (2, 3, 5))
    headline = ("kmeans++", "kmeans++", 10, 50)
    want = {(r.dataset, MODEL[r.model], r.strategy, r.filter, *headline) for t in (two, five) for r in t.itertuples()}
    def own(r):
        return (r.gamma_maj, r.gamma_min, int(r.n_anchors), int(r.n_neighbours)) if r.filter == "anchoral" else headline
    want |= {("amazon-agri", "bert-base", "entropy", r.filter, *own(r)) for r in three.itertuples()}
    got = [key(c[0]) for c in CELLS.values()]
    assert len(got) == len(set(got)) and set(got) == want


def test_undecided_rows_are_listed_and_not_run():
    left = pd.read_csv(HOME/"undecided.csv")
    assert len(left) == 4 and left.reason.str.len().gt(20).all()
    known = left.dropna(subset=["model", "strategy"])
    undecided = {(r.dataset, MODEL[r.model], r.strategy, r.filter) for r in known.itertuples()}
    assert not undecided & {key(c[0])[:4] for c in CELLS.values()}


def test_runs_are_the_paper_s():
    for configs in CELLS.values():
        assert len({(c.data_seed, c.model_seed, c.order_seed) for c in configs}) == len(configs) == 8
        assert all((c.budget, c.seconds, c.query_size, c.max_subpool, c.subpool_size, c.index, c.encoder)
                   == (5000, 6*3600, 25, 10_000, 10_000, "hnsw", "mpnet") for c in configs)
    n = len(CELLS)
    assert cost(PROFILES["paper"]) == (f"{n} grid cells, {8*n} runs, up to {8*n*197:,} models trained, "
                                       f"at most {8*n*6:,} hours of training, selection and testing")


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    "Small local files of the hub's schema, one folder per data set, in words that tiny models know."
    tiny = pytest.importorskip("tiny", exc_type=ImportError)
    home, rng = tmp_path_factory.mktemp("hub"), np.random.default_rng(0)
    for name in ("amazon-agri", "agnews-bus"):
        (home/name).mkdir()
        for split, n in (("train", 900), ("test", 60)):
            texts, y = tiny.toy_texts(n, seed=len(split))
            df = pd.DataFrame(dict(uid=range(n), text=[f"{t} {i}" for i, t in enumerate(texts)], labels=y))
            if name == "amazon-agri":
                df["target_ind"] = [[246, 7] if c == 2 and rng.random() < .1 else [1, 7] for c in y]
            df.to_parquet(home/name/f"{split}.parquet")
    return home


@pytest.mark.parametrize("model", MODEL.values())
def test_one_iteration(model, hub, tmp_path, monkeypatch):
    pytest.importorskip("torch")
    tiny = pytest.importorskip("tiny")
    from anchoral.finetune import CHECKPOINTS
    kind = model.removesuffix("-base").removesuffix("-tiny")
    there = str(tiny.build(kind, tmp_path/"model"))
    monkeypatch.setitem(CHECKPOINTS, model, (there, None, CHECKPOINTS[model][2]))
    for name in ("amazon-agri", "agnews-bus"):
        monkeypatch.setitem(TASKS, name, partial(TASKS[name], source=str(hub/name)))
    shared_task.cache_clear()
    config = [configs[0] for configs in CELLS.values() if configs[0].model == model][-1]
    small = dataclasses.replace(config, budget=125, encoder="lsa", tokens=32, epochs=1, min_steps=4,
                                n_neighbours=min(config.n_neighbours, 50))
    first, last = run(small, tmp_path/"run")
    assert first["n_labelled"] == 100 and len(first["query"]) == 25 and first["subpool"] >= 25
    assert last["end"] == "budget of 125 annotations reached"
    shared_task.cache_clear()
