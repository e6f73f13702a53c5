"""MNIST and Fashion-MNIST."""

from functools import cache

import numpy as np
import torch

from lib.datasets import files
from lib.datasets.splits import SEED, Split, check_together, stratified_order
from lib.validation import Optional, Whole, declared

MIRRORS = {
    "mnist": (
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
    ),
    "fashion-mnist": (
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
    ),
}
N_IMAGES, N_CLASSES = 60_000, 10  # to train on
SIZES = {
    "n_train": Optional(Whole(N_CLASSES, N_IMAGES)),
    "n_val": Whole(0, N_IMAGES - N_CLASSES),
    "seed": SEED,
}


@declared(**SIZES)
def load_mnist(n_train=None, n_val=0, seed=0):
    """Handwritten digits, 28x28, with the usual test set: 10,000 images in their order.

    Training and validation images are drawn at random from the usual 60,000 training images, with
    the classes in proportion.

    Parameters
    ----------
    n_train : int, optional
        Number of training images, at least one a class; by default all that `n_val` leaves.
    n_val : int
        Number of validation images: 0, or at least one a class.
    seed : int
        Which split. For one seed, training sets of different sizes are nested, and the validation
        set does not depend on `n_train`.

    Returns
    -------
    Split
        Inputs (n, 784), float32: brightness in [0, 1], row by row, 0 is the background. Labels
        (n,), int64: the digit.

    Raises
    ------
    ValueError
        If `n_val` has no room for every class, or the numbers are more than 60,000 together.

    References
    ----------
    Y. LeCun, C. Cortes and C. Burges, *The MNIST database of handwritten digits* (1998).
    CC BY-SA 3.0.
    """
    return _load("mnist", n_train, n_val, seed)


@declared(**SIZES)
def load_fashion_mnist(n_train=None, n_val=0, seed=0):
    """Pictures of clothes, in all else like `load_mnist`: arguments, sizes, parts.

    Labels: 0 T-shirt or top, 1 trousers, 2 pullover, 3 dress, 4 coat, 5 sandal, 6 shirt, 7 sneaker,
    8 bag, 9 ankle boot.

    References
    ----------
    H. Xiao, K. Rasul and R. Vollgraf, *Fashion-MNIST: a novel image dataset for benchmarking
    machine learning algorithms*, arXiv:1708.07747 (2017). MIT licence, Zalando SE.
    """
    return _load("fashion-mnist", n_train, n_val, seed)


def _load(name, n_train, n_val, seed):
    n_train = N_IMAGES - n_val if n_train is None else n_train
    check_together(N_IMAGES, N_CLASSES, n_train=n_train, n_val=n_val)
    images, labels = _part(name, "train")
    order = stratified_order(labels, seed)
    train, val = order[:n_train], order[N_IMAGES - n_val :]
    parts = (images[train], labels[train]), (images[val], labels[val]), _part(name, "t10k")
    tensors = []
    for images, labels in parts:
        brightness = torch.tensor(images, dtype=torch.float32).div_(255).flatten(start_dim=1)
        tensors += [brightness, torch.tensor(labels, dtype=torch.int64)]
    return Split(*tensors)


def _part(name, part):
    """Yield the images (n, 28, 28) of a part, then their labels (n,), as bytes."""
    for kind in ("images-idx3", "labels-idx1"):
        file_name = f"{part}-{kind}-ubyte.gz"
        path = f"{name}/{file_name}"
        yield _array(files.find(path, [mirror + file_name for mirror in MIRRORS[name]]), path)


@cache
def _array(file, path):
    """Read an IDX file of bytes: two zeros, the type, the number of axes; their lengths; values."""
    content = files.read(file, path)
    n_axes = content[3]
    shape = np.frombuffer(content, ">i4", count=n_axes, offset=4)
    return np.frombuffer(content, np.uint8, offset=4 + 4 * n_axes).reshape(shape)
