"""The nbgrader course: six students hand in the exercises of one part, and are graded."""

import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from exercise_cells import is_function, read
from nbgrader.api import Gradebook

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent
PART = "idea"
SOLUTION = re.compile(r"### BEGIN SOLUTION\n(.*?)### END SOLUTION", re.DOTALL)
FOREVER = "while True:\n    pass"
WITHOUT_END = "while True:\n    print('again and again')"
STUBBORN = "while True:\n    try:\n        pass\n    except:\n        pass"
WARNING = "__import__('warnings').warn('take care')"


def lay_out(folder, *parts):
    return subprocess.run(
        [sys.executable, ROOT / "tools" / "course.py", folder, *parts],
        capture_output=True,
        encoding="utf-8",
        check=False,
    )


def nbgrader(course, *arguments):
    """Call nbgrader as in an active environment: it looks for its tools on the path."""
    result = subprocess.run(
        [BIN / "nbgrader", *arguments],
        cwd=course,
        env=os.environ | {"PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        check=False,
    )
    assert result.returncode == 0, result.stdout
    return result.stdout


def hand_in(course, student, bodies):
    """Hand in the released notebook; `bodies` replaces the stubs by place."""
    notebook = read(course / "release" / PART / f"{PART}.ipynb")
    for place, cell in enumerate(filter(is_function, notebook.cells)):
        if place in bodies:
            cell.source = bodies[place]
    folder = course / "submitted" / student / PART
    folder.mkdir(parents=True)
    nbformat.write(notebook, folder / f"{PART}.ipynb")


@pytest.fixture(scope="module")
def course(tmp_path_factory):
    """A course in which everything was handed in and graded."""
    course = tmp_path_factory.mktemp("course")
    result = lay_out(course, PART)
    assert result.returncode == 0, result.stderr
    nbgrader(course, "generate_assignment", PART, "--create")

    sources = filter(is_function, read(course / "source" / PART / f"{PART}.ipynb").cells)
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
    hand_in(course, "half", {place: right[place] for place in (0, 1)})
    hand_in(course, "wrong", {place: with_body(place, "return 0") for place in right})
    hand_in(course, "forever", right | {3: with_body(3, FOREVER)})
    hand_in(course, "printing", right | {3: with_body(3, WITHOUT_END)})
    hand_in(course, "stubborn", right | {4: with_body(4, STUBBORN)})
    limits = ["--Execute.timeout=3", "--Execute.iopub_timeout=1"]
    nbgrader(course, "autograde", PART, *limits)
    return course


def points(course, student):
    """The points of each automatically graded cell."""
    with Gradebook(f"sqlite:///{course / 'gradebook.db'}") as gradebook:
        submission = gradebook.find_submission_notebook(PART, PART, student)
        return {
            grade.name: (grade.auto_score, grade.max_score)
            for grade in submission.grades
            if grade.name.endswith(("_check", "_hidden"))
        }


def scored(grades):
    return {name for name, (score, _) in grades.items() if score}


def test_right_has_all_points(course):
    grades = points(course, "right")
    assert len(grades) == 10
    assert all(score == most for score, most in grades.values())


def test_half_right_has_the_points_of_what_is_right(course):
    two = {"batch_mask_check", "batch_mask_hidden", "dropout_layer_check", "dropout_layer_hidden"}
    grades = points(course, "half")
    assert scored(grades) == two
    assert sum(score for score, _ in grades.values()) == 6


def test_wrong_and_untouched_have_none(course):
    assert scored(points(course, "wrong")) == set()


@pytest.mark.parametrize("student", ["forever", "printing"])
def test_an_endless_submission_is_stopped_and_the_rest_scored(course, student):
    grades = points(course, student)
    assert scored(grades) == set(grades) - {"steps_needed_check", "steps_needed_hidden"}
    graded = course / "autograded" / student / PART / f"{PART}.ipynb"
    assert graded.stat().st_size < 1_000_000


def test_what_stands_before_a_cell_that_cannot_be_stopped_is_scored(course):
    grades = points(course, "stubborn")
    last = {"paired_comparison_check", "paired_comparison_hidden"}
    assert scored(grades) == set(grades) - last


def test_feedback_shows_what_was_wrong(course):
    nbgrader(course, "generate_feedback", PART, "--student=half")
    feedback = (course / "feedback" / "half" / PART / f"{PART}.html").read_text(encoding="utf-8")
    assert "is not written yet" in feedback


def test_students_get_no_solution_and_no_directive(course):
    released = (course / "release" / PART / f"{PART}.ipynb").read_text(encoding="utf-8")
    for text in ("BEGIN SOLUTION", "BEGIN HIDDEN TESTS", "{solution-start}", ":::", "](../"):
        assert text not in released


def test_every_part_is_an_assignment(tmp_path):
    assert lay_out(tmp_path / "course").returncode == 0
    laid_out = {path.stem for path in tmp_path.glob("course/source/*/*.ipynb")}
    assert laid_out == {path.parent.name for path in ROOT.glob("book/*/exercises.ipynb")}


def test_a_changed_file_is_left_alone(tmp_path):
    assert lay_out(tmp_path, PART).returncode == 0
    assert lay_out(tmp_path, PART).returncode == 0  # unchanged: nothing to say
    mine = tmp_path / "source" / PART / f"{PART}.ipynb"
    mine.write_text("changed", encoding="utf-8")
    result = lay_out(tmp_path)
    assert result.returncode != 0
    assert str(mine) in result.stderr
    assert mine.read_text(encoding="utf-8") == "changed"
    assert not (tmp_path / "source" / "noise").exists()


def test_an_unknown_part_is_named(tmp_path):
    result = lay_out(tmp_path, "idea", "nosuchpart")
    assert result.returncode != 0
    assert "nosuchpart" in result.stderr
    assert not list(tmp_path.iterdir())


def test_the_teaching_page_states_the_points():
    page = (ROOT / "book" / "teaching.md").read_text(encoding="utf-8")
    stated = re.findall(r"^\| ([^|]+) \| (\d+) \| (\d+) \|$", page, re.MULTILINE)
    counted = []
    for source in ROOT.glob("book/*/exercises.ipynb"):
        graded = [c.metadata.get("nbgrader", {}) for c in read(source).cells]
        graded = [each for each in graded if each.get("grade")]
        by_hand = sum(each.points for each in graded if each.solution)
        counted.append((sum(each.points for each in graded) - by_hand, by_hand))
    assert sorted((int(a), int(b)) for _, a, b in stated) == sorted(counted)
