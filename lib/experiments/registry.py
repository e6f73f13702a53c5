"""All experiments, in the order of the page of results."""

from lib.experiments import (
    autoencoder,
    digits,
    dropconnect,
    ensembles,
    fashion,
    fast,
    mnist,
    reuters,
    sparse,
    speech,
    uci,
)

EXPERIMENTS = {
    experiment.name: experiment
    for experiment in (
        digits.DIGITS,
        *(mnist.ERROR, mnist.LEARNING_RATE, mnist.RATE, mnist.SIZE, mnist.AVERAGING),
        *(autoencoder.AUTOENCODER, reuters.REUTERS, speech.SPOKEN_DIGITS),
        *(uci.MC_DROPOUT, dropconnect.DROPCONNECT, sparse.SPARSE_VARIATIONAL),
        *(fast.LOGISTIC, fast.FAST_DROPOUT, fashion.PLACEMENT, fashion.DEPTH, ensembles.ENSEMBLES),
    )
}
