"""What runs here runs elsewhere: in a folder with another name, where text is not UTF-8."""

import ast
import os
import shutil
import subprocess
import sys

import pytest
from commands import HARD_NAME
from nbformat.v4 import new_code_cell
from repository import EXERCISES, NOTEBOOKS, ROOT, code_cells, name, read, text_of, write

SOURCES = [path for folder in ("lib", "tools", "tests") for path in ROOT.glob(f"{folder}/**/*.py")]
# Modules with an `open` of their own, which reads and writes bytes.
BINARY = {"gzip", "tarfile", "wave", "Image", "zipfile"}


def without_encoding(source):
    """The lines that read or write text in whatever encoding the machine has."""
    for call in (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)):
        keywords = {keyword.arg: keyword.value for keyword in call.keywords}
        function = getattr(call.func, "attr", getattr(call.func, "id", ""))
        owner = getattr(getattr(call.func, "value", None), "id", None)
        flags = (keywords.get(name) for name in ("text", "universal_newlines"))
        is_text = any(getattr(flag, "value", False) is True for flag in flags)
        if function in ("read_text", "write_text"):
            is_text = True
        elif function in ("open", "fdopen") and owner not in BINARY:
            given = [*call.args, keywords.get("mode")]
            modes = [each.value for each in given if isinstance(each, ast.Constant)]
            is_text = not any(isinstance(mode, str) and mode.endswith("b") for mode in modes)
        if is_text and not {"encoding", None} & keywords.keys():  # None: the keywords of a dict
            yield call.lineno


FOUND = """open(path)
path.open('w', newline='')
path.read_text()
subprocess.run(command, text=True)"""
PASSED = """open(path, 'rb')
path.open(mode='wb')
path.open(encoding='utf-8')
tarfile.open(path)
path.write_text(text, encoding='utf-8')
ax.annotate(text='kept')
subprocess.run(command, encoding='utf-8')"""


def test_what_has_no_encoding_is_found():
    assert list(without_encoding(FOUND)) == [1, 2, 3, 4]
    assert list(without_encoding(PASSED)) == []


def test_text_is_read_and_written_as_utf8():
    found = [
        f"{name(path)}:{line}"
        for path in [*ROOT.glob("*.py"), *SOURCES]
        for line in without_encoding(text_of(path))
    ]
    found += [
        f"{name(path)}, {cell.source}"
        for path in [*NOTEBOOKS, *ROOT.glob("exercises/*.ipynb")]
        for cell in code_cells(path)
        if not cell.source.startswith("%%")
        for _ in without_encoding(cell.source)
    ]
    assert not found, found


@pytest.mark.slow
@pytest.mark.skipif(
    not sys.prefix.isascii(), reason="torch and others cannot be imported from .venv in that locale"
)
def test_tools_run_where_text_is_ascii_in_a_folder_with_a_space(tmp_path):
    """As in the POSIX locale, with everything that Python does against it switched off."""
    clone = tmp_path / HARD_NAME
    for folder in ("book", "exercises", "lib", "tools"):
        shutil.copytree(ROOT / folder, clone / folder, ignore=shutil.ignore_patterns("__pycache__"))
    page, course = clone / "page.ipynb", clone / HARD_NAME
    source = "import os, lib\nprint('ñ', os.path.samefile(os.path.dirname(lib.__file__), 'lib'))"
    write(page, new_code_cell(source))
    locale = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    commands = (
        ["tools/course.py", "new", course.name],
        ["tools/exercises.py", "--check"],
        ["tools/notebooks.py", page.name],
        ["-m", "lib.experiments", "table", "reuters"],
    )
    started = [
        subprocess.Popen(
            [sys.executable, *command],
            cwd=clone,
            env=os.environ | locale | {"PYTHONPATH": str(clone)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for command in commands
    ]
    for command, process in zip(commands, started, strict=True):
        _, errors = process.communicate()
        assert process.returncode == 0, (command, errors.decode(errors="replace"))
    for part in (path.parent.name for path in EXERCISES):
        assert read(course / "source" / part / f"{part}.ipynb").cells
    assert read(page).cells[0].outputs[0].text == "ñ True\n"
