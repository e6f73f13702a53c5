"""Tests on real data: they are skipped, and say why, where the data are not at hand."""

import pytest

from lib.datasets import files

OF_A_SET = {
    "mnist": "mnist/train-images-idx3-ubyte.gz",
    "fashion-mnist": "fashion-mnist/train-images-idx3-ubyte.gz",
    "reuters": "reuters21578/reuters21578.tar.gz",
    "spoken-digits": "fsdd/free-spoken-digit-dataset-1.0.10.tar.gz",
    "uci": "uci/yacht/data.txt",
}


def absent_sets(names=OF_A_SET):
    """List the sets among `names` that are not at hand."""
    return [name for name in names if files.locate(OF_A_SET[name]) is None]


def needs_data(*names):
    """Mark a test that reads these sets; it downloads nothing."""
    absent = absent_sets(names)
    return pytest.mark.skipif(
        bool(absent),
        reason=f"needs real data that is not here: {', '.join(absent)}; set DROPOUT_DATA_DIR to a "
        "folder that has it, or load it once with lib.datasets, which downloads it",
    )
