"""What holds while a model samples: its dropout is on, and nothing else."""

import copy
import warnings

import pytest
import torch
from chance import is_near
from stochastic_models import (
    attention,
    every_stochastic_model,
    mixed_modes,
    small_net,
    stochastic_model,
    transformer,
)
from torch import nn
from training_runs import modes, states_equal

from lib.inference import mc_samples, sampling, stochastic_layers
from lib.layers import Dropout


@every_stochastic_model
def test_samples_one_by_one_and_together_are_distributed_as_in_training(name):
    model, x = stochastic_model(name)
    n = 400
    with torch.no_grad():
        training = torch.stack([model.train()(x.clone()) for _ in range(n)])
        with sampling(model.eval()):
            one_by_one = torch.stack([model(x.clone()) for _ in range(n)])
        assert torch.equal(model(x.clone()), model(x.clone()))  # outside no longer
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        together = mc_samples(model, x, n)
    expected = training.double().var(dim=0)
    for samples in (one_by_one, together):
        assert samples.shape == training.shape
        assert len(samples.flatten(1).unique(dim=0)) > n / 4
        variance = samples.double().var(dim=0)
        std = (variance + expected).sqrt()
        assert is_near(samples.mean(dim=0) - training.mean(dim=0), 0, std, n)
        assert variance.mean() == pytest.approx(expected.mean(), rel=0.25)


@pytest.mark.parametrize(
    "layer", [nn.BatchNorm1d(8), nn.BatchNorm1d(8, momentum=None), nn.SyncBatchNorm(8)]
)
@pytest.mark.parametrize("training", [True, False])
def test_batch_normalization_keeps_its_statistics_bit_for_bit_and_uses_them(layer, training):
    model = nn.Sequential(nn.Linear(8, 8), copy.deepcopy(layer), Dropout(0.5))
    model[1].running_mean.uniform_(-1, 1)
    model[1].running_var.uniform_(0.5, 2)
    x = torch.randn(5, 8)
    expected = model.eval()[:2](x)
    before = copy.deepcopy(model)
    with sampling(model.train(training)):
        model(x)
        assert torch.equal(model[:2](x), expected)
    assert states_equal(model, before)


@pytest.mark.parametrize(
    "set_mode", [nn.Module.train, nn.Module.eval, mixed_modes], ids=["train", "eval", "mixed"]
)
def test_every_module_gets_its_mode_back_after_an_exception_too(set_mode):
    model = nn.Sequential(small_net(), nn.BatchNorm1d(3), nn.Sequential(nn.Dropout(0.5)))
    set_mode(model)
    before = modes(model)
    with sampling(model):
        assert modes(model) != before
    assert modes(model) == before
    with pytest.raises(RuntimeError, match="shapes"), sampling(model):
        model.train()(torch.randn(1, 1))
    assert modes(model) == before


def test_a_block_inside_another_changes_nothing_for_the_outer_one():
    model = small_net().eval()
    before = modes(model)
    with sampling(model):
        outer = modes(model)
        with sampling(model[2]), sampling(model):
            assert modes(model) == outer
        assert modes(model) == outer
    assert modes(model) == before


def test_only_stochastic_layers_switch_to_training():
    model = nn.Sequential(small_net(), transformer(), nn.BatchNorm1d(3)).eval()
    with sampling(model) as inside:
        assert inside is model
        for module in model.modules():
            # the flag of this layer says whether it calls its parts
            calls = isinstance(module, nn.TransformerEncoderLayer)
            assert module.training == (calls or module in stochastic_layers(model))
    assert not any(modes(model))


def test_stochastic_layers_are_listed_once_each_and_only_if_they_drop():
    dropout = Dropout(0.5)
    model = nn.Sequential(dropout, nn.LSTM(2, 2, dropout=0.0), nn.Linear(2, 2), dropout)
    assert stochastic_layers(model) == [dropout]
    assert stochastic_layers(attention(dropout=0.0)) == []
    assert stochastic_layers(nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2), nn.ReLU())) == []
