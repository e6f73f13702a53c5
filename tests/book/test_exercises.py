"""The exercise notebooks and their students' copies."""

import re
import sys

import pytest
from commands import call, end_of
from nbgrader.nbgraderformat import MetadataValidator
from repository import EXERCISES, ROOT, code_cells, grading, is_function, read, text_of

import exercises

by_part = pytest.mark.parametrize("source", EXERCISES, ids=lambda source: source.parent.name)
SOLUTION = re.compile(
    r"### BEGIN (SOLUTION|HIDDEN TESTS)\n(.*?)### END (?:SOLUTION|HIDDEN TESTS)", re.DOTALL
)


def copy_of(source):
    return ROOT / "exercises" / f"{source.parent.name}.ipynb"


def source_of(path):
    return "\n".join(cell.source for cell in read(path).cells)


def is_given(cell):
    """Imports, and what an exercise provides."""
    locked = grading(cell)["locked"] and not grading(cell)["grade"]
    return cell.cell_type == "code" and (locked or cell.id == "imports")


def run(cells):
    """Run what is given and what students write; return the names."""
    namespace = {}
    for cell in cells:
        if is_given(cell) or is_function(cell):
            exec(compile(cell.source, cell.id, "exec"), namespace)
    return namespace


def checks(cells):
    """What the check cells run, one for each function."""
    found = [
        cell.source
        for cell in cells
        if cell.source.startswith("check.") and cell.source != "check.summary()"
    ]
    assert len(found) == sum(map(is_function, cells)) >= 4
    return found


def hidden_tests(source):
    return [cell for cell in code_cells(source) if "BEGIN HIDDEN TESTS" in cell.source]


def test_every_part_has_exercises():
    assert EXERCISES
    assert sorted(map(copy_of, EXERCISES)) == sorted(ROOT.glob("exercises/*.ipynb"))


@by_part
def test_solutions_pass_their_checks(source, capsys):
    cells = code_cells(source)
    namespace = run(cells)
    for check in checks(cells):
        exec(check, namespace)
        assert capsys.readouterr().out.count("\n") == 1


@by_part
@pytest.mark.parametrize(
    ("body", "message"),
    [
        (r"\g<0>", "is not written yet. Replace the line"),
        ("pass", "returned None|must return"),  # the line that raises deleted, and nothing written
    ],
    ids=["untouched", "empty"],
)
def test_unwritten_functions_get_a_friendly_message(source, body, message):
    cells = code_cells(copy_of(source))
    for cell in filter(is_function, cells):
        cell.source = re.sub(r"raise NotImplementedError.*", body, cell.source)
    namespace = run(cells)
    for check in checks(cells):
        with pytest.raises(AssertionError, match=message):
            exec(check, namespace)


@by_part
def test_hidden_tests_pass_and_stay_out_of_the_book(source):
    namespace, hidden = run(code_cells(source)), hidden_tests(source)
    assert len(hidden) == sum(map(is_function, code_cells(source)))
    for cell in hidden:
        assert "remove-cell" in cell.metadata.tags
        assert grading(cell)["grade"]
        assert grading(cell)["locked"]
        exec(cell.source, namespace)


@by_part
def test_hidden_tests_fail_on_stubs(source):
    namespace = run(code_cells(copy_of(source)))
    for cell in hidden_tests(source):
        with pytest.raises((AssertionError, NotImplementedError), match="not written"):
            exec(cell.source, namespace)


@by_part
def test_copy_is_in_step_with_its_source(source):
    assert text_of(copy_of(source)) == exercises.student_copy(source), "run `make exercises`"


@by_part
def test_copy_holds_no_solution(source):
    cells = read(source).cells
    regions = [region for cell in cells for _, region in SOLUTION.findall(cell.source)]
    solutions = [line.strip() for region in regions for line in region.splitlines()]
    given = "\n".join(cell.source for cell in cells if is_given(cell))  # a script to repair
    solutions = [line for line in solutions if len(line) > 20 and line not in given]
    folded, inside = [], False
    for cell in cells:
        inside = inside or "{solution-start}" in cell.source
        inside = inside and "{solution-end}" not in cell.source
        if inside and cell.cell_type == "markdown":
            folded += [line for line in cell.source.splitlines() if len(line) > 40]
    text = source_of(copy_of(source))
    assert solutions
    assert folded
    assert [line for line in [*solutions, *folded] if line in text] == []
    marks = r"SOLUTION|HIDDEN|\{exercise\}|\{solution|\{dropdown\}|:label:|:class:"
    assert re.findall(marks, text) == []


@by_part
def test_copy_is_plain_and_empty(source):
    for cell in read(copy_of(source)).cells:
        if cell.cell_type == "code":
            assert cell.outputs == []
            assert cell.execution_count is None
        else:
            assert not re.search(r"^(```|:::)\{|\{[\w:]+\}`", cell.source, re.M)
            assert cell.source.count("<details>") == cell.source.count("</details>")


@by_part
def test_nbgrader_accepts_source_and_copy(source):
    graded = []
    for path in (source, copy_of(source)):
        notebook = read(path)
        MetadataValidator().validate_nb(notebook)
        graded.append([cell for cell in notebook.cells if "nbgrader" in cell.metadata])
    ids_and_points = [
        {cell.metadata.nbgrader.grade_id: grading(cell).get("points") for cell in cells}
        for cells in graded
    ]
    assert ids_and_points[0] == ids_and_points[1]
    for cell in graded[1]:
        assert "checksum" in grading(cell)
        assert cell.metadata.deletable is False
        if grading(cell)["locked"]:
            assert cell.metadata.editable is False


@by_part
def test_every_exercise_has_label_solution_and_short_cells(source):
    text = source_of(source)
    labels = re.findall(r"^:label: (\S+)$", text, re.M)
    part = source.parent.name
    assert labels == [f"ex-{part}-{number}" for number in range(1, len(labels) + 1)]
    assert 4 <= len(labels) <= 8
    assert re.findall(r"\{solution-start\} (\S+)", text) == labels
    assert all(len(cell.source.splitlines()) <= 40 for cell in read(source).cells)


def test_check_option_sees_a_stale_copy(tmp_path, monkeypatch, capsys):
    part = tmp_path / "book" / "idea"
    part.mkdir(parents=True)
    (part / "exercises.ipynb").write_bytes(EXERCISES[0].read_bytes())
    monkeypatch.setattr(exercises, "ROOT", tmp_path)
    assert "out of date: exercises/idea.ipynb" in end_of(exercises.main, "--check")
    assert not (tmp_path / "exercises").exists()
    assert end_of(exercises.main) is None
    assert end_of(exercises.main, "--check") is None
    assert "up to date" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("myst", "plain"),
    [
        (
            "````{exercise} A title\n:label: ex-1\n\nDo it.\n```python\nx = 1\n```\n````",
            "**Exercise 1.** A title\n\nDo it.\n```python\nx = 1\n```",
        ),
        (
            "```{dropdown} Hint\nThink.\n```",
            "<details>\n<summary>Hint (unfold)</summary>\n\nThink.\n\n</details>",
        ),
        ("```{note}\nOne.\nTwo.\n```", "> **Note.** One.\n> Two."),
        ("```{math}\n:label: eq-1\nx = 1\n```", "$$\nx = 1\n$$"),
        (":::{tip}\nShort.\n:::", "> **Tip.** Short."),
        ("(a-label)=\n# Title", "# Title"),
        ("See {ref}`the lesson <target>` and {eq}`eq-1`.", "See the lesson and eq-1."),
        ("[lesson](dropout-layer.ipynb)", "[lesson](../book/idea/dropout-layer.ipynb)"),
        ("[site](https://example.org)", "[site](https://example.org)"),
        ("```python\nx = 1\n```", "```python\nx = 1\n```"),
    ],
)
def test_directives_become_plain_markdown(myst, plain):
    assert exercises.Plain("../book/idea").markdown(myst) == plain


def test_an_unknown_directive_is_refused():
    with pytest.raises(ValueError, match="mermaid"):
        exercises.Plain(".").markdown("```{mermaid}\ngraph\n```")


def test_checks_import_no_torch():
    """A check that needs torch imports it when it is called."""
    code = "import lib.checks, sys; sys.exit('torch' in sys.modules)"
    assert call(sys.executable, "-c", code, cwd=ROOT)[0] == 0
