"""What holds for what the experiments share, and for what is read off their training."""

import pytest
import torch
from torch import nn

from lib.datasets import Split, load_digits
from lib.experiments import dropconnect, fashion, mnist, speech, uci
from lib.experiments.protocol import TRAINED_TO_END
from lib.experiments.recipes import WITH_VALIDATION, TrainedInBfloat16, at_best_epoch, train
from lib.networks import digit_classifier, multilayer_perceptron, residual_net
from lib.training import History, evaluate, seed_everything


def test_bfloat16_is_for_training_only_and_leaves_weights_and_gradients_in_float32():
    seed_everything(0)
    net = multilayer_perceptron([20, 30, 5])
    fast, x = TrainedInBfloat16(net), torch.randn(8, 20)
    exact = net(x)
    assert torch.equal(fast.eval()(x), exact)
    rounded = fast.train()(x)
    assert rounded.dtype == torch.float32
    assert not torch.equal(rounded, exact)
    torch.testing.assert_close(rounded, exact, rtol=0.05, atol=0.05)
    rounded.sum().backward()
    assert {each.dtype for each in net.parameters()} == {torch.float32}
    assert {each.grad.dtype for each in net.parameters()} == {torch.float32}


def test_what_is_measured_is_the_network_after_the_last_epoch():
    data, model = load_digits(n_train=100, n_val=100, seed=0), digit_classifier()
    metrics = train(model, data, 3, measure=WITH_VALIDATION)
    measured = evaluate(model, data.x_test, data.y_test)
    assert (metrics["test_loss"], metrics["test_error"]) == measured
    assert metrics["val_loss"] == evaluate(model, data.x_val, data.y_val).loss


def spoiled(model):
    for parameter in model.parameters():
        nn.init.constant_(parameter, torch.nan)
    return model


def test_a_network_of_nan_is_always_wrong_where_a_trial_measures_itself(monkeypatch):
    def train_to_nothing(model, data, epochs=1, measure=(), **settings):
        spoiled(model)
        return dict.fromkeys(measure, torch.tensor(torch.nan))

    def train_to_no_end(model, data, **settings):
        return dict.fromkeys(TRAINED_TO_END, torch.tensor(torch.nan)), spoiled(model)

    x, y = torch.rand(6, 784), torch.zeros(6, dtype=torch.long)
    for module in (dropconnect, mnist):
        monkeypatch.setattr(module, "load_mnist", lambda **_: Split(x, y, x, y, x, y))
    monkeypatch.setattr(dropconnect, "train_to_end", train_to_no_end)
    monkeypatch.setattr(mnist, "train", train_to_nothing)
    of_weights = {"masks": "weights", "keep_prob": 0.5, "rate": 0.1, "n_samples": 2}
    wrong = dropconnect.dropconnect_trial(0, hidden=4, n_train=6, **of_weights)
    assert wrong["gaussian_error"] == 1
    averages = mnist.averaging_trial(0, repeats=1, hidden=4, n_train=6, epochs=1)
    assert all(each == 1 for each in averages.values())
    assert speech.recording_error(spoiled(nn.Linear(784, 10)), x, y, torch.arange(6)) == 1
    assert fashion.error_with(1, spoiled(residual_net([1.0, 0.5], 4)), x, y) == 1


def test_the_best_epoch_is_that_of_the_validation_loss_not_of_the_test_loss():
    columns = {name: torch.zeros(3) for name in History._fields}
    columns["val_loss"] = torch.tensor([0.5, 0.2, 0.3])
    columns["test_loss"] = torch.tensor([0.6, 0.4, 0.1])
    columns["test_error"] = torch.tensor([0.3, 0.2, 0.05])
    best = at_best_epoch(History(**columns))
    assert best["best_epoch"] == 2
    assert best["test_error"] == pytest.approx(0.2)
    assert best["test_loss"] == pytest.approx(0.4)


def test_the_weight_decay_of_the_uci_sets_has_the_authors_length_scale():
    assert uci.LENGTH_SCALE == 1e-2  # Gal and Ghahramani (2016), in their code
