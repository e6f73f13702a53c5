"""Dropout layers for torch, one method a file."""

from .base import StochasticLayer
from .bernoulli import Dropout
from .concrete import ConcreteDropout
from .convert import from_torch
from .depth import StochasticDepth, linear_survival
from .dropblock import DropBlock2d
from .dropconnect import DropConnectLinear
from .dropconnect_conv import DropConnectConv2d
from .fast import FastDropoutLinear
from .fractal import FractalBlock
from .gaussian import GaussianDropout
from .gru import RecurrentDropoutGRU
from .join import FractalJoin
from .pooling import MaxPoolDropout2d
from .recurrent import RecurrentDropoutLSTM
from .spatial import SpatialDropout
from .variational import VariationalLinear

__all__ = [
    "ConcreteDropout",
    "DropBlock2d",
    "DropConnectConv2d",
    "DropConnectLinear",
    "Dropout",
    "FastDropoutLinear",
    "FractalBlock",
    "FractalJoin",
    "GaussianDropout",
    "MaxPoolDropout2d",
    "RecurrentDropoutGRU",
    "RecurrentDropoutLSTM",
    "SpatialDropout",
    "StochasticDepth",
    "StochasticLayer",
    "VariationalLinear",
    "from_torch",
    "linear_survival",
]
