"""The notebooks themselves: their shape, what they may import, their outputs, and the ones papermill runs."""
import ast
import graphlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pandas as pd
import pytest

from anchoral.study.config import make_config
from anchoral.study.grid import papermill
from anchoral.study.runs import read_iterations

ROOT = Path(__file__).parents[1]
ALL = sorted(p for p in (ROOT/"nbs").rglob("*.ipynb") if ".ipynb_checkpoints" not in p.parts)
LIBRARY = [p for p in ALL if "#| default_exp" in p.read_text(encoding="utf-8")]
CHAPTERS = [p for p in LIBRARY if p.parent.name == "nbs" and p.stem[0].isdigit()]
BOOK = [ROOT/"nbs/files.ipynb", *CHAPTERS]
MAY_IMPORT = {"book": {"book"}, "study": {"book", "study"}, "annotator": {"book", "annotator"},
              "teach": {"book", "study", "annotator", "teach"}} # rooms stand on the book; the command knows them all
PAGES = [ROOT/f"nbs/paper/{p}.ipynb" for p in "fig2 fig3 fig4 table2 table3".split()]
PAPERMILL = [ROOT/"nbs/study/run.ipynb", *PAGES]


def source(path): return nbformat.read(path, 4).cells


def exported(path):
    for c in source(path):
        if c.cell_type == "code" and re.search(r"^#\|\s*export", c.source, re.M): yield c.source


@pytest.mark.parametrize("path", ALL, ids=lambda p: p.stem)
def test_title_and_subtitle(path):
    first = source(path)[0]
    lines = [line for line in first.source.splitlines() if line.strip()]
    assert first.cell_type == "markdown" and lines[0].startswith("# ") and lines[1].startswith("> ")


def module_of(path):
    return re.search(r"#\| default_exp ([\w.]+)", "\n".join(c.source for c in source(path)))[1]


def imports_of(path):
    "The modules of anchoral that the exported cells of a notebook import, at the top or inside a function."
    found = set()
    for cell in exported(path):
        for node in ast.walk(ast.parse(cell)):
            if isinstance(node, ast.ImportFrom) and node.module.startswith("anchoral."):
                found.add(node.module.removeprefix("anchoral."))
            elif isinstance(node, ast.ImportFrom) and node.module == "anchoral":
                found |= {alias.name for alias in node.names}
    return found


@pytest.mark.parametrize("path", BOOK, ids=lambda p: p.stem)
def test_chapters_import_from_lower_numbers(path):
    earlier = {module_of(p) for p in BOOK[:BOOK.index(path)]}
    assert imports_of(path) <= earlier, f"{path.name} imports {sorted(imports_of(path) - earlier)}"


def room_of(module):
    return module.split(".")[0] if "." in module else "book"


@pytest.mark.parametrize("path", [p for p in LIBRARY if p not in BOOK and p.stem != "cli"], ids=lambda p: p.stem)
def test_rooms_stand_on_the_book(path):
    may = MAY_IMPORT[room_of(module_of(path))]
    upwards = [m for m in imports_of(path) if room_of(m) not in may]
    assert not upwards, f"{path.name} imports {upwards}"


def test_no_circle():
    "Modules can be put in an order in which each imports only from those before it."
    graph = {module_of(p): imports_of(p) for p in LIBRARY}
    assert list(graphlib.TopologicalSorter(graph).static_order())


@pytest.mark.parametrize("path", LIBRARY, ids=lambda p: p.stem)
def test_public_functions_have_docstrings(path):
    for cell in exported(path):
        for node in ast.parse(cell).body:
            if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith(("_", "cmd_")):
                assert ast.get_docstring(node), f"{path.name}: {node.name}"


@pytest.mark.parametrize("path", ALL, ids=lambda p: p.stem)
def test_outputs_are_stable(path):
    "No errors, no warnings, no paths of a machine, no memory addresses."
    for c in source(path):
        for o in c.get("outputs", []):
            assert o.output_type != "error" and o.get("name") != "stderr", f"{path.name}: {json.dumps(o)[:300]}"
            text = o.get("text", "") or "".join(o.get("data", {}).get(k, "")
                                                for k in ("text/plain", "text/html", "text/markdown"))
            assert not re.search(r"0x[0-9a-f]{6,}|/root/|/home/|/tmp/", text), f"{path.name}: {text[:300]}"


@pytest.mark.parametrize("path", PAPERMILL, ids=lambda p: p.stem)
def test_one_parameters_cell(path):
    tagged = [c for c in source(path) if "parameters" in c.metadata.get("tags", [])]
    assert len(tagged) == 1 and tagged[0].cell_type == "code"


def test_papermill_runs_a_cell(tmp_path):
    "The executed copy holds the parameters it really used, the run folders what they make."
    configs = [dict(task="reuters-agri", encoder="lsa", budget=125, n_anchors=2, n_neighbours=5, data_seed=s)
               for s in (3, 4)]
    assert papermill(PAPERMILL[0], tmp_path/"out.ipynb", dict(configs=configs, runs=str(tmp_path/"runs"))) == ""
    done = nbformat.read(tmp_path/"out.ipynb", 4)
    assert done.metadata.papermill.parameters.configs == configs
    assert any("injected-parameters" in c.metadata.get("tags", []) for c in done.cells)
    folders = sorted((tmp_path/"runs").glob("*/config.json"))
    assert sorted(json.loads(f.read_text())["data_seed"] for f in folders) == [3, 4]
    assert all(read_iterations(f.parent)[-1]["end"] for f in folders)


def test_papermill_says_what_failed(tmp_path):
    error = papermill(PAPERMILL[0], tmp_path/"out.ipynb",
                      dict(configs=[dict(task="reuters-agriculture")], runs=str(tmp_path)))
    assert "unknown task 'reuters-agriculture'; did you mean 'reuters-agri'?" in error


def test_executed_notebooks_hold_no_texts(tmp_path):
    from anchoral.tasks import load_task
    assert papermill(PAPERMILL[0], tmp_path/"out.ipynb", dict(runs=str(tmp_path/"runs"))) == ""
    kept = (tmp_path/"out.ipynb").read_text() + "".join(p.read_text() for p in (tmp_path/"runs").rglob("*.json*"))
    task = load_task("reuters-agri")
    assert not any(t[:40] in kept for t in [*task.texts, *task.test_texts])


def test_pages_render_from_committed_results(tmp_path, monkeypatch):
    "All figures and tables, without torch; tables equal the committed ones to the byte."
    monkeypatch.setenv("ANCHORAL_FIGURES", str(tmp_path))
    done = subprocess.run([sys.executable, "-m", "anchoral", "render", "--profile", "quick"], env=os.environ, cwd=ROOT,
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    for name in ("fig2-quick", "fig3-quick", "fig4-quick"):
        for kind in ("pdf", "png"): assert (tmp_path/f"{name}.{kind}").stat().st_size > 5000
    for name in ("table2-quick", "table3-quick"):
        for kind in ("csv", "tex", "html"):
            file = f"{name}.{kind}"
            same = (tmp_path/file).read_text() == (ROOT/"figures"/file).read_text()
            assert same, f"figures/{file} is not what the results give: make all-figures"


def shown(path):
    "What a page says: the text of its outputs."
    def text(o):
        data = o.get("data", {})
        return o.get("text", "") or data.get("text/html") or data.get("text/markdown") or ""
    return [text(o) for c in source(path) for o in c.get("outputs", [])]


@pytest.mark.parametrize("path", PAGES, ids=lambda p: p.stem)
def test_pages_show_the_committed_results(path, tmp_path, monkeypatch):
    monkeypatch.setenv("ANCHORAL_FIGURES", str(tmp_path))
    assert papermill(path, tmp_path/path.name, {}) == ""
    same = shown(tmp_path/path.name) == shown(path)
    assert same, f"{path.name} shows other results than results/: make notebooks"


@pytest.mark.parametrize("page", ["benchmarks/speed", "paper/open", "paper/claims", "index"])
def test_pages_without_a_profile_show_the_committed_results(page, tmp_path, monkeypatch):
    monkeypatch.setenv("ANCHORAL_FIGURES", str(tmp_path))
    path = ROOT/f"nbs/{page}.ipynb"
    assert papermill(path, tmp_path/path.name, {}) == ""
    assert shown(tmp_path/path.name) == shown(path), f"{page} shows other results than results/: make notebooks"


def test_results_are_complete():
    "Every saved profile: its configurations are the profile's, every run ends, counts add up."
    from anchoral.study.config import run_id
    from anchoral.study.profiles import PROFILES, grid_cells
    for path in sorted((ROOT/"results").glob("*-ids.parquet")):
        name = path.stem.removesuffix("-ids")
        df, ids = pd.read_parquet(ROOT/f"results/{name}.parquet"), pd.read_parquet(path)
        about = json.loads((ROOT/f"results/{name}.json").read_text())
        want = {run_id(c) for configs in grid_cells(PROFILES[name]).values() for c in configs}
        assert set(df.run) == set(ids.run) == set(about["configs"])
        assert set(df.run) <= want and (set(df.run) == want or about.get("partial"))
        assert all(run_id(make_config(**c)) == r for r, c in about["configs"].items())
        last = df.sort_values("iteration").groupby("run").tail(1).set_index("run")
        labelled = ids.groupby("run", observed=True).id.agg(["size", "nunique"])
        assert (last.end != "").all() and (labelled["size"] == labelled["nunique"]).all()
        assert (labelled["size"] == last.n_labelled.reindex(labelled.index)).all()
        assert (last.n_labelled <= last.budget).all()
        asks = df[df.subpool.notna()]
        assert (asks.subpool_minority <= asks.minority_total - asks.minority_labelled).all()
        assert (asks.subpool <= asks.pool - asks.n_labelled).all()
        anchoral = asks[(asks["filter"] == "anchoral")]
        classes = df.filter(regex=r"^f1_\d$").notna().sum(axis=1).reindex(anchoral.index)
        bound = (anchoral.n_anchors * anchoral.n_neighbours * classes).clip(upper=anchoral.max_subpool)
        assert (anchoral.subpool <= bound).all()
