"""A course: laid out, graded with every kind of submission, and its missed ideas counted."""

import codecs
import copy
import json
import re
import subprocess
from functools import partial
from pathlib import Path

import course as tool
import nbformat
import pytest
from commands import end_of
from judge import box, prepare
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from nbgrader.api import Gradebook
from repository import EXERCISES, ROOT, grading, is_function, read, text_of

PART = "convolutional"  # its cells run fast
FULL = 24
SOLUTION = re.compile(r"### BEGIN SOLUTION\n.*### END SOLUTION", re.DOTALL)
NOISE = """import sys, warnings, logging, os
    print("x" * 10**6)
    print("so far so good", file=sys.stderr)
    logging.warning("mind this")
    warnings.warn("take care")
    os.write(1, b"x" * 10**6)
    os.write(2, b"x" * 10**6)
    """
HOSTILE = """
import builtins, os, sqlite3, sys
from pathlib import Path

import lib

beside = Path(lib.__file__).parent
found = [each for each in PLACES if os.path.exists(each)]
found += [each for each in (beside / "checks").iterdir() if "pooled" in each.read_text()]
found += list(beside.parent.glob("**/*.ipynb"))
for folder in (Path.cwd(), *Path.cwd().parents):
    found += list(folder.glob("*.db"))
print("found:", found)

get_ipython().input_transformers_cleanup.append(lambda lines: [])
for name in ("make_block", "join", "pooled_mean"):
    setattr(check, name, lambda *anything: print("ok"))
np.allclose = np.array_equal = lambda *anything, **more: True
builtins.AssertionError = type("Never", (Exception,), {"__new__": lambda *anything: None})
sys.settrace(lambda *anything: None)
"""

new, grade, missed = (partial(end_of, tool.main, command) for command in ("new", "grade", "missed"))


def notebook_of(course, *stage):
    """The file of the assignment at one stage, such as "submitted" by a student."""
    return course.joinpath(*stage, PART, f"{PART}.ipynb")


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory):
    """Options for a machine that can't lock a process in; there only isolation isn't tested."""
    folder = tmp_path_factory.mktemp("inside")
    prepare(folder, ROOT)
    try:
        subprocess.run([*box(folder), "-c", ""], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        return ["--sandbox", tool.sys.executable]
    return []


class Class:
    """Students of a course, each with a submission: right ones, in which something changed."""

    def __init__(self, course):
        self.course = course
        source = read(notebook_of(course, "source")).cells
        self.right = {grading(cell)["grade_id"]: cell for cell in filter(is_function, source)}
        self.places = list(self.right)

    def notebook(self, bodies=()):
        """The released notebook, solved; `bodies` replaces solutions by place."""
        notebook = read(ROOT / "exercises" / f"{PART}.ipynb")
        for cell in filter(is_function, notebook.cells):
            cell.source = self.right[grading(cell)["grade_id"]].source
        for place, body in dict(bodies).items():
            cell = self.find(notebook, self.places[place])
            cell.source = SOLUTION.sub(lambda _, body=body: body, cell.source)
        return notebook

    def find(self, notebook, grade_id):
        return next(cell for cell in notebook.cells if grading(cell).get("grade_id") == grade_id)

    def tests_of(self, notebook):
        return [cell for cell in notebook.cells if grading(cell)["grade"]]

    def hand_in(self, student, notebook, name=PART):
        file = self.course / "submitted" / student / PART / f"{name}.ipynb"
        file.parent.mkdir(parents=True)
        text = notebook if isinstance(notebook, bytes) else nbformat.writes(notebook).encode()
        file.write_bytes(text)


def hand_in_all(students, course):
    """Each kind of submission of which the review of grading told."""
    right = students.notebook()
    begin = "### BEGIN SOLUTION\n    "
    loud = copy.deepcopy(right)
    for cell in filter(is_function, loud.cells):
        cell.source = cell.source.replace(begin, f"{begin}{NOISE}")
    students.hand_in("loud", loud)
    students.hand_in("half", students.notebook({3: "return 0", 4: "return 0", 5: "return 0"}))

    twice = copy.deepcopy(right)
    check = students.tests_of(twice)[0]
    twice.cells.insert(1 + twice.cells.index(check), copy.deepcopy(check))
    answer = students.find(twice, students.places[1])
    mended = copy.deepcopy(answer)
    answer.source = "def pooled_mean(a, keep_prob):\n    return 0"
    twice.cells.insert(4 + twice.cells.index(answer), mended)
    for number, cell in enumerate(twice.cells):
        cell.id = f"cell-{number}"
    students.hand_in("b-twice", twice)

    students.hand_in("cut", nbformat.writes(right).encode()[:9000])
    unmarked = copy.deepcopy(right)
    for number, cell in enumerate(unmarked.cells):
        cell.metadata, cell.id = {}, f"cell-{number}"
    students.hand_in("unmarked", codecs.BOM_UTF8 + nbformat.writes(unmarked).encode())
    latin = copy.deepcopy(right)
    latin.cells.append(new_markdown_cell("Máscaras <script>alert(1)</script>"))
    students.hand_in("latin", json.dumps(latin, ensure_ascii=False).encode("latin-1", "replace"))

    ended = copy.deepcopy(right)
    ended.cells.insert(5, new_code_cell("exit()"))
    ended.cells.insert(5, new_code_cell("import os; os._exit(3)"))
    ended.cells = [cell for cell in ended.cells if cell not in students.tests_of(ended)[:3]]
    students.hand_in("ended", ended, name="convolutional (1)")

    endless = {0: "while True: pass", 1: 'while True: print("x" * 10**5)'}
    students.hand_in("endless", students.notebook(endless))

    hostile = read(ROOT / "exercises" / f"{PART}.ipynb")
    code = next(cell for cell in hostile.cells if cell.cell_type == "code")
    places = [str(course), str(ROOT / "book"), str(ROOT / "lib"), str(Path.home() / ".ssh")]
    code.source += HOSTILE.replace("PLACES", repr(places))
    for cell in filter(is_function, hostile.cells):
        cell.source = re.sub("raise NotImpl.*", "raise StopIteration", cell.source)
    for cell in students.tests_of(hostile):
        cell.source = "print('ok')"
    students.hand_in("hostile", hostile)


@pytest.fixture(scope="module")
def course(tmp_path_factory, sandbox):
    """A course in which everything was handed in, and graded by the one command."""
    course = tmp_path_factory.mktemp("a course")
    assert new(course, PART) is None
    students = Class(course)
    hand_in_all(students, course)
    with pytest.MonkeyPatch.context() as patch:
        said = []
        patch.setattr("builtins.print", lambda *words, **_: said.append(" ".join(map(str, words))))
        end = grade(course, PART, "--seconds", 2, *sandbox)
    course.joinpath("said").write_text("\n".join(said), encoding="utf-8")
    course.joinpath("end").write_text(str(end), encoding="utf-8")
    return course


def points(course):
    """What each student has, by the gradebook."""
    with Gradebook(f"sqlite:///{course / 'gradebook.db'}") as gradebook:
        return {each.student_id: each.score for each in gradebook.assignment_submissions(PART)}


def said_of(course, student):
    lines = course.joinpath("said").read_text(encoding="utf-8").splitlines()
    return next(line for line in lines if line.split()[:1] == [student])


@pytest.mark.slow
def test_what_is_right_has_all_points_and_all_else_has_none(course):
    assert points(course) == {
        "loud": FULL,
        "half": 15,
        "b-twice": FULL,
        "unmarked": FULL,
        "latin": FULL,
        "ended": FULL,
        "endless": FULL - 6,
        "hostile": 0,
    }


@pytest.mark.slow
@pytest.mark.parametrize(
    ("student", "words"),
    [
        ("b-twice", "is there 2 times: the last counts"),
        ("cut", "NOT GRADED: it is no whole notebook"),
        ("unmarked", "began with a byte order mark; had lost nbgrader's marks"),
        ("latin", "was written in Latin-1"),
        ("ended", "ended its process .code 3."),
        ("ended", "put back what was deleted: "),
        ("endless", "stopped after 2 s of processor time"),
    ],
)
def test_what_happened_to_a_notebook_is_said(course, student, words):
    assert re.search(words, said_of(course, student))


@pytest.mark.slow
def test_one_that_is_not_graded_stops_no_other_and_is_named_at_the_end(course):
    assert course.joinpath("end").read_text(encoding="utf-8") == f"not graded: cut/{PART}"


@pytest.mark.slow
def test_output_is_cut(course):
    for file in course.glob("autograded/*/*/*.ipynb"):
        assert file.stat().st_size < 1_000_000


@pytest.mark.slow
def test_solutions_and_the_gradebook_are_out_of_reach(course, sandbox):
    if sandbox:
        pytest.skip("this machine cannot lock a process in")
    texts = [
        output.text
        for cell in read(notebook_of(course, "autograded", "hostile")).cells
        for output in cell.get("outputs", ())
        if output.output_type == "stream"
    ]
    assert "found: []\n" in "".join(texts)


@pytest.mark.slow
def test_feedback_shows_what_was_wrong_and_runs_nothing(course):
    for student, words in (("half", "residual_block"), ("latin", "&lt;script&gt;alert(1)")):
        assert not tool.nbgrader(course, "generate_feedback", PART, f"--student={student}")
        page = text_of(course / "feedback" / student / PART / f"{PART}.html")
        assert words in page
    assert "<script>alert" not in page


@pytest.mark.slow
def test_what_is_unchanged_is_not_run_again(course, sandbox, capsys, tmp_path):
    later = tmp_path / "later"
    (course / "submitted").rename(later)
    (course / "submitted").mkdir()
    (later / "half").rename(course / "submitted" / "half")
    before = points(course)
    assert grade(course, PART, *sandbox) is None
    assert "as before" in capsys.readouterr().out
    assert points(course) == before


def test_what_cannot_be_locked_in_is_not_run(tmp_path):
    assert "nothing was handed in" in grade(tmp_path, PART)
    (tmp_path / "submitted" / "a" / PART).mkdir(parents=True)
    assert "cannot be locked in" in grade(tmp_path, PART, "--sandbox", "nosuchprogram")


def test_every_part_is_an_assignment(tmp_path):
    assert new(tmp_path / "course") is None
    laid_out = {path.stem for path in tmp_path.glob("course/source/*/*.ipynb")}
    assert laid_out == {path.parent.name for path in EXERCISES}


def test_a_changed_file_is_left_alone(tmp_path):
    assert new(tmp_path, PART) is None
    assert new(tmp_path, PART) is None  # unchanged: nothing to say
    mine = notebook_of(tmp_path, "source")
    mine.write_text("changed", encoding="utf-8")
    assert f"left alone: {mine}" in new(tmp_path)
    assert text_of(mine) == "changed"
    assert not (tmp_path / "source" / "noise").exists()


@pytest.mark.parametrize("command", [new, grade, missed])
def test_an_unknown_part_is_named(tmp_path, command):
    assert "no such part: nosuchpart" in command(tmp_path, PART, "nosuchpart")
    assert not list(tmp_path.iterdir())


def told(*ideas):
    """A graded notebook in which these ideas were missed; its own cells do not count."""
    cells, ours = [], {"nbgrader": {"locked": True, "grade": True}}
    for idea, metadata in [*((idea, ours) for idea in ideas), ("mine/forged", {})]:
        lines = [f"Sentence of {idea}.", "Your line: return x", f"\x1b[31m[{idea}]\x1b[0m"]
        errors = [
            new_output("error", ename="ZeroDivisionError", evalue="", traceback=["[no/idea]"]),
            new_output("error", ename="Missed", evalue=lines[0], traceback=lines),
        ]
        cells.append(new_code_cell("check", outputs=errors, metadata=metadata))
    return new_notebook(cells=cells)


def test_missed_ideas_are_counted_by_student(tmp_path, capsys):
    inside, scale = "dropout_layer/factor-inside", "inverted_mask/no-scale"
    for student, ideas in (("a", [inside, inside]), ("b", [inside, scale]), ("c", [])):
        file = notebook_of(tmp_path, "autograded", student)
        file.parent.mkdir(parents=True)
        nbformat.write(told(*ideas), file)
    assert missed(tmp_path) is None
    assert capsys.readouterr().out.splitlines() == [
        " students  idea: what they were told",
        f"   2 of 3  {PART}.{inside}: Sentence of {inside}.",
        f"   1 of 3  {PART}.{scale}: Sentence of {scale}.",
    ]


def test_the_teaching_page_states_the_points():
    stated = re.findall(r"(?m)^\| [^|]+ \| (\d+) \| (\d+) \|$", text_of("book/teaching.md"))
    counted = []
    for source in EXERCISES:
        graded = [each for each in map(grading, read(source).cells) if each["grade"]]
        by_hand = sum(each["points"] for each in graded if each["solution"])
        counted.append((sum(each["points"] for each in graded) - by_hand, by_hand))
    assert sorted((int(checked), int(by_hand)) for checked, by_hand in stated) == sorted(counted)
