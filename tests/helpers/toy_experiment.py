"""Experiments that take no time, for the tests of the runner; also in processes of their own."""

import os
import signal
import sys
import time
from pathlib import Path

import torch

from lib.experiments import Experiment, run, run_trial


def toy_trial(seed, *, slope, marks="", fails=False):
    """Draw a number; with seed 1 wait for a sign, or fail, as asked.

    In the folder `marks` each trial leaves a mark when it begins. One of seed 1 then waits until
    the folder has a file named ``go``.
    """
    if marks:
        (Path(marks) / f"{slope}-{seed}-{os.getpid()}-{time.time_ns()}").touch()
    while marks and seed == 1 and not (Path(marks) / "go").exists():
        time.sleep(0.01)
    if fails and seed == 1:
        raise ValueError("a trial that fails")
    return {"value": slope * torch.randn(())}


def toy(**settings):
    """Build the experiment, with settings for each of its three slopes."""
    return Experiment(
        name="toy",
        title="A line",
        paper="None",
        configurations=[{"slope": slope, **settings} for slope in (1, 2, 3)],
        metrics=("value",),
        trial=toy_trial,
        n_seeds=2,
    )


def assert_complete(table):
    """Each trial of the toy is there once, with the value that it has when it is run alone."""
    rows = [(row["slope"], row["seed"], row["value"]) for row in table.rows()]
    alone = [run_trial(toy(), trial)[0] for trial in toy().trials()]
    assert sorted(rows) == sorted((row["slope"], row["seed"], float(row["value"])) for row in alone)


def small(name, trial, n_seeds=1, **configuration):
    """Build an experiment of one configuration and one metric."""
    return Experiment(name, "", "", [configuration or {"slope": 1}], ("value",), trial, {}, n_seeds)


def fatal_trial(seed, *, folder):
    """With seed 1, end the process once the folder has the row of seed 0."""
    while seed == 1 and not (Path(folder) / "dies.csv").exists():
        time.sleep(0.01)
    if seed == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return {"value": 1.0}


class Fatal(str):
    """A setting that ends the process which sends it to another."""

    def __reduce__(self):
        os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    folder, marks = sys.argv[1:]
    experiment = small("fatal", toy_trial, killed=Fatal()) if marks == "none" else toy(marks=marks)
    run(experiment, folder=folder, n_jobs=2)
