"""What holds for a trial: what it depends on, and what its row says."""

import platform
import sys

import numpy as np
import pytest
import torch
from toy_experiment import small, toy

from lib.datasets import Split, SpokenDigits, Text, UciSettings
from lib.experiments import EXPERIMENTS, Experiment, Trial, run_trial


def test_a_trial_depends_on_its_configuration_and_its_seed_alone():
    experiment = toy()
    first, *others = experiment.trials()
    torch.manual_seed(99)
    row, _ = run_trial(experiment, first)
    torch.manual_seed(5)
    np.random.seed(5)  # noqa: NPY002
    again, _ = run_trial(experiment, first)
    assert row["value"] == again["value"]
    assert len({run_trial(experiment, trial)[0]["value"] for trial in others} | {row["value"]}) == 6


def test_a_trial_runs_on_one_thread_and_puts_the_number_of_threads_back():
    experiment = small("threads", lambda seed, slope: {"value": torch.get_num_threads()})
    torch.set_num_threads(2)
    try:
        row, _ = run_trial(experiment, experiment.trials()[0])
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)
    assert row["value"] == "1"


def test_a_row_says_how_it_was_made():
    row, _ = run_trial(toy(), toy().trials()[0])
    assert float(row["seconds"]) >= 0
    assert row["code"] == toy().code
    assert f"torch-{torch.__version__}" in row["versions"]
    assert f"python-{platform.python_version()} " in row["versions"]
    assert "cores" in row["processor"]
    assert row["date"].startswith("20")
    assert row["date"].endswith("Z")


def test_a_trial_that_measures_something_else_is_an_error():
    experiment = small("x", lambda seed, slope: {"loss": 1.0})
    with pytest.raises(ValueError, match=r"must measure \['value'\], got \['loss'\]"):
        run_trial(experiment, experiment.trials()[0])


def test_configurations_with_different_settings_are_an_error():
    with pytest.raises(ValueError, match="must all have the settings"):
        Experiment("x", "", "", [{"a": 1}, {"b": 1}], ("value",), print)


def test_trials_come_seed_by_seed():
    assert [trial.seed for trial in toy().trials(3)] == [0, 0, 0, 1, 1, 1, 2, 2, 2]


def few(n_features, labels, n_test=9):
    x = torch.rand(len(labels), n_features)
    return Split(x, labels, x[:9], labels[:9], x[:n_test], labels[:n_test])


DIGITS, TAKES = torch.arange(30) % 10, torch.arange(50)
FEW_EXAMPLES = {
    "load_mnist": lambda **_: few(784, DIGITS),
    "load_fashion_mnist": lambda **_: few(784, DIGITS),
    "load_reuters": lambda n_words=2000, **_: few(n_words, DIGITS),
    "load_spoken_digits": lambda **_: SpokenDigits(
        few(600, TAKES % 10, 50), TAKES, TAKES[:9], TAKES
    ),
    "load_reuters_text": lambda n_train, *_: Text(*[torch.randint(50, (n_train,))] * 3),
    "load_uci": lambda name, split: few(6, torch.randn(30, 1)),
    "reuters_topics": lambda: ["acq", "money-fx", "interest"],
    "uci_settings": lambda name: UciSettings((0.1,), (1.0,), 50, 40),
}


SHORTEST = {"cap": 1, "epochs": 1, "length": 1, "steps": 20}


@pytest.mark.slow
@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_configuration_can_be_run(monkeypatch, name):
    """On made-up data, for an epoch, or a round."""
    experiment = EXPERIMENTS[name]
    module = sys.modules[experiment.trial.__module__]
    for loader in FEW_EXAMPLES.keys() & vars(module).keys():
        monkeypatch.setattr(module, loader, FEW_EXAMPLES[loader])
    for configuration in experiment.configurations:
        settings = {**experiment.smallest, **configuration}
        settings |= {name: shortest for name, shortest in SHORTEST.items() if name in settings}
        row, _ = run_trial(experiment, Trial(name, tuple(settings.items()), 0))
        assert set(experiment.metrics) < set(row)
