"""The layers of `lib.layers`, each beside what torch has in its place: the rows of a table."""

import math
from functools import partial
from typing import NamedTuple

import torch
from torch import nn

from lib.layers import (
    ConcreteDropout,
    DropBlock2d,
    DropConnectConv2d,
    DropConnectLinear,
    Dropout,
    FastDropoutLinear,
    FractalBlock,
    FractalJoin,
    GaussianDropout,
    MaxPoolDropout2d,
    RecurrentDropoutGRU,
    RecurrentDropoutLSTM,
    SpatialDropout,
    StochasticDepth,
    VariationalLinear,
)


class Beside(NamedTuple):
    """A layer of ours, the nearest of torch, and how often as long ours may take."""

    ours: nn.Module
    name: str
    torchs: nn.Module
    x: torch.Tensor
    training_at_most: float = math.inf
    eval_at_most: float = math.inf


class Computed(nn.Module):
    """A function as a layer."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


def noisy(x):
    return x * (1 + torch.randn_like(x))


class Residual(nn.Sequential):
    """x + f(x)."""

    def forward(self, x):
        return x + super().forward(x)


class Columns(nn.Module):
    """The mean of two columns of layers: f_2 of a fractal without drop-path."""

    def __init__(self, make):
        super().__init__()
        self.short, self.deep = make(), nn.Sequential(make(), make())

    def forward(self, x):
        return (self.short(x) + self.deep(x)) / 2


def convolution():
    return nn.Conv2d(16, 16, 3, padding=1)


def rows():
    """Make every layer, the one of torch, and an input for both; by name."""
    units, maps = torch.randn(128, 1024), torch.randn(32, 16, 28, 28)
    images, features = torch.randn(16, 16, 16, 16), torch.randn(64, 256)
    dropout = ("nn.Dropout", nn.Dropout(0.5), units)
    residual = ("x + f(x)", Residual(convolution()), images)
    linear = ("nn.Linear", nn.Linear(256, 256), features)
    convolved = ("nn.Conv2d", convolution(), images)
    columns = ("two columns", Columns(convolution), images)
    sequences, paths = torch.randn(30, 32, 64), torch.randn(3, 16, 16, 28, 28)
    return {
        "Dropout": Beside(Dropout(0.5), *dropout),
        "Dropout, weight": Beside(Dropout(0.5, "weight"), *dropout),
        "GaussianDropout": Beside(GaussianDropout(0.5), "x * (1 + randn)", Computed(noisy), units),
        "ConcreteDropout": Beside(ConcreteDropout(0.5), *dropout),
        "SpatialDropout": Beside(SpatialDropout(0.5, 2), "nn.Dropout2d", nn.Dropout2d(0.5), maps),
        "DropBlock2d": Beside(DropBlock2d(7), "nn.Dropout2d", nn.Dropout2d(0.1), maps),
        "MaxPoolDropout2d": Beside(
            MaxPoolDropout2d(2), "nn.MaxPool2d", nn.MaxPool2d(2), maps, eval_at_most=3
        ),
        "MaxPoolDropout2d, 3, 2": Beside(
            MaxPoolDropout2d(3, stride=2), "nn.MaxPool2d", nn.MaxPool2d(3, 2), maps
        ),
        "StochasticDepth": Beside(StochasticDepth(convolution()), *residual),
        "StochasticDepth, example": Beside(
            StochasticDepth(convolution(), gate="example"), *residual
        ),
        "StochasticDepth, computed": Beside(StochasticDepth(convolution(), skip=False), *residual),
        "FractalJoin": Beside(
            FractalJoin(), "mean of the paths", Computed(partial(torch.mean, dim=0)), paths
        ),
        "FractalBlock": Beside(FractalBlock(convolution, 2), *columns),
        "FractalBlock, computed": Beside(FractalBlock(convolution, 2, skip=False), *columns),
        "DropConnectLinear": Beside(DropConnectLinear(256, 256), *linear),
        "DropConnectLinear, batch": Beside(DropConnectLinear(256, 256, masks="batch"), *linear),
        "DropConnectConv2d": Beside(DropConnectConv2d(16, 16, 3, padding=1), *convolved),
        "DropConnectConv2d, batch": Beside(
            DropConnectConv2d(16, 16, 3, padding=1, masks="batch"), *convolved
        ),
        "VariationalLinear": Beside(VariationalLinear(256, 256), *linear),
        "FastDropoutLinear": Beside(
            FastDropoutLinear(256, 256),
            "nn.Linear, ReLU",
            nn.Sequential(nn.Linear(256, 256), nn.ReLU()),
            features,
        ),
        "RecurrentDropoutLSTM": Beside(
            RecurrentDropoutLSTM(64, 128), "nn.LSTM", nn.LSTM(64, 128), sequences, 2, 1.2
        ),
        "LSTM, weights": Beside(
            RecurrentDropoutLSTM(64, 128, recurrent="weights"),
            *("nn.LSTM", nn.LSTM(64, 128), sequences, 2, 1.2),
        ),
        "LSTM, two layers, both ways": Beside(
            RecurrentDropoutLSTM(64, 128, num_layers=2, bidirectional=True),
            *("nn.LSTM", nn.LSTM(64, 128, num_layers=2, bidirectional=True), sequences, 2, 1.2),
        ),
        "RecurrentDropoutGRU": Beside(
            RecurrentDropoutGRU(64, 128), "nn.GRU", nn.GRU(64, 128), sequences, 2, 1.2
        ),
    }


def training_run(layer, x):
    """Return what runs a layer forward and backward, in training mode."""
    layer, x = layer.train(), x.clone().requires_grad_()

    def run():
        x.grad = None
        for parameter in layer.parameters():
            parameter.grad = None
        torch.autograd.backward(first_of(layer(x)).sum())

    return run


def eval_run(layer, x):
    """Return what runs a layer forward, in eval mode."""

    @torch.no_grad()
    def run():
        layer.eval()(x)

    return run


def first_of(output):
    return output[0] if isinstance(output, tuple) else output
