"""Programs that start warm run as cold ones do."""

import os
import signal
import sys

import kernels
import pytest
from events import wait_for
from warm import Server

PROGRAM = """
import os
import sys
from pathlib import Path

import helper

print(__name__, sys.argv[1:], Path.cwd().name, os.environ["GREETING"], helper.NAME)
print("imported:", "calendar" in sys.modules, "lib" in sys.modules)
helper.NAME = "changed"
sys.exit(len(sys.argv))
"""
ENDLESS = """
import time

try:
    print("begun", flush=True)
    time.sleep(600)
except KeyboardInterrupt:
    print("interrupted", flush=True)
    time.sleep(600)
"""


@pytest.fixture(scope="module")
def server():
    return Server("calendar")


@pytest.fixture
def start(server, tmp_path):
    """Start a program, by its name or its path, in a folder; return the process and its output."""
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "helper.py").write_text("NAME = 'helper'", encoding="utf-8")
    (tmp_path / "program.py").write_text(PROGRAM, encoding="utf-8")
    (tmp_path / "endless.py").write_text(ENDLESS, encoding="utf-8")
    output = tmp_path / "output"

    def run(program, *arguments, cwd=tmp_path, path=""):
        env = os.environ | {"GREETING": "hello", "PYTHONPATH": str(path)}
        return server.start(program, arguments, cwd=cwd, env=env, output=output), output

    return run


def text(output):
    return output.read_text(encoding="utf-8").splitlines() if output.exists() else []


EXPECTED = ["__main__ ['a', '1'] {} hello helper", f"imported: {sys.platform == 'linux'} False"]


@pytest.mark.parametrize("turn", [1, 2])
def test_a_module_is_looked_for_in_its_folder(start, turn, tmp_path):
    process, output = start("program", "a", 1)
    assert process.wait() == 3
    assert text(output) == [EXPECTED[0].format(tmp_path.name), EXPECTED[1]]


def test_a_module_is_looked_for_in_the_path(start, tmp_path):
    process, output = start("program", "a", 1, cwd=tmp_path / "elsewhere", path=tmp_path)
    assert process.wait() == 3
    assert text(output) == [EXPECTED[0].format("elsewhere"), EXPECTED[1]]


def test_a_script_finds_what_is_beside_it(start, tmp_path):
    process, output = start(tmp_path / "program.py", "a", 1, cwd=tmp_path / "elsewhere")
    assert process.wait() == 3
    assert text(output) == [EXPECTED[0].format("elsewhere"), EXPECTED[1]]


def test_an_error_is_printed_and_told(start):
    process, output = start("nosuchmodule")
    assert process.wait() == 1
    assert "No module named nosuchmodule" in text(output)[-1]


@pytest.mark.skipif(sys.platform != "linux", reason="there is no server")
def test_a_server_that_cannot_start_says_so():
    with pytest.raises(RuntimeError, match="the server ended, with the exit code 1"):
        Server("nosuchmodule").start("program", [])


def test_two_at_once_are_interrupted_and_killed_one_by_one(start):
    first, output = start("endless")
    wait_for(lambda: text(output) == ["begun"])
    second, output = start("endless")
    wait_for(lambda: text(output) == ["begun"] * 2)
    first.send_signal(signal.SIGINT)
    wait_for(lambda: text(output) == ["begun", "begun", "interrupted"])
    assert (first.poll(), second.poll()) == (None, None)
    first.kill()
    assert first.wait() == -signal.SIGKILL
    assert second.poll() is None
    second.terminate()
    assert second.wait() == -signal.SIGTERM


def test_no_kernel_starts_with_the_library():
    """Else a page would show what `lib` was when the first kernel started."""
    assert not [name for name in kernels.IMPORTED if name.split(".")[0] == "lib"]
