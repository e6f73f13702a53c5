"""Dropout layers for torch, one method a file."""

from lib.layers.base import StochasticLayer
from lib.layers.bernoulli import Dropout
from lib.layers.convert import from_torch
from lib.layers.depth import StochasticDepth, linear_survival
from lib.layers.dropconnect import DropConnectLinear
from lib.layers.dropconnect_conv import DropConnectConv2d
from lib.layers.fast import FastDropoutLinear
from lib.layers.fractal import FractalBlock
from lib.layers.gaussian import GaussianDropout
from lib.layers.gru import RecurrentDropoutGRU
from lib.layers.join import FractalJoin
from lib.layers.pooling import MaxPoolDropout2d
from lib.layers.recurrent import RecurrentDropoutLSTM
from lib.layers.spatial import SpatialDropout
from lib.layers.variational import VariationalLinear

__all__ = [
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
