"""Lay out an nbgrader course from the exercises.

    python tools/course.py FOLDER                 all parts
    python tools/course.py FOLDER idea noise      some

Writes FOLDER/nbgrader_config.py and FOLDER/source/<part>/<part>.ipynb: one assignment a part. A
file that is there already and differs is left alone, and is an error.
"""

import argparse
import sys
from pathlib import Path

import nbformat

from exercises import ROOT, STUB, TEXT_STUB, plain_notebook

CONFIGURATION = f'''\
"""nbgrader's settings for the exercises of the Dropout book."""

import os

c = get_config()  # noqa: F821 - nbgrader provides it

c.CourseDirectory.course_id = "dropout"

# What stands where a solution was.
c.ClearSolutions.code_stub = {{"python": {STUB!r}}}
c.ClearSolutions.text_stub = {TEXT_STUB!r}

# A cell that runs longer, or prints without end, is stopped, and scores nothing. All others count.
c.Execute.timeout = 60
c.Execute.interrupt_on_timeout = True
# One that catches the interrupt holds up all that follow: those score nothing, what stands counts.
c.Execute.raise_on_iopub_timeout = False
c.LimitOutput.max_lines = 200

# nbgrader takes a cell that writes to stderr for a failed one. A warning is no failure.
os.environ["PYTHONWARNINGS"] = "ignore"
'''


def layout(folder, parts):
    """List the files of a course.

    Parameters
    ----------
    folder : pathlib.Path
    parts : sequence of str
        Folders of the book.

    Returns
    -------
    dict of pathlib.Path to str
        What each file holds.
    """
    files = {folder / "nbgrader_config.py": CONFIGURATION}
    for part in parts:
        notebook = plain_notebook(ROOT / "book" / part / "exercises.ipynb")
        nbformat.validate(notebook)
        path = folder / "source" / part / f"{part}.ipynb"
        files[path] = nbformat.writes(notebook) + "\n"
    return files


def main():
    """Write the files that are missing; fail, before anything is written, if one differs."""
    known = sorted(path.parent.name for path in ROOT.glob("book/*/exercises.ipynb"))
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("parts", nargs="*", metavar="part", help=f"of {', '.join(known)}")
    arguments = parser.parse_args()
    parts = arguments.parts or known
    if unknown := sorted(set(parts) - set(known)):
        sys.exit(f"no such part: {', '.join(unknown)}. There are {', '.join(known)}.")
    folder = arguments.folder.expanduser()
    files = layout(folder, parts)
    differ = [
        path for path, text in files.items() if path.exists() and path.read_bytes() != text.encode()
    ]
    if differ:
        sys.exit(f"differs from the book's, left alone: {', '.join(map(str, differ))}")
    for path, text in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    print(f"{folder}: {len(parts)} assignments. Next: nbgrader generate_assignment PART")


if __name__ == "__main__":
    main()
