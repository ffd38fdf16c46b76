"""Saved results: collected whole, named by their machine, and damage that is noticed."""

import json
from pathlib import Path

import pandas as pd
import pytest
from failures import dead
from saved import FUZZ, configs, fuzz, some

from anchoral.files import append_line, sha256, sweep
from anchoral.study import profiles, verify
from anchoral.study import results as results_module
from anchoral.study.config import run_id
from anchoral.study.results import (
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
from anchoral.study.runs import read_iterations

ROOT = Path(__file__).parents[1]


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


def test_runs_are_saved_in_the_order_asked_for(runs, folder, tmp_path):
    "So that the first task of a file is the profile's first, also when its runs come later."
    wanted = [run_id(x) for x in configs(3)]
    for order in (wanted, wanted[::-1]):
        save_results("mine", some(runs, order[2:], tmp_path / f"last-{order[2]}"), "", ids=order, replace=True)
        save_results("mine", some(runs, order[:2], tmp_path / f"rest-{order[2]}"), "", ids=order, add=True)
        saved = load_results("mine")
        assert list(saved.run.unique()) == order
        assert all(rows.iteration.is_monotonic_increasing for _, rows in saved.groupby("run"))


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
    save_results("mine", some(runs, [a], tmp_path / "first"), "", ids=[a, b, c])
    assert load_about("mine")["partial"]
    save_results("mine", some(runs, [b, c], tmp_path / "second"), "", ids=[a, b, c], add=True)
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


def test_what_killed_saves_left_is_swept(runs, folder):
    pid = dead()
    (folder / f".mine.parquet.{pid}.tmp").write_text("x")
    (folder / f".folder.{pid}.tmp").mkdir()
    save_results("mine", runs, "")
    assert not list(folder.glob("*.tmp")) and not list(folder.glob(".*.tmp"))
    sweep(folder / "nosuch")
