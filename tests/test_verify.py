"""Saved results, made again and compared; nothing to compare is a failure."""
import subprocess
from pathlib import Path

import pandas as pd
import pytest
from saved import configs, some

from anchoral.study import config as config_module
from anchoral.study import profiles, verify
from anchoral.study import results as results_module
from anchoral.study.config import run_id
from anchoral.study.results import (
    save_results,
)


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


def test_a_saved_cell_again(tmp_path):
    """One cell of a Reuters task, drawn by the commit's hash, run from nothing:
    on this machine's kind exactly the saved ids."""

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


def test_runs_made_by_draw_are_verified_one_by_one(tmp_path, folder, monkeypatch):
    "Fine-tuned runs take long, so one saved run is enough to be drawn, whatever its grid cell lacks."
    every = [run_id(c) for cell in profiles.grid_cells(profiles.PROFILES["wordnet"]).values() for c in cell]
    pd.DataFrame(dict(run=every[3:5], iteration=0, id=1)).to_parquet(folder / "wordnet-ids.parquet")
    made = []

    def run_job(configs, name, runs):
        made.extend(map(run_id, configs))
        return "stopped here"

    monkeypatch.setattr(verify, "warm", lambda todo: None)
    monkeypatch.setattr(verify, "run_job", run_job)
    for n, word in [(1, "a"), (2, "b"), (5, "c")]:
        made.clear()
        with pytest.raises(RuntimeError, match="stopped here"):
            verify.verify("wordnet", tmp_path / "runs", n, word)
        assert len(made) == min(n, 2) and set(made) <= set(every[3:5])
