"""A network trained on five speakers, adapted to a sixth: what dropout adds, and where."""

import copy
from functools import lru_cache

import torch
from torch import nn

from lib.datasets import SPEAKERS, Split, load_spoken_digits
from lib.datasets.speech import N_TAKES
from lib.experiments.experiment import grid
from lib.experiments.protocol import TRAINED_TO_END, Comparison, train_to_end
from lib.experiments.recipes import train
from lib.experiments.speech import recording_error
from lib.layers import Dropout
from lib.networks import AdaptedLinear, multilayer_perceptron
from lib.training import evaluate, seed_everything

TEST, VALIDATION, LABELLED = range(20), range(20, 30), range(30, 50)  # takes of the new speaker
ADAPTERS = ("adapter", "masked adapter")


@lru_cache(maxsize=1)
def before(seed, hidden, epochs):
    """A network trained on the speakers that are not new, without masks; the new one's frames.

    It begins with a seed of its own, so that a trial is the same whether this is kept or not.
    """
    spoken = load_spoken_digits(left_out=SPEAKERS[seed % len(SPEAKERS)])
    x_train, y_train, x_val, y_val, x, y = spoken.split
    known = torch.cat([x_train, x_val]), torch.cat([y_train, y_val])
    seed_everything(seed)
    net = multilayer_perceptron([x.shape[1], hidden, hidden, 10])
    train(net, Split(*known, *known, x, y), epochs)
    return net, x, y, spoken.recording_test


def parts(n_takes, x, y, recordings):
    """The new speaker's frames: `n_takes` labelled takes of each digit, validation, test."""
    take = recordings % N_TAKES
    inside = [
        (take >= takes.start) & (take < takes.stop)
        for takes in (LABELLED[:n_takes], VALIDATION, TEST)
    ]
    split = Split(*(part[rows] for rows in inside for part in (x, y)))
    return split, recordings[inside[-1]]


def adapted(net, side, keep_prob, rank=8):
    """A copy of a network of two hidden layers, made ready for a side."""
    net = copy.deepcopy(net)
    first, second, last = (i for i, layer in enumerate(net) if isinstance(layer, nn.Linear))
    if side == "scratch":
        for i in (first, second, last):
            net[i].reset_parameters()
    if side in ("head", *ADAPTERS):
        net.requires_grad_(False)
        net[last].requires_grad_(True)
    if side in ADAPTERS:
        for i in (first, second):
            net[i] = AdaptedLinear(net[i], rank, rank, keep_prob)
    masked = {"masked body": second - 1, "masked head": last - 1}
    if side in masked:
        net[masked[side]] = Dropout(keep_prob)
    return net


def fine_tuning_trial(
    seed, *, n_takes, side, keep_prob, decay, rate, hidden=256, known_epochs=5, patience=5, cap=1500
):
    """Adapt to the new speaker, and judge frames, and recordings by the mean of their frames."""
    net, *frames = before(seed, hidden, known_epochs)
    data, recordings = parts(n_takes, *frames)
    test = data.x_test, data.y_test
    seed_everything(seed)
    how = {"rate": rate, "patience": patience, "cap": cap, "batch_size": 32, "weight_decay": decay}
    metrics, model = train_to_end(adapted(net, side, keep_prob), data, **how)
    del metrics["wrong"]  # frames of one recording are wrong together
    return {
        **metrics,
        "recording_error": recording_error(model, *test, recordings),
        "start_error": evaluate(net, *test).error,
    }


PLAIN = {"keep_prob": 1.0, "decay": 0.0, "rate": [0.003, 0.01, 0.03]}
MASKED = PLAIN | {"keep_prob": [0.8, 0.5, 0.3]}
GENTLE = {"rate": [0.001, 0.003, 0.01]}  # a whole network soon knows a few recordings by heart
SIDES = {
    "scratch": PLAIN,
    "head": PLAIN,
    "whole": PLAIN | GENTLE,
    "decayed": PLAIN | {"decay": [0.003, 0.01, 0.03]},
    "masked head": MASKED | GENTLE,
    "masked body": MASKED | GENTLE,
    "adapter": PLAIN,
    "masked adapter": MASKED,
}

FINE_TUNING = Comparison(
    name="fine-tuning",
    title="A network of five speakers, adapted to a sixth: masks in its head, body or adapter",
    paper="Hu et al. (2022)",
    configurations=[
        configuration
        for n_takes in (1, 3, 10)
        for side, settings in SIDES.items()
        for configuration in grid(n_takes=n_takes, side=side, **settings)
    ],
    choices=("keep_prob", "decay", "rate"),
    search_seeds=3,
    n_seeds=6,
    one_test_set=False,
    metrics=(*TRAINED_TO_END, "recording_error", "start_error"),
    trial=fine_tuning_trial,
    smallest={"hidden": 64, "known_epochs": 1, "patience": 2, "cap": 20},
)
