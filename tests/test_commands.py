"""The commands: an entry point that works, arguments refused where they enter, no success where nothing was done,
paths that may hold spaces, figures without a network."""
import errno
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from anchoral import cli
from anchoral.files import append_line, cache_dir
from anchoral.study import profiles, verify
from anchoral.study.config import make_config, run_id
from anchoral.study.results import (
    load_results,
    results_dir,
)
from anchoral.study.runs import read_iterations, run
from anchoral.tasks import load_task

ROOT = Path(__file__).parents[1]


def said(capsys, *words):
    "Exit code, output and the one line of error of a command."
    code = cli.main(list(words))
    out, err = capsys.readouterr()
    assert err.count("\n") <= 1, err
    return code, out, err


def subparsers():
    "Command -> its parser."
    return cli.parser()._subparsers._group_actions[0].choices


# entry points

@pytest.mark.parametrize("module", ["anchoral", "anchoral.cli"])
def test_modules_that_are_run_are_the_command(module):
    def run(*words): return subprocess.run([sys.executable, "-m", module, *words], capture_output=True, text=True)
    helped = run("--help")
    assert helped.returncode == 0 and helped.stdout.startswith("usage: anchoral [-h] COMMAND")
    wrong = run("run", "--profile", "quik")
    assert wrong.returncode == 1 and "did you mean 'quick'?" in wrong.stderr and wrong.stderr.count("\n") == 1


def test_a_reader_that_leaves_is_no_error():
    done = subprocess.run(["bash", "-c", f"{shlex.quote(sys.executable)} -m anchoral list | head -1"],
                          capture_output=True, text=True)
    assert done.stdout == "tasks\n" and done.stderr == ""


# arguments

@pytest.mark.parametrize("words, says", [
    (["run", "budget=200", "budget=300"], "budget is given twice, 200 and '300'"),
    (["run", "budget=200", "budget=200"], "budget is given twice"),
    (["run", "--profile", "tiny", "--profile", "quick"], "--profile is given twice"),
    (["verify", "--cells=1", "--cells=2"], "--cells is given twice"),
    (["fetch", "reuters-agri", "reuters-agri"], "task 'reuters-agri' is given twice"),
    (["render", "--pages", "fig2", "fig2"], "page 'fig2' is given twice"),
    (["authors", ".", "--corpus", "agnews-bus=.", "agnews-bus=."], "--corpus agnews-bus is given twice"),
    (["run", "--profile", ""], "profile is empty"), (["run", "--runs", " "], "runs is empty"),
    (["run", ""], "fields is empty"), (["collect", "--name", ""], "name is empty"),
    (["collect", "--name", "a\nb"], "holds a character that names must not hold"),
    (["collect", "--name", "a\udc80"], "holds a character that names must not hold"),
    (["fetch", "reuters-agri", "--tokens", "0"], "tokens must be at least 1, got 0"),
    (["fetch", "reuters-agri", "--encoder", "minlm"], "did you mean 'minilm'?"),
    (["fetch", "reuters-agri", "reuters-agry"], "unknown task 'reuters-agry'"),
    (["render", "--workers", "0"], "workers must be at least 1, got 0"),
    (["verify", "--workers", "-3"], "workers must be at least 1, got -3"),
    (["run", "--workers", "two"], "invalid int value: 'two'; see anchoral run --help"),
    (["run", "--workers", "4", "task=reuters-agri"], "--workers is for the cells of a profile"),
    (["run", "--cluster"], "--cluster runs a profile"), (["run", "--missing"], "--missing completes a profile"),
    (["run", "--profil", "quick"], "unrecognized arguments: --profil;"),
    (["runn"], "invalid choice: 'runn'"), (["fetch"], "the following arguments are required: task"),
    (["authors", ".", "--corpus", "agnews-bus"], "expected TASK=FOLDER, got 'agnews-bus'"),
    (["authors", ".", "--corpus", "agnews=."], "did you mean 'agnews-bus'?"),
    (["authors", ".", "--corpus", "agnews-bus=/nowhere"], "no folder '/nowhere'"),
    (["authors", ".", "--corpus", "agnews-bus=.", "--no-corpora"], "leave out one"),
])
def test_arguments_are_checked_where_they_enter(words, says, capsys):
    code, out, err = said(capsys, *words)
    assert code == 1 and says in err and out == ""


def test_every_argument_that_counts_refuses_zero(capsys):
    for name, command in subparsers().items():
        for action in command._actions:
            if action.type is not int: continue
            needed = {"fetch": ["reuters-agri"], "authors": ["x"], "label": ["x.csv"]}.get(name, [])
            code, _, err = said(capsys, name, *needed, action.option_strings[0], "0")
            assert code == 1 and "must be at least 1, got 0" in err


# collect

@pytest.fixture
def finished(tmp_path, monkeypatch):
    "A folder with one finished run, and results of our own."
    from anchoral.study.runs import run
    monkeypatch.setenv("ANCHORAL_RESULTS", str(tmp_path/"results"))
    config = make_config(task="reuters-agri", encoder="lsa", strategy="random", filter="none", budget=100)
    run(config, tmp_path/"runs"/run_id(config))
    return tmp_path/"runs"


@pytest.mark.parametrize("name, says", [
    ("../evil", "cannot name results"), ("/tmp/evil", "cannot name results"), ("..", "cannot name results"),
    (".hidden", "cannot name results"), ("a/b", "cannot name results"), ("quick-ids", "cannot name results"),
    ("quick", "is a profile: say --profile quick"), ("paper", "is a profile"), ("authors", "the authors' own runs"),
    ("benchmarks", "benchmarks.json in"),
])
def test_collect_writes_under_no_name_of_others(name, says, finished, capsys):
    results_dir().mkdir()
    (results_dir()/"benchmarks.json").write_text("{}")
    before = sorted(results_dir().parent.rglob("*"))
    for more in ([], ["--replace"]):
        code, out, err = said(capsys, "collect", "--runs", str(finished), "--name", name, *more)
        assert code == 1 and says in err
    assert sorted(results_dir().parent.rglob("*")) == before


def test_collect_overwrites_only_when_told(finished, capsys):
    collect = ["collect", "--runs", str(finished), "--name", "mine"]
    assert said(capsys, *collect)[0] == 0
    first = (results_dir()/"mine.parquet").read_bytes()
    code, _, err = said(capsys, *collect)
    assert code == 1 and "holds results called 'mine'; choose another --name, or add --replace" in err
    assert (results_dir()/"mine.parquet").read_bytes() == first
    for how in ("--replace", "--add"): assert said(capsys, *collect, how)[0] == 0
    assert said(capsys, *collect, "--replace", "--add")[0] == 1
    assert "leave out --name" in said(capsys, "collect", "--profile", "tiny", "--name", "mine")[2]


# verify: an empty comparison is a failure

def test_to_compare_nothing_is_a_failure(tmp_path, capsys):
    (tmp_path/"empty/quick").mkdir(parents=True)
    for words, says in [(["--runs", str(tmp_path/"nowhere")], "no folder"),
                        (["--runs", str(tmp_path)], "no folder"),
                        (["--runs", str(tmp_path/"empty")], "quick"),
                        (["--cells", "0"], "cells must be at least 1, got 0"),
                        (["--cells", "-1"], "cells must be at least 1, got -1"),
                        (["--runs", str(tmp_path/"empty"), "--cells", "2"], "leave out --cells")]:
        code, out, err = said(capsys, "verify", *words)
        assert code == 1 and says in err and "label exactly" not in out, words


def test_an_empty_table_is_a_failure_whoever_made_it(tmp_path, monkeypatch, capsys):
    (tmp_path/"quick").mkdir()
    empty = pd.DataFrame(columns=["cell", "run", "agree", "of", "differs_at"])
    monkeypatch.setattr(verify, "compare", lambda *args: empty)
    code, out, err = said(capsys, "verify", "--runs", str(tmp_path))
    assert code == 1 and "nothing was compared" in err and out == ""


def test_verify_says_what_it_did_not_compare(tmp_path, monkeypatch, capsys):
    (tmp_path/"quick").mkdir()
    saved = pd.read_parquet(ROOT/"results/quick-ids.parquet").run.unique()
    one = pd.DataFrame([dict(cell="c", run=str(saved[0]), agree=3, of=3, differs_at=-2)])
    monkeypatch.setattr(verify, "compare", lambda *args: one)
    monkeypatch.setattr(verify, "differs", lambda *args: [])
    code, out, err = said(capsys, "verify", "--runs", str(tmp_path))
    assert code == 0 and "1 of 1 runs" in out and f"Not compared: {len(saved) - 1} of the {len(saved)}" in out


def test_verify_names_what_is_missing(tmp_path, monkeypatch, capsys):
    code, _, err = said(capsys, "verify", "--profile", "paper")
    assert code == 1 and "no saved results of profile 'paper'" in err and "anchoral run --profile paper" in err
    assert "did you mean 'quick'?" in said(capsys, "verify", "--profile", "quik")[2]
    monkeypatch.setenv("PATH", str(tmp_path))
    code, _, err = said(capsys, "verify")
    assert code == 1 and "git is not installed" in err and "--draw WORD" in err and "Errno" not in err


def test_verify_draws_by_no_commit_of_another_repository(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(cli, "repo_root", lambda: tmp_path)
    code, _, err = said(capsys, "verify")
    assert code == 1 and "is not a clone with a commit" in err and "--draw WORD" in err


# render

@pytest.mark.parametrize("words, says", [
    (["--pages", "table2", "--task", "typo"], "table2 cannot choose a task"),
    (["--pages", "table2", "fig2", "--task", "typo"], "unknown task of profile quick 'typo'"),
    (["--profile", "quick", "--pages", "fig2", "--task", "reuters-metal"], "'reuters-metals'"),
    (["--profile", "offline", "--pages", "fig2", "--task", "news20-sc"], "did you mean 'news20-sci'?"),
    (["--profile", "offline", "--pages", "fig2", "--strategy", "entropi"], "did you mean 'entropy'?"),
    (["--pages", "fig3", "--strategy", "entropy"], "fig3 cannot choose a strategy"),
    (["--pages", "claims", "--profile", "quick"], "claims cannot choose a profile"),
    (["--pages", "missed-cluster", "--task", "news-metals"], "cannot choose a task"),
    (["--pages", "fig9"], "unknown page 'fig9'"),
    (["--pages", "table5", "--profile", "offlin quick"], "no saved results of profile 'offlin'"),
])
def test_a_choice_that_no_result_has_draws_nothing(words, says, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("ANCHORAL_FIGURES", str(tmp_path/"figures"))
    code, out, err = said(capsys, "render", *words)
    assert code == 1 and says in err and not (tmp_path/"figures").exists()


# the cache

def test_cache_says_what_goes_and_what_went(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("ANCHORAL_CACHE", str(tmp_path/"cache"))
    assert "is empty" in said(capsys, "cache")[1]
    folder = cache_dir()/"embeddings"
    folder.mkdir()
    (folder/"a").write_bytes(b"0"*2_000_000)
    assert "2.0 MB  embeddings" in said(capsys, "cache")[1] and folder.exists()
    code, out, _ = said(capsys, "cache", "--clear")
    assert code == 0 and not folder.exists()
    assert out.index("2.0 MB  embeddings") < out.index("Deleted from") and out.endswith("embeddings (2.0 MB)\n")
    code, out, _ = said(capsys, "cache", "--clear")
    assert code == 0 and "nothing, it was empty" in out


def test_cache_clear_leaves_the_users_folders(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("ANCHORAL_CACHE", str(tmp_path))
    theirs = [tmp_path/"models/thesis.pt", tmp_path/"packages/mine.whl", tmp_path/"index/notes"]
    for path in theirs:
        path.parent.mkdir()
        path.write_text("years of work")
    errors = [said(capsys, *words)[2] for words in (["cache"], ["cache", "--clear"], ["cache", "--clear"])]
    assert errors[0].startswith(f"anchoral: {tmp_path} holds files and has no mark of ours")
    assert all(path.read_text() == "years of work" for path in theirs)


def test_a_folder_of_theirs_in_our_place_is_refused(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("ANCHORAL_CACHE", str(tmp_path))
    for path in (tmp_path/"mine", tmp_path/"anchoral/mine"):
        path.parent.mkdir(exist_ok=True)
        path.write_text("years of work")
    assert cli.main(["cache", "--clear"]) == 1
    out, err = capsys.readouterr()
    assert "has no mark of ours" in err and "set ANCHORAL_CACHE to an empty folder" in err and "Deleted" not in out
    assert (tmp_path/"anchoral/mine").read_text() == "years of work"


# errors of the system

def test_an_error_of_the_system_names_a_place_and_a_fix(tmp_path, monkeypatch, capsys):
    from anchoral import embeddings
    def full(*args, **kwargs): raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    monkeypatch.setattr(embeddings, "encode", full)
    code, _, err = said(capsys, "fetch", "reuters-agri")
    assert code == 1 and "No space left on device" in err and "Errno" not in err
    assert str(cache_dir()) in err and "GB free" in err and "free some space there" in err


@pytest.mark.parametrize("error, says", [
    (PermissionError(errno.EACCES, "Permission denied", "/x/y"), "Permission denied: /x/y; allow this user"),
    (OSError(errno.ENOSPC, "No space left on device", "/x/y"), "device: /x/y; free some space there"),
    (OSError(errno.EIO, "Input/output error", "/x/y"), "/x/y; check this file or folder"),
    (OSError("ours: the thing, the value, the fix"), "ours: the thing, the value, the fix"),
    (FileNotFoundError(errno.ENOENT, "Failed to open local file '/x/y'"), "'/x/y'; check the path"),
])
def test_errors_of_the_system_are_explained(error, says, monkeypatch, capsys):
    def failing(name): raise error
    monkeypatch.setattr("anchoral.tasks.load_task", failing)
    code, _, err = said(capsys, "fetch", "reuters-agri")
    assert code == 1 and says in err and "Errno" not in err


def test_a_fault_of_ours_keeps_its_traceback(monkeypatch):
    def broken(name): raise ZeroDivisionError
    monkeypatch.setattr("anchoral.tasks.load_task", broken)
    with pytest.raises(ZeroDivisionError): cli.main(["fetch", "reuters-agri"])


# what can be chosen

def test_list_explains_everything_in_a_line(capsys):
    lines = said(capsys, "list")[1].splitlines()
    bare = [line for line in lines if line.startswith("  ") and len(line.split(None, 1)) < 2]
    from anchoral.tasks import TASKS
    assert not bare and len(lines) > 40
    assert set(TASKS) <= {line.split()[0] for line in lines}


# make, in any folder

MAKE = ["reproduce", "figures", "notebooks", "benchmark", "benchmark-million", "readme", "site", "test", "clean",
        "browser", "hooks", "env", "help"]


@pytest.fixture
def clone(tmp_path):
    "What make reads of a clone, in a folder whose name has a space and an accent; .venv is there and empty."
    home = tmp_path/"my clone é"
    for name in ("Makefile", "constraints.txt", "settings.ini", "setup.py", "pyproject.toml"):
        (home/name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT/name, home/name)
    for name in ("results", "nbs/paper", "nbs/benchmarks", "anchoral/study", ".venv/bin"):
        (home/name).mkdir(parents=True)
    for name in ("anchoral/study/figures.py", "anchoral/study/tables.py", "README.md"):
        (home/name).write_text("")
    (home/".venv/.done").touch()
    return home


def make(clone, *words, **env):
    return subprocess.run(["make", "--no-print-directory", *words], cwd=clone, capture_output=True, text=True,
                          env=os.environ | env)


@pytest.mark.parametrize("target", MAKE)
def test_paths_of_recipes_stay_one_word(clone, target):
    for more in ([], ["RUNS=my runs"], [f"RUNS={clone.parent}/other runs"]):
        done = make(clone, "-n", target, *more)
        assert done.returncode == 0, done.stderr
        assert subprocess.run(["bash", "-n"], input=done.stdout, text=True).returncode == 0
        for word in shlex.split(done.stdout, comments=True):
            path = re.split(r"[=:]", word)[-1] if "clone é" in word else word
            assert "clone é" not in word or path.startswith(f"{clone.parent}/my clone é"), word
            assert not word.endswith(("/my", "/other")) and word not in ("my", "clone", "runs/results"), word


STUB = """#!/bin/bash
{ pwd; printf '%s\\n' "$(basename "$0")" "$@" "RESULTS=$ANCHORAL_RESULTS" "FIGURES=$ANCHORAL_FIGURES"; echo; } >> "$LOG"
"""


@pytest.mark.parametrize("runs, where", [("runs", "my clone é/runs"), ("my runs", "my clone é/my runs"),
                                         ("/", "far away")])
def test_reproduce_gives_every_command_whole_paths(clone, runs, where):
    "The recipe runs for real, with commands that only write down what they are given."
    stub = clone/".venv/bin/anchoral"
    stub.write_text(STUB)
    stub.chmod(0o755)
    folder = clone.parent/where
    done = make(clone, "reproduce", f"RUNS={folder if runs == '/' else runs}", LOG=str(clone/"log"))
    assert done.returncode == 0, done.stderr
    calls = [block.splitlines() for block in (clone/"log").read_text().split("\n\n") if block.strip()]
    assert [c[2] for c in calls] == ["fetch", "run", "collect", "render", "verify"]
    assert all(c[0] == str(clone) for c in calls)
    assert f"RESULTS={folder}/results" in calls[2] and f"RESULTS={folder}/results" in calls[3]
    assert f"FIGURES={folder}/figures" in calls[3]
    given = [c[c.index("--runs") + 1] for c in calls if "--runs" in c]
    assert len(given) == 3 and {clone/g for g in given} == {folder}


def test_clean_deletes_one_folder_of_any_name(clone):
    for name in ("my", "runs", "my runs"): (clone/name).mkdir()
    assert make(clone, "clean", "RUNS=my runs").returncode == 0
    assert (clone/"my").is_dir() and (clone/"runs").is_dir() and not (clone/"my runs").exists()


# figures without a network

def test_table4_needs_no_text_and_no_network(tmp_path, monkeypatch):
    from anchoral.study.grid import papermill
    monkeypatch.setenv("ANCHORAL_CACHE", str(tmp_path/"cache"))
    monkeypatch.setenv("ANCHORAL_FIGURES", str(tmp_path/"figures"))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    assert papermill(ROOT/"nbs/paper/table4.ipynb", tmp_path/"t.ipynb", {}) == ""
    for kind in ("csv", "tex", "html"):
        same = (tmp_path/f"figures/table4.{kind}").read_text() == (ROOT/f"figures/table4.{kind}").read_text()
        assert same, f"figures/table4.{kind} is not what results/counts.csv gives: make figures"
    assert not list(tmp_path.glob("cache/packages/*"))


def test_no_page_that_make_figures_draws_loads_a_task():
    recipes = re.findall(r"^(?:figures/\.rendered|all-figures):.*\n((?:\t.*\n)+)", (ROOT/"Makefile").read_text(), re.M)
    assert len(recipes) == 2
    named = re.findall(r"--pages ((?:[a-z][\w-]* ?)+)", "".join(recipes))
    by_default = next(a.default for a in subparsers()["render"]._actions if a.dest == "pages")
    pages = {*by_default, *" ".join(named).split()}
    assert len(pages) == 13
    for page in pages:
        cells = json.loads((ROOT/f"nbs/paper/{page}.ipynb").read_text())["cells"]
        source = "\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "code")
        assert not re.search(r"\b(load_task|encode|fetch_package|count_tasks)\b", source), page


def test_saved_counts_are_those_of_the_tasks():
    from anchoral.study.tables import count_tasks, saved_counts
    from anchoral.tasks import TASKS, offline_task, wordnet_task
    saved = saved_counts()
    assert set(saved.task) == {n for n, make in TASKS.items() if make.func in (offline_task, wordnet_task)}
    few = ["reuters-metals", "reuters-agri", "news20-multi"]
    again = count_tasks(few).reset_index(drop=True)
    pd.testing.assert_frame_equal(saved[saved.task.isin(few)].reset_index(drop=True), again)
    assert saved[saved.task == "reuters-agri"].train.sum() == len(load_task("reuters-agri").texts)


# tables: the same bytes on every machine, and text that stays text

def test_committed_csvs_hold_nine_digits():
    from anchoral.study.typeset import _CSV_DIGITS
    for path in sorted((ROOT/"figures").glob("*.csv")):
        for number in re.findall(r"(?<=[,\n])-?\d+\.\d+(?:e[-+]\d+)?(?=[,\n])", path.read_text()):
            digits = number.split("e")[0].replace("-", "").replace(".", "").strip("0")
            assert len(digits) <= _CSV_DIGITS, f"{path.name}: {number}"


def test_the_last_bit_of_a_sum_is_not_written(tmp_path):
    from anchoral.study.typeset import save_table
    a, b = .1 + .2 + .3, .3 + .2 + .1
    assert a != b
    for folder, x, left in (("a", a, a - b), ("b", b, 0.)):
        frame = pd.DataFrame({"n": [1185188, 2], "x": [x, None], "left": [left, 1185188.25],
                              "text": ["0.1000000000001", "é"]})
        save_table(frame, "t", folder=tmp_path/folder)
    csv = (tmp_path/"a/t.csv").read_text()
    assert csv == (tmp_path/"b/t.csv").read_text()
    assert csv == "n,x,left,text\n1185188,0.6,0.0,0.1000000000001\n2,,1185188.25,é\n"


def test_columns_of_one_name_are_rounded_each():
    from anchoral.study.typeset import for_csv
    frame = pd.DataFrame([[1/3, 2/3]], columns=["a", "a"])
    assert for_csv(frame).to_csv(index=False) == "a,a\n0.333333333,0.666666667\n"


@pytest.mark.parametrize("bad", ["\n", "\r", "\r\n", "\n\n", "\x0b", "\x0c", "\x85", "\u2028", "\x00", "\x1b"])
def test_no_line_break_gets_out_of_latex(bad):
    from anchoral.study.typeset import to_tex
    evil = f"x{bad}\\input{{evil}}"
    frame = pd.DataFrame({evil: [evil, "y"], "b": ["1", "2"]})
    grouped = frame.set_axis(pd.MultiIndex.from_tuples([(evil, evil), ("g", "b")]), axis=1)
    for table in (frame, grouped):
        tex = to_tex(table, title=evil, note=evil, stub=1)
        assert all(line.startswith("% ") for line in tex.split("\n") if r"\input" in line)
        assert bad.strip("\n") not in tex or bad.strip("\n") == ""
        rows = [line for line in tex.split("\n") if "textbackslash" in line]
        assert rows and all(line.endswith(r"\\") for line in rows) and not re.search(r"\n\s*\n", tex.rstrip("\n"))


# quiet logs

def test_a_notebook_that_goes_well_says_nothing(tmp_path):
    "As `make notebooks` runs it: on the error stream there is nothing that needs nobody."
    import nbformat
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1 + 1")]), tmp_path/"a.ipynb")
    quiet = re.search(r"^QUIET := (.+)$", (ROOT/"Makefile").read_text(), re.M)[1].split()
    jupyter = str(Path(sys.executable).with_name("jupyter"))
    done = subprocess.run([jupyter, "nbconvert", *quiet, "--to", "notebook", "--execute", "--inplace", "a.ipynb"],
                          cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert nbformat.read(tmp_path/"a.ipynb", 4).cells[0].outputs[0]["data"]["text/plain"] == "2"


def test_missing_results(tmp_path):
    with pytest.raises(FileNotFoundError, match="no saved results of profile 'offlin'.*anchoral run --profile offlin"):
        load_results("offlin", tmp_path)


@pytest.mark.parametrize("words, says", [
    (["run", "--profile", "quik"], "did you mean 'quick'?"), (["run", "tsak=x"], "did you mean 'task'?"),
    (["run", "budget=ten"], "budget must be of type int, got 'ten'"),
    (["fetch", "reuters"], "unknown task 'reuters'"),
    (["render", "--profile", "nothing"], "no saved results of profile 'nothing'"),
    (["collect", "--runs", "/nowhere"], "no finished runs in /nowhere"),
    (["run", "--profile", "tiny", "--workers", "0"], "workers must be at least 1, got 0"),
])
def test_command_line(words, says, capsys):
    assert cli.main(words) == 1
    err = capsys.readouterr().err
    assert says in err and err.count("\n") == 1


def test_cache_clear(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("ANCHORAL_CACHE", str(tmp_path/"cache"))
    assert cli.main(["cache"]) == 0 and "is empty" in capsys.readouterr().out # and marks the folder as ours
    (tmp_path/"cache/embeddings").mkdir(parents=True)
    (tmp_path/"cache/embeddings/a").write_bytes(b"0"*1000)
    assert cli.main(["cache"]) == 0 and "embeddings" in capsys.readouterr().out
    assert cli.main(["cache", "--clear"]) == 0 and [p.name for p in (tmp_path/"cache").iterdir()] == [".anchoral-cache"]


def test_profile_and_fields_together(capsys):
    assert cli.main(["run", "--profile", "tiny", "task=reuters-agri"]) == 1
    assert "leave out task=reuters-agri" in capsys.readouterr().err


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
