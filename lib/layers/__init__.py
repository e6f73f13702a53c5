"""Dropout layers for torch, one method a file."""

from lib.layers.base import StochasticLayer
from lib.layers.bernoulli import Dropout
from lib.layers.concrete import ConcreteDropout
from lib.layers.depth import StochasticDepth, linear_survival
from lib.layers.dropblock import DropBlock2d
from lib.layers.dropconnect import DropConnectLinear
from lib.layers.fast import FastDropoutLinear
from lib.layers.fractal import FractalBlock
from lib.layers.gaussian import GaussianDropout
from lib.layers.join import FractalJoin
from lib.layers.pooling import MaxPoolDropout2d
from lib.layers.recurrent import RecurrentDropoutLSTM
from lib.layers.spatial import SpatialDropout
from lib.layers.variational import VariationalLinear

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
