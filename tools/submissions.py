"""Read what students hand in, whatever has happened to it, and put it beside what was given out."""

import ast
import codecs
import json
import re

import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

TAG = re.compile(r"<(?=[a-zA-Z/!?])")
DEFINED = re.compile(r"^(?:def|class)\s+(\w+)", re.MULTILINE)
LARGEST = 20_000_000  # bytes


class Unreadable(Exception):
    """A submission that is not graded, and why."""


class Assignment:
    """A part's exercises, as given out and with their hidden tests.

    Parameters
    ----------
    source, release : pathlib.Path
        nbgrader's two notebooks: with solutions and tests, and without.
    """

    def __init__(self, source, release):
        self.source = source.read_text(encoding="utf-8")
        cells = nbformat.reads(self.source, as_version=4).cells
        self.code = {id_of(cell): cell.source for cell in cells if id_of(cell)}
        self.imports = next(cell.source for cell in cells if cell.cell_type == "code")
        released = nbformat.read(release, as_version=4)
        self.metadata = released.metadata
        self.cells = {id_of(cell): cell for cell in released.cells if id_of(cell)}
        self.defines = {
            name: cell_id
            for cell_id, cell in self.cells.items()
            if is_(cell, "solution") and cell.cell_type == "code"
            for name in defined(cell.source)
        }

    def modules(self):
        """What its first cell imports."""
        found = []
        for node in ast.walk(ast.parse(self.imports)):
            found += [each.name for each in getattr(node, "names", [])]
            if isinstance(node, ast.ImportFrom):
                found.append(node.module)
        return sorted(name for name in set(found) if name.islower())

    def given(self):
        """What its own cells define: imports, and what the exercises provide."""
        names = {}
        for source in (self.imports, *(self.code[i] for i, c in self.cells.items() if is_given(c))):
            exec(compile(source, "given", "exec"), names)
        return names


def id_of(cell):
    """A cell's name for nbgrader, or None."""
    grading = (cell.get("metadata") or {}).get("nbgrader")
    found = grading.get("grade_id") if isinstance(grading, dict) else None
    return found if isinstance(found, str) else None


def is_(cell, role):
    """Whether a released cell has a role: "grade", "solution" or "locked"."""
    return bool(cell.metadata.nbgrader[role])


def is_given(cell):
    """Whether a released cell provides something, and is no exercise and no test."""
    return is_(cell, "locked") and not is_(cell, "grade") and cell.cell_type == "code"


def is_test(cell):
    """Whether a released cell is a check or a hidden test."""
    return is_(cell, "locked") and is_(cell, "grade")


def defined(source):
    """The functions and classes that a cell defines."""
    return DEFINED.findall(source)  # not parsed: that could end this process


def read(path):
    """Read a notebook.

    Returns
    -------
    list of nbformat.NotebookNode
        Its cells: type, source, the name that nbgrader knows it by, pictures in a text.
    list of str
        What was mended.

    Raises
    ------
    Unreadable
        If it is no notebook, or only a piece of one.
    """
    if path.is_symlink() or not path.is_file():
        raise Unreadable("it is a link, or no file")
    if path.stat().st_size > LARGEST:
        raise Unreadable(f"it is larger than {LARGEST // 1_000_000} MB")
    data, notes, encoding = path.read_bytes(), [], "utf-8-sig"
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        encoding = "utf-16"
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError:
        text, encoding = data.decode("latin-1"), "Latin-1"
    if data.startswith(codecs.BOM_UTF8):
        notes.append("began with a byte order mark")
    if encoding != "utf-8-sig":
        notes.append(f"was written in {encoding}")
    try:
        notebook = nbformat.from_dict(json.loads(text))
    except (ValueError, RecursionError) as error:
        raise Unreadable(f"it is no whole notebook: {error}" if text else "it is empty") from None
    try:
        if notebook["nbformat"] != 4:
            notebook = nbformat.convert(notebook, 4)
        cells = [plain(cell) for cell in notebook["cells"]]
    except Exception as error:
        raise Unreadable(f"it is no notebook: {type(error).__name__} {error}") from None
    if not cells:
        raise Unreadable("it has no cells")
    return cells, notes


def plain(cell):
    """A cell without all that is not needed of it."""
    source = cell["source"] if isinstance(cell["source"], str) else "".join(cell["source"])
    if cell["cell_type"] == "code":
        kept = new_code_cell(source)
    else:
        kept = new_markdown_cell(TAG.sub("&lt;", source))  # no page runs what a student wrote
        pictures = cell.get("attachments", {})
        if all(isinstance(text, str) for each in pictures.values() for text in each.values()):
            kept.attachments = pictures
    kept.id = cell["id"] if isinstance(cell.get("id"), str) else ""
    kept.metadata = {"nbgrader": {"grade_id": id_of(cell)}}
    return kept


def beside(cells, assignment):
    """Give each released cell its place in a submission.

    Tests and what the exercises provide are the released ones. What was deleted is put back, and
    what is there several times counts once.

    Parameters
    ----------
    cells : list of nbformat.NotebookNode
        As `read` returns them.
    assignment : Assignment

    Returns
    -------
    nbformat.NotebookNode
    list of str
        What was mended.
    """
    first_code = next((place for place, cell in enumerate(cells) if cell.cell_type == "code"), 0)
    notes, keys, last, answer = [], {}, (first_code, 0), (first_code, 0)
    chosen = {cell_id: choose(cell_id, cells, assignment, notes) for cell_id in assignment.cells}
    lost = [i for i, cell in assignment.cells.items() if chosen[i] is None]
    if any(id_of(cell) for cell in cells):
        notes += [f"put back what was deleted: {', '.join(lost)}"] if lost else []
    else:
        notes.append("had lost nbgrader's marks: its cells were told by their names")
        lost = [i for i in lost if is_(assignment.cells[i], "solution")]
        notes += [f"look yourself for {', '.join(lost)}"] if lost else []
    for order, (cell_id, cell) in enumerate(assignment.cells.items(), start=1):
        place = chosen[cell_id]
        key = (last[0], order) if place is None else (place, 0)
        if is_test(cell):  # behind the answer that it tests
            key = max(key, (answer[0], order))
        elif is_(cell, "solution") and not is_(cell, "grade"):
            answer = key
        keys[cell_id] = last = key
    own = {(place, 0): cell for place, cell in enumerate(cells)}
    placed = {}
    for cell_id, key in keys.items():
        cell, place = assignment.cells[cell_id].copy(), chosen[cell_id]
        if place is not None and is_(cell, "solution"):
            cell.source = cells[place].source
            if "attachments" in cells[place]:
                cell.attachments = cells[place].attachments
        if place is not None:
            own.pop((place, 0), None)
        placed[key] = cell
    for number, cell in enumerate(own.values()):
        cell.id, cell.metadata = f"own-{number}", {}
    both = own | placed
    ordered = [both[key] for key in sorted(both)]
    return new_notebook(cells=ordered, metadata=assignment.metadata), notes


def choose(cell_id, cells, assignment, notes):
    """Which of a submission's cells is this released one? Of several, the last that was touched."""
    released = assignment.cells[cell_id]
    names = {name for name, of in assignment.defines.items() if of == cell_id}
    rules = (
        lambda cell: id_of(cell) == cell_id,
        lambda cell: not id_of(cell) and cell.id == released.id,
        lambda cell: (
            not id_of(cell) and cell.cell_type == "code" and names & {*defined(cell.source)}
        ),
    )
    found = next((f for f in ([i for i, c in enumerate(cells) if r(c)] for r in rules) if f), [])
    if len(found) > 1:
        notes.append(f"{cell_id} is there {len(found)} times: the last counts")
    touched = [place for place in found if cells[place].source != released.source]
    return (touched or found or [None])[-1]
