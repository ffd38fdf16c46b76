"""What a newcomer meets: metadata in step, quick imports, the README's commands, the command line's help."""
import ast
import re
import subprocess
import sys
import tomllib
from configparser import ConfigParser
from pathlib import Path

import pandas as pd
import pytest
import readability

import anchoral
from anchoral import cli

ROOT = Path(__file__).parents[1]
CFG = ConfigParser(delimiters=["="])
CFG.read(ROOT/"settings.ini")
CFG = CFG["DEFAULT"]


def test_metadata_in_step():
    project = tomllib.loads((ROOT/"pyproject.toml").read_text())["project"]
    assert project["name"] == CFG["lib_name"] and project["requires-python"] == f">={CFG['min_python']}"
    assert set(project["urls"].values()) == {CFG["authors_code"], CFG["paper"]}
    assert anchoral.__version__ == CFG["version"] and f"version: {CFG['version']}" in (ROOT/"CITATION.cff").read_text()
    assert CFG["version"] in (ROOT/"CHANGELOG.md").read_text()


def test_requirements_are_pinned():
    pinned = {re.split("==", line)[0].lower().replace("_", "-")
              for line in (ROOT/"constraints.txt").read_text().splitlines() if "==" in line}
    wanted = {r for key in CFG if key.endswith("requirements") for r in CFG[key].split()}
    assert wanted <= pinned, wanted - pinned


def test_core_needs_no_heavy_package():
    "pip install anchoral alone pulls in none of these."
    core = set(CFG["requirements"].split())
    assert not core & {"torch", "transformers", "sentence-transformers", "hnswlib", "datasets", "dask", "distributed",
                       "pymilvus", "small-text"}


HEAVY = ["torch", "transformers", "sentence_transformers", "hnswlib", "sklearn"]


@pytest.mark.parametrize("module", ["anchoral", "anchoral.cli", "anchoral.study.figures", "anchoral.study.grid"])
def test_imports_are_light(module):
    avoided = [*HEAVY, "numpy", "pandas", "matplotlib"] if module == "anchoral" else HEAVY
    code = f"import {module}, sys; print(*[m for m in {avoided} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_no_test_asserts_a_wall_clock_time():
    "A machine under load is slow, not wrong. A clock may only end a wait that would otherwise never end."
    for path in sorted((ROOT/"tests").glob("*.py")):
        for number, line in enumerate(path.read_text().splitlines(), 1):
            if path == Path(__file__): continue
            where = f"{path.name}, line {number}: {line.strip()}"
            elapsed = r"perf_counter|time\.monotonic|pytest\.mark\.timeout|time\.time\(\) ?- ?[a-z]"
            assert not re.search(elapsed, line), where
            waits = re.search(r"timeout=([\d_]+)", line)
            if waits and "acquire" not in line:
                assert int(waits[1]) >= 300, f"{where}: a guard against hanging, of five minutes or more"


def test_help_teaches(capsys):
    assert cli.main([]) == 0
    text = capsys.readouterr().out
    for command in ("fetch", "run", "collect", "render", "check", "cache", "list"):
        assert f"anchoral {command}" in text or f"    {command}" in text
    with pytest.raises(SystemExit) as stop: cli.main(["run", "--help"])
    assert stop.value.code == 0 and "--profile" in capsys.readouterr().out


def test_check_and_list(capsys):
    assert cli.main(["check"]) == 0 and "cache" in capsys.readouterr().out
    assert cli.main(["list"]) == 0 and "reuters-metals" in capsys.readouterr().out


def test_readme():
    "It is made from nbs/index.ipynb, its first screen says what this is, and its make commands exist."
    readme, makefile = (ROOT/"README.md").read_text(), (ROOT/"Makefile").read_text()
    first = "\n".join(readme.splitlines()[:40])
    for must in ("independent companion", CFG["authors_code"], "cite the paper"): assert must in first, must
    for target in re.findall(r"(?:^|`)make ([a-z-]+)", readme, re.M):
        assert re.search(rf"^(?:[\w-]+ )*{target}(?: [\w-]+)*:", makefile, re.M), target
    for command in re.findall(r"^anchoral (\w+)", readme, re.M):
        assert command in cli.parser()._subparsers._group_actions[0].choices
    for link in re.findall(r"\]\(((?!http)[^)#]+)\)", readme): assert (ROOT/link).exists(), link
    for image in re.findall(r'src="([^"]+)"', readme): assert image.startswith("data:") or (ROOT/image).exists(), image


def test_readme_is_short():
    "At most 900 words outside its examples of code."
    text = re.sub(r"```.*?```", "", (ROOT/"README.md").read_text(), flags=re.S)
    assert len(text.split()) <= 900


def test_the_code_reads_at_walking_pace():
    "DESIGN's measures, which `python tests/readability.py` prints."
    found = readability.measure()
    assert found["% of lines over 100 columns (target 0)"] == 0
    assert found["median length of a line (target 45)"] <= 45
    assert found["nested comprehensions per 100 lines (target .1)"] <= .1
    assert found["public names (target 200)"] <= 200
    assert found["% of public functions with all types (target 95)"] >= 95


def test_readme_is_the_index(tmp_path):
    subprocess.run([str(Path(sys.executable).with_name("jupyter")), "nbconvert", "--log-level=ERROR",
                    "--to", "markdown", "--no-input", "--no-prompt",
                    "--output-dir", str(tmp_path), "--output", "README", "nbs/index.ipynb"], cwd=ROOT, check=True)
    made = (tmp_path/"README.md").read_text().replace("(../", "(").replace('"../', '"')
    made = re.sub(r"\n{3,}", "\n\n", made)
    assert made == (ROOT/"README.md").read_text(), "README.md is out of step: make readme"


def test_readme_example_runs(tmp_path, monkeypatch):
    "The example as it is written, with one import, on a table of twenty tickets."
    readme = (ROOT/"README.md").read_text()
    example = re.search(r"```python\n(.*?)```", readme, re.S)[1]
    assert len(example.strip().splitlines()) <= 10
    assert re.findall(r"^(?:import|from) .*", example, re.M) == ["import anchoral"]
    kinds = {"outage": "the site is down, error {}", "other": "how do I change my address, question {}"}
    rows = [(text.format(i), kind if i < 3 else "") for i in range(20) for kind, text in kinds.items()]
    pd.DataFrame(rows, columns=["body", "topic"]).to_csv(tmp_path/"tickets.csv", index=False)
    monkeypatch.chdir(tmp_path)
    before, after = example.split("al.tell(")
    names = {}
    exec(before, names)
    assert len(names["ids"]) == 25 and len(names["al"].labelled) == 6
    names["your_answers"] = ["outage" if "down" in names["task"].texts[i] else "other" for i in names["ids"]]
    exec("al.tell(" + after, names)
    assert len(names["al"].labelled) == 31


def test_the_answer_of_the_readme_is_the_computed_one():
    "What the first screen says of the replication follows from the saved results."
    from anchoral.study.answer import answer, first_table
    from anchoral.study.claims import load_claims, saved_frames
    from anchoral.study.second_rule import apply_second_rule
    claims = load_claims(2)
    compared = apply_second_rule(claims, saved_frames(claims))
    readme = (ROOT/"README.md").read_text()
    first = readme[:readme.index("## Use it")]
    assert "\n\n".join(answer(compared)) in first and first_table(compared) in first


def test_the_face():
    "A dozen names, each found, none of them heavy before it is touched."
    assert set(anchoral.__all__) <= set(dir(anchoral)) and len(anchoral.__all__) <= 12
    assert all(callable(getattr(anchoral, name)) for name in anchoral.__all__)
    with pytest.raises(AttributeError, match="no attribute 'Taks'"): anchoral.Taks  # noqa: B018


def test_an_editor_knows_the_face():
    "What a type checker reads is what `__getattr__` loads."
    tree = ast.parse(Path(anchoral.__file__).read_text())
    block = next(node for node in tree.body if isinstance(node, ast.If))
    assert {alias.name for line in block.body for alias in line.names} == set(anchoral.__all__)
