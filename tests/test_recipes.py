"""What holds for what the experiments share, and for what is read off their training."""

import pytest
import torch

from lib.experiments.recipes import (
    TrainedInBfloat16,
    after_last_epoch,
    at_best_epoch,
)
from lib.networks import multilayer_perceptron
from lib.training import History, seed_everything


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


@pytest.fixture
def history():
    columns = {name: torch.zeros(3) for name in History._fields}
    columns["val_loss"] = torch.tensor([0.5, 0.2, 0.3])
    columns["test_loss"] = torch.tensor([0.6, 0.4, 0.1])
    columns["test_error"] = torch.tensor([0.3, 0.2, 0.05])
    return History(**columns)


def test_the_last_epoch_is_read_whatever_validation_says(history):
    assert after_last_epoch(history)["test_loss"] == pytest.approx(0.1)


def test_the_best_epoch_is_that_of_the_validation_loss_not_of_the_test_loss(history):
    best = at_best_epoch(history, every=4)
    assert best["best_epoch"] == 8
    assert best["test_error"] == pytest.approx(0.2)
    assert best["test_loss"] == pytest.approx(0.4)
