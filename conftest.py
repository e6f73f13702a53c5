"""Settings of every test run."""

import kernels
from nbval.kernel import RunningKernel
from nbval.plugin import IPyNbCell

kernels.set_up()


def execute_cell_input(self, cell_input, allow_stdin=None):
    """Run a cell as notebooks do: with a history, without which a closing ``;`` has no effect."""
    return self.kc.execute(cell_input, allow_stdin=allow_stdin, stop_on_error=False)


RunningKernel.execute_cell_input = execute_cell_input


def compare_outputs(self, test, ref, skip_compare=None):
    """Compare what a cell says as text. HTML, which comes beside it, may hold pictures."""
    skip_compare = (*(skip_compare or self.parent.skip_compare), "text/html")
    return compare_all_outputs(self, test, ref, skip_compare)


compare_all_outputs, IPyNbCell.compare_outputs = IPyNbCell.compare_outputs, compare_outputs
