"""Settings of every test run: quiet kernels of one thread each, and a stable place for them."""

import os

# Two notebooks run at once on two cores; progress bars would end up in compared outputs.
os.environ.update(TQDM_DISABLE="1", OMP_NUM_THREADS="1", JUPYTER_PREFER_ENV_PATH="1")
