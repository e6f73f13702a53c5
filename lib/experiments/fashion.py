"""Convolutional networks on Fashion-MNIST: where the masks go, and blocks that are skipped."""

import time

from torch import nn

from lib.datasets import load_fashion_mnist
from lib.experiments.experiment import Experiment, grid
from lib.experiments.recipes import WITH_VALIDATION, train
from lib.layers import Dropout, MaxPoolDropout2d, SpatialDropout, linear_survival
from lib.networks import residual_net


def placed_net(place, keep_prob, maps=(12, 24)):
    """Two convolutions, each with batch norm, ReLU and max pooling, and a hidden layer."""

    def at(here, layer=Dropout):
        return layer(keep_prob) if place == here else nn.Identity()

    def pool():
        return MaxPoolDropout2d(2, keep_prob) if place == "pooling" else nn.MaxPool2d(2)

    first, second = maps
    return nn.Sequential(
        nn.Unflatten(-1, (1, 28, 28)),
        nn.Conv2d(1, first, 3, padding=1, bias=False),
        *(at("before batch norm"), nn.BatchNorm2d(first), nn.ReLU(), pool()),
        *(at("before convolution"), at("maps before convolution", SpatialDropout)),
        nn.Conv2d(first, second, 3, padding=1, bias=False),
        *(at("before batch norm"), nn.BatchNorm2d(second), nn.ReLU(), pool()),
        nn.Flatten(),
        *(at("before classifier"), nn.Linear(second * 49, 128), nn.ReLU()),
        *(at("before classifier"), nn.Linear(128, 10)),
    )


def placement_trial(seed, *, place, keep_prob, n_train, epochs, n_val=5000, maps=(12, 24)):
    data = load_fashion_mnist(n_train=n_train, n_val=n_val, seed=seed)
    model = placed_net(place, keep_prob, maps)
    return train(model, data, epochs, measure=WITH_VALIDATION, batch_size=64)


PLACES = ["before convolution", "maps before convolution", "pooling", "before batch norm"]

PLACEMENT = Experiment(
    name="fashion-placement",
    title="One small convolutional net on Fashion-MNIST, with masks in six places",
    paper="Tompson et al. (2015), Wu and Gu (2015), Cai et al. (2019)",
    configurations=[
        *grid(place="none", keep_prob=1.0, n_train=5_000, epochs=8),
        *grid(place=PLACES, keep_prob=[0.9, 0.7], n_train=5_000, epochs=8),
        *grid(place="before classifier", keep_prob=[0.7, 0.5], n_train=5_000, epochs=8),
    ],
    metrics=WITH_VALIDATION,
    trial=placement_trial,
    smallest={"n_train": 2000, "epochs": 3, "n_val": 100, "maps": (4, 8)},
)


def depth_trial(seed, *, last_survival, n_blocks, n_train, epochs, maps=16, n_val=5000):
    data = load_fashion_mnist(n_train=n_train, n_val=n_val, seed=seed)
    model = residual_net(linear_survival(n_blocks, last_survival), maps)
    start = time.perf_counter()
    metrics = train(model, data, epochs, measure=WITH_VALIDATION, batch_size=64)
    return {**metrics, "seconds_training": time.perf_counter() - start}


DEPTH = Experiment(
    name="fashion-depth",
    title="A residual net of 26 layers on Fashion-MNIST, its blocks skipped at random or not",
    paper="Huang et al. (2016), section 4",
    configurations=grid(last_survival=[1.0, 0.5], n_blocks=12, n_train=4_000, epochs=40),
    metrics=(*WITH_VALIDATION, "seconds_training"),
    trial=depth_trial,
    smallest={"n_blocks": 3, "n_train": 2000, "epochs": 3, "maps": 8, "n_val": 100},
)
