"""Dropout layers for torch, one method a file."""

from lib.layers.base import StochasticLayer
from lib.layers.bernoulli import Dropout
from lib.layers.fast import FastDropoutLinear
from lib.layers.gaussian import GaussianDropout

__all__ = ["Dropout", "FastDropoutLinear", "GaussianDropout", "StochasticLayer"]
