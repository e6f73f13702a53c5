"""The nbgrader course: four students hand in the exercises of one part, and are graded."""

import math
import os
import re
from functools import partial

import course as layout
import nbformat
import pytest
from commands import BIN, call, end_of
from nbgrader.api import Gradebook
from repository import EXERCISES, grading, is_function, read, text_of

pytestmark = pytest.mark.slow

PART = "convolutional"  # its cells run fast
SOLUTION = re.compile(r"### BEGIN SOLUTION\n(.*?)### END SOLUTION", re.DOTALL)
BEGINS = "open({sign!r}, 'a').write('.')\n"  # a sign of life from a function that never ends
FOREVER = BEGINS + "while True:\n    pass"
WITHOUT_END = BEGINS + "while True:\n    print('again and again')"
STUBBORN = f"""while True:
    try:
        {BEGINS.strip()}
        while True:
            pass
    except:
        pass"""
WARNING = "__import__('warnings').warn('take care')"

NOWHERE = math.inf  # a place behind every other

# Only a cell that never ends is stopped, soon after it began, however busy the machine is.
# All others have ten minutes.
LIMITS = """
from pathlib import Path
from time import monotonic, sleep

c.Execute.iopub_timeout = 1  # waited for after each cell of one that catches the interrupt
seen = {}


def limit(cell):
    if "sign" not in cell.metadata:
        return 600
    sign, start = Path(cell.metadata["sign"]), monotonic()
    while not sign.exists() or sign.stat().st_size == seen.get(sign, 0):
        assert monotonic() < start + 600, "it did not begin"
        sleep(0.01)
    seen[sign] = sign.stat().st_size
    return 0.1


c.Execute.timeout_func = limit
"""


lay_out = partial(end_of, layout.main)


def notebook_of(course, *stage):
    """The file of the assignment at one stage, such as "submitted" by a student."""
    return course.joinpath(*stage, PART, f"{PART}.ipynb")


def nbgrader(course, *arguments):
    """Call nbgrader as in an active environment: it looks for its tools on the path."""
    path = f"{BIN}{os.pathsep}{os.environ['PATH']}"
    code, log = call(BIN / "nbgrader", *arguments, cwd=course, PATH=path)
    assert code == 0, log


def hand_in(course, student, bodies, endless=(), stuck_after=NOWHERE):
    """Hand in the released notebook; `bodies` replaces the stubs by place.

    The cells behind a function at a place in `endless` say where it gives a sign of life, and so do
    all cells behind the place `stuck_after`: there the function's last call still runs.
    """
    notebook = read(notebook_of(course, "release"))
    place = -1
    for cell in notebook.cells:
        if is_function(cell):
            place += 1
            cell.source = bodies.get(place, cell.source)
        never_ends = place in endless and not is_function(cell)
        if cell.cell_type == "code" and (never_ends or place > stuck_after):
            cell.metadata["sign"] = str(sign_of(course, student))
    file = notebook_of(course, "submitted", student)
    file.parent.mkdir(parents=True)
    nbformat.write(notebook, file)


def sign_of(course, student):
    return course / f"{student}.sign"


@pytest.fixture(scope="module")
def course(tmp_path_factory):
    """A course in which everything was handed in and graded."""
    course = tmp_path_factory.mktemp("course")
    assert lay_out(course, PART) is None
    with (course / "nbgrader_config.py").open("a", encoding="utf-8") as settings:
        settings.write(LIMITS)
    nbgrader(course, "generate_assignment", PART, "--create")

    sources = filter(is_function, read(notebook_of(course, "source")).cells)
    right = {place: cell.source for place, cell in enumerate(sources)}

    def with_body(place, body):
        head, _, indent = SOLUTION.split(right[place])[0].rpartition("\n")
        lines = [indent + line for line in body.splitlines()]
        return "\n".join([head, *lines])

    begin = "    ### BEGIN SOLUTION\n"
    warned = {
        place: body.replace(begin, f"{begin}    {WARNING}\n") for place, body in right.items()
    }
    assert all(WARNING in body for body in warned.values())
    hand_in(course, "right", warned)
    wrong = {place: with_body(place, "return 0") for place in (3, 4)}
    hand_in(course, "half", {place: right[place] for place in (0, 1)} | wrong)
    for student, bodies, stuck_after in [
        ("endless", {2: FOREVER, 3: WITHOUT_END}, NOWHERE),
        ("stubborn", {4: STUBBORN}, 4),
    ]:
        sign = str(sign_of(course, student))
        never = {place: with_body(place, body.format(sign=sign)) for place, body in bodies.items()}
        hand_in(course, student, right | never, endless=never, stuck_after=stuck_after)
    nbgrader(course, "autograde", PART)
    return course


def cells(*functions):
    """The cells that grade these functions."""
    return {f"{name}_{kind}" for name in functions for kind in ("check", "hidden")}


FIRST_TWO = cells("spatial_dropout", "pooled_mean")
NEXT_TWO = cells("survival_probabilities", "residual_block")
LAST_TWO = cells("join", "make_block")


@pytest.mark.parametrize(
    ("student", "right"),
    [
        ("right", FIRST_TWO | NEXT_TWO | LAST_TWO),
        ("half", FIRST_TWO),
        ("endless", FIRST_TWO | LAST_TWO),
        ("stubborn", FIRST_TWO | NEXT_TWO),
    ],
)
def test_what_is_right_has_all_points_and_all_else_has_none(course, student, right):
    with Gradebook(f"sqlite:///{course / 'gradebook.db'}") as gradebook:
        submission = gradebook.find_submission_notebook(PART, PART, student)
        grades = {grade.name: (grade.auto_score, grade.max_score) for grade in submission.grades}
    assert grades.keys() == FIRST_TWO | NEXT_TWO | LAST_TWO
    for name, (score, most) in grades.items():
        assert score == (most if name in right else 0), name


def test_output_without_end_is_cut(course):
    assert notebook_of(course, "autograded", "endless").stat().st_size < 1_000_000


def test_feedback_shows_what_was_wrong(course):
    nbgrader(course, "generate_feedback", PART, "--student=half")
    assert "is not written yet" in text_of(course / "feedback" / "half" / PART / f"{PART}.html")


def test_students_get_no_solution_and_no_directive(course):
    released = text_of(notebook_of(course, "release"))
    for text in ("BEGIN SOLUTION", "BEGIN HIDDEN TESTS", "{solution-start}", ":::", "](../"):
        assert text not in released


def test_every_part_is_an_assignment(tmp_path):
    assert lay_out(tmp_path / "course") is None
    laid_out = {path.stem for path in tmp_path.glob("course/source/*/*.ipynb")}
    assert laid_out == {path.parent.name for path in EXERCISES}


def test_a_changed_file_is_left_alone(tmp_path):
    assert lay_out(tmp_path, PART) is None
    assert lay_out(tmp_path, PART) is None  # unchanged: nothing to say
    mine = notebook_of(tmp_path, "source")
    mine.write_text("changed", encoding="utf-8")
    assert f"left alone: {mine}" in lay_out(tmp_path)
    assert text_of(mine) == "changed"
    assert not (tmp_path / "source" / "noise").exists()


def test_an_unknown_part_is_named(tmp_path):
    assert "no such part: nosuchpart" in lay_out(tmp_path, PART, "nosuchpart")
    assert not list(tmp_path.iterdir())


def test_the_teaching_page_states_the_points():
    stated = re.findall(r"(?m)^\| [^|]+ \| (\d+) \| (\d+) \|$", text_of("book/teaching.md"))
    counted = []
    for source in EXERCISES:
        graded = [each for each in map(grading, read(source).cells) if each["grade"]]
        by_hand = sum(each["points"] for each in graded if each["solution"])
        counted.append((sum(each["points"] for each in graded) - by_hand, by_hand))
    assert sorted((int(checked), int(by_hand)) for checked, by_hand in stated) == sorted(counted)
