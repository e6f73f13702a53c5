"""Kernels forked from a process with the imports done are kernels like others."""

import os
import sys

import kernels
import pytest
from jupyter_client.manager import start_new_kernel
from kernels import WarmProvisioner

PATIENCE = 600  # seconds: a busy machine never needs as many
SAYS = """import os, sys
print(os.getcwd(), __name__, "pandas" in sys.modules, "lib" in sys.modules)"""
ENDLESS = """print("begun", flush=True)
while True:
    pass"""


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
@pytest.mark.skipif(sys.platform != "linux", reason="kernels start as ever")
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


def test_none_starts_with_the_library():
    assert not [name for name in kernels.IMPORTED if name.split(".")[0] == "lib"]
