"""Write the students' copies of the exercises.

    python tools/exercises.py           writes exercises/<part>.ipynb
    python tools/exercises.py --check   only says whether they are up to date

The one source is book/<part>/exercises.ipynb. nbgrader's own preprocessors take out the solutions
and the hidden tests. What only the book's builder understands becomes plain Markdown.
"""

import argparse
import posixpath
import re
import sys
from pathlib import Path

import nbformat
from nbgrader.preprocessors import (
    CheckCellMetadata,
    ClearHiddenTests,
    ClearOutput,
    ClearSolutions,
    ComputeChecksums,
    LockCells,
)
from traitlets.config import Config

ROOT = Path(__file__).resolve().parent.parent
STUB = """# Write your code here, in place of the next line.
raise NotImplementedError("not written yet")"""
TEXT_STUB = "*Write your answer here.*"
CONFIG = Config(ClearSolutions={"code_stub": {"python": STUB}, "text_stub": TEXT_STUB})
RELEASE = (
    LockCells,
    ClearSolutions,
    ClearOutput,
    CheckCellMetadata,
    ClearHiddenTests,
    ComputeChecksums,
)
ADMONITIONS = ("note", "tip", "hint", "warning", "caution", "important", "seealso", "admonition")

OPENING = re.compile(r"^(`{3,}|:{3,})\{([\w:-]+)\} *(.*)$")
OPTION = re.compile(r"^:[\w-]+:")
ROLE = re.compile(r"\{[\w:-]+\}`([^`]*)`")
TARGET = re.compile(r"^\([\w:.-]+\)=\n", flags=re.MULTILINE)
LINK = re.compile(r"(?<!!)\[([^\]]*)\]\((?!https?:|#|/)([^)]+)\)")


def student_copy(source):
    """Make the students' copy of an exercise notebook.

    Parameters
    ----------
    source : pathlib.Path
        book/<part>/exercises.ipynb.

    Returns
    -------
    str
        The copy, as it is written to exercises/<part>.ipynb.
    """
    notebook = plain_notebook(source, folder=f"../book/{source.parent.name}")
    for preprocessor in RELEASE:
        notebook, _ = preprocessor(config=CONFIG).preprocess(notebook, {})
    nbformat.validate(notebook)
    return nbformat.writes(notebook) + "\n"


def plain_notebook(source, folder=None):
    """Read an exercise notebook, and write what only the book's builder understands in Markdown.

    Parameters
    ----------
    source : pathlib.Path
        book/<part>/exercises.ipynb.
    folder : str, optional
        Where the source lies, seen from the copy. Without it, links to pages become plain text.

    Returns
    -------
    nbformat.NotebookNode
        With the solutions that nbgrader cuts out, and without those that the book folds away.
    """
    notebook = nbformat.read(source, as_version=4)
    notebook.cells = without_solution_text(notebook.cells)
    plain = Plain(folder)
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = plain.markdown(cell.source)
    return notebook


def without_solution_text(cells):
    """Drop what the book folds away, except the cells that students fill in."""
    kept, in_solution = [], False
    for cell in cells:
        if "{solution-start}" in cell.source:
            in_solution = True
        elif "{solution-end}" in cell.source:
            in_solution = False
        elif not in_solution or "nbgrader" in cell.metadata:
            kept.append(cell)
    if in_solution:
        raise ValueError("a {solution-start} has no {solution-end}")
    return kept


class Plain:
    """Turns MyST directives and roles into Markdown that every notebook program shows.

    Parameters
    ----------
    folder : str or None
        Where the source notebook lies, seen from the copy: its relative links start there. Without
        it they are text.
    """

    def __init__(self, folder):
        self.folder = folder
        self.n_exercises = 0

    def markdown(self, text):
        """Rewrite one cell."""
        text = self.directives(TARGET.sub("", text).split("\n"))
        text = ROLE.sub(lambda role: role[1].split(" <")[0], text)
        return LINK.sub(self.link, text)

    def link(self, match):
        """Rewrite one relative link."""
        if self.folder is None:
            return match[1]
        return f"[{match[1]}]({posixpath.normpath(f'{self.folder}/{match[2]}')})"

    def directives(self, lines):
        """Rewrite every directive among these lines, the nested ones too."""
        done = []
        while lines:
            line, *lines = lines
            opening = OPENING.match(line)
            if opening is None:
                done.append(line)
                continue
            fence, name, title = opening.groups()
            end = next(i for i, later in enumerate(lines) if later.strip() == fence)
            body, lines = lines[:end], lines[end + 1 :]
            while body and (OPTION.match(body[0]) or not body[0].strip()):
                body.pop(0)
            done.append(self.directive(name, title, self.directives(body)))
        return "\n".join(done)

    def directive(self, name, title, body):
        """Rewrite one directive."""
        if name == "exercise":
            self.n_exercises += 1
            return f"**Exercise {self.n_exercises}.** {title}".rstrip() + f"\n\n{body}"
        if name == "dropdown":
            # Not every JupyterLab draws a triangle there: the word says that it opens.
            return f"<details>\n<summary>{title} (unfold)</summary>\n\n{body}\n\n</details>"
        if name == "math":
            return f"$$\n{body}\n$$"
        if name in ADMONITIONS:
            heading = title if name == "admonition" else name.capitalize()
            return "\n".join(f"> {line}".rstrip() for line in f"**{heading}.** {body}".split("\n"))
        raise ValueError(f"no plain Markdown for the directive {{{name}}}: add it to Plain")


def main():
    """Write the copies, or compare them with what would be written."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing, fail if out of date")
    check = parser.parse_args().check
    stale = []
    for source in sorted(ROOT.glob("book/*/exercises.ipynb")):
        copy = ROOT / "exercises" / f"{source.parent.name}.ipynb"
        text = student_copy(source)
        if copy.exists() and copy.read_text(encoding="utf-8") == text:
            continue
        stale.append(copy.relative_to(ROOT))
        if not check:
            copy.parent.mkdir(exist_ok=True)
            copy.write_text(text, encoding="utf-8")
            print(f"wrote {copy.relative_to(ROOT)}")
    if check and stale:
        sys.exit(f"out of date: {', '.join(map(str, stale))}. Run `make exercises`.")
    if not stale:
        print("the students' copies are up to date")


if __name__ == "__main__":
    main()
