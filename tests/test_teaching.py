"""What a lecturer hands out: the student's package, nbgrader's assignment, the instructor's sheet, the slides."""
import csv
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import nbformat
import pytest
from wrong_answers import WRONG_ANSWERS

from anchoral.teach.handout import assignment, sheet, solutions_of, write_assignment, write_package
from anchoral.teach.puzzles import PUZZLES

ROOT = Path(__file__).parents[1]
SOLVED = ROOT/"nbs/tutorials/solutions.ipynb"
SOLUTIONS = solutions_of(nbformat.read(SOLVED, 4))
# nbgrader wants other versions than ours, so it may live in an environment of its own: NBGRADER=/path/to/nbgrader
NBGRADER = os.environ.get("NBGRADER") or shutil.which("nbgrader")


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory):
    "The student's package as a student has it."
    home = tmp_path_factory.mktemp("student")
    write_package(home/"student.zip", ROOT)
    with zipfile.ZipFile(home/"student.zip") as z: z.extractall(home)
    return home/"anchoral-lab"


def test_the_package_holds_no_solution_and_nothing_for_the_instructor(unpacked):
    names = {p.name for p in unpacked.rglob("*")}
    assert {"START.md", "requirements.txt", "exercises.ipynb", "why-rare.ipynb", "homework.ipynb"} <= names
    assert not names & {"solutions.ipynb", "teaching-plan.ipynb", "wrong_answers.py", "instructor.html"}
    bodies = [re.sub(r"\A.*?:\n", "", code).strip() for code in SOLUTIONS.values()]
    for path in unpacked.rglob("*"):
        if path.suffix not in (".ipynb", ".md", ".py", ".txt"): continue
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".ipynb": text = "\n".join(c.source for c in nbformat.reads(text, 4).cells)
        assert not [body for body in bodies if body in text], path.name
        assert "BEGIN SOLUTION" not in text or path.parent.name == "teach", path.name
    assert not any(f"def {wrong.__name__}(" in (unpacked/"anchoral/teach/puzzles.py").read_text()
                   for wrong in WRONG_ANSWERS["entropy"])


def test_the_package_links_only_to_what_is_in_it(unpacked):
    for page in unpacked.glob("*.ipynb"):
        for cell in nbformat.read(page, 4).cells:
            if cell.cell_type != "markdown": continue
            for target in re.findall(r"\]\(([^)\s]+)\)", cell.source):
                assert re.match("https?:", target) or (unpacked/target).exists(), f"{page.name}: {target}"


def run_in(folder, notebook, tmp_path):
    "Execute a notebook of the package with nothing of the clone in sight."
    env = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "ANCHORAL_RESULTS")}
    done = subprocess.run([sys.executable, "-m", "nbconvert", "--to", "notebook", "--execute", "--log-level=ERROR",
                           "--output-dir", str(tmp_path), f"{notebook}.ipynb"],
                          cwd=folder, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return nbformat.read(tmp_path/f"{notebook}.ipynb", 4)


def test_what_is_in_the_package_runs(unpacked, tmp_path):
    "With its own library and its own results. (why-rare, the longest, was run so by hand.)"
    done = run_in(unpacked, "exercises", tmp_path)
    assert "0 of 13 solved" in "".join(str(o) for c in done.cells for o in c.get("outputs", []))
    code = "import anchoral; print(anchoral.__file__); from anchoral.study.results import load_results;" \
           "print(len(load_results('offline')), len(load_results('missed-cluster')))"
    env = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "ANCHORAL_RESULTS")}
    where, rows = subprocess.run([sys.executable, "-c", code], cwd=unpacked, env=env, capture_output=True,
                                 text=True).stdout.splitlines()
    assert where.startswith(str(unpacked)) and all(int(n) > 1000 for n in rows.split())


def test_two_packages_are_the_same(tmp_path):
    for name in "ab": write_package(tmp_path/name, ROOT)
    assert (tmp_path/"a").read_bytes() == (tmp_path/"b").read_bytes()


def test_the_sheet_shows_every_wrong_answer_with_its_message():
    "Made from the answers that are tested, so it cannot go stale."
    few = {name: answers[:2] for name, answers in WRONG_ANSWERS.items()}
    page = sheet(few, SOLUTIONS)
    assert page.count("<h2>") == len(PUZZLES) and page.count("✗") == page.count("expected") == 2*len(PUZZLES)
    assert "nobody labels a text twice" in page and "math.comb(n - r, b)" in page


def test_the_assignment_has_what_nbgrader_needs():
    "Each puzzle an answer and a test of one point, ids that are unique, hidden tests in other worlds."
    cells = assignment(nbformat.read(SOLVED, 4)).cells
    about = [c.metadata.nbgrader for c in cells if "nbgrader" in c.metadata]
    assert len({a["grade_id"] for a in about}) == len(about) == 2*len(PUZZLES)
    assert sum(a.get("points", 0) for a in about) == len(PUZZLES)
    tests = [c.source for c in cells if c.metadata.get("nbgrader", {}).get("grade")]
    assert all("strict=True" in t and "HIDDEN TESTS" in t and "seed=" in t for t in tests)


def submission(released, answers):
    "The released notebook with some answers written in."
    nb = nbformat.read(released, 4)
    for cell in nb.cells:
        name = cell.metadata.get("nbgrader", {}).get("grade_id")
        if name in answers: cell.source = answers[name]
    return nb


FITTED = """def chance_of_none(n, r, b):
    from anchoral.teach.puzzles import PUZZLES
    seen = {world: PUZZLES["chance_of_none"].right(*world) for world in PUZZLES["chance_of_none"].worlds()}
    return seen.get((n, r, b), .5)"""
BITS = """def entropy(probs):
    safe = np.where(probs > 0, probs, 1)
    return -(probs * np.log2(safe)).sum(axis=1)"""


@pytest.mark.skipif(not NBGRADER, reason="nbgrader is not installed; or NBGRADER=/path/to/nbgrader")
def test_nbgrader_gives_the_points(tmp_path):
    """Its walk-through: generate the assignment, collect four submissions, grade them, export the marks. An empty
    one gets nothing, one in bits loses a point, and so does one that only knows the worlds it has seen."""
    env = os.environ | {"PYTHONPATH": str(ROOT), "PATH": f"{Path(NBGRADER).parent}:{os.environ['PATH']}"}

    def nbgrader(*arguments):
        done = subprocess.run([NBGRADER, *arguments], cwd=tmp_path, env=env, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]

    (tmp_path/"nbgrader_config.py").write_text('get_config().CourseDirectory.course_id = "anchoral"\n')
    write_assignment(SOLVED, tmp_path/"source/lab/exercises.ipynb")
    nbgrader("generate_assignment", "lab")
    released = tmp_path/"release/lab/exercises.ipynb"
    text = released.read_text()
    assert "HIDDEN" not in text and "SOLUTION" not in text and text.count("NotImplementedError") == len(PUZZLES)
    students = {"empty": {}, "right": SOLUTIONS, "bits": SOLUTIONS | {"entropy": BITS},
                "fitted": SOLUTIONS | {"chance_of_none": FITTED}}
    for student, answers in students.items():
        there = tmp_path/f"submitted/{student}/lab/exercises.ipynb"
        there.parent.mkdir(parents=True)
        nbformat.write(submission(released, answers), there)
    nbgrader("autograde", "lab")
    nbgrader("export")
    with open(tmp_path/"grades.csv") as f: marks = {row["student_id"]: float(row["score"]) for row in csv.DictReader(f)}
    # in bits the same instances are asked, so the second puzzle still counts
    assert marks == {"empty": 0, "right": 13, "bits": 12, "fitted": 12}


LECTURES = ["lecture-1", "lecture-2"]


@pytest.fixture(scope="module")
def decks(tmp_path_factory):
    "The slides, as `make slides` writes them, of the committed lectures."
    from anchoral.teach.slides import write_slides
    folder = tmp_path_factory.mktemp("slides")
    try: return [write_slides(ROOT/f"nbs/tutorials/{name}.ipynb", folder) for name in LECTURES]
    except ValueError as e: pytest.skip(str(e))  # no npm here, or no network


@pytest.mark.parametrize("name", LECTURES)
def test_a_lecture_fills_its_minutes(name):
    "Notes for every slide, minutes that ascend to 45, a question before results, pictures with words."
    cells = nbformat.read(ROOT/f"nbs/tutorials/{name}.ipynb", 4).cells
    kinds = [c.metadata.get("slideshow", {}).get("slide_type") for c in cells]
    assert kinds.count("slide") == kinds.count("notes") == 15
    notes = [c.source for c, kind in zip(cells, kinds) if kind == "notes"]
    minutes = [int(re.match(r"\*\*Minute (\d+)", note)[1]) for note in notes]
    assert minutes == sorted(minutes) and minutes[0] == 0
    lengths = [int(n) for note in notes for n in re.findall(r"^\*\*Minute \d+, (\d+) minute", note)]
    assert minutes[-1] + lengths[-1] == 45
    assert sum("**Predict.**" in c.source for c in cells) >= 3
    for c in cells:
        if any("image/png" in o.get("data", {}) for o in c.get("outputs", [])): assert "#| fig-alt: " in c.source


def test_slides_open_without_a_network_and_fit(decks):
    "In a browser that reaches nothing: every slide is whole, every picture has words, the notes are beside it."
    from chrome import page
    for deck in decks:
        assert not re.findall(r'(?:src|href)="(?:https?:)?//', deck.read_text(encoding="utf-8"))
        with page(1280, 720) as (tab, wrong):
            tab.goto(f"file://{deck}")
            tab.wait_for_function("window.Reveal && Reveal.isReady()")
            assert tab.evaluate("[...document.images].every(i => i.alt.length > 40 && i.naturalWidth > 500)")
            for k in range(tab.evaluate("Reveal.getTotalSlides()")):
                tab.evaluate(f"Reveal.slide({k}, 0)")
                tab.wait_for_function("!Reveal.getCurrentSlide().querySelector('img') ||"
                                      "Reveal.getCurrentSlide().querySelector('img').clientHeight > 100")
                assert tab.evaluate("Reveal.getCurrentSlide().scrollHeight") <= 665, f"{deck.name}, slide {k + 1}"
                assert tab.evaluate("Reveal.getCurrentSlide().querySelector('.notes').innerText.length") > 40
            with tab.expect_popup() as notes: tab.keyboard.press("s")
            notes.value.wait_for_function("document.body.innerText.includes('Minute')")
            assert wrong == []
