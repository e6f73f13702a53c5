"""The kernels that tests and build start: the same for everybody, and quiet."""

import atexit
import os
import shutil
import tempfile
from importlib.metadata import EntryPoint
from pathlib import Path

from jupyter_client.provisioning import KernelProvisionerFactory, LocalProvisioner
from warm import Server

# Several kernels run at once: one thread each, and no progress bars in the outputs.
# The kernel is that of the environment, not another one on the machine.
ENVIRONMENT = {"TQDM_DISABLE": "1", "OMP_NUM_THREADS": "1", "JUPYTER_PREFER_ENV_PATH": "1"}

# No start-up files, settings or history of the user's own; no log lines between the results.
CONFIG = """\
c.IPKernelApp.log_level = "ERROR"
c.HistoryManager.hist_file = ":memory:"
"""

# What most notebooks import, and most of their start goes into.
IMPORTED = (
    "ipykernel.kernelapp",
    "matplotlib.pyplot",
    "pandas",
    "scipy.stats",
    "sklearn.datasets",
    "torch",
)


class WarmProvisioner(LocalProvisioner):
    """How Jupyter starts a kernel: forked from a process that has the imports done."""

    server = Server(*IMPORTED, MPLBACKEND="module://matplotlib_inline.backend_inline")

    async def launch_kernel(self, cmd, *, env, cwd=None, **_):
        _, flag, module, *arguments = cmd
        assert flag == "-m", cmd
        self.process = self.server.start(module, arguments, cwd=cwd, env=env)
        self.pid = self.pgid = self.process.pid
        return self.connection_info


def start_warm():
    """Let this process start its kernels warm. It pays from the second kernel on."""
    factory = KernelProvisionerFactory.instance()
    factory.provisioners["warm"] = EntryPoint("warm", "kernels:WarmProvisioner", factory.GROUP_NAME)
    factory.default_provisioner_name = "warm"


def set_up():
    """Prepare the environment that kernels started by this process inherit."""
    os.environ.update(ENVIRONMENT)
    home = Path(tempfile.mkdtemp(prefix="dropout-book-"))
    atexit.register(shutil.rmtree, home, ignore_errors=True)
    profile = home / "profile_default"
    profile.mkdir()
    (profile / "ipython_kernel_config.py").write_text(CONFIG, encoding="utf-8")
    os.environ["IPYTHONDIR"] = str(home)
