"""What holds for Monte Carlo samples."""

import copy
import itertools
import math
import warnings
from functools import partial

import pytest
import torch
from chance import is_near
from layer_runs import every_scaling, under_seed
from stochastic_models import (
    attention,
    by_enumeration,
    every_stochastic_model,
    mixed_modes,
    recurrent,
    small_net,
    stochastic_model,
)
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from training_runs import modes, states_equal

from lib.inference import mc_samples, sampling
from lib.layers import Dropout, GaussianDropout
from lib.side_by_side import SideBySide


@every_scaling
@pytest.mark.parametrize("keep_prob", [0.5, 0.8])
def test_mean_and_variance_of_the_samples_are_the_exact_ones(scaling, keep_prob):
    net, x, n = small_net(keep_prob, scaling), torch.randn(5, 4), 20_000
    softmax = nn.Softmax(dim=-1)
    samples = softmax(mc_samples(net, x, n).double())
    mean, variance = by_enumeration(net, x, of=softmax)
    assert is_near(samples.mean(dim=0), mean, variance.sqrt(), n)
    squares = (samples - mean) ** 2
    assert is_near(squares.mean(dim=0), variance, squares.std(dim=0), n)


@every_stochastic_model
def test_sampling_leaves_input_modes_and_statistics_as_they_were(name):
    layer, x = stochastic_model(name)
    in_place = nn.Hardtanh(inplace=True)
    model = nn.Sequential(in_place, layer, nn.Flatten(), nn.LazyBatchNorm1d())
    model.train()(x.clone())  # so that there are statistics
    mixed_modes(model)
    before, modes_before, input_before = copy.deepcopy(model), modes(model), x.clone()
    mc_samples(model, x, 7, max_rows=8)
    assert modes(model) == modes_before
    assert states_equal(model, before)
    assert torch.equal(x, input_before)


@pytest.mark.parametrize("batch", [0, 1, 5])
@pytest.mark.parametrize("n_samples", [1, 2, 7])
def test_samples_come_first_then_the_batch(n_samples, batch):
    samples = mc_samples(small_net(), torch.randn(batch, 4), n_samples)
    assert samples.shape == (n_samples, batch, 3)
    assert not samples.requires_grad


@pytest.mark.parametrize("max_rows", [1, 5, 12, 10_000])
def test_chunks_together_hold_every_sample_and_no_two_are_equal(max_rows):
    net = nn.Sequential(Dropout(0.5), nn.Linear(30, 2))
    samples = mc_samples(net, torch.randn(4, 30), 23, max_rows=max_rows)
    assert samples.shape == (23, 4, 2)
    assert len(samples.flatten(1).unique(dim=0)) == 23


def calls_of(**modules):
    """List that grows by a module's name whenever it is called."""
    calls = []
    for name, module in modules.items():
        module.register_forward_hook(lambda *_, name=name: calls.append(name))
    return calls


@pytest.mark.parametrize(
    ("shape", "chunks"), [((10, 4), 20), ((10, 2, 2), 50), ((10, 3, 2, 2), 50)]
)
def test_chunks_bound_the_rows_that_are_computed_together(shape, chunks):
    width = math.prod(shape[1:])
    net = nn.Sequential(nn.Flatten(), nn.Linear(width, 8), Dropout(0.5))
    calls = calls_of(net=net)
    mc_samples(net, torch.randn(shape), 100, max_rows=50)
    assert len(calls) == chunks


class Results(TorchDispatchMode):
    """Notes down how many bytes each result of an operation has, below `torch.vmap`."""

    def __init__(self):
        super().__init__()
        self.sizes = []

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        result = operation(*args, **(kwargs or {}))
        self.sizes += [value.nbytes for value in tree_leaves(result) if torch.is_tensor(value)]
        return result


@pytest.mark.parametrize("layer", [Dropout(0.5), GaussianDropout(0.5), nn.Dropout(0.5)])
def test_however_many_samples_nothing_but_their_outputs_has_more_than_max_rows(layer):
    hidden = nn.Linear(8, 8), nn.ReLU(), nn.BatchNorm1d(8)
    net = nn.Sequential(layer, *hidden, layer, nn.Linear(8, 2))
    x, n, bytes_of_a_row = torch.randn(10, 8), 2000, 8 * 4
    with Results() as results:
        samples = mc_samples(net, x, n, max_rows=1000)
    *within, last = results.sizes
    assert last == samples.nbytes
    bytes_to_spare = 100 * 8  # each of 100 samples draws its mask with a word more
    assert 0 <= max(within) - 1000 * bytes_of_a_row <= bytes_to_spare


def test_what_comes_before_the_first_stochastic_layer_is_computed_once_for_all_samples():
    net = nn.Sequential(nn.Linear(4, 6), Dropout(0.5), nn.Linear(6, 3))
    calls = calls_of(before=net[0], after=net[2])
    mc_samples(net, torch.randn(5, 4), 100)
    assert calls == ["before", "after"]


@every_stochastic_model
def test_samples_repeat_under_the_seed_and_one_alone_is_what_a_pass_draws(name):
    model, x = stochastic_model(name)
    four, one = (partial(mc_samples, model, n_samples=n) for n in (4, 1))
    first, same, other = (under_seed(four, x, seed) for seed in (1, 1, 2))
    assert torch.equal(first, same)
    assert not torch.equal(first, other)
    assert not torch.equal(other, four(x))  # without a seed they go on
    with torch.no_grad(), sampling(model):
        torch.testing.assert_close(under_seed(one, x)[0], under_seed(model, x.clone()))


def test_networks_side_by_side_are_sampled_side_by_side():
    nets = [small_net() for _ in range(3)]
    x, n = torch.randn(3, 5, 4), 5000
    samples = mc_samples(SideBySide(nets), x, n)
    assert samples.shape == (n, 3, 5, 3)
    for i, net in enumerate(nets):
        mean, variance = by_enumeration(net, x[i])
        assert is_near(samples[:, i].mean(dim=0), mean, variance.sqrt(), n)


@pytest.mark.parametrize("model", [nn.Linear(4, 2), recurrent(nn.LSTM, 0.0), attention(0.0)])
def test_a_model_without_stochastic_layers_is_a_value_error(model):
    message = f"model must have a layer that drops at random .*, got {type(model).__name__}"
    with pytest.raises(ValueError, match=message):
        mc_samples(model, torch.randn(5, 4), 10)


class Failing(nn.Module):
    """Raises an error from one call on, whichever of its copies is called."""

    def __init__(self, error, from_call):
        super().__init__()
        calls = itertools.count(1)
        self.error, self.fails = error, lambda: next(calls) >= from_call

    def forward(self, x):
        if self.fails():
            raise self.error("some error")
        return x


@pytest.mark.parametrize("error", [RuntimeError, ValueError, KeyboardInterrupt])
@pytest.mark.parametrize("from_call", [1, 2, 4])
def test_an_error_at_any_time_comes_through_and_every_mode_comes_back(error, from_call):
    net = nn.Sequential(nn.BatchNorm1d(4), small_net(), nn.Dropout(0.5), Failing(error, from_call))
    mixed_modes(net)
    before, modes_before = copy.deepcopy(net), modes(net)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of an error in the look at what draws
        with pytest.raises(error, match="some error"):
            mc_samples(net, torch.randn(5, 4), 10, max_rows=10)  # that, and five chunks
    assert modes(net) == modes_before
    assert states_equal(net, before)
