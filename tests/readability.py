"""How the code reads, in numbers: `python tests/readability.py`. DESIGN's targets stand beside them."""
import ast
import re
import statistics
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT/"anchoral"
COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)


def modules():
    return [p for p in sorted(PACKAGE.rglob("*.py")) if p.name not in ("_modidx.py", "__init__.py", "__main__.py")]


def code_lines(text):
    "Lines that are code: no blank lines, no comments alone, no cell marks, no list of names."
    body = re.sub(r"^__all__ = \[.*?\]$", "", text, flags=re.S | re.M)
    return [line for line in body.splitlines() if line.strip() and not line.strip().startswith("#")]


def nested_comprehensions(tree):
    def has_inner(node):
        return any(isinstance(inner, COMPREHENSIONS) for inner in ast.walk(node) if inner is not node)
    return sum(has_inner(node) for node in ast.walk(tree) if isinstance(node, COMPREHENSIONS))


def wide_assignments(tree):
    "Tuple assignments of more than two names."
    targets = [t for node in ast.walk(tree) if isinstance(node, ast.Assign) for t in node.targets]
    return sum(isinstance(t, ast.Tuple) and len(t.elts) > 2 for t in targets)


def public_names(text):
    listed = re.search(r"^__all__ = (\[.*?\])$", text, re.S | re.M)
    return ast.literal_eval(listed[1]) if listed else []


def used_elsewhere(name, own, texts):
    return any(re.search(rf"\b{re.escape(name)}\b", text) for path, text in texts.items() if path != own)


def typed(function):
    "Whether the parameters and the result of a function carry types, `self` and defaults of a plain kind aside."
    arguments = [a for a in [*function.args.args, *function.args.kwonlyargs] if a.arg not in ("self", "cls")]
    return all(a.annotation for a in arguments) and function.returns is not None


def measure() -> dict:
    "Each measure by its name."
    texts = {p: p.read_text(encoding="utf-8") for p in modules()}
    others = {p: p.read_text(encoding="utf-8") for folder in ("nbs", "tests", "site") for kind in ("*.ipynb", "*.py")
              for p in (ROOT/folder).rglob(kind)}
    lines = [line for text in texts.values() for line in code_lines(text)]
    trees = [ast.parse(text) for text in texts.values()]
    names = [(p, n) for p, text in texts.items() for n in public_names(text)]
    functions = [node for tree in trees for node in tree.body
                 if isinstance(node, ast.FunctionDef) and not node.name.startswith("_")]
    per_hundred = 100/len(lines)
    source = re.compile(r"File to edit: (?:\.\./)+nbs/(.*?)\.$", re.M)
    own_notebook = {p: ROOT/"nbs"/source.search(text)[1] for p, text in texts.items()}
    alone = [n for p, n in names
             if not used_elsewhere(n, p, texts) and not used_elsewhere(n, own_notebook[p], others)]
    return {
        "lines of code": len(lines),
        "% of lines over 100 columns (target 0)": 100*sum(len(line) > 100 for line in lines)/len(lines),
        "median length of a line (target 45)": statistics.median(map(len, lines)),
        "nested comprehensions per 100 lines (target .1)": per_hundred*sum(map(nested_comprehensions, trees)),
        "lambdas per 100 lines": per_hundred*sum(isinstance(n, ast.Lambda) for tree in trees for n in ast.walk(tree)),
        "tuple assignments of more than two names": sum(map(wide_assignments, trees)),
        "public names (target 200)": len(names),
        "public names that nothing else uses (target 0)": len(alone),
        "% of public functions with all types (target 95)": 100*sum(map(typed, functions))/len(functions),
    }


if __name__ == "__main__":
    for name, value in measure().items():
        print(f"{value:10.2f}  {name}" if isinstance(value, float) else f"{value:10}  {name}")
    sys.exit()
