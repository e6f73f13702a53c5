"""Dropout layers for torch, one method a file."""

from .base import StochasticLayer
from .bernoulli import Dropout
from .concrete import ConcreteDropout
from .depth import StochasticDepth, linear_survival
from .dropblock import DropBlock2d
from .dropconnect import DropConnectLinear
from .fast import FastDropoutLinear
from .fractal import FractalBlock
from .gaussian import GaussianDropout
from .join import FractalJoin
from .pooling import MaxPoolDropout2d
from .recurrent import RecurrentDropoutLSTM
from .spatial import SpatialDropout
from .variational import VariationalLinear

__all__ = [
    "ConcreteDropout",
    "DropBlock2d",
    "DropConnectLinear",
    "Dropout",
    "FastDropoutLinear",
    "FractalBlock",
    "FractalJoin",
    "GaussianDropout",
    "MaxPoolDropout2d",
    "RecurrentDropoutLSTM",
    "SpatialDropout",
    "StochasticDepth",
    "StochasticLayer",
    "VariationalLinear",
    "linear_survival",
]
