"""Scikit-learn's digits, compared by the protocol, and as one should not."""

from lib.datasets import load_digits
from lib.experiments.experiment import grid
from lib.experiments.protocol import TRAINED_TO_END, Comparison, train_to_end
from lib.layers import Dropout
from lib.networks import digit_classifier

MASKED = {"none": (), "first layer": (2,), "both layers": (2, 5)}  # places in the network


def digits_trial(seed, *, masked, cap, rate, patience=10):
    """Train on 300 digits, with masks of keep probability 1/2 on the layers named."""
    data = load_digits(300, 200, 597, seed, test_seed=0)
    model = digit_classifier()
    for place in MASKED[masked]:
        model[place] = Dropout(0.5)
    return train_to_end(model, data, rate=rate, patience=patience, cap=cap, batch_size=50)[0]


DIGITS = Comparison(
    name="digits-compared",
    title="300 digits, none, one or two layers masked; trained to the end, or stopped early",
    paper="How we compare",
    configurations=grid(
        masked=list(MASKED), cap=[300, 5], rate=[0.001, 0.003, 0.01, 0.03, 0.1, 0.3]
    ),
    metrics=TRAINED_TO_END,
    trial=digits_trial,
    smallest={"patience": 3, "cap": 10},
    n_seeds=10,
    chosen_by="val_loss",
    search_seeds=10,
)
