"""Settings of every test run."""

import gc

import kernels
import numpy as np
import pytest
from nbval.kernel import RunningKernel
from nbval.plugin import IPyNbCell

kernels.set_up()
kernels.start_warm()


@pytest.fixture
def rng():
    """A generator of random numbers: the same ones for every test."""
    return np.random.default_rng(0)


def pytest_configure(config):
    config.option.nbval_kernel_startup_timeout = kernels.PATIENCE


def pytest_collection_modifyitems(items):
    """Begin with what takes longest, so that all workers have something to do until the end."""
    for item in items:
        if is_cell(item):
            item.output_timeout = kernels.PATIENCE
    items.sort(key=lambda item: (not item.get_closest_marker("slow"), not is_cell(item)))


def pytest_collection_finish():
    """Let no collection of garbage visit what was imported: a tenth of the time went there."""
    gc.collect()
    gc.freeze()


def is_cell(item):
    """Whether it is a cell of a notebook."""
    return isinstance(item, IPyNbCell)


def execute_cell_input(self, cell_input, allow_stdin=None):
    """Run a cell as notebooks do: with a history, without which a closing ``;`` has no effect."""
    return self.kc.execute(cell_input, allow_stdin=allow_stdin, stop_on_error=False)


RunningKernel.execute_cell_input = execute_cell_input


def compare_outputs(self, test, ref, skip_compare=None):
    """Compare what a cell says as text. HTML, which comes beside it, may hold pictures."""
    skip_compare = (*(skip_compare or self.parent.skip_compare), "text/html")
    return compare_all_outputs(self, test, ref, skip_compare)


compare_all_outputs, IPyNbCell.compare_outputs = IPyNbCell.compare_outputs, compare_outputs
