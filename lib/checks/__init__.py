"""Checks that exercise cells call: one module a part, one function an exercise.

A check calls the student's function and looks at what dropout promises: the mean kept, a mask for
each example, no mask at prediction, the gradient. It prints one line if all holds, and otherwise
raises an AssertionError that names the idea that was missed.
"""

from lib.checks import (
    baldi,
    bayesian,
    convolutional,
    ensemble,
    idea,
    noise,
    normalization,
    today,
    variants,
)

__all__ = [
    "baldi",
    "bayesian",
    "convolutional",
    "ensemble",
    "idea",
    "noise",
    "normalization",
    "today",
    "variants",
]
