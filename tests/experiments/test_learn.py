"""Every experiment's smallest configuration learns, on the real data, in seconds."""

import pytest
from real_data import OF_A_SET, needs_data

from lib.experiments import EXPERIMENTS, Trial, run_trial

pytestmark = pytest.mark.slow

DATA = {
    "reuters": ["reuters"],
    "spoken-digits": ["spoken-digits"],
    "uci-mc-dropout": ["uci"],
    "fast-dropout": ["mnist"],
    "fashion-placement": ["fashion-mnist"],
    "fashion-depth": ["fashion-mnist"],
}

# what a network that has learned something reaches, and one that has not does not: the commonest
# class is a tenth of the pictures and of the spoken digits, and 42 % of the stories
LEARNED = {
    "mnist-averaging": lambda row: row["error_scaled"] < 0.2 and row["error_100"] < 0.2,
    # the mean image as the answer to every image has 52.7
    "mnist-autoencoder": lambda row: row["squared_error"] < 26,
    "spoken-digits": lambda row: row["test_error"] < 0.5 and row["recording_error"] < 0.4,
    "reuters": lambda row: row["test_error"] < 0.25,
    "uci-mc-dropout": lambda row: row["rmse"] < 0.5 * row["rmse_of_mean"],
    "mnist-sparse-variational": lambda row: row["test_error"] < 0.2 and row["compression"] > 1,
    "mnist-dropconnect": lambda row: max(row["test_error"], row["gaussian_error"]) < 0.2,
    "fashion-placement": lambda row: row["test_error"] < 0.5,
    "fashion-depth": lambda row: row["test_error"] < 0.5,
}


def test_each_experiment_reads_sets_that_are_known():
    assert {each for names in DATA.values() for each in names} | {"mnist"} == set(OF_A_SET)
    assert {*DATA, *LEARNED} <= set(EXPERIMENTS)


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=needs_data(*DATA.get(name, ["mnist"]))) for name in EXPERIMENTS],
)
def test_the_smallest_configuration_learns(name):
    experiment = EXPERIMENTS[name]
    settings = {**experiment.configurations[-1], **experiment.smallest}
    trial = Trial(name, tuple(settings.items()), 1)
    row, _ = run_trial(experiment, trial)
    measured = {metric: float(row[metric]) for metric in experiment.metrics}
    learned = LEARNED.get(name, lambda row: row["test_error"] < 0.2)
    assert learned(measured), measured
