"""Kernels forked from a process with the imports done are kernels like others."""

import os
import subprocess
import sys

import kernels
import psutil
import pytest
from jupyter_client.manager import start_new_kernel
from kernels import PATIENCE, WarmProvisioner

SAYS = """import os, sys
print(os.getcwd(), __name__, "pandas" in sys.modules, "lib" in sys.modules)"""
ENDLESS = """print("begun", flush=True)
while True:
    pass"""

STARTS_ONE = """import time, kernels
from jupyter_client.manager import start_new_kernel

kernels.start_warm()
manager, client = start_new_kernel(startup_timeout=kernels.PATIENCE)
print(manager.provisioner.pid, flush=True)
time.sleep(kernels.PATIENCE)"""
on_linux = pytest.mark.skipif(sys.platform != "linux", reason="kernels start as ever")


def outcome(manager, client, source):
    """How the kernel answers, and what it printed; an endless cell is interrupted."""
    printed = []

    def listen(message):
        printed.append(message["content"].get("text", ""))
        if "begun" in printed[-1]:
            manager.interrupt_kernel()

    reply = client.execute_interactive(source, timeout=PATIENCE, output_hook=listen)
    return reply["content"].get("ename", reply["content"]["status"]), "".join(printed).split()


@pytest.mark.slow
@on_linux
def test_it_runs_is_interrupted_and_ends(tmp_path):
    manager, client = start_new_kernel(startup_timeout=PATIENCE, cwd=str(tmp_path))
    try:
        assert isinstance(manager.provisioner, WarmProvisioner)
        pid = manager.provisioner.pid
        assert outcome(manager, client, SAYS) == (
            "ok",
            [str(tmp_path), "__main__", "True", "False"],
        )
        assert outcome(manager, client, ENDLESS)[0] == "KeyboardInterrupt"
        assert outcome(manager, client, SAYS)[0] == "ok"
    finally:
        client.stop_channels()
        manager.shutdown_kernel()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


@pytest.mark.slow
@on_linux
def test_it_ends_with_the_process_that_started_it():
    process = subprocess.Popen(
        [sys.executable, "-c", STARTS_ONE],
        cwd=kernels.__file__.rpartition(os.sep)[0],
        stdout=subprocess.PIPE,
        encoding="utf-8",
    )
    kernel = psutil.Process(int(process.stdout.readline()))
    process.kill()
    process.wait()
    kernel.wait(PATIENCE)


def test_none_starts_with_the_library():
    assert not [name for name in kernels.IMPORTED if name.split(".")[0] == "lib"]
