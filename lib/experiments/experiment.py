"""What an experiment is: configurations, seeds, and a function of both."""

import itertools
import os
import platform
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from lib.experiments.fingerprint import fingerprint
from lib.experiments.results import SETTINGS, as_value, examples_in_text
from lib.progress import silent
from lib.training import seed_everything
from lib.validation import COUNT, TEXT, Function, Instance, Many, Optional, declared


def grid(**settings):
    """List the configurations: all combinations of what is in lists, the first changing slowest."""
    choices = [each if isinstance(each, list) else [each] for each in settings.values()]
    return [dict(zip(settings, values, strict=True)) for values in itertools.product(*choices)]


@declared(
    name=TEXT,
    title=TEXT,
    paper=TEXT,
    configurations=Many(SETTINGS),
    metrics=Many(TEXT),
    trial=Function(),
    smallest=SETTINGS,
    n_seeds=COUNT,
)
@dataclass(frozen=True)
class Experiment:
    """A question to be answered by training networks.

    Parameters
    ----------
    name : str
        Names the results table, ``<name>.csv``.
    title, paper : str
        What is compared, in a line, and whose figure it stands beside, with the section.
    configurations : sequence of dict
        The settings compared. All have the same keys; values are numbers, words or booleans.
    metrics : sequence of str
        What a trial measures, by name.
    trial : callable
        ``trial(seed, **configuration)`` trains one network and returns its metrics, a dict. It
        depends on nothing but its arguments: torch's generators are seeded before it is called.
        Beside the metrics it may return a "picture": grey levels, uint8 of shape (height, width);
        and "wrong": bool of shape (n_test,), which test examples it has wrong.
    smallest : dict
        Settings with which the last configuration takes seconds: less data, fewer epochs.
    n_seeds : int
        Seeds 0, 1, ... of each configuration, if no other number is asked for.

    Raises
    ------
    ValueError
        If the configurations have different settings.
    """

    name: str
    title: str
    paper: str
    configurations: Sequence[dict]
    metrics: Sequence[str]
    trial: Callable
    smallest: dict = field(default_factory=dict)
    n_seeds: int = 5

    beside = ()  # columns of the table beside metrics and circumstances

    def __post_init__(self):
        for configuration in self.configurations:
            if list(configuration) != self.settings:
                raise ValueError(
                    f"configurations of {self.name!r} must all have the settings {self.settings}, "
                    f"got {list(configuration)}"
                )

    @property
    def settings(self):
        """Names of what a configuration says."""
        return list(self.configurations[0])

    @property
    def code(self):
        """Fingerprint of the code that a trial reaches."""
        return fingerprint(self.trial, _measured)

    @declared(n_seeds=Optional(COUNT))
    def trials(self, n_seeds=None, rows=()):
        """List each `Trial`, seed by seed: a run that is cut short has whole comparisons.

        What is still to be run may depend on the rows that are there (`protocol.Comparison`).
        """
        return [
            Trial(self.name, tuple(configuration.items()), seed)
            for seed in range(n_seeds or self.n_seeds)
            for configuration in self.configurations
        ]


class Trial(NamedTuple):
    """One configuration and one seed: what is run, stored and never run again."""

    experiment: str
    configuration: tuple
    seed: int

    @property
    def key(self):
        """The trial as its row in the table says it."""
        return (*(as_value(str(value)) for _, value in self.configuration), self.seed)

    def __str__(self):
        settings = ", ".join(f"{name}={value}" for name, value in self.configuration)
        return f"{self.experiment} ({settings}, seed={self.seed})"


EXPERIMENT = Instance(
    Experiment,
    "a lib.experiments.Experiment",
    lambda: Experiment("name", "title", "paper", [{"setting": 1}], ["metric"], print),
)
TRIAL = Instance(Trial, "a lib.experiments.Trial", lambda: Trial("name", (("setting", 1),), 0))


@declared(experiment=EXPERIMENT, trial=TRIAL)
def run_trial(experiment, trial):
    """Run a trial on one thread.

    Parameters
    ----------
    experiment : Experiment
    trial : Trial

    Returns
    -------
    row, picture : dict, numpy.ndarray or None
        Configuration, seed, metrics, and how it was run; what the trial drew, if it did.

    Raises
    ------
    ValueError
        If the trial does not return what the experiment names.
    """
    code = experiment.code
    start = time.perf_counter()
    metrics = _measured(experiment, trial)
    seconds = time.perf_counter() - start
    picture, wrong = metrics.pop("picture", None), metrics.pop("wrong", None)
    if set(metrics) != set(experiment.metrics):
        raise ValueError(
            f"{trial} must measure {sorted(experiment.metrics)}, got {sorted(metrics)}"
        )
    if experiment.beside and wrong is None:
        raise ValueError(f"{trial} must say which test examples are wrong ('wrong'), and does not")
    python = platform.python_version()
    row = {
        **dict(trial.configuration),
        "seed": trial.seed,
        **{name: f"{float(metrics[name]):.6g}" for name in experiment.metrics},
        "seconds": f"{seconds:.1f}",
        "versions": f"python-{python} torch-{torch.__version__} numpy-{np.__version__}",
        "processor": _processor(),
        "date": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "code": code,
    }
    return row if wrong is None else row | {"wrong": examples_in_text(wrong)}, picture


def _measured(experiment, trial):
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    seed_everything(trial.seed)
    try:
        with silent():
            return experiment.trial(trial.seed, **dict(trial.configuration))
    finally:
        torch.set_num_threads(n_threads)


@cache
def _processor():
    """The processor's name, and the vector instructions that torch uses on it."""
    cpuinfo = Path("/proc/cpuinfo")  # Linux does not tell `platform`
    text = cpuinfo.read_text(encoding="utf-8", errors="replace") if cpuinfo.exists() else ""
    model = re.search(r"^model name\s*:(.*)", text, re.MULTILINE)
    name = model[1].strip() if model else platform.processor() or platform.machine()
    return f"{name}, {os.cpu_count()} cores, {torch.backends.cpu.get_cpu_capability()}"
