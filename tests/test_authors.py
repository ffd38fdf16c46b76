"The authors' own runs: read from small local files of their shape, and drawn by the pages that draw ours."
import os
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anchoral.study.authors import authors_runs, curve, save_authors, to_authors
from anchoral.study.results import load_results

FILES = { # file of the export -> its last column
    "hparams.tsv": "strategy.name",
    "metrics.parquet": "value",
    "labelled_ids.parquet": "cum_n",
    "subpool_ids.parquet": "subpool_ids",
}
FIRST_MAJORITY_ID = 10**6 # in an export that we made: smaller ids are of the minority


@given(st.lists(st.floats(0, 1), min_size=2, max_size=60))
def test_curve_has_the_areas(scores):
    f = np.array(scores)
    areas = np.r_[0, np.cumsum((f[1:] + f[:-1]) / 2)]
    back = curve(areas)
    assert ((back >= 0) & (back <= 1)).all()
    np.testing.assert_allclose(np.r_[0, np.cumsum((back[1:] + back[:-1]) / 2)], areas, atol=1e-9)
    # one unknown number, its sign alternating
    np.testing.assert_allclose(np.abs(back - f), np.abs(back[0] - f[0]), atol=1e-9)


@pytest.fixture(scope="module")
def export(tmp_path_factory):
    d = tmp_path_factory.mktemp("export")
    to_authors(load_results("quick").query("variant in ['anchoral', 'seals', 'randsub', 'none', 'random']"), d)
    corpus = pd.DataFrame(dict(uid=range(FIRST_MAJORITY_ID), text="", labels=0))
    corpus = corpus.assign(target_ind=[[246]] * FIRST_MAJORITY_ID)
    corpus.to_parquet(d/"train.parquet")
    return d


@pytest.mark.parametrize("file", FILES)
def test_missing_file_and_column(export, tmp_path, file):
    for f in FILES: (tmp_path/f).write_bytes((export/f).read_bytes())
    df = pd.read_csv(tmp_path/file, sep="\t") if file.endswith("tsv") else pd.read_parquet(tmp_path/file)
    last = FILES[file]
    lacking = df.drop(columns=last)
    lacking.to_csv(tmp_path/file, sep="\t", index=False) if file.endswith("tsv") else lacking.to_parquet(tmp_path/file)
    with pytest.raises(ValueError, match=f"lacks the columns {last}"): authors_runs(tmp_path, {})
    (tmp_path/file).unlink()
    with pytest.raises(FileNotFoundError, match=f"does not hold {file}"): authors_runs(tmp_path, {})


def test_unknown_name(export, tmp_path):
    for f in FILES: (tmp_path/f).write_bytes((export/f).read_bytes())
    hparams = pd.read_csv(export/"hparams.tsv", sep="\t").replace("amazon-agri", "amazon-agry")
    hparams.to_csv(tmp_path/"hparams.tsv", sep="\t", index=False)
    with pytest.raises(ValueError, match="unknown data set of the authors 'amazon-agry'; did you mean 'amazon-agri'"):
        authors_runs(tmp_path, {})


def test_a_run_without_subpools(export, tmp_path):
    for f in FILES: (tmp_path/f).write_bytes((export/f).read_bytes())
    s = pd.read_parquet(export/"subpool_ids.parquet")
    name = s.filename.iloc[0]
    s[s.filename != name].to_parquet(tmp_path/"subpool_ids.parquet")
    df = authors_runs(tmp_path, {})
    assert df[df.run == name].subpool.isna().all() and df[df.run != name].groupby("run").subpool.count().gt(0).all()
    assert df.run.nunique() == 20


def test_one_command_then_their_figures(export, tmp_path):
    env = os.environ | dict(ANCHORAL_RESULTS=str(tmp_path), ANCHORAL_FIGURES=str(tmp_path/"figures"))
    code = "import sys; from anchoral.cli import main; sys.exit(main(sys.argv[1:]))"
    def cli(*words):
        return subprocess.run([sys.executable, "-c", code, *words], env=env, capture_output=True, text=True)
    done = cli("authors", str(export), "--corpus", f"amazon-agri={export}")
    assert done.returncode == 0 and "20 runs" in done.stdout, done.stderr
    done = cli("render", "--profile", "authors", "--pages", "fig2", "fig3", "fig4")
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(list((tmp_path/"figures").glob("fig[234]-authors.p*"))) == 6


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("bad", [b"", b"PAR1", b"\xff\xfe\x00x\x00", b"no table"])
def test_a_damaged_file_is_named(export, tmp_path, file, bad):
    for f in FILES: (tmp_path/f).write_bytes((export/f).read_bytes())
    (tmp_path/file).write_bytes(bad)
    with pytest.raises(ValueError, match=rf"{tmp_path}/{file}") as e: authors_runs(tmp_path, {})
    assert "\n" not in str(e.value)


@pytest.mark.parametrize("file, column, value", [("metrics.parquet", "value", "high"), ("metrics.parquet", "tag", 3),
                                                 ("subpool_ids.parquet", "subpool_ids", "7"),
                                                 ("labelled_ids.parquet", "cum_n", "many"),
                                                 ("hparams.tsv", "model.seed", "one"), ("hparams.tsv", "filename", 7)])
def test_a_column_of_another_kind_is_named(export, tmp_path, file, column, value):
    for f in FILES: (tmp_path/f).write_bytes((export/f).read_bytes())
    df = pd.read_csv(tmp_path/file, sep="\t") if file.endswith("tsv") else pd.read_parquet(tmp_path/file)
    df[column] = value
    df.to_csv(tmp_path/file, sep="\t", index=False) if file.endswith("tsv") else df.to_parquet(tmp_path/file)
    with pytest.raises(ValueError, match=rf"{file}: column '{column}' should hold (numbers|text)"):
        authors_runs(tmp_path, {})


def test_a_run_without_measures_and_one_named_twice_are_named(export, tmp_path):
    for f in FILES: (tmp_path/f).write_bytes((export/f).read_bytes())
    m = pd.read_parquet(export/"metrics.parquet")
    name = m.filename.iloc[0]
    m[(m.filename != name) | (m.tag != "test/f1_class0")].to_parquet(tmp_path/"metrics.parquet")
    with pytest.raises(ValueError, match=f"metrics.parquet, run {name}: the F1 of class 0, the majority, .*is missing"):
        authors_runs(tmp_path, {})
    runs = pd.read_csv(export/"hparams.tsv", sep="\t")
    pd.concat([runs, runs.head(1)]).to_csv(tmp_path/"hparams.tsv", sep="\t", index=False)
    with pytest.raises(ValueError, match=f"hparams.tsv names a run twice: {runs.filename[0]}"):
        authors_runs(tmp_path, {})


def test_saved_authors_runs_carry_a_digest(export, tmp_path):
    df = save_authors(export, {}, tmp_path)
    pd.testing.assert_frame_equal(load_results("authors", tmp_path), df)
    data = bytearray((tmp_path/"authors.parquet").read_bytes())
    data[len(data)//2] ^= 1
    (tmp_path/"authors.parquet").write_bytes(data)
    with pytest.raises(ValueError, match="authors.parquet: damaged.*make them again: `anchoral authors SOURCE`"):
        load_results("authors", tmp_path)
