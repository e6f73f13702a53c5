"""What has happened to a notebook on its way, and where its cells belong."""

import codecs
import json

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook
from repository import write
from submissions import LARGEST, Assignment, Unreadable, beside, id_of, read


def marked(grade_id, source, cell=new_code_cell, **roles):
    grading = {"grade": False, "solution": False, "locked": False} | roles
    new = cell(source, metadata={"nbgrader": {"grade_id": grade_id} | grading})
    new.id = grade_id
    return new


def exercise(name):
    """A function and the check and hidden test of it, as they are given out."""
    return [
        marked(name, f"def {name}():\n    stub", solution=True),
        marked(f"{name}_check", f"check.{name}({name})", grade=True, locked=True),
        marked(f"{name}_hidden", "# hidden", grade=True, locked=True),
    ]


RELEASED = [
    new_code_cell("import numpy as np\nfrom lib.masks import all_masks"),
    *exercise("first"),
    marked("given", "def given(): return 1", locked=True),
    *exercise("second"),
    marked("words", "*Write here.*", new_markdown_cell, solution=True, grade=True),
]
ORDER = ["first", "first_check", "first_hidden", "given"]
ORDER += ["second", "second_check", "second_hidden", "words"]


@pytest.fixture
def assignment(tmp_path):
    write(tmp_path / "release.ipynb", *RELEASED)
    return Assignment(tmp_path / "release.ipynb", tmp_path / "release.ipynb")


@pytest.fixture
def file(tmp_path):
    return tmp_path / "submitted.ipynb"


def cells():
    """The released cells, as a student may change them."""
    return [nbformat.from_dict(dict(cell)) for cell in RELEASED]


def placed(assignment, file, changed):
    """The cells of a submission in their places, by name or else by source; what was mended."""
    write(file, *changed)
    notebook, notes = beside(read(file)[0], assignment)
    return [id_of(cell) or cell.source for cell in notebook.cells][1:], notes


def test_an_assignment_knows_what_it_asks(assignment):
    assert assignment.defines == {"first": "first", "second": "second"}
    assert {"numpy", "lib.masks"} <= set(assignment.modules())
    assert assignment.given()["given"]() == 1


def test_untouched_cells_stay_where_they_are(assignment, file):
    assert placed(assignment, file, cells()) == (ORDER, [])


def test_what_was_deleted_is_put_back(assignment, file):
    found, notes = placed(assignment, file, [cells()[0], new_code_cell("mine"), *cells()[5:7]])
    assert found == [*ORDER[:4], "mine", *ORDER[4:]]
    gone = "first, first_check, first_hidden, given, second_hidden, words"
    assert notes == [f"put back what was deleted: {gone}"]


def test_of_two_answers_the_last_counts_and_is_tested(assignment, file):
    both = cells()
    both.insert(5, marked("first", "def first():\n    return 2", solution=True))
    both[5].id = "another"
    found, notes = placed(assignment, file, both)
    assert found[:5] == ["def first():\n    stub", "given", *ORDER[:3]]
    assert notes == ["first is there 2 times: the last counts"]


def test_a_copy_that_nobody_touched_does_not_count(assignment, file):
    both = cells()
    both[1].source = "def first():\n    return 2"
    both.insert(2, cells()[1])
    both[2].id = "another"
    assert placed(assignment, file, both)[0][:2] == ["first", "def first():\n    stub"]


def test_tests_and_what_is_given_cannot_be_changed(assignment, file):
    changed = cells()
    for cell in changed:
        cell.source = "def first(): pass" if id_of(cell) == "first" else "changed"
    write(file, *changed)
    notebook, _ = beside(read(file)[0], assignment)
    sources = {id_of(cell): cell.source for cell in notebook.cells}
    assert sources["first_check"] == "check.first(first)"
    assert sources["given"] == "def given(): return 1"
    assert sources["first"] == "def first(): pass"
    assert sources["words"] == "changed"


@pytest.mark.parametrize("keep_ids", [True, False])
def test_cells_without_marks_are_told_by_their_names(assignment, file, keep_ids):
    unmarked = cells()
    for number, cell in enumerate(unmarked):
        cell.metadata = {}
        cell.id = cell.id if keep_ids else f"cell-{number}"
    found, notes = placed(assignment, file, unmarked)
    assert [each for each in found if each in ORDER] == ORDER
    lost = [] if keep_ids else ["look yourself for words"]
    assert notes == ["had lost nbgrader's marks: its cells were told by their names", *lost]


@pytest.mark.parametrize(
    ("encoding", "start", "note"),
    [
        ("utf-8", b"", []),
        ("utf-8", codecs.BOM_UTF8, ["began with a byte order mark"]),
        ("latin-1", b"", ["was written in Latin-1"]),
        ("utf-16", b"", ["was written in utf-16"]),
    ],
)
def test_other_encodings_are_read(file, encoding, start, note):
    notebook = new_notebook(cells=[new_markdown_cell("año <b> < 1")])
    file.write_bytes(start + json.dumps(notebook, ensure_ascii=False).encode(encoding))
    found, notes = read(file)
    assert notes == note
    assert found[0].source == "año &lt;b> < 1"  # no page runs what a student wrote


def test_notebooks_of_an_older_format_are_read(file):
    old = {"nbformat": 3, "nbformat_minor": 0, "metadata": {"name": ""}}
    cell = {"cell_type": "code", "input": ["1 + 1"], "outputs": [], "language": "python"}
    old["worksheets"] = [{"cells": [cell], "metadata": {}}]
    file.write_text(json.dumps(old), encoding="utf-8")
    assert read(file)[0][0].source == "1 + 1"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "it is empty"),
        (b'{"cells": [', "it is no whole notebook"),
        (b"[" * 10**5, "it is no whole notebook"),
        (b"[1]", "it is no notebook"),
        (b'{"nbformat": 4, "cells": [3]}', "it is no notebook"),
        (b'{"nbformat": 4, "cells": []}', "it has no cells"),
        (b" " * (LARGEST + 1), "it is larger than 20 MB"),
    ],
)
def test_what_cannot_be_read_is_said(file, content, reason):
    file.write_bytes(content)
    with pytest.raises(Unreadable, match=reason):
        read(file)


def test_links_are_not_followed(tmp_path, file):
    write(tmp_path / "solutions.ipynb", *RELEASED)
    file.symlink_to(tmp_path / "solutions.ipynb")
    with pytest.raises(Unreadable, match="it is a link"):
        read(file)
