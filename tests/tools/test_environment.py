"""What `make` does before anything else: find a Python, and set .venv up."""

import os
import re
import shutil
import subprocess
import sys
import tomllib

import pytest
from commands import HARD_NAME
from repository import put, text_of

CALLED = ("cat", "cksum", "cmp", "cp", "dirname", "head", "mkdir", "rm", "sed", "sh", "sleep")
MADE_FROM = ("requirements.txt", "constraints.txt", "pyproject.toml")

# A Python of any version: it notes what pip is asked for, and installs nothing.
FAKE = """#!/bin/sh
case "$2" in
  venv) mkdir -p "$3/bin" && cp "$0" "$3/bin/python" ;;
  pip) sleep {wait}; echo "$@" >>pip.log ;;
  *) shift; exec "{python}" -S -c "import sys
sys.version_info, sys.version, sys.base_prefix = {version}, '{name} fake', '{prefix}'
exec(sys.argv.pop(1))" "$@" ;;
esac
"""
SHIM = "#!/bin/sh\necho 'command not found' >&2\nexit 127\n"  # as pyenv has them


class Clone:
    """A clone with what the script reads, and a path with nothing but the tools that it calls."""

    def __init__(self, folder):
        self.folder, self.path = folder / HARD_NAME, folder / "bin"
        self.path.mkdir()
        for tool in CALLED:
            (self.path / tool).symlink_to(shutil.which(tool))
        put(self.folder, {name: text_of(name) for name in ("tools/environment.sh", *MADE_FROM)})

    def program(self, path, text):
        put(path.parent, {path.name: text})
        path.chmod(0o755)
        return path

    def python(self, name, *version, folder=None, wait=0):
        """Put a Python of that version on the path, or into a folder."""
        folder = folder or self.path
        text = ".".join(map(str, version))
        code = FAKE.format(
            python=sys.executable, version=version, name=text, prefix=folder, wait=wait
        )
        return self.program(folder / name, code)

    def start(self, python=None):
        environment = {"PATH": str(self.path)} | ({"PYTHON": str(python)} if python else {})
        return subprocess.Popen(
            [self.path / "sh", self.folder / "tools" / "environment.sh"],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

    def set_up(self, python=None, fails=False):
        """Run the script; return what it printed."""
        process = self.start(python)
        printed = os.fsdecode(process.communicate()[0])
        assert (process.returncode != 0) == fails, printed
        return printed

    def installs(self):
        log = self.folder / "pip.log"
        return text_of(log).count(" -r ") if log.exists() else 0


@pytest.fixture
def clone(tmp_path):
    clone = Clone(tmp_path)
    clone.python("python3", 3, 12, 1)
    return clone


def test_python3_is_taken_first_and_nothing_is_done_twice(clone):
    clone.python("python3.13", 3, 13, 0)
    assert "with Python 3.12.1 in" in clone.set_up()
    assert clone.installs() == 1
    assert clone.set_up() == ""
    assert clone.installs() == 1


@pytest.mark.parametrize("version", [(3, 10, 13), (3, 15, 0)])
def test_else_the_newest_that_runs_and_is_supported(clone, version):
    clone.python("python3", *version)
    clone.program(clone.path / "python3.14", SHIM)
    clone.python("python3.13", 3, 13, 0)
    clone.python("python3.11", 3, 11, 2)
    assert "with Python 3.13.0 in" in clone.set_up()


def test_without_any_it_says_what_is_needed_and_what_is_there(clone):
    (clone.path / "python3").unlink()
    needed = "CPython 3.11, 3.12, 3.13 or 3.14 is needed: none is on the path"
    assert needed in clone.set_up(fails=True)
    clone.python("python3", 3, 10, 13)
    clone.program(clone.path / "python3.12", SHIM)
    printed = clone.set_up(fails=True)
    assert "python3 is Python 3.10.13, python3.12 does not run" in printed
    assert "make PYTHON=" in printed
    assert not (clone.folder / ".venv").exists()


def test_the_one_that_is_named_is_taken_or_refused(clone, tmp_path):
    named = clone.python("a python", 3, 13, 0, folder=tmp_path / "with a space")
    assert "with Python 3.13.0 in" in clone.set_up(named)
    assert clone.set_up(named) == ""
    assert clone.set_up() == ""  # it stays
    old = clone.python("python", 3, 9, 1, folder=tmp_path / "old")
    assert f"{old} is Python 3.9.1" in clone.set_up(old, fails=True)
    nobody = tmp_path / "none"
    assert f"{nobody} does not run" in clone.set_up(nobody, fails=True)


def test_an_environment_of_another_python_or_folder_is_made_anew(clone, tmp_path):
    clone.set_up()
    named = clone.python("python", 3, 13, 0, folder=tmp_path / "other")
    printed = clone.set_up(named)
    assert ".venv is of Python 3.12.1 in" in printed
    assert "with Python 3.13.0 in" in printed
    before = clone.folder
    clone.folder = before.rename(tmp_path / "renamed")
    printed = clone.set_up()
    assert f".venv belongs to {before}" in printed
    assert "with Python 3.12.1 in" in printed
    assert clone.installs() == 3


@pytest.mark.parametrize("name", MADE_FROM)
def test_a_change_of_what_it_is_made_from_installs_again(clone, name):
    clone.set_up()
    os.utime(clone.folder / name)
    assert clone.set_up() == ""
    with (clone.folder / name).open("a", encoding="utf-8") as file:
        file.write("\n")
    assert "Setting up" in clone.set_up()
    assert clone.installs() == 2


def test_two_at_once_install_once(clone):
    clone.python("python3", 3, 12, 1, wait=0.5)
    started = [clone.start(), clone.start()]
    printed = b"".join(process.communicate()[0] for process in started)
    assert [process.returncode for process in started] == [0, 0]
    assert printed.count(b"Setting up") == clone.installs() == 1


def test_every_place_names_the_same_pythons():
    assert "CPython 3.11, 3.12, 3.13 or 3.14" in text_of("tools/environment.sh")
    project = tomllib.loads(text_of("pyproject.toml"))
    assert project["project"]["requires-python"] == ">=3.11,<3.15"
    assert project["tool"]["ruff"]["target-version"] == "py311"
    workflow = text_of(".github/workflows/book.yml")
    assert re.findall(r'"(3\.\d+)"', workflow) == ["3.11", "3.14"]
    assert text_of("binder/runtime.txt") == "python-3.11\n"
    assert "Python 3.11, 3.12, 3.13 or 3.14" in text_of("README.md")
