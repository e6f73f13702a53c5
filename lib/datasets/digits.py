"""Scikit-learn's digits, which need no download."""

from functools import cache

import numpy as np
import torch
from sklearn import datasets

from lib.datasets.splits import Split, check_together, stratified_order
from lib.validation import check_count


def load_digits(n_train=1000, n_val=0, n_test=497, seed=0, *, test_seed=None):
    """Scikit-learn's 8x8 handwritten digits, split at random with the classes in proportion.

    The 1,797 images come with scikit-learn: nothing is downloaded.

    Parameters
    ----------
    n_train, n_val, n_test : int
        Numbers of examples: at least 10 (one a digit), or 0 for `n_val`; at most 1,797 together.
    seed : int
        Which split, at least 0. For one seed, training sets of different sizes are nested, and
        the test set does not depend on `n_train` or `n_val`.
    test_seed : int, optional
        The split whose test set is taken in place of this one's. With one for all seeds, no
        seed's test digit is trained on or chosen with by another.

    Returns
    -------
    Split
        Pixels in [0, 1], 64 an image, row by row. Each digit is in the training and in the test
        set, in its share of all images give or take two.

    Raises
    ------
    TypeError
        If a number is not whole.
    ValueError
        If a number is out of its range, or together they ask for more images than there are.

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
    pixels, labels = _all_digits()
    n_classes, n_images = 10, len(labels)
    check_count(n_train, "n_train", at_least=n_classes, at_most=n_images - n_classes)
    check_count(n_test, "n_test", at_least=n_classes, at_most=n_images - n_classes)
    check_count(n_val, "n_val", at_least=0, at_most=n_images - 2 * n_classes)
    check_together(n_images, n_classes, n_train=n_train, n_val=n_val, n_test=n_test)

    check_count(seed, "seed", at_least=0)
    if test_seed is None:
        order = stratified_order(labels, seed)
    else:
        order = stratified_order(labels, check_count(test_seed, "test_seed", at_least=0))
        rng, rest = np.random.default_rng(seed), order[: n_images - n_test]
        for label in range(n_classes):  # exchange images of one class: the shares stay
            places = np.flatnonzero(labels[rest] == label)
            rest[places] = rng.permutation(rest[places])
    parts = []
    for rows in (order[:n_train], order[n_train : n_train + n_val], order[n_images - n_test :]):
        parts.append(torch.tensor(pixels[rows], dtype=torch.float32) / 16)
        parts.append(torch.tensor(labels[rows]))
    return Split(*parts)


@cache
def _all_digits():
    """Pixels and labels as scikit-learn has them, read once."""
    return datasets.load_digits(return_X_y=True)
