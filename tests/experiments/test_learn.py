"""Every experiment learns on the real data, and what is stored of it can be computed again."""

import json
from pathlib import Path

import pytest
from real_data import OF_A_SET, needs_data

from lib.experiments import EXPERIMENTS, Trial, read_results, run_trial
from lib.experiments.effects import at_its_best
from lib.experiments.protocol import Comparison
from lib.experiments.results import RESULTS

pytestmark = pytest.mark.slow

DATA = {
    "digits-compared": [],
    "dropout-ensembles": ["fashion-mnist"],
    "reuters": ["reuters"],
    "spoken-digits": ["spoken-digits"],
    "uci-mc-dropout": ["uci"],
    "fast-dropout": ["mnist"],
    "logistic-fast-dropout": ["reuters"],
    "fashion-placement": ["fashion-mnist"],
    "fashion-depth": ["fashion-mnist"],
    "transformer-passes": ["reuters"],
    "dropout-schedules": ["fashion-mnist"],
    "two-masks": ["reuters"],
    "fine-tuning": ["spoken-digits"],
}

# what a network that has learned something reaches, and one that has not does not: the commonest
# class is a tenth of the pictures and of the spoken digits, and 42 % of the stories
LEARNED = {
    "digits-compared": lambda row: row["test_error"] < 0.3,
    "mnist-averaging": lambda row: row["error_scaled"] < 0.2 and row["error_100"] < 0.2,
    # the mean image as the answer to every image has 52.7
    "mnist-autoencoder": lambda row: row["squared_error"] < 26,
    "spoken-digits": lambda row: row["test_error"] < 0.5 and row["recording_error"] < 0.4,
    "reuters": lambda row: row["test_error"] < 0.25,
    "uci-mc-dropout": lambda row: row["rmse"] < 0.5 * row["rmse_of_mean"],
    "mnist-sparse-variational": lambda row: (
        row["variational_error"] < 0.2 and row["compression"] > 1
    ),
    "dropout-ensembles": lambda row: row["ensemble_error"] < 0.5,
    "mnist-dropconnect": lambda row: max(row["test_error"], row["gaussian_error"]) < 0.2,
    "fashion-placement": lambda row: row["test_error"] < 0.5,
    "fashion-depth": lambda row: row["test_error"] < 0.5,
    "logistic-fast-dropout": lambda row: row["test_error"] < 0.2,
    "dropout-schedules": lambda row: row["test_error"] < 0.4,
    # how often each character occurs, and nothing else, gives about 3.1 nats
    "transformer-passes": lambda row: row["test_loss"] < 2.8,
    "two-masks": lambda row: row["test_error"] < 0.25,
    "fine-tuning": lambda row: row["test_error"] < min(0.6, row["start_error"] - 0.1),
}

SMALLEST = Path(__file__).with_name("smallest.json")  # rows of `smallest`, with their processor
ON_THE_CLOCK = ("seconds", "milliseconds")


def of_each(names):
    return [pytest.param(name, marks=needs_data(*DATA.get(name, ["mnist"]))) for name in names]


def measured(experiment, row):
    """The metrics of a row that do not depend on how busy the machine is."""
    names = [name for name in experiment.metrics if not name.startswith(ON_THE_CLOCK)]
    return {name: float(row[name]) for name in names}


def assert_same(row, stored, experiment):
    """On the processor of the stored row all digits agree; on another one training goes its way."""
    for circumstance in ("processor", "versions"):
        if row[circumstance] != stored[circumstance]:
            pytest.skip(f"it was stored with {stored[circumstance]}")
    assert measured(experiment, row) == pytest.approx(
        measured(experiment, stored), rel=1e-4, abs=1e-9, nan_ok=True
    )


def test_each_experiment_reads_sets_that_are_known():
    assert {each for names in DATA.values() for each in names} | {"mnist"} == set(OF_A_SET)
    assert {*DATA, *LEARNED} <= set(EXPERIMENTS)


@pytest.mark.parametrize("name", of_each(EXPERIMENTS))
def test_the_smallest_configuration_learns_and_comes_out_as_stored(name):
    experiment = EXPERIMENTS[name]
    row = smallest(experiment)
    learned = LEARNED.get(name, lambda row: row["test_error"] < 0.2)
    assert learned({metric: float(row[metric]) for metric in experiment.metrics}), row
    assert_same(row, json.loads(SMALLEST.read_text(encoding="utf-8"))[name], experiment)


def smallest(experiment):
    settings = {**experiment.configurations[-1], **experiment.smallest}
    return run_trial(experiment, Trial(experiment.name, tuple(settings.items()), 1))[0]


def stored(name):
    return read_results(name) if (RESULTS / f"{name}.csv").exists() else None


QUICK = [  # tables with a row of some seconds
    name for name in EXPERIMENTS if stored(name) is not None and stored(name)["seconds"].min() < 12
]


@pytest.mark.parametrize("name", of_each(QUICK))
def test_the_quickest_row_of_a_table_can_be_computed_again(name):
    experiment, table = EXPERIMENTS[name], stored(name)
    quickest = table.loc[[table["seconds"].idxmin()]]
    (settings,) = quickest[experiment.settings].to_dict("records")
    row = quickest.iloc[0]
    trial = Trial(name, tuple(settings.items()), int(row["seed"]))
    assert_same(run_trial(experiment, trial)[0], row, experiment)


COMPARED = [
    name
    for name, experiment in EXPERIMENTS.items()
    if isinstance(experiment, Comparison) and stored(name) is not None
]


@pytest.mark.parametrize("name", COMPARED)
def test_every_side_is_finished_and_its_rate_is_inside_its_grid(name):
    experiment, table = EXPERIMENTS[name], stored(name)
    best = at_its_best(name)
    if "cap" in best:  # the others are there to show what stopping early does
        best = best[best["cap"] == best["cap"].max()]
    if "finished" in best:  # or there is nothing left to learn
        assert ((best["finished"] == 1) | (best["train_loss"] < 1e-5)).all()
    own = [each for each in experiment.settings if each not in experiment.choices]
    for side, rows in best.groupby(own):
        tried = table.merge(rows[own].drop_duplicates())["rate"]
        assert tried.min() < rows["rate"].iloc[0] < tried.max(), side


if __name__ == "__main__":  # stores what the smallest configurations give on this machine
    rows = {name: smallest(experiment) for name, experiment in EXPERIMENTS.items()}
    for row in rows.values():
        row.pop("wrong", None)
    SMALLEST.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
