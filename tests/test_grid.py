"""What one process does, a whole profile, and the kernel that notebooks run in."""
import dataclasses
import json

import pytest
from saved import SMALL

from anchoral.study import cluster as cluster_module
from anchoral.study import grid, profiles, verify
from anchoral.study.config import make_config, run_id
from anchoral.study.results import (
    save_results,
    saved_runs,
)
from anchoral.study.runs import run

BY_DRAW = [name for name, p in profiles.PROFILES.items() if p.by_draw]


@pytest.mark.parametrize("name", BY_DRAW)
def test_draws_hand_out_every_run_once(name):
    profile = profiles.PROFILES[name]
    every = [c for cell in profiles.grid_cells(profile).values() for c in cell]
    given = [c for job in grid.jobs(profile).values() for c in job]
    assert len(given) == len(every) == len({run_id(c) for c in given})
    assert {run_id(c) for c in given} == {run_id(c) for c in every}


@pytest.mark.parametrize("name", BY_DRAW)
def test_all_settings_of_a_task_and_draw_are_one_job(name):
    profile = profiles.PROFILES[name]
    blocks = [[cell[0].task] for cell in profiles.grid_cells(profile).values()]
    tasks = [
        b[0] for i, b in enumerate(blocks) if i == 0 or blocks[i - 1] != b
    ]  # neighbours of one task are one block
    per_block = {}
    for job, members in grid.jobs(profile).items():
        number, task = int(job.split("-")[0]), members[0].task
        assert task == tasks[number - 1] and {c.task for c in members} == {task}
        assert len({(c.data_seed, c.model_seed, c.filter_seed) for c in members}) == 1
        settings = [
            dataclasses.replace(c, **{f: 0 for f in vars(c) if f.endswith("_seed")})
            for c in members
        ]
        assert len(set(settings)) == len(settings)
        per_block.setdefault(number, []).append(set(settings))
    assert all(block == [block[0]] * 8 for block in per_block.values())
    assert list(per_block) == list(range(1, len(tasks) + 1))  # in order


@pytest.mark.parametrize("name", BY_DRAW)
def test_order_within_a_draw_is_random_and_fixed(name):
    profile = profiles.PROFILES[name]
    first, second = grid.jobs(profile), grid.jobs(profile)
    assert first == second and list(first) == list(second)
    orders = {
        tuple(
            dataclasses.replace(c, **{f: 0 for f in vars(c) if f.endswith("_seed")})
            for c in members
        )
        for job, members in first.items()
        if job.startswith("1-")
    }
    assert len(orders) > 1


def test_settings_of_other_seeds_cannot_share_draws():
    odd = profiles.Profile(
        "",
        dict(task="reuters-agri", encoder="lsa"),
        (*profiles.settings("anchoral"), dict(filter="seals", seeds=profiles.head_seeds(2))),
        profiles.head_seeds(3),
        by_draw=True,
    )
    with pytest.raises(ValueError, match="settings of 'reuters-agri' have different seeds"):
        grid.jobs(odd)


def test_groups_are_cells_or_draws():
    tiny = profiles.PROFILES["tiny"]
    assert grid.jobs(tiny) == profiles.grid_cells(tiny)
    by_draw = dataclasses.replace(tiny, by_draw=True)
    assert list(grid.jobs(by_draw)) == ["1-reuters-agri-draw-0", "1-reuters-agri-draw-1"]


def test_two_cells_of_one_name():
    from anchoral.study.profiles import Profile, grid_cells
    with pytest.raises(ValueError, match="two cells are named"):
        grid_cells(Profile("", {}, (dict(C=1.0), dict(C=2.0)), ({},)))


@pytest.mark.parametrize("by_draw", [False, True])
def test_jobs_leave_out_what_is_done_or_saved(tmp_path, by_draw):
    profile = profiles.Profile(
        "", SMALL, profiles.settings("anchoral", "seals"), profiles.head_seeds(3), by_draw
    )
    every = [c for job in grid.jobs(profile).values() for c in job]
    done, saved, rest = every[0], every[1:3], every[3:]
    run(done, tmp_path / run_id(done))
    left = grid.jobs_left(profile, tmp_path, {run_id(c) for c in saved})
    assert [c for job in left.values() for c in job] == rest
    assert list(left) == [n for n, job in grid.jobs(profile).items() if set(job) & set(rest)]
    assert grid.jobs_left(profile, tmp_path, {run_id(c) for c in every}) == {}


def test_a_profile_runs_by_draw_and_leaves_out_saved_runs(tmp_path, folder):
    profile = profiles.Profile(
        "", dict(SMALL, budget=125), profiles.settings("anchoral", "seals"), profiles.head_seeds(2), True
    )
    first = next(iter(grid.jobs(profile).values()))
    for c in first:
        run(c, tmp_path / "before" / run_id(c))
    save_results("mine", tmp_path / "before", "")
    summary = grid.run_profile(
        profile, tmp_path / "runs", say=lambda line: None, saved=saved_runs("mine")
    )
    assert summary.ran == ["1-reuters-agri-draw-1"] and summary.skipped == ["1-reuters-agri-draw-0"]
    made = {p.parent.name for p in (tmp_path / "runs").glob("*/config.json")}
    assert len(made) == 2 and not made & saved_runs("mine")


def test_all_that_a_draw_needs_is_prepared(monkeypatch):
    "The runs of a draw need not share an encoder."
    asked = []
    monkeypatch.setattr(grid, "prepare", lambda c: asked.append(c.encoder))
    profile = profiles.Profile(
        "",
        SMALL,
        (dict(variant="a"), dict(variant="b", encoder="minilm")),
        profiles.head_seeds(2),
        True,
    )
    grid.warm(grid.jobs(profile))
    assert sorted(asked) == ["lsa", "minilm"]


@pytest.mark.parametrize("workers", [0, -1])
def test_no_workers_are_refused(tmp_path, workers):
    tiny = profiles.PROFILES["tiny"]
    for ask in (
        lambda: grid.run_profile(tiny, tmp_path, workers),
        lambda: verify.verify("quick", tmp_path, workers=workers),
        lambda: cluster_module.run_on_cluster(tiny, tmp_path, workers=workers),
        lambda: cluster_module.local_workers(workers),
    ):
        with pytest.raises(ValueError, match=f"workers must be at least 1, got {workers}"):
            ask()


def kernel_of_somebody_else(home):
    "A kernel named python3 that runs another program."
    where = home / "kernels/python3"
    where.mkdir(parents=True)
    argv = ["/usr/bin/false", "-f", "{connection_file}"]
    (where / "kernel.json").write_text(
        json.dumps(dict(argv=argv, display_name="mine", language="python"))
    )


@pytest.fixture
def look_again():
    grid.require_kernel.cache_clear()
    yield
    grid.require_kernel.cache_clear()


def test_the_environment_s_kernel_comes_before_the_user_s(tmp_path, monkeypatch, look_again):
    kernel_of_somebody_else(tmp_path)
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(tmp_path))
    grid.require_kernel()


def test_a_foreign_kernel_is_named_before_long_work(tmp_path, monkeypatch, look_again):
    kernel_of_somebody_else(tmp_path)
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path))
    monkeypatch.setattr(grid, "warm", lambda todo: pytest.fail("long work began"))
    for ask in (
        lambda: grid.run_profile(profiles.PROFILES["tiny"], tmp_path / "runs"),
        lambda: verify.verify("quick", tmp_path / "runs"),
        lambda: grid.papermill("x.ipynb", tmp_path / "y.ipynb", {}),
    ):
        with pytest.raises(
            RuntimeError,
            match=rf"would run with /usr/bin/false and not with .*: the kernel python3 in "
            rf"{tmp_path}.* comes first",
        ):
            ask()


def page(tmp_path, *cells):
    import nbformat

    kernel = dict(name="python3", display_name="python3")
    book = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(c) for c in cells], metadata=dict(kernelspec=kernel)
    )
    nbformat.write(book, tmp_path / "page.ipynb")
    return tmp_path / "page.ipynb"


@pytest.mark.parametrize(
    "last, says",
    [
        ("raise ValueError('first\\nsecond')", "cell [2]: ValueError: first second"),
        (
            "import os; os._exit(1)",
            "the kernel died, as it does when memory runs out; fewer workers need less",
        ),
        ("import sys; print('chatter', file=sys.stderr)", ""),
    ],
)
def test_papermill_names_the_cell_and_the_cause(tmp_path, last, says):
    assert grid.papermill(page(tmp_path, "a = 1", last), tmp_path / "out.ipynb", {}) == says


@pytest.mark.parametrize("pictures", [True, False])
def test_an_executed_copy_has_its_pictures_unless_they_are_not_wanted(tmp_path, pictures):
    figure = "%matplotlib inline\nfrom matplotlib.figure import Figure\nFigure().subplots().figure"
    out = tmp_path / "out.ipynb"
    assert grid.papermill(page(tmp_path, figure), out, {}, pictures=pictures) == ""
    assert ("image/png" in out.read_text()) is pictures


def test_a_failed_cell_names_its_run(tmp_path):
    good, bad = (
        make_config(**SMALL | dict(budget=100)),
        make_config(**SMALL | dict(initial_group="cotton-candy"), data_seed=3),
    )
    error = grid.run_job([good, bad], "two", tmp_path)
    assert error.startswith(
        f"run {run_id(bad)}, data seed 3, cell [4]: ValueError: unknown sub-cluster 'cotton-candy'"
    )
    assert grid.is_done(good, tmp_path)
