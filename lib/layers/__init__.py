"""Dropout layers for torch, one method a file."""

from lib.layers.base import StochasticLayer
from lib.layers.bernoulli import Dropout

__all__ = ["Dropout", "StochasticLayer"]
