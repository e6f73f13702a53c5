"""A course with the exercises: lay it out, grade a class, see which ideas it misses.

    python tools/course.py new FOLDER [PART ...]       write nbgrader's folders
    python tools/course.py grade FOLDER [PART ...]     grade FOLDER/submitted/<student>/<part>/
    python tools/course.py missed FOLDER [PART ...]    one table of the ideas that were missed

`new` writes FOLDER/nbgrader_config.py and FOLDER/source/<part>/<part>.ipynb: one assignment a part.
A file that is there already and differs is left alone, and is an error.

`grade` never runs a submission in its own process, and hands nbgrader a copy with the outputs of
its own checks. What it read, mended or could not read it says of each student.
"""

import argparse
import collections
import hashlib
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import nbformat
from judge import Ended, Student, box, prepare, verdict
from nbgrader.api import Gradebook
from submissions import Assignment, Unreadable, beside, id_of, is_given, is_test, read

from exercises import ROOT, STUB, TEXT_STUB, plain_notebook

KNOWN = sorted(path.parent.name for path in ROOT.glob("book/*/exercises.ipynb"))
IDEA = re.compile(r"\[([\w-]+/[\w-]+)\]\s*$")
COLOUR = re.compile(r"\x1b\[[\d;]*m")

CONFIGURATION = f'''\
"""nbgrader's settings for the exercises of the Dropout book."""

c = get_config()  # noqa: F821 - nbgrader provides it

c.CourseDirectory.course_id = "dropout"

# What stands where a solution was.
c.ClearSolutions.code_stub = {{"python": {STUB!r}}}
c.ClearSolutions.text_stub = {TEXT_STUB!r}
'''


NOT_LOCKED_IN = """A submission cannot be locked in on this machine: {}
Say with --sandbox what runs Python there, locked in: the book's page For teachers shows how."""


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


def new(folder, parts):
    """Write the files that are missing; fail, before anything is written, if one differs."""
    files = layout(folder, parts)
    differ = [
        path for path, text in files.items() if path.exists() and path.read_bytes() != text.encode()
    ]
    if differ:
        sys.exit(f"differs from the book's, left alone: {', '.join(map(str, differ))}")
    for path, text in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    print(f"{folder}: {len(parts)} assignments. The students' notebooks are {ROOT / 'exercises'}")


def nbgrader(folder, *arguments):
    """Call nbgrader; return what it says if it fails, else nothing."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    done = subprocess.run(
        [sys.executable, "-m", "nbgrader", *arguments],
        cwd=folder,
        env=os.environ | {"PATH": path, "PYTHONUTF8": "1"},  # it calls a program beside Python
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
        check=False,
    )
    return done.returncode and f"nbgrader {' '.join(arguments)} failed:\n{done.stdout}"


def grade(folder, parts, sandbox, seconds):
    """Grade what was handed in anew, and say how it went; fail if something was not graded."""
    sys.path.insert(0, str(ROOT))  # the checks are this clone's
    parts = [part for part in parts if any(folder.glob(f"submitted/*/{part}"))]
    if not parts:
        sys.exit(f"nothing was handed in: {folder / 'submitted'} has no <student>/<part>")
    left_out = []
    with tempfile.TemporaryDirectory() as temporary:
        inside = Path(temporary)
        inside.chmod(0o755)  # another user may run it
        prepare(inside, ROOT)
        command = shlex.split(sandbox.replace("{folder}", temporary)) if sandbox else box(inside)
        try:
            with Student(command, inside, seconds, []):
                pass
        except (Ended, OSError) as error:
            sys.exit(NOT_LOCKED_IN.format(error))
        for part in parts:
            left_out += grade_part(folder, part, (command, inside, seconds))
    if left_out:
        sys.exit(f"not graded: {', '.join(left_out)}")


def grade_part(folder, part, how):
    """Grade a part's submissions; return those that could not be."""
    if failed := nbgrader(folder, "generate_assignment", part, "--create", "--force"):
        sys.exit(failed)
    stages = (folder / stage / part / f"{part}.ipynb" for stage in ("source", "release"))
    assignment, said, left_out = Assignment(*stages), {}, []
    for handed_in in sorted(folder.glob(f"submitted/*/{part}")):
        student = handed_in.parent.name
        target = folder / "checked" / student / part
        try:
            file = only_notebook(handed_in, part)
            cells, notes = read(file)
            mark = hashlib.sha256(file.read_bytes() + assignment.source.encode()).digest()
            if (target / "mark").exists() and (target / "mark").read_bytes() == mark:
                said[student] = "as before"
                continue
            notebook, mended = checked(cells, assignment, how)
            said[student] = "; ".join(notes + mended)
            shutil.rmtree(target, ignore_errors=True)
            shutil.rmtree(folder / "autograded" / student / part, ignore_errors=True)
            target.mkdir(parents=True)
            text = nbformat.writes(notebook).encode(errors="replace")
            (target / f"{part}.ipynb").write_bytes(text)
            stamp = handed_in / "timestamp.txt"
            if stamp.is_file() and not stamp.is_symlink():
                shutil.copyfile(stamp, target / stamp.name)
            (target / "mark").write_bytes(mark)
        except Exception as error:
            reason = "" if isinstance(error, Unreadable) else f"{type(error).__name__}: "
            said[student] = f"NOT GRADED: {reason}{error}"
            left_out.append(f"{student}/{part}")
    place = "--CourseDirectory.submitted_directory=checked"
    if any(folder.glob(f"checked/*/{part}")):
        failed = nbgrader(folder, "autograde", part, "--no-execute", place)
        for student in said if failed else ():
            if not (folder / "autograded" / student / part / f"{part}.ipynb").exists():
                said[student] = "NOT GRADED: nbgrader failed, see above"
                left_out.append(f"{student}/{part}")
        print(failed or "", end="")
    show(folder, part, said)
    return sorted(set(left_out))


def only_notebook(handed_in, part):
    """The file that a student handed in: of the part's name, or the only one."""
    found = sorted(handed_in.glob("*.ipynb"))
    named = [path for path in found if path.stem == part] or found
    if len(named) != 1:
        raise Unreadable(f"there are {len(named)} notebooks, none of them {part}.ipynb")
    if named[0].is_symlink() or handed_in.is_symlink() or handed_in.parent.is_symlink():
        raise Unreadable("it is a link")
    return named[0]


def checked(cells, assignment, how):
    """Run a submission locked in, and return its notebook with the outputs of our checks."""
    notebook, notes = beside(cells, assignment)
    given = assignment.given()  # anew, for each: a function may change its arguments
    with Student(*how, assignment.modules()) as student:
        for number, cell in enumerate(notebook.cells, start=1):
            if cell.cell_type != "code":
                continue
            released = assignment.cells.get(id_of(cell))
            if released is not None and is_test(released):
                source = assignment.code[id_of(cell)]
                cell.outputs = verdict(source, assignment.defines, given, student)
            else:
                is_ours = released is not None and is_given(released)
                cell.outputs = student.run(released.source if is_ours else cell.source)
            if student.ended:
                notes.append(f"cell {number}, {cell.id}: {student.ended}")
    return notebook, notes


def show(folder, part, said):
    """Print what each student has, and what happened to the notebook."""
    with Gradebook(f"sqlite:///{folder / 'gradebook.db'}") as gradebook:
        graded = {each.student_id: each for each in gradebook.assignment_submissions(part)}
        print(f"\n{part}")
        for student, words in sorted(said.items()):
            found = graded.get(student)
            points = f"{found.score:g} of {found.max_score:g}" if found else "-"
            waits = ["an answer waits for you"] if found and found.needs_manual_grade else []
            print(f"  {student:20}  {points:>9}  {plain('; '.join(waits + [words] * bool(words)))}")


def plain(text):
    """A text on one line, without what would steer a terminal."""
    return "".join(each if each.isprintable() else " " for each in text)


def missed(folder, parts):
    """Print which ideas the class misses: one line an idea, the most missed first."""
    print(f"{'students':>9}  idea: what they were told")
    for part in parts:
        files = sorted(folder.glob(f"autograded/*/{part}/{part}.ipynb"))
        who, sentence = collections.defaultdict(set), {}
        for file in files:
            for idea, words in missed_in(nbformat.read(file, as_version=4)):
                who[idea].add(file.parts[-3])
                sentence[idea] = words
        for idea in sorted(who, key=lambda idea: (-len(who[idea]), idea)):
            count = f"{len(who[idea])} of {len(files)}"
            print(f"{count:>9}  {part}.{idea}: {plain(sentence[idea])}")


def missed_in(notebook):
    """The ideas that a graded notebook was told of: their ids and sentences."""
    for cell in notebook.cells:
        is_ours = cell.metadata.get("nbgrader", {}).get("locked")
        for output in cell.get("outputs", ()) if is_ours else ():
            if output.output_type == "error" and output.ename == "Missed" and output.traceback:
                found = IDEA.search(COLOUR.sub("", output.traceback[-1]))
                if found:
                    yield found[1], output.evalue


def main():
    """Do what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    for name, words in (
        ("new", "lay out an nbgrader course"),
        ("grade", "grade what was handed in, each submission locked in"),
        ("missed", "show which ideas the class misses"),
    ):
        command = commands.add_parser(name, help=words)
        command.add_argument("folder", type=Path)
        command.add_argument("parts", nargs="*", metavar="part", help=f"of {', '.join(KNOWN)}")
        if name == "grade":
            command.add_argument("--sandbox", help="what runs Python, locked in (default: unshare)")
            command.add_argument("--seconds", type=int, default=120, help="for a cell, or a call")
    options = vars(parser.parse_args())
    parts = options.pop("parts") or KNOWN
    if unknown := sorted(set(parts) - set(KNOWN)):
        sys.exit(f"no such part: {', '.join(unknown)}. There are {', '.join(KNOWN)}.")
    folder = options.pop("folder").expanduser().resolve()
    {"new": new, "grade": grade, "missed": missed}[options.pop("command")](folder, parts, **options)


if __name__ == "__main__":
    main()
