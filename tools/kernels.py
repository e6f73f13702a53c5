"""The kernels that tests and build start: the same for everybody, and quiet."""

import atexit
import os
import shutil
import tempfile
from pathlib import Path

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


def set_up():
    """Prepare the environment that kernels started by this process inherit."""
    os.environ.update(ENVIRONMENT)
    home = Path(tempfile.mkdtemp(prefix="dropout-book-"))
    atexit.register(shutil.rmtree, home, ignore_errors=True)
    profile = home / "profile_default"
    profile.mkdir()
    (profile / "ipython_kernel_config.py").write_text(CONFIG, encoding="utf-8")
    os.environ["IPYTHONDIR"] = str(home)
