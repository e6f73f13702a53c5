"""What holds for a comparison: each side at its best, trained to its end, judged on what is new."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch

from lib.comparison import paired_difference
from lib.datasets import load_digits
from lib.experiments import ResultsTable, at_best, compare, protocol, read_results, run
from lib.experiments.experiment import grid
from lib.experiments.protocol import TRAINED_TO_END, Comparison, train_to_end
from lib.experiments.results import examples_in_text, examples_of_text
from lib.networks import digit_classifier
from lib.training import Evaluation, evaluate, seed_everything

VALIDATION = {("none", 0.1): 3, ("none", 0.3): 2, ("dropout", 0.1): 1, ("dropout", 0.3): 4}


def toy_trial(seed, *, masks, rate):
    wrong = torch.arange(10) < VALIDATION[masks, rate] + seed % 2
    return {
        "test_error": wrong.float().mean(),
        "val_error": VALIDATION[masks, rate],
        "wrong": wrong,
    }


def toy(**settings):
    return Comparison(
        name="toy",
        title="Two sides with two rates",
        paper="None",
        configurations=grid(masks=["none", "dropout"], rate=[0.1, 0.3]),
        metrics=("test_error", "val_error"),
        trial=toy_trial,
        n_seeds=3,
        **settings,
    )


@pytest.fixture
def table(tmp_path):
    assert run(toy(), folder=tmp_path, n_jobs=1) == {}
    return read_results("toy", tmp_path)


def test_words_and_numbers_are_chosen_together_and_a_lost_run_is_the_worst():
    tried = [("early", 0.1, 3.0), ("early", 0.3, np.nan), ("late", 0.1, 2.0), ("late", 0.3, 4.0)]
    rows = [("net", when, rate, 0, error, 1.0) for when, rate, error in tried]
    columns = ["net", "when", "rate", "seed", "val_error", "seconds"]
    best = at_best(pd.DataFrame(rows, columns=columns), ["when", "rate"], "val_error")
    assert best[["when", "rate"]].to_numpy().tolist() == [["late", 0.1]]


def test_each_sides_best_by_validation_is_run_with_every_seed(table):
    assert len(table) == 4 + 2 * 2  # the grid with seed 0, the best of each side with the others
    best = at_best(table, ["rate"], "val_error")
    assert set(zip(best["masks"], best["rate"], strict=True)) == {("none", 0.3), ("dropout", 0.1)}
    assert sorted(best["seed"]) == [0, 0, 1, 1, 2, 2]


def test_several_seeds_may_search(tmp_path):
    experiment = toy(search_seeds=2)
    assert run(experiment, folder=tmp_path, n_jobs=1) == {}
    table = read_results("toy", tmp_path)
    assert len(table) == 2 * 4 + 2
    assert len(at_best(table, ["rate"], "val_error")) == 2 * 3


def test_beyond_the_edge_of_its_grid_a_side_tries_the_next_rates(tmp_path):
    best = {"none": 1, "dropout": 0.003}  # rates with the lowest validation error

    def trial(seed, *, masks, rate):
        error = abs(np.log(rate / best[masks]))
        return {"test_error": error, "val_error": error, "wrong": torch.zeros(3, dtype=bool)}

    experiment = dataclasses.replace(
        toy(), configurations=grid(masks=["none", "dropout"], rate=[0.03, 0.1, 0.3]), trial=trial
    )
    assert run(experiment, folder=tmp_path, n_jobs=1) == {}
    table = read_results("toy", tmp_path)
    rates = {side: sorted(set(rows["rate"])) for side, rows in table.groupby("masks")}
    assert rates == {
        "none": [0.03, 0.1, 0.3, 1, 3],
        "dropout": [0.001, 0.003, 0.01, 0.03, 0.1, 0.3],
    }
    assert set(at_best(table, ["rate"], "val_error")["rate"]) == {1, 0.003}
    assert ResultsTable(experiment, tmp_path).missing() == []


def test_nothing_is_run_with_another_seed_before_the_grid_is_complete(tmp_path):
    table = ResultsTable(toy(), tmp_path)
    assert {trial.seed for trial in table.missing()} == {0}
    assert len(toy().trials(rows=())) == 4


def test_the_interval_of_the_error_counts_the_choice_of_the_test_examples(table):
    change = compare(
        at_best(table, ["rate"], "val_error"), "test_error", {"masks": "dropout"}, {"masks": "none"}
    )
    assert change.mean == pytest.approx(-0.1)
    assert change.low < change.mean < change.high  # each seed has the same difference


def test_examples_come_back_from_a_field_of_a_table():
    for n in (1, 8, 13, 10_000):
        chosen = np.random.default_rng(n).random(n) < 0.1
        assert np.array_equal(examples_of_text(examples_in_text(chosen)), chosen)


def test_the_interval_covers_where_seeds_and_examples_both_vary():
    rng, covered = np.random.default_rng(0), []
    for _ in range(300):
        hard, seeds = rng.normal(0, 1, 200), rng.normal(0, 0.1, (5, 1))
        difference = 0.3 + hard + seeds + rng.normal(0, 1, (5, 200))
        change = paired_difference(difference, np.zeros((5, 200)))
        covered.append(change.low < 0.3 < change.high)
    assert np.mean(covered) > 0.95


@pytest.fixture(scope="module")
def trained():
    seed_everything(0)
    data = load_digits(300, 200, 500)
    return data, *train_to_end(digit_classifier(0.5), data, rate=0.1, patience=5, cap=100)


def test_training_ends_where_validation_no_longer_improves(trained):
    data, metrics, model = trained
    assert set(metrics) == {*TRAINED_TO_END, "wrong"}
    assert metrics["finished"]
    assert metrics["epochs"] < 100 * 22  # rounds of 22 epochs, which make 50 steps
    assert metrics["val_error"] == evaluate(model, data.x_val, data.y_val).error < 0.1
    assert metrics["test_error"] == metrics["wrong"].float().mean()
    assert metrics["train_loss"] < 0.05


class Fixed(torch.nn.Module):
    """A network that says the same before and after training."""

    def __init__(self):
        super().__init__()
        self.unused = torch.nn.Parameter(torch.zeros(()))

    def forward(self, x):
        return torch.zeros(len(x), 10) + 0 * self.unused


@pytest.mark.parametrize("patience", [1, 4])
def test_without_improvement_training_is_patient_twice(patience):
    data = load_digits(300, 200, 500)
    metrics, _ = train_to_end(Fixed(), data, rate=0.1, patience=patience, cap=100, batch_size=6)
    assert metrics["epochs"] == 1 + 2 * patience  # fifty steps make an epoch, and a round


def test_the_loss_is_of_its_own_best_round_and_the_error_too(monkeypatch):
    said = iter([(0.3, 0.5), (0.1, 0.4), (0.2, 0.3), *[(0.9, 0.9)] * 10])
    weights = []

    def scripted(model, *data):
        weights.append(model.state_dict()["0.weight"].clone())
        return Evaluation(*next(said))

    monkeypatch.setattr(protocol, "evaluate", scripted)
    data = load_digits(100, 200, 500)
    metrics, model = train_to_end(digit_classifier(1.0), data, rate=0.3, patience=2, cap=100)
    *rounds, of_test_loss, of_train_loss = weights
    assert len(rounds) == 3 + 2 * 2
    assert (metrics["val_loss"], metrics["val_error"]) == (0.1, 0.3)
    assert torch.equal(of_test_loss, rounds[1])
    assert torch.equal(of_train_loss, rounds[1])
    assert torch.equal(model.state_dict()["0.weight"], rounds[2])
    assert not torch.equal(rounds[1], rounds[2])


def test_a_run_that_meets_its_cap_is_unfinished():
    metrics, _ = train_to_end(
        digit_classifier(0.5), load_digits(300, 200, 500), rate=0.1, patience=5, cap=3
    )
    assert not metrics["finished"]


def test_a_run_that_is_lost_from_the_start_is_a_row_too():
    metrics, _ = train_to_end(
        digit_classifier(0.5), load_digits(300, 200, 500), rate=1e9, patience=1, cap=5
    )
    assert metrics["val_loss"] == np.inf
    assert metrics["test_error"] > 0.8
    assert np.isnan(float(metrics["test_loss"]))
