"""Programs that tests start, and the hard name of the folder in which they run."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

BIN = Path(sys.executable).parent
HARD_NAME = os.fsdecode("Mi libro ñ".encode())  # these bytes, whatever the tests' own locale


def call(*command, cwd, **environment):
    """Run a program; return its exit code and what it printed."""
    result = subprocess.run(
        command,
        cwd=cwd,
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        check=False,
    )
    return result.returncode, result.stdout


def end_of(main, *arguments):
    """Call a program's `main` in this process; return what it ends with."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [main.__module__, *map(str, arguments)])
        try:
            return main()
        except SystemExit as end:
            return end.code
