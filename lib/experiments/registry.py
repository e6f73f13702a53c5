"""All experiments, in the order of the page of results."""

from lib.experiments import (
    autoencoder,
    digits,
    dropconnect,
    ensembles,
    fashion,
    fast,
    fine_tuning,
    mnist,
    reuters,
    schedules,
    sparse,
    speech,
    transformer,
    two_masks,
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
        *(transformer.PASSES, schedules.DROPOUT_SCHEDULES),
        *(two_masks.TWO_MASKS, fine_tuning.FINE_TUNING),
    )
}
