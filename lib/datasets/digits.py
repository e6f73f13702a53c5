"""Scikit-learn's digits, which need no download."""

from functools import cache

import numpy as np
import torch
from sklearn import datasets

from lib.datasets.splits import SEED, Split, check_together, stratified_order
from lib.validation import Optional, Whole, declared

N_IMAGES, N_CLASSES = 1797, 10


@declared(
    n_train=Whole(N_CLASSES, N_IMAGES - N_CLASSES),
    n_val=Whole(0, N_IMAGES - 2 * N_CLASSES),
    n_test=Whole(N_CLASSES, N_IMAGES - N_CLASSES),
    seed=SEED,
    test_seed=Optional(SEED),
)
def load_digits(n_train=1000, n_val=0, n_test=497, seed=0, *, test_seed=None):
    """Scikit-learn's 8x8 handwritten digits, split at random with the classes in proportion.

    Parameters
    ----------
    n_train, n_val, n_test : int
        Numbers of examples: at least 10, one a digit, or 0 for `n_val`.
    seed : int
        Which split. For one seed, training sets of different sizes are nested, and the test set
        does not depend on `n_train` or `n_val`.
    test_seed : int, optional
        The split whose test set is taken in place of this one's: with one for all seeds, no
        seed's test digit is trained on or chosen with by another.

    Returns
    -------
    Split
        Inputs (n, 64), float32: pixels in [0, 1], row by row. Labels (n,), int64: the digit. Each
        has its share of the images, give or take two, in the training and in the test set.

    Raises
    ------
    ValueError
        If `n_val` has no room for every digit, or the numbers are more than 1,797 together.

    References
    ----------
    E. Alpaydin and C. Kaynak, *Optical recognition of handwritten digits*, UCI Machine Learning
    Repository (1998): its test set, as scikit-learn ships it.

    Examples
    --------
    >>> digits = load_digits(n_train=300)
    >>> digits.x_train.shape, digits.x_test.shape
    (torch.Size([300, 64]), torch.Size([497, 64]))
    """
    check_together(N_IMAGES, N_CLASSES, n_train=n_train, n_val=n_val, n_test=n_test)
    pixels, labels = _all_digits()
    order = stratified_order(labels, seed if test_seed is None else test_seed)
    if test_seed is not None:
        rng, rest = np.random.default_rng(seed), order[: N_IMAGES - n_test]
        for label in range(N_CLASSES):  # exchange images of one class: the shares stay
            places = np.flatnonzero(labels[rest] == label)
            rest[places] = rng.permutation(rest[places])
    inputs, targets = torch.tensor(pixels, dtype=torch.float32) / 16, torch.tensor(labels)
    parts = order[:n_train], order[n_train : n_train + n_val], order[N_IMAGES - n_test :]
    return Split(*(each[rows] for rows in parts for each in (inputs, targets)))


@cache
def _all_digits():
    """Pixels and labels as scikit-learn has them, read once."""
    return datasets.load_digits(return_X_y=True)
