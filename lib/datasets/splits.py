"""A data set's parts, and the order in which they are cut from it."""

from typing import NamedTuple

import numpy as np
from torch import Tensor


class Split(NamedTuple):
    """Inputs and targets for training, for choosing, and for the final test.

    Inputs are float tensors (n, features). Targets are integer tensors (n,) of labels, or float
    tensors (n, outputs).
    """

    x_train: Tensor
    y_train: Tensor
    x_val: Tensor
    y_val: Tensor
    x_test: Tensor
    y_test: Tensor


def stratified_order(labels, seed):
    """Shuffle so that every stretch of the order holds the classes in proportion.

    The members of a class, shuffled, are spread evenly over (0, 1), and the class as a whole is
    moved at random by less than the step between them: by up to 0.9 of it, so that the first ten
    and the last ten are ten different digits.
    """
    rng = np.random.default_rng(seed)
    position = np.empty(len(labels))
    for label in np.unique(labels):
        members = rng.permutation(np.flatnonzero(labels == label))
        position[members] = (np.arange(len(members)) + 0.9 * rng.random()) / len(members)
    return np.argsort(position)


def autoencoding(split):
    """Ask for the inputs back: every target is the input itself.

    Parameters
    ----------
    split : Split

    Returns
    -------
    Split
        The same inputs, and as targets the inputs in place of labels.
    """
    return Split(*(part for x in split[::2] for part in (x, x)))
