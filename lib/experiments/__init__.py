"""The papers' experiments on real data: ``python -m lib.experiments list``.

Reading their results loads none of them, nor what runs them: that is loaded when it is asked for.
"""

from importlib import import_module

from lib.experiments.results import (
    RESULTS,
    at_best,
    compare,
    cost,
    intervals,
    read_results,
    select,
    sides_table,
    summary,
)

_MODULES = {
    "EXPERIMENTS": "registry",
    "Experiment": "experiment",
    "ResultsTable": "table",
    "Trial": "experiment",
    "run": "runner",
    "run_trial": "experiment",
}

__all__ = [
    "RESULTS",
    "at_best",
    "compare",
    "cost",
    "intervals",
    "read_results",
    "select",
    "sides_table",
    "summary",
]
__all__ += list(_MODULES)


def __getattr__(name):
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__():
    return [*globals(), *_MODULES]
