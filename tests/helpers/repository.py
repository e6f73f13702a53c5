"""The files of the repository, and the cells of its notebooks."""

from pathlib import Path

import nbformat
from nbformat.v4 import new_markdown_cell, new_notebook

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted((ROOT / "book").rglob("*.ipynb"))
EXERCISES = sorted(ROOT.glob("book/*/exercises.ipynb"))


def name(path):
    """A file's path in the repository."""
    return path.relative_to(ROOT).as_posix()


def text_of(path):
    """The text of a file; a relative path starts at the repository's root."""
    return (ROOT / path).read_text(encoding="utf-8")


def put(folder, texts):
    """Write files into a folder: texts by their paths in it."""
    for path, text in texts.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text, encoding="utf-8")


def read(path):
    """Read a notebook; a Markdown page becomes a notebook of one cell."""
    if path.suffix == ".md":
        return new_notebook(cells=[new_markdown_cell(text_of(path))])
    return nbformat.read(path, as_version=4)


def write(path, *cells, **metadata):
    """Write a notebook."""
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(new_notebook(cells=list(cells), metadata=metadata), path)


def code_cells(path):
    return [cell for cell in read(path).cells if cell.cell_type == "code"]


def markdown_of(path):
    """All Markdown of a page."""
    return "\n\n".join(cell.source for cell in read(path).cells if cell.cell_type == "markdown")


def grading(cell):
    """What nbgrader is told of a cell."""
    return cell.metadata.get("nbgrader", {"grade": False, "solution": False, "locked": False})


def is_function(cell):
    """Where a student writes a function."""
    return cell.cell_type == "code" and grading(cell)["solution"] and not grading(cell)["grade"]
