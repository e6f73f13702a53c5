"""Settings of every test run."""

import kernels
from nbval.kernel import RunningKernel

kernels.set_up()


def execute_cell_input(self, cell_input, allow_stdin=None):
    """Run a cell as notebooks do: with a history, without which a closing ``;`` has no effect."""
    return self.kc.execute(cell_input, allow_stdin=allow_stdin, stop_on_error=False)


RunningKernel.execute_cell_input = execute_cell_input
