"""An experiment that takes no time, for the tests of the runner; also in processes of its own."""

import os
import sys
import time
from pathlib import Path

import torch

from lib.experiments import Experiment, run


def toy_trial(seed, *, slope, wait=0.0, fails=False, marks=""):
    """Draw a number; leave a mark at the start, wait, fail, as asked."""
    if marks:
        (Path(marks) / f"{slope}-{seed}-{os.getpid()}-{time.time_ns()}").touch()
    time.sleep(wait)
    if fails and seed == 1:
        raise ValueError("a trial that fails")
    return {"value": slope * torch.randn(()), "seconds_waited": wait}


def toy(**settings):
    """Build the experiment, with settings for each of its three slopes."""
    return Experiment(
        name="toy",
        title="A line",
        paper="None",
        configurations=[{"slope": slope, **settings} for slope in (1, 2, 3)],
        metrics=("value", "seconds_waited"),
        trial=toy_trial,
        n_seeds=2,
    )


if __name__ == "__main__":
    folder, wait, marks = sys.argv[1:]
    run(toy(wait=float(wait), marks=marks), folder=folder, n_jobs=2)
