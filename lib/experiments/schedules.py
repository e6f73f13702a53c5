"""Masks in the first steps only, in the last ones only, in all, in none."""

import math

import numpy as np
import torch

from lib.datasets import load_fashion_mnist
from lib.experiments.experiment import grid
from lib.experiments.protocol import OF_THE_END, Comparison
from lib.layers import Dropout
from lib.networks import multilayer_perceptron
from lib.training import error_rate, fit, one_cycle
from lib.validation import COUNT, PROBABILITY, OneOf, Real, declared

SCHEDULES = ("none", "always", "early", "late")
SHARE = 0.2  # of the steps; the paper's is a sixth


@declared(schedule=OneOf(*SCHEDULES), keep_prob=PROBABILITY, share=Real(0, 1, "[]"), n_steps=COUNT)
def keep_probs(schedule, keep_prob, share, n_steps):
    """List the keep probability of every step of training.

    Parameters
    ----------
    schedule : {"none", "always", "early", "late"}
        Early masks fade: their keep probability rises from `keep_prob` to 1 in equal steps. Late
        masks begin at once.
    keep_prob : float
        Where masks are on.
    share : float
        Of the steps, at whose end early masks are off and late ones begin, in [0, 1].
    n_steps : int

    Returns
    -------
    numpy.ndarray, shape (n_steps,)

    References
    ----------
    Liu et al. (2023), *Dropout reduces underfitting*, arXiv:2303.01500; `drop_scheduler.py` in
    https://github.com/facebookresearch/dropout.

    Examples
    --------
    >>> keep_probs("early", 0.5, share=0.5, n_steps=6)
    array([0.5 , 0.75, 1.  , 1.  , 1.  , 1.  ])
    >>> keep_probs("late", 0.5, share=0.5, n_steps=6)
    array([1. , 1. , 1. , 0.5, 0.5, 0.5])
    """
    switch, kept = round(share * n_steps), np.ones(n_steps)
    if schedule == "early":
        kept[:switch] = np.linspace(keep_prob, 1, switch)
    elif schedule == "late":
        kept[switch:] = keep_prob
    elif schedule == "always":
        kept[:] = keep_prob
    return kept


class ScheduledMasks:
    """Sets the keep probability of a network's dropout layers, step by step.

    It stands beside a scheduler of the rate: `step` is called after each step of training.

    Parameters
    ----------
    model : torch.nn.Module
        Its layers of `lib.layers.Dropout` are set; without one it is an error.
    kept : sequence of float
        From `keep_probs`.
    rates : scheduler
        Its `step` is called too.
    """

    def __init__(self, model, kept, rates):
        self.layers = [layer for layer in model.modules() if isinstance(layer, Dropout)]
        if not self.layers:
            raise ValueError("model must have a layer of lib.layers.Dropout, got none")
        self.kept, self.rates, self.done = kept, rates, 0
        self._set()

    def step(self):
        self.rates.step()
        self.done += 1
        self._set()

    def _set(self):
        if self.done < len(self.kept):
            for layer in self.layers:
                layer.keep_prob = float(self.kept[self.done])


def on_schedule(model, rate, schedule, keep_prob, share=SHARE):
    """An `optimizer` for `lib.training.fit`: `one_cycle`, and masks on a schedule."""

    def build(parameters, n_steps):
        optimizer, rates = one_cycle(rate)(parameters, n_steps)
        kept = keep_probs(schedule, keep_prob, share, n_steps)
        return optimizer, ScheduledMasks(model, kept, rates)

    return build


REGIMES = {
    "underfits": {"hidden": 16, "n_train": 50_000, "epochs": 10, "batch_size": 128},
    "overfits": {"hidden": 512, "n_train": 1_000, "epochs": 60, "batch_size": 64},
}


def schedule_trial(seed, *, regime, schedule, keep_prob, rate, n_val=5000, **sizes):
    """Train 784-h-h-10 for a fixed number of steps, and measure what is there at the end.

    A loss that is no number counts as infinite: such a setting is never a side's best.
    """
    sizes = REGIMES[regime] | sizes
    data = load_fashion_mnist(n_train=sizes["n_train"], n_val=n_val, seed=seed)
    hidden, epochs = sizes["hidden"], sizes["epochs"]
    model = multilayer_perceptron([784, hidden, hidden, 10])
    optimizer = on_schedule(model, rate, schedule, keep_prob)
    how = {"every": epochs, "batch_size": sizes["batch_size"], "optimizer": optimizer}
    history = fit(model, data, epochs=epochs, **how)
    with torch.no_grad():
        output = torch.cat([model.eval()(x) for x in data.x_test.split(2000)])
    ends = {name: getattr(history, name)[-1] for name in OF_THE_END}
    return {
        **{name: math.inf if end.isnan() else end for name, end in ends.items()},
        "test_error": error_rate(output, data.y_test),
        "wrong": (output.argmax(dim=-1) != data.y_test) | output.isnan().any(dim=-1),
    }


RATES = {"underfits": [0.05, 0.1, 0.2], "overfits": [0.01, 0.03, 0.1, 0.3]}
KEEP_PROBS = {"underfits": [0.8, 0.9, 0.95], "overfits": [0.3, 0.5, 0.8]}

DROPOUT_SCHEDULES = Comparison(
    name="dropout-schedules",
    title="Fashion-MNIST: no masks, masks always, early or late; nets that underfit and overfit",
    paper="Liu et al. (2023), early and late dropout",
    configurations=[
        configuration
        for regime, rates in RATES.items()
        for schedule in SCHEDULES
        for configuration in grid(
            regime=regime,
            schedule=schedule,
            keep_prob=1.0 if schedule == "none" else KEEP_PROBS[regime],
            rate=rates,
        )
    ],
    choices=("keep_prob", "rate"),
    chosen_by="val_loss",
    search_seeds=5,
    metrics=OF_THE_END,
    trial=schedule_trial,
    smallest={"hidden": 100, "n_val": 1000, "epochs": 15},
    n_seeds=10,
)
