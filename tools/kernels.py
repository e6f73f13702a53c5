"""The kernels that tests and build start: the same for everybody, and quiet."""

import atexit
import gc
import multiprocessing
import os
import runpy
import shutil
import sys
import tempfile
from importlib.metadata import EntryPoint
from pathlib import Path
from threading import Thread

from jupyter_client.provisioning import KernelProvisionerFactory, LocalProvisioner

PATIENCE = 600  # seconds: a busy machine never needs as many, and a run that hangs ends

# Several kernels run at once: one thread each, and no progress bars in the outputs.
# The kernel is that of the environment, not another one on the machine.
ENVIRONMENT = {
    "TQDM_DISABLE": "1",
    "OMP_NUM_THREADS": "1",
    "JUPYTER_PREFER_ENV_PATH": "1",
    "DROPOUT_STRICT_CLAIMS": "1",
}

# No start-up files, settings or history of the user's own; no log lines between the results.
CONFIG = """\
c.IPKernelApp.log_level = "ERROR"
c.HistoryManager.hist_file = ":memory:"
"""


def setup(app):
    """Register the settings with Sphinx: for the kernels that a build starts."""
    set_up()
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def set_up():
    """Prepare the environment that kernels started by this process inherit."""
    os.environ.update(ENVIRONMENT)
    home = Path(tempfile.mkdtemp(prefix="dropout-book-"))
    atexit.register(shutil.rmtree, home, ignore_errors=True)
    profile = home / "profile_default"
    profile.mkdir()
    (profile / "ipython_kernel_config.py").write_text(CONFIG, encoding="utf-8")
    os.environ["IPYTHONDIR"] = str(home)


# What most notebooks import, and half of the time of a short one goes into. Never `lib`: a kernel
# would have it as it was when the first one started.
IMPORTED = (
    "ipykernel.kernelapp",
    "matplotlib.pyplot",
    "pandas",
    "scipy.stats",
    "sklearn.datasets",
    "torch._dynamo",  # what torch's optimizers import when they are first used
)


# Only on Linux can a process that has imported as much be forked safely.
FORKS = multiprocessing.get_context("forkserver") if sys.platform == "linux" else None


def start_warm():
    """Let this process fork its kernels from one that has imported torch and the like.

    That one starts with the first kernel. Elsewhere than on Linux kernels start as ever.
    """
    if FORKS is None:
        return
    FORKS.set_forkserver_preload(["__main__", *IMPORTED])
    factory = KernelProvisionerFactory.instance()
    factory.provisioners["warm"] = EntryPoint("warm", "kernels:WarmProvisioner", factory.GROUP_NAME)
    factory.default_provisioner_name = "warm"


class WarmProvisioner(LocalProvisioner):
    """How Jupyter starts a kernel, with a fork in place of a new interpreter."""

    async def pre_launch(self, **kwargs):
        """Wait for the imports, and then choose ports: nobody keeps them free meanwhile."""
        nothing = FORKS.Process(target=int)
        nothing.start()
        nothing.join()
        return await super().pre_launch(**kwargs)

    async def launch_kernel(self, cmd, *, env, cwd=None, **_):
        _, flag, *arguments = cmd
        assert flag == "-m", cmd
        arguments.append(f"--IPKernelApp.parent_handle={os.getpid()}")  # not from a terminal
        process = FORKS.Process(target=run_module, args=(arguments, env, cwd))
        process.start()
        self.process = Forked(process)
        self.pid = process.pid
        return self.connection_info


class Forked:
    """A forked process, as the part of `subprocess.Popen` that a provisioner calls."""

    stdin = stdout = stderr = None

    def __init__(self, process):
        self.pid = process.pid
        self.terminate, self.kill, self.process = process.terminate, process.kill, process

    def poll(self):
        return self.process.exitcode

    def wait(self):
        self.process.join()

    def send_signal(self, number):
        if self.poll() is None:
            os.kill(self.pid, number)


def run_module(arguments, env, cwd):
    """Be ``python -m``, in a process just forked."""
    gc.freeze()  # no collection visits what was imported
    os.environ.clear()
    os.environ.update(env)
    sys.modules["matplotlib"].rcParams["backend"] = "module://matplotlib_inline.backend_inline"
    if cwd is not None:
        os.chdir(cwd)
    sys.argv = arguments
    Thread(target=end_with, args=[multiprocessing.parent_process()], daemon=True).start()
    runpy.run_module(arguments[0], run_name="__main__", alter_sys=True)


def end_with(process):
    """Wait for the end of a process, and end this one."""
    process.join()
    os._exit(1)
