"""The tutorials: the exercises fail as shipped and pass solved,
and every wrong answer people give is told what is wrong.

That each tutorial runs from top to bottom is nbdev-test's part of `make test`.
"""
import ast
import re
from inspect import signature
from math import log
from pathlib import Path

import nbformat
import numpy as np
import pytest
from wrong_answers import WRONG_ANSWERS

from anchoral.filters import Subpool
from anchoral.teach import puzzles
from anchoral.teach.handout import student
from anchoral.teach.puzzles import PICTURES, PUZZLES, grade, picture, submit

TUTORIALS = Path(__file__).parents[1]/"nbs/tutorials"
OURS = ["why-rare", "one-page", "your-own-filter", "exercises", "solutions", "teaching-plan",
        "lecture-1", "lecture-2", "homework"]
WRONG = [(name, wrong) for name, answers in WRONG_ANSWERS.items() for wrong in answers]


def read(name): return nbformat.read(TUTORIALS/f"{name}.ipynb", 4)


def verdicts(name):
    "Run a notebook's code cells here; the verdicts of its checks, and what `score` says at the end."
    puzzles.SOLVED.clear()
    space, said = {}, []
    for c in read(name).cells:
        if c.cell_type != "code" or "picture(" in c.source and "import" not in c.source: continue
        tree = ast.parse(c.source.replace("%matplotlib inline\n", ""))
        last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
        exec(compile(tree, name, "exec"), space)
        if last: said.append(eval(compile(ast.Expression(last.value), name, "eval"), space))
    return said[:-1], said[-1]


def test_exercises_fail_as_shipped():
    said, score = verdicts("exercises")
    assert [v.name for v in said] == list(PUZZLES) and not any(v.ok for v in said)
    assert all("write your answer" in v.message for v in said) and score.startswith("0 of 13")


def test_solutions_pass():
    said, score = verdicts("solutions")
    assert [v.name for v in said] == list(PUZZLES) and all(v.ok for v in said) and score == "13 of 13 solved"


def shown(nb): return [o.data["text/plain"] for c in nb.cells if c.source.startswith("submit(") for o in c.outputs]


def test_committed_outputs_say_so():
    assert all(s.startswith("✗") for s in shown(read("exercises")))
    assert all(s.startswith("✓") for s in shown(read("solutions")))
    assert len(shown(read("exercises"))) == len(shown(read("solutions"))) == len(PUZZLES)


def test_exercises_are_made_from_the_solutions():
    "One source: the committed exercises are what the solved notebook gives, and hold none of its answers."
    def cells(nb): return [(c.id, c.cell_type, c.source) for c in nb.cells]
    made, have = student(read("solutions")), read("exercises")
    assert cells(made) == cells(have), "run anchoral.teach.handout.write_student on the solved notebook, and execute it"
    assert nbformat.writes(made) == nbformat.writes(student(read("solutions")))
    text = "\n".join(c.source for c in have.cells)
    answers = re.findall(r"### BEGIN SOLUTION\n(.*?)\n *### END",
                         "\n".join(c.source for c in read("solutions").cells), re.S)
    assert len(answers) == len(PUZZLES) and not any(a in text for a in answers) and "SOLUTION" not in text


def test_a_mark_without_its_partner_is_refused():
    nb = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("# T"),
                                         nbformat.v4.new_code_cell("### BEGIN SOLUTION\nx = 1")])
    with pytest.raises(ValueError, match="without its partner"): student(nb)


@pytest.mark.parametrize("name", PUZZLES)
def test_puzzle(name):
    "A picture, a right answer that passes, and at least two wrong ones that are told apart."
    p = PUZZLES[name]
    assert name in PICTURES and picture(name).axes
    assert grade(name, p, p.right).ok
    told = [grade(name, p, wrong).message for wrong in p.wrong]
    messages = [" ".join(wrong.__doc__.split()) for wrong in p.wrong]
    assert told == messages and len(set(told)) == len(told) >= 2


@pytest.mark.parametrize("name, wrong", WRONG, ids=[f"{name}: {wrong.__name__}" for name, wrong in WRONG])
def test_a_wrong_answer_is_refused_with_the_world_that_shows_it(name, wrong):
    "In at most five lines: the mistake, the input, what was expected and what was given."
    refused = grade(name, PUZZLES[name], wrong)
    lines = repr(refused).splitlines()
    assert not refused and lines[0].startswith(f"✗ {name}: ") and len(lines) == 4
    assert [line.split()[0] for line in lines[1:]] == ["input", "expected", "yours"]
    assert max(map(len, lines)) < 500
    assert all(f"{argument} = " in lines[1] for argument in signature(PUZZLES[name].right).parameters)


def test_wrong_answers_are_many_and_different():
    "At least 120, of every puzzle at least eight, each written once."
    assert len(WRONG) == len({(name, wrong.__name__) for name, wrong in WRONG}) >= 120
    assert list(WRONG_ANSWERS) == list(PUZZLES) and min(map(len, WRONG_ANSWERS.values())) >= 8


def test_the_commonest_slips_have_their_own_sentence():
    "What every second class writes is known by name, and few wrong answers are only shown a case."
    said = {wrong.__name__: grade(name, PUZZLES[name], wrong).message for name, wrong in WRONG}
    known = {" ".join(wrong.__doc__.split()) for p in PUZZLES.values() for wrong in p.wrong}
    named = {"average_by_median": "median", "average_by_midrange": "middle", "f1_without_a_guard": "0 by 0",
             "f1_in_plain_python": "0 by 0", "f1_of_class_1": "whatever c is", "least_confidence": "least confidence",
             "margin": "margin", "by_margin": "margin", "seals_one_by_one": "one after another",
             "seals_after_asking": "before it is labelled", "nan_to_num_after_the_sum": "not the sum",
             "upper_median": "larger one", "lower_median": "smaller one", "in_per_cent": "100 times"}
    for wrong, words in named.items(): assert words in said[wrong], said[wrong]
    assert sum(message in known for message in said.values()) >= 70
    assert sum("should give something else" in message for message in said.values()) <= len(said)/4


def test_worlds_can_be_drawn_anew():
    "With another seed other worlds come, and an answer that is wrong in the first is wrong in these."
    p = PUZZLES["average"]
    other = p.worlds(seed=9)[len(p.cases):]
    assert all(not np.array_equal(one[1], two[1]) for one, two in zip(other, p.worlds()[len(p.cases):]))
    assert grade("average", p, p.right, seed=9)
    assert not any(grade("average", p, wrong, seed=9) for wrong in WRONG_ANSWERS["average"])


@pytest.mark.parametrize("name", PUZZLES)
def test_worlds_are_many_small_and_always_the_same(name):
    p = PUZZLES[name]
    drawn = p.worlds()[len(p.cases):]
    assert len(drawn) == p.n_drawn >= 12
    first, again = p.draw(np.random.default_rng(0)), p.draw(np.random.default_rng(0))
    assert np.array_equal(p.see(p.right(*first)), p.see(p.right(*again)))


def test_strict_raises_and_feedback_has_a_truth_value():
    right = submit("entropy", PUZZLES["entropy"].right, strict=True)
    wrong = submit("entropy", lambda probs: probs.sum(axis=1))
    assert right and not wrong and puzzles.SOLVED["entropy"] is False
    with pytest.raises(ValueError, match="✗ entropy(.*\n)+ +expected"):
        submit("entropy", lambda probs: probs.sum(axis=1), strict=True)


@pytest.mark.parametrize("answer", [3, "entropy", None, [1, 2], np.ones(3)], ids=lambda a: type(a).__name__)
@pytest.mark.parametrize("name", PUZZLES)
def test_wrong_type(name, answer):
    "An answer that is no function, and a function that gives this."
    assert f"must be a function, got {type(answer).__name__}" in grade(name, PUZZLES[name], answer).message
    v = grade(name, PUZZLES[name], lambda *args: {"answer": answer})
    assert not v.ok and f"must return {PUZZLES[name].gives}, got dict" in v.message


@pytest.mark.parametrize("name", PUZZLES)
def test_wrong_shape_wrong_call_and_nothing(name):
    p = PUZZLES[name]
    assert "nothing is returned yet" in grade(name, p, lambda *args: None).message
    assert "it raises TypeError" in grade(name, p, lambda: 1).message
    assert not grade(name, p, lambda *args: np.zeros((7, 7))).ok
    assert not grade(name, p, lambda *args: float("nan")).ok


def loop_entropy(probs): return [-sum(p * log(p) for p in row if p) for row in probs]
def slow_average(ids, sims): return [sum(s for i, s in zip(ids, sims) if i == j) for j in sorted(set(ids))]
def half_right(truth, predicted, c): return 0.5


def test_answers_in_other_words():
    "Written with loops and lists, right and wrong answers are known too; one nobody thought of is shown a case."
    assert grade("entropy", PUZZLES["entropy"], loop_entropy).ok
    assert "that is the sum" in grade("average", PUZZLES["average"], slow_average).message
    assert "it should give" in grade("f1", PUZZLES["f1"], half_right).message


def test_an_answer_cannot_change_the_question():
    def greedy(probs):
        probs[:] = 1
        return np.zeros(len(probs))
    before = [a.copy() for a, in PUZZLES["entropy"].cases]
    assert not grade("entropy", PUZZLES["entropy"], greedy).ok
    for a, (b,) in zip(before, PUZZLES["entropy"].cases): np.testing.assert_array_equal(a, b)


def test_a_filter_is_held_to_the_contract():
    p = PUZZLES["nearest_filter"]
    def careless(s, rng):
        free = np.flatnonzero(~s.excluded)
        return Subpool(np.sort(np.random.default_rng().choice(free, 3 if len(free) > 3 else 0, replace=False)))
    faults = {"labelled or skipped": lambda s, rng: Subpool(np.arange(20)),
              "must ascend": lambda s, rng: Subpool(p.right(s, rng).ids[::-1]),
              "same seed": careless}
    for message, fault in faults.items(): assert message in grade("f", p, fault).message
    assert "must return a Subpool" in grade("f", p, lambda s, rng: p.right(s, rng).ids).message


@pytest.mark.parametrize("name", OURS)
def test_a_page_to_share(name):
    "Without torch and without a compiler, a prediction before it runs, quotes only in quote blocks with their place."
    cells = read(name).cells
    code = "\n".join(c.source for c in cells if c.cell_type == "code")
    assert not re.search(r"torch|hnsw|minilm|finetune|sentence_transformers", code)
    if name in ("why-rare", "one-page", "your-own-filter", "teaching-plan", "lecture-1", "lecture-2", "homework"):
        assert any("redict" in c.source for c in cells if c.cell_type == "markdown")
    for c in cells:
        for quote in re.findall(r"^> .*[“\"].*$", c.source, re.M):
            assert re.search(r"§|Alg|App\.|caption", quote), f"{name}: {quote}"
