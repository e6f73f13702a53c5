"""What holds for what the experiments share, and for what is read off their training."""

import pytest
import torch

from lib.datasets import load_digits
from lib.experiments import uci
from lib.experiments.recipes import WITH_VALIDATION, TrainedInBfloat16, at_best_epoch, train
from lib.networks import digit_classifier, multilayer_perceptron
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
