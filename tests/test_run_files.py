"""Run folders and saved results: handed out once, collected whole, clocks that compare, and damage that is noticed."""

import dataclasses
import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from anchoral import cli
from anchoral.files import append_line, sha256, sweep
from anchoral.study import cluster as cluster_module
from anchoral.study import config as config_module
from anchoral.study import grid, profiles, verify
from anchoral.study import results as results_module
from anchoral.study.config import make_config, run_id
from anchoral.study.results import (
    collect,
    load_about,
    load_ids,
    load_results,
    read_digests,
    require_free_name,
    require_whole,
    save_results,
    saved_runs,
    session_of,
)
from anchoral.study.runs import read_config, read_iterations, run

ROOT = Path(__file__).parents[1]
SMALL = dict(task="reuters-agri", encoder="lsa", budget=150, n_anchors=3, n_neighbours=10)
FUZZ = int(
    os.environ.get("ANCHORAL_FUZZ", 400)
)  # thousands: ANCHORAL_FUZZ=5000 pytest tests/test_run_files.py -k fuzz


def configs(n, **more):
    return [make_config(**SMALL | more, data_seed=seed) for seed in range(n)]


@pytest.fixture(scope="module")
def three(tmp_path_factory):
    "Three finished runs."
    home = tmp_path_factory.mktemp("three")
    for c in configs(3):
        run(c, home / run_id(c))
    return home


@pytest.fixture
def runs(three, tmp_path):
    "The same in a folder that a test may spoil."
    subprocess.run(["cp", "-r", str(three), str(tmp_path / "runs")], check=True)
    return tmp_path / "runs"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    "An empty results folder."
    (tmp_path / "results").mkdir()
    monkeypatch.setenv("ANCHORAL_RESULTS", str(tmp_path / "results"))
    return tmp_path / "results"


# --- handing out ---

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
    monkeypatch.setattr(grid, "resolve", lambda c: asked.append(c.encoder))
    profile = profiles.Profile(
        "",
        SMALL,
        (dict(variant="a"), dict(variant="b", encoder="minilm")),
        profiles.head_seeds(2),
        True,
    )
    grid.warm(grid.jobs(profile))
    assert sorted(asked) == ["lsa", "minilm"]


# --- collecting ---


def test_results_name_their_clocks(runs, folder):
    df = save_results("mine", runs, "")
    for part in ("fit", "select", "test"):
        assert (df[f"processor_{part}"] >= 0).all() and df[f"processor_{part}"].notna().all()
        assert (df[f"time_{part}"] >= 0).all()
    assert "check" not in df and "processor" not in df


def test_runs_without_processor_seconds_are_still_collected(runs, folder):
    "As those made before there were any."
    name = run_id(configs(1)[0])
    rounds = read_iterations(runs / name)
    without = [{k: v for k, v in r.items() if k != "processor"} for r in rounds]
    (runs / name / "iterations.jsonl").write_text(
        "".join(json.dumps(r) + "\n" for r in without)
    )  # nor checks
    df = save_results("mine", runs, "")
    assert df.groupby("run").processor_fit.count()[name] == 0 and df.run.nunique() == 3
    assert load_results("mine").processor_fit.notna().any()


def some(runs, wanted, to):
    "A folder with only these runs."
    to.mkdir()
    for name in wanted:
        subprocess.run(["cp", "-r", str(runs / name), str(to)], check=True)
    return to


def test_collect_add_keeps_and_replaces(runs, folder, tmp_path):
    a, b, c = (run_id(x) for x in configs(3))
    save_results("mine", some(runs, [a, b], tmp_path / "first"), "one")
    before, asked = load_results("mine"), load_ids("mine")
    second = some(runs, [b, c], tmp_path / "second")
    lines = read_iterations(second / b)
    (second / b / "iterations.jsonl").unlink()
    for r in lines:
        append_line(
            second / b / "iterations.jsonl", r | dict(seconds=dict(fit=7.0, select=7.0, test=7.0))
        )
    save_results("mine", second, "two", add=True)
    df, ids, about = load_results("mine"), load_ids("mine"), load_about("mine")
    assert set(df.run) == set(ids.run) == set(about["configs"]) == saved_runs("mine") == {a, b, c}
    assert not df.duplicated(["run", "iteration"]).any() and not ids.duplicated().any()
    kept = df[df.run == a].reset_index(drop=True)
    pd.testing.assert_frame_equal(
        kept, before[before.run == a].reset_index(drop=True), check_dtype=False
    )
    assert (df[df.run == b].time_fit == 7).all()  # made anew
    assert (
        len(ids[ids.run == a]) == len(asked[asked.run == a]) == 150
    )  # and all its ids are there once
    assert "sessions" not in about  # one machine
    assert about["threads"] == [1] and not about["partial"]


def test_collect_add_knows_what_a_profile_lacks(runs, folder, tmp_path):
    a, b, c = (run_id(x) for x in configs(3))
    save_results("mine", some(runs, [a], tmp_path / "first"), "", ids={a, b, c})
    assert load_about("mine")["partial"]
    save_results("mine", some(runs, [b, c], tmp_path / "second"), "", ids={a, b, c}, add=True)
    assert not load_about("mine")["partial"] and saved_runs("mine") == {a, b, c}


def test_sessions_say_which_machine_made_a_run(runs, folder, tmp_path, monkeypatch):
    "Three machines, one after the other; one of them makes a run again."
    a, b, c = (run_id(x) for x in configs(3))
    monkeypatch.setattr(results_module, "cpu", lambda: "first")
    save_results("mine", some(runs, [a, b], tmp_path / "first"), "")
    monkeypatch.setattr(results_module, "cpu", lambda: "second")
    save_results("mine", some(runs, [c], tmp_path / "second"), "", add=True)
    about = load_about("mine")
    assert about["cpu"] == "second" and [(s["cpu"], s["runs"]) for s in about["sessions"]] == [
        ("first", sorted([a, b]))
    ]
    monkeypatch.setattr(results_module, "cpu", lambda: "third")
    save_results("mine", some(runs, [b], tmp_path / "third"), "", add=True)
    about = load_about("mine")
    assert {name: session_of(about, name)["cpu"] for name in (a, b, c)} == {
        a: "first",
        b: "third",
        c: "second",
    }
    monkeypatch.setattr(results_module, "cpu", lambda: "second")
    assert verify.differs("mine", [c]) == [] and verify.differs("mine", [a, c]) == ["cpu"]
    with pytest.raises(ValueError, match="no runs are in question"):
        verify.differs("mine", [])
    with pytest.raises(ValueError, match="unknown saved run of mine 'nosuch'"):
        verify.differs("mine", ["nosuch"])


@pytest.mark.parametrize("field", ["packages", "vectors"])
def test_each_run_is_compared_with_its_own_packages_and_vectors(
    runs, folder, tmp_path, monkeypatch, field
):
    a, b = (run_id(x) for x in configs(2))
    now = results_module.provenance

    def once(*args):
        about = now(*args)
        return about | {field: {k: "another" for k in about[field]}}

    monkeypatch.setattr(results_module, "provenance", once)
    save_results("mine", some(runs, [a], tmp_path / "first"), "")
    monkeypatch.setattr(results_module, "provenance", now)
    save_results("mine", some(runs, [b], tmp_path / "second"), "", add=True)
    assert verify.differs("mine", [b]) == [] and verify.differs("mine", [a]) == verify.differs(
        "mine", [a, b]
    ) == [field]


def test_saved_runs_are_not_lost_unasked(runs, folder, tmp_path):
    a, b, c = (run_id(x) for x in configs(3))
    save_results("mine", some(runs, [a, b], tmp_path / "first"), "")
    for again in ([a, b], [a, b, c]):  # the same, and more: nothing is lost
        save_results("mine", some(runs, again, tmp_path / f"again{len(again)}"), "")
    fewer = some(runs, [a], tmp_path / "fewer")
    with pytest.raises(
        ValueError,
        match=r"holds 3 runs, of which this would lose 2 and replace 0; nothing was written",
    ):
        save_results("mine", fewer, "")
    assert saved_runs("mine") == {a, b, c}
    with pytest.raises(ValueError, match="choose one of the two"):
        save_results("mine", fewer, "", add=True, replace=True)
    save_results("mine", fewer, "", replace=True)
    assert saved_runs("mine") == {a}


def test_saved_runs_are_not_replaced_unasked(runs, folder):
    save_results("mine", runs, "")
    name = run_id(configs(1)[0])
    lines = read_iterations(runs / name)
    (runs / name / "iterations.jsonl").unlink()
    for r in lines:
        append_line(
            runs / name / "iterations.jsonl", r | dict(seconds=dict(fit=7.0, select=7.0, test=7.0))
        )
    with pytest.raises(ValueError, match="would lose 0 and replace 1"):
        save_results("mine", runs, "")


@pytest.mark.parametrize(
    "name",
    [
        "../evil",
        "/tmp/evil",
        "a/b",
        "a\\b",
        "",
        ".",
        "..",
        "-x",
        "two\nlines",
        "a b",
        "x-ids",
        "\ud800",
        "a\0b",
        "x" * 101,
    ],
)
def test_a_name_that_no_file_should_have_is_refused(runs, folder, name):
    with pytest.raises(ValueError, match="results cannot be called"):
        save_results(name, runs, "")
    with pytest.raises(ValueError, match="results cannot be called"):
        load_results(name)
    assert not [p for p in folder.parent.rglob("*evil*")] and not list(folder.iterdir())


def test_names_of_profiles_and_of_other_files_are_taken(runs, folder):
    with pytest.raises(ValueError, match="cannot be called 'quick': that is the name of a profile"):
        require_free_name("quick", taken=profiles.PROFILES)
    assert require_free_name("mine", taken=profiles.PROFILES) == "mine"
    for name in ("digests", "benchmarks", "authors", "claims"):
        with pytest.raises(ValueError, match="is the name of another file in results/"):
            save_results(name, runs, "")
    for name in profiles.PROFILES:
        assert require_free_name(name) == name


# --- clocks ---


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


# --- damage ---


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


def test_committed_results_are_what_their_digests_say():
    digests = read_digests(ROOT / "results")
    for name, digest in digests.items():
        assert sha256(ROOT / "results" / name) == digest, name
    profiles = [p.stem.removesuffix("-ids") for p in (ROOT / "results").glob("*-ids.parquet")]
    files = [f for p in profiles for f in results_module.results_files(p)]
    files += [f"paper/{p.name}" for p in (ROOT / "results/paper").glob("*.csv")]
    assert set(files) <= set(digests), "results/ has files that digests.json does not list"


def test_a_torn_set_is_noticed(runs, folder, tmp_path):
    "A save that is killed between two of its files."
    save_results("mine", some(runs, [run_id(configs(1)[0])], tmp_path / "first"), "")
    old = {p.name: p.read_bytes() for p in folder.iterdir()}
    save_results("mine", runs, "", replace=True)
    new = {p.name: p.read_bytes() for p in folder.iterdir()}
    order = results_module.results_files("mine")
    for written in (1, 2, 3):  # digests.json is the last
        for name in order:
            (folder / name).write_bytes(new[name] if name in order[:written] else old[name])
        (folder / "digests.json").write_bytes(old["digests.json"])
        for load in (load_results, load_ids, load_about, saved_runs):
            whole = ", ".join(order[written:]) or "none"
            with pytest.raises(
                ValueError,
                match=rf"mine.parquet.*: damaged, or from another save .*whole: {whole}\. "
                "To go on, take the files of mine back .* --replace",
            ):
                load("mine")
        with pytest.raises(ValueError, match="damaged"):
            save_results("mine", runs, "", add=True)
    save_results("mine", runs, "", replace=True)
    assert load_results("mine").run.nunique() == 3


def test_a_file_of_the_set_that_is_gone_is_noticed(runs, folder):
    save_results("mine", runs, "")
    (folder / "mine-ids.parquet").unlink()
    with pytest.raises(
        ValueError, match=r"mine-ids.parquet: missing.*whole: mine.parquet, mine.json"
    ):
        load_results("mine")


def test_results_without_digests_are_accepted(runs, folder):
    "As older versions saved them."
    save_results("mine", runs, "")
    whole = load_results("mine")
    (folder / "digests.json").unlink()
    pd.testing.assert_frame_equal(load_results("mine"), whole)
    assert len(load_ids("mine")) == 450 and load_about("mine")["profile"] == "mine"
    (folder / "mine.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(
        ValueError, match=r"mine.parquet is damaged, or not a parquet file .*take it back"
    ):
        load_results("mine")
    (folder / "mine-ids.parquet").write_bytes(whole.head(3)[["f1_minority"]].to_parquet())
    with pytest.raises(ValueError, match=r"mine-ids.parquet lacks the columns id, iteration, run"):
        load_ids("mine")
    (folder / "mine.json").write_text("{")
    with pytest.raises(ValueError, match=r"mine.json is damaged"):
        load_about("mine")


@pytest.mark.parametrize("text", ["{", "[]", '{"mine.parquet": 3}', "\xff"])
def test_damaged_digests_are_named(runs, folder, text):
    save_results("mine", runs, "")
    (folder / "digests.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(
        ValueError, match="digests.json is damaged .*or delete it to read the results unchecked"
    ):
        load_results("mine")


def test_text_that_git_gave_carriage_returns_is_whole(runs, folder):
    save_results("mine", runs, "")
    path = folder / "mine.json"
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert load_about("mine")["profile"] == "mine"


def test_a_changed_table_of_the_paper_is_noticed(tmp_path):
    table = tmp_path / "paper/table2.csv"
    table.parent.mkdir()
    table.write_text("a\n1\n")
    results_module.note_digests(tmp_path, ["paper/table2.csv"])
    require_whole(tmp_path, ["paper/table2.csv"])
    table.write_text("a\n2\n")
    with pytest.raises(ValueError, match="paper/table2.csv: damaged"):
        require_whole(tmp_path, ["paper/table2.csv"])


def damage(data: bytes, rng) -> bytes:
    "The bytes as a disk, an editor or a bad copy could leave them."
    at = rng.randrange(len(data))
    to = min(len(data), at + rng.choice([1, 1, 8, 512]))
    digits = [i for i, b in enumerate(data) if 48 <= b <= 57]
    lines = data.splitlines(keepends=True)
    kind = rng.choice(["bit", "digit", "zero", "delete", "insert", "cut", "double", "swap"])
    if kind == "bit":
        return data[:at] + bytes([data[at] ^ 1 << rng.randrange(8)]) + data[at + 1 :]
    if kind == "digit" and digits:
        at = rng.choice(digits)
        return data[:at] + rng.choice("0123456789").encode() + data[at + 1 :]
    if kind == "zero":
        return data[:at] + bytes(to - at) + data[to:]
    if kind == "delete":
        return data[:at] + data[to:]
    if kind == "insert":
        return data[:at] + rng.randbytes(rng.choice([1, 4])) + data[at:]
    if kind == "cut":
        return data[:at]
    if kind == "double":
        return data[:at] + data[at:to] + data[at:]
    i = rng.randrange(len(lines))
    return b"".join([*lines[:i], *lines[i + 1 : i + 2], lines[i], *lines[i + 2 :]])


def fuzz(path, n, read, fine):
    "Damage a file `n` times; each time, reading it must fail with its folder's name or give what is right."
    whole, rng, noticed = path.read_bytes(), random.Random(f"{path.name} {n}"), 0
    for i in range(n):
        bad = damage(whole, rng)
        path.write_bytes(bad)
        try:
            got = read()
        except ValueError as e:
            noticed += 1
            assert str(path.parent) in str(e), f"damage {i}: {e}"
            assert "\n" not in str(e), f"damage {i}: {e}"
        else:
            assert fine(got), f"damage {i} was not noticed: {bad[:2000]}"
    path.write_bytes(whole)
    assert n < 20 or noticed > n / 2


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


@pytest.mark.parametrize("name", ["mine.parquet", "mine-ids.parquet", "mine.json", "digests.json"])
def test_fuzz_results(runs, folder, name):
    save_results("mine", runs, "")

    def read():
        return load_results("mine"), load_ids("mine"), load_about("mine")

    df, ids, about = read()
    fuzz(
        folder / name,
        FUZZ // 8,
        read,
        lambda got: got[0].equals(df) and got[1].equals(ids) and got[2] == about,
    )


# --- leftovers ---


def dead_pid():
    p = subprocess.Popen([sys.executable, "-c", ""])
    p.wait()
    return p.pid


def test_what_killed_processes_left_is_swept(tmp_path, runs):
    c = configs(1)[0]
    where = runs / run_id(c)
    (where / "subpools").mkdir()
    dead, alive = dead_pid(), os.getppid()
    left = [
        where / f".config.json.{dead}.tmp",
        where / f".iterations.jsonl.{dead}.tmp",
        where / "subpools" / f".0000.npy.{dead}.tmp",
    ]
    kept = [where / f".iterations.jsonl.{alive}.tmp", where / ".notes.tmp", where / "mine.tmp"]
    for p in left + kept:
        p.write_text("x")
    run(c, where)
    assert not [p for p in left if p.exists()] and all(p.exists() for p in kept)


def test_what_killed_saves_left_is_swept(runs, folder):
    dead = dead_pid()
    (folder / f".mine.parquet.{dead}.tmp").write_text("x")
    (folder / f".folder.{dead}.tmp").mkdir()
    save_results("mine", runs, "")
    assert not list(folder.glob("*.tmp")) and not list(folder.glob(".*.tmp"))
    sweep(folder / "nosuch")


# --- an empty comparison is a failure ---


def test_nothing_to_compare_is_an_error(tmp_path):
    with pytest.raises(
        ValueError,
        match="nothing to compare: there is no folder .*nosuch; `anchoral run --profile quick`",
    ):
        verify.compare("quick", tmp_path / "nosuch")
    with pytest.raises(ValueError, match="has no finished run that is saved of profile 'quick'"):
        verify.compare("quick", tmp_path)
    ids = pd.DataFrame(dict(run=["x", "x"], iteration=[-1, 0], id=[1, 2]))
    with pytest.raises(ValueError, match="nothing to compare"):
        verify.agreement(ids, ids.iloc[:0])
    with pytest.raises(ValueError, match="1 runs are not among the saved ones, the first y"):
        verify.agreement(ids, ids.assign(run="y"))


@pytest.mark.parametrize("n", [0, -1])
def test_verifying_no_cells_is_an_error(tmp_path, n):
    with pytest.raises(ValueError, match=f"at least 1 must be drawn, got {n}"):
        verify.verify("quick", tmp_path / "runs", n)


def test_a_profile_without_saved_results_is_named(tmp_path, folder):
    says = "no saved results of profile 'quick' .*make them with `anchoral run --profile quick`"
    for ask in (
        lambda: verify.compare("quick", tmp_path),
        lambda: verify.verify("quick", tmp_path / "runs"),
        lambda: verify.differs("quick", ["x"]),
    ):
        with pytest.raises(FileNotFoundError, match=says):
            ask()


def test_cells_of_which_no_run_is_saved_cannot_be_verified(tmp_path, folder):
    pd.DataFrame(dict(run=["x"], iteration=[0], id=[1])).to_parquet(folder / "quick-ids.parquet")
    with pytest.raises(
        ValueError, match="nothing to verify: of no cell of 'quick' all runs are saved"
    ):
        verify.verify("quick", tmp_path / "runs")
    with pytest.raises(ValueError, match="unknown saved cell of tiny 'nosuch'"):
        ids = [run_id(c) for cell in profiles.grid_cells(profiles.PROFILES["tiny"]).values() for c in cell]
        pd.DataFrame(dict(run=ids, iteration=0, id=1)).to_parquet(folder / "tiny-ids.parquet")
        verify.verify("tiny", tmp_path / "runs", of=["nosuch"])


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


# --- configurations ---


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


# --- notebooks in their own environment ---


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


# --- workers that die ---


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


def test_the_command_line_replaces_a_profile_s_runs_only_when_told(folder, tmp_path, capsys):
    profile = profiles.PROFILES["tiny"]
    first, second = next(iter(profiles.grid_cells(profile).values()))
    for c in (first, second):
        run(c, tmp_path / "runs/tiny" / run_id(c))
    collect_tiny = ["collect", "--profile", "tiny", "--runs", str(tmp_path / "runs")]
    assert cli.main(collect_tiny) == 1  # 2 of the 6 runs, and it says so
    assert "2 runs of 6" in capsys.readouterr().out
    where = tmp_path / "runs/tiny" / run_id(first)
    lines = read_iterations(where)
    (where / "iterations.jsonl").unlink()
    for r in lines:
        append_line(where / "iterations.jsonl", r | dict(seconds=dict(fit=7.0, select=7.0, test=7.0)))
    cli.main(collect_tiny)
    assert "would lose 0 and replace 1" in capsys.readouterr().err
    assert not (load_results("tiny").time_fit == 7).any()
    cli.main([*collect_tiny, "--replace"])
    assert (load_results("tiny").query(f"run == '{run_id(first)}'").time_fit == 7).all()


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
