"""The exercise notebooks and their students' copies."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from exercise_cells import grading, is_function, read
from nbgrader.nbgraderformat import MetadataValidator

import exercises

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted(ROOT.glob("book/*/exercises.ipynb"))
by_part = pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.parent.name)


def copy_of(source):
    return ROOT / "exercises" / f"{source.parent.name}.ipynb"


def is_given(cell):
    """Imports, and what an exercise provides."""
    locked = grading(cell)["locked"] and not grading(cell)["grade"]
    return cell.cell_type == "code" and (locked or cell.id == "imports")


def is_check(cell):
    return cell.cell_type == "code" and cell.source.startswith("check.")


def run(cells):
    namespace = {}
    for cell in cells:
        exec(compile(cell.source, cell.id, "exec"), namespace)
    return namespace


def test_every_part_has_exercises():
    assert SOURCES
    assert [copy_of(source).name for source in SOURCES] == sorted(
        path.name for path in ROOT.glob("exercises/*.ipynb")
    )


@by_part
def test_solutions_pass_their_checks(source, capsys):
    cells = read(source).cells
    namespace = run([cell for cell in cells if is_given(cell) or is_function(cell)])
    checks = [cell for cell in cells if is_check(cell)]
    assert len(checks) == sum(map(is_function, cells)) >= 4
    for cell in checks:
        exec(cell.source, namespace)
        assert capsys.readouterr().out.count("\n") == 1


@by_part
def test_untouched_stubs_get_a_friendly_message(source):
    cells = read(copy_of(source)).cells
    namespace = run([cell for cell in cells if is_given(cell) or is_function(cell)])
    checks = [cell for cell in cells if is_check(cell)]
    assert len(checks) >= 4
    for cell in checks:
        with pytest.raises(AssertionError, match="is not written yet. Replace the line"):
            exec(cell.source, namespace)


@by_part
def test_empty_functions_get_a_friendly_message(source):
    """A student who deletes the line that raises, and writes nothing, is told so."""
    cells = read(copy_of(source)).cells
    for cell in cells:
        if is_function(cell):
            cell.source = re.sub(r"raise NotImplementedError.*", "pass", cell.source)
    namespace = run([cell for cell in cells if is_given(cell) or is_function(cell)])
    for cell in filter(is_check, cells):
        with pytest.raises(AssertionError, match="returned None|must return"):
            exec(cell.source, namespace)


@by_part
def test_hidden_tests_pass_and_stay_out_of_the_book(source):
    cells = read(source).cells
    hidden = [cell for cell in cells if "BEGIN HIDDEN TESTS" in cell.source]
    functions = [cell for cell in cells if is_function(cell)]
    assert len(hidden) == len(functions)
    namespace = run([cell for cell in cells if is_given(cell)] + functions)
    for cell in hidden:
        assert "remove-cell" in cell.metadata.tags
        assert grading(cell)["grade"]
        assert grading(cell)["locked"]
        exec(cell.source, namespace)


@by_part
def test_hidden_tests_fail_on_stubs(source):
    copies = [c for c in read(copy_of(source)).cells if is_given(c) or is_function(c)]
    namespace = run(copies)
    for cell in read(source).cells:
        if "BEGIN HIDDEN TESTS" in cell.source:
            with pytest.raises(NotImplementedError):
                exec(cell.source, namespace)


@by_part
def test_copy_is_in_step_with_its_source(source):
    copy = copy_of(source).read_text(encoding="utf-8")
    assert copy == exercises.student_copy(source), "run `make exercises`"


@by_part
def test_copy_holds_no_solution(source):
    solutions = {
        line.strip()
        for cell in read(source).cells
        for region in re.findall(r"### BEGIN SOLUTION\n(.*?)### END SOLUTION", cell.source, re.S)
        + re.findall(r"### BEGIN HIDDEN TESTS\n(.*?)### END HIDDEN TESTS", cell.source, re.S)
        for line in region.splitlines()
        if len(line.strip()) > 20
    }
    folded, inside = [], False
    for cell in read(source).cells:
        inside = (inside or "{solution-start}" in cell.source) and (
            "{solution-end}" not in cell.source
        )
        if inside and cell.cell_type == "markdown":
            folded += [line for line in cell.source.splitlines() if len(line) > 40]
    text = "\n".join(cell.source for cell in read(copy_of(source)).cells)
    assert solutions
    assert folded
    assert [line for line in [*solutions, *folded] if line in text] == []
    for mark in (
        "SOLUTION",
        "HIDDEN",
        "{exercise}",
        "{solution",
        "{dropdown}",
        ":label:",
        ":class:",
    ):
        assert mark not in text


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
    validator = MetadataValidator()
    validator.validate_nb(read(source))
    validator.validate_nb(read(copy_of(source)))
    graded = [
        {c.metadata.nbgrader.grade_id: c.metadata.nbgrader.get("points") for c in cells}
        for cells in (
            [cell for cell in read(path).cells if "nbgrader" in cell.metadata]
            for path in (source, copy_of(source))
        )
    ]
    assert graded[0] == graded[1]
    for cell in read(copy_of(source)).cells:
        if "nbgrader" in cell.metadata:
            assert "checksum" in cell.metadata.nbgrader
            assert cell.metadata.deletable is False
            if grading(cell)["locked"]:
                assert cell.metadata.editable is False


@by_part
def test_every_exercise_has_label_solution_and_short_cells(source):
    part = source.parent.name
    text = "\n".join(cell.source for cell in read(source).cells)
    labels = re.findall(r"^:label: (\S+)$", text, re.M)
    assert labels == [f"ex-{part}-{number}" for number in range(1, len(labels) + 1)]
    assert 4 <= len(labels) <= 6
    assert re.findall(r"\{solution-start\} (\S+)", text) == labels
    assert all(len(cell.source.splitlines()) <= 40 for cell in read(source).cells)


def test_check_option_sees_a_stale_copy(tmp_path, monkeypatch, capsys):
    part = tmp_path / "book" / "idea"
    part.mkdir(parents=True)
    (part / "exercises.ipynb").write_bytes(SOURCES[0].read_bytes())
    monkeypatch.setattr(exercises, "ROOT", tmp_path)

    monkeypatch.setattr(sys, "argv", ["exercises.py", "--check"])
    with pytest.raises(SystemExit, match="out of date: exercises/idea.ipynb"):
        exercises.main()
    assert not (tmp_path / "exercises").exists()

    monkeypatch.setattr(sys, "argv", ["exercises.py"])
    exercises.main()
    monkeypatch.setattr(sys, "argv", ["exercises.py", "--check"])
    exercises.main()
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
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0
