"""All experiments, in the order of the page of results."""

from lib.experiments.autoencoder import MNIST_AUTOENCODER
from lib.experiments.dropconnect import MNIST_DROPCONNECT
from lib.experiments.fashion import FASHION_DEPTH, FASHION_PLACEMENT
from lib.experiments.fast import FAST_DROPOUT
from lib.experiments.mnist import (
    MNIST_AVERAGING,
    MNIST_DEPTH,
    MNIST_ERROR,
    MNIST_GAUSSIAN,
    MNIST_RATE,
    MNIST_SIZE,
)
from lib.experiments.reuters import REUTERS
from lib.experiments.sparse import MNIST_SPARSE_VARIATIONAL
from lib.experiments.speech import SPOKEN_DIGITS
from lib.experiments.uci import UCI_MC_DROPOUT

EXPERIMENTS = {
    experiment.name: experiment
    for experiment in (
        MNIST_ERROR,
        MNIST_DEPTH,
        MNIST_RATE,
        MNIST_SIZE,
        MNIST_AVERAGING,
        MNIST_AUTOENCODER,
        MNIST_GAUSSIAN,
        REUTERS,
        SPOKEN_DIGITS,
        UCI_MC_DROPOUT,
        MNIST_DROPCONNECT,
        MNIST_SPARSE_VARIATIONAL,
        FAST_DROPOUT,
        FASHION_PLACEMENT,
        FASHION_DEPTH,
    )
}
