"""A data set's parts, and the order in which they are cut from it."""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from lib.validation import Instance, Whole, declared


class Split(NamedTuple):
    """Inputs and targets for training, for choosing, and for the final test.

    Inputs are float tensors (n, features), targets integer (n,), labels, or float (n, outputs).
    """

    x_train: Tensor
    y_train: Tensor
    x_val: Tensor
    y_val: Tensor
    x_test: Tensor
    y_test: Tensor


SPLIT = Instance(Split, "a lib.datasets.Split", lambda: Split(*torch.zeros(6, 4, 3)))
SEED = Whole(0)


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


def check_together(n_examples, n_classes, **sizes):
    """Refuse sizes of parts, by argument: more than all examples, or no room for a class."""
    if 0 < sizes["n_val"] < n_classes:
        raise ValueError(f"n_val must be 0 or at least {n_classes}, got {sizes['n_val']}")
    total = sum(sizes.values())
    if total > n_examples:
        raise ValueError(
            f"{' + '.join(sizes)} must be at most {n_examples}, "
            f"got {' + '.join(map(str, sizes.values()))} = {total}"
        )


@declared(split=SPLIT)
def autoencoding(split):
    """Ask for the inputs back: a `Split` whose targets are in every part the inputs.

    Parameters
    ----------
    split : Split
    """
    return Split(*(part for x in split[::2] for part in (x, x)))
