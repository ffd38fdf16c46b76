"""What a configuration refuses, and the names of runs."""
import dataclasses
import re
from pathlib import Path

import numpy as np
import pytest
from saved import SMALL

from anchoral.data import Task
from anchoral.study import config as config_module
from anchoral.study import profiles
from anchoral.study.config import make_config, run_id
from anchoral.study.results import (
    load_about,
)
from anchoral.study.runs import read_iterations, run

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("fields, says", [
    (dict(task="reuters-metal"), "unknown task 'reuters-metal'; did you mean 'reuters-metals'?"),
    (dict(filter="seal"), "did you mean 'seals'?"), (dict(strategy="margin"), "unknown strategy 'margin'"),
    (dict(learner="heads"), "did you mean 'head'?"), (dict(gamma_min="kmeans"), "did you mean 'kmeans++'?"),
    (dict(anchors=3), "did you mean 'n_anchors'?"), (dict(n_neighbours=0), "n_neighbours must be at least 1, got 0"),
    (dict(n_anchors=0), "n_anchors must be at least 1, got 0"),
    (dict(n_anchors=True), "n_anchors must be of type int, got True"),
    (dict(budget=99), "budget 99 is below the initial set of 100"),
    (dict(max_subpool=24), "max_subpool 24 is below query_size 25"),
    (dict(filter="randsub", subpool_size=3), "subpool_size 3 is below query_size 25"),
    (dict(seconds=-1.0), "seconds must be 0 or more, got -1.0"),
    (dict(task=3), "task must be of type str, got 3"), (dict(encoder="minlm"), "did you mean 'minilm'?"),
    (dict(index="fiass"), "unknown index 'fiass'"),
    (dict(learner="finetune", model="bert"), "bert"),
    (dict(C=float("nan")), "C must be above 0, got nan"), (dict(data_seed=-1), "data_seed must be 0 or more, got -1"),
])
def test_config(fields, says):
    with pytest.raises(ValueError, match=re.escape(says)): make_config(**fields)


def test_one_value_one_name():
    from anchoral.study.config import run_id
    assert run_id(make_config(C=300)) == run_id(make_config(C=300.0))
    assert run_id(make_config(lr=0.0)) == run_id(make_config(lr=0))


def test_unknown_group_comes_before_long_work(tmp_path):
    with pytest.raises(ValueError, match="unknown sub-cluster 'coffe'; did you mean 'coffee'?"):
        run(make_config(task="reuters-agri", initial_group="coffe"), tmp_path)


def test_random_sampling_within_a_subpool_is_not_the_baseline():
    from anchoral.study.config import variant_of
    assert variant_of(vars(make_config(strategy="random"))) == "anchoral"
    assert variant_of(vars(make_config(strategy="random", filter="none"))) == "random"
    assert variant_of(vars(make_config(filter="none"))) == "none"


def test_initial_set_without_a_class():
    from anchoral.study.config import draw_initial
    texts = [f"text {i}" for i in range(400)]
    labels = np.zeros(400, int)
    labels[:10], labels[10] = 2, 1
    task = Task("mine", texts, labels, ("often", "once", "rare"), (2,), texts[:3], labels[:3])
    config = make_config(n_initial=20, budget=400)
    with pytest.raises(ValueError, match=r"nothing of \['once'\].*raise n_initial"): draw_initial(config, task)


@pytest.mark.parametrize(
    "field, value",
    [
        ("model", "bert-tiny"),
        ("lr", 1e-3),
        ("epochs", 3),
        ("min_steps", 5),
        ("batch_size", 4),
        ("model_tokens", 32),
        ("layers", 1),
        ("amp", True),
    ],
)
def test_a_field_of_the_other_learner_is_refused(field, value):
    with pytest.raises(
        ValueError, match=f"^{field}={value!r} has no effect: the learner 'head' does not read it"
    ):
        make_config(**{field: value})
    assert getattr(make_config(learner="finetune", **{field: value}), field) == value


@pytest.mark.parametrize("field, value", [("C", 1.0), ("balanced", True)])
def test_a_field_of_the_head_is_refused_with_finetune(field, value):
    with pytest.raises(
        ValueError,
        match=f"^{field}={value!r} has no effect: the learner 'finetune' does not read it",
    ):
        make_config(learner="finetune", **{field: value})
    assert getattr(make_config(**{field: value}), field) == value


def test_every_profile_and_every_saved_configuration_is_still_one():
    "And still has its name."
    for profile in profiles.PROFILES.values():
        assert profiles.grid_cells(profile)
    for path in sorted((ROOT / "results").glob("*-ids.parquet")):
        for name, fields in load_about(path.stem.removesuffix("-ids"), ROOT / "results")[
            "configs"
        ].items():
            assert run_id(make_config(**fields)) == name
    assert run_id(make_config()) == "066307bec28e23bf"


@pytest.mark.parametrize("field", ["variant", "initial_group", "encoder", "model"])
@pytest.mark.parametrize(
    "text", ["two\nlines", "tab\there", "\rback", "nul\0", "half \ud83d", "line\u2028", "\x1b[31m"]
)
def test_a_name_that_no_line_could_hold_is_refused(field, text):
    with pytest.raises(
        ValueError, match=f"^{field} holds .* at position .*, which is no printable character"
    ):
        make_config(**{field: text})


def test_names_in_any_language_are_taken():
    assert make_config(variant="größer, 更大 🎉").variant == "größer, 更大 🎉"


def test_a_budget_above_the_pool_is_refused_before_any_work(tmp_path):
    c = make_config(**SMALL | dict(budget=100_000))
    with pytest.raises(
        ValueError,
        match="budget 100000 is above the pool of 'reuters-agri', which has 6207 instances",
    ):
        run(c, tmp_path)
    assert read_iterations(tmp_path) == []
    config_module.draw_initial(dataclasses.replace(c, budget=6207), config_module.shared_task("reuters-agri"))


def test_pool_smaller_than_query(tmp_path, monkeypatch):
    from anchoral import tasks
    from anchoral.study import config as config_module
    small = Task("small", [f"word{i} text" for i in range(110)], np.r_[np.ones(10, int), np.zeros(100, int)],
                 ("a", "b"), (1,), ["word1 text"], np.array([0]))
    monkeypatch.setitem(tasks.load_task.__globals__["TASKS"], "small", lambda: small)
    config_module.shared_task.cache_clear()
    with pytest.raises(ValueError, match="fewer than the initial set and one query"):
        run(make_config(task="small", encoder="lsa", budget=110), tmp_path)
