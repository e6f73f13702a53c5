"""Convolutional networks on Fashion-MNIST: where the masks go, and blocks that are skipped."""

import math
import time

import torch
from torch import nn

from lib.datasets import load_fashion_mnist
from lib.experiments.experiment import grid
from lib.experiments.protocol import TRAINED_TO_END, Comparison, train_to_end
from lib.layers import Dropout, MaxPoolDropout2d, SpatialDropout, StochasticDepth, linear_survival
from lib.networks import residual_net
from lib.training import error_rate

RATES = [0.01, 0.03, 0.1]
PLACES = [
    *("before batch norm", "before pooling", "in pooling", "after pooling", "maps after pooling"),
    "before classifier",
]
AFTER = PLACES[2:5]  # where 0.5 is best of the three, a smaller one is tried


def placed_net(place, keep_prob, maps=(8, 16)):
    """Two convolutions, each with batch norm, ReLU and max pooling, and a hidden layer.

    Masks are in one place: around the first pooling, or on the hidden layer.
    """

    def at(here, layer=Dropout):
        return layer(keep_prob) if place == here else nn.Identity()

    first, second = maps
    pool = MaxPoolDropout2d(2, keep_prob) if place == "in pooling" else nn.MaxPool2d(2)
    return nn.Sequential(
        *(nn.Unflatten(-1, (1, 28, 28)), nn.Conv2d(1, first, 3, padding=1, bias=False)),
        *(at("before batch norm"), nn.BatchNorm2d(first), nn.ReLU(), at("before pooling"), pool),
        *(at("after pooling"), at("maps after pooling", SpatialDropout)),
        nn.Conv2d(first, second, 3, padding=1, bias=False),
        *(nn.BatchNorm2d(second), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()),
        *(nn.Linear(second * 49, 128), nn.ReLU(), at("before classifier"), nn.Linear(128, 10)),
    )


def placement_trial(
    seed, *, place, n_train, keep_prob, rate, n_val=3000, maps=(8, 16), patience=10, cap=300
):
    data = load_fashion_mnist(n_train=n_train, n_val=n_val, seed=seed)
    how = {"rate": rate, "patience": patience, "cap": cap, "batch_size": 64}
    return train_to_end(placed_net(place, keep_prob, maps), data, **how)[0]


PLACEMENT = Comparison(
    name="fashion-placement",
    title="One small convolutional net on Fashion-MNIST, with masks in one of six places",
    paper="Tompson et al. (2015), Wu and Gu (2015), Cai et al. (2019)",
    configurations=[
        *grid(place="none", n_train=3_000, keep_prob=1.0, rate=RATES),
        *grid(place=PLACES, n_train=3_000, keep_prob=[0.9, 0.7, 0.5], rate=RATES),
        *grid(place=AFTER, n_train=3_000, keep_prob=0.3, rate=RATES),
    ],
    choices=("keep_prob", "rate"),
    metrics=TRAINED_TO_END,
    trial=placement_trial,
    smallest={"n_train": 2000, "n_val": 1000, "maps": (4, 8), "patience": 3, "cap": 10},
)


SHARES = (0.25, 0.5, 0.75)  # of the blocks, kept at prediction


def depth_trial(
    seed, *, last_survival, n_blocks, n_train, rate, maps=16, n_val=3000, patience=10, cap=300
):
    data = load_fashion_mnist(n_train=n_train, n_val=n_val, seed=seed)
    model = residual_net(linear_survival(n_blocks, last_survival), maps)
    how = {"rate": rate, "patience": patience, "cap": cap, "batch_size": 64}
    start = time.process_time()
    metrics, model = train_to_end(model, data, **how)
    steps = metrics["epochs"] * math.ceil(n_train / 64)
    metrics["milliseconds_a_step"] = 1000 * (time.process_time() - start) / steps
    for share in SHARES:
        n_kept = round(share * n_blocks)
        metrics[f"error_{share}"] = error_with(n_kept, model, data.x_test, data.y_test)
    return metrics


@torch.no_grad()
def error_with(n_kept, model, x, y, n_choices=10):
    """Mean error of sub-networks that keep so many of the residual blocks, chosen at random."""
    blocks = [layer for layer in model.eval() if isinstance(layer, StochasticDepth)]
    branches, errors = [block.branch for block in blocks], []
    for _ in range(n_choices):
        for place in torch.randperm(len(blocks))[n_kept:].tolist():
            blocks[place].branch = Nothing()
        output = torch.cat([model(part) for part in x.split(2000)])
        errors.append(error_rate(output, y))
        for block, branch in zip(blocks, branches, strict=True):
            block.branch = branch
    return torch.stack(errors).mean()


class Nothing(nn.Module):
    """A branch that adds nothing."""

    def forward(self, x):
        return torch.zeros_like(x)


DEPTH = Comparison(
    name="fashion-depth",
    title="A residual net of 26 layers on Fashion-MNIST, its blocks skipped at random or not",
    paper="Huang et al. (2016), section 4",
    configurations=grid(last_survival=[1.0, 0.5], n_blocks=12, n_train=3_000, rate=RATES),
    metrics=(*TRAINED_TO_END, "milliseconds_a_step", *(f"error_{share}" for share in SHARES)),
    trial=depth_trial,
    smallest={"n_blocks": 3, "n_train": 2000, "maps": 8, "n_val": 1000, "patience": 3, "cap": 10},
)
