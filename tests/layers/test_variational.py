"""What holds for variational dropout."""

import math

import numpy as np
import pytest
import torch
from chance import few_examples, is_near, is_standard_normal
from hypothesis import given
from hypothesis import strategies as st
from layer_runs import every_dtype
from torch import nn
from torch.distributions import Normal, kl_divergence
from torch.nn.functional import linear

from lib.datasets import Split
from lib.layers import VariationalLinear
from lib.side_by_side import SideBySide, stack_splits
from lib.theory.variational import kl_molchanov
from lib.training import classification_loss, fit

# Training


def a_layer(*shape, **settings):
    """A layer with variances of its own for each weight."""
    layer = VariationalLinear(*shape, **settings)
    with torch.no_grad():
        layer.weight.normal_()
        layer.log_sigma2.uniform_(-3, 1)
    return layer


@torch.no_grad()
@few_examples
@given(seed=st.integers(0, 1000), n_in=st.integers(1, 6), n_out=st.integers(1, 4))
def test_the_output_is_gaussian_with_mean_and_variance_in_closed_form(seed, n_in, n_out):
    torch.manual_seed(seed)
    layer, x, n = a_layer(n_in, n_out, dtype=torch.float64), torch.randn(n_in).double(), 20_000
    mean, variance = linear(x, layer.weight, layer.bias), linear(x**2, layer.log_sigma2.exp())
    z = (layer(x.expand(n, -1)) - mean) / variance.sqrt()
    assert is_standard_normal(z)


@torch.no_grad()
def test_the_noise_is_independent_across_units_examples_and_calls():
    layer, n = VariationalLinear(4, 2, bias=False, log_sigma2=0.0), 20_000
    x = torch.ones(n, 2, 4)
    calls = [(layer(x) - layer.weight.sum(dim=1)).flatten(1) for _ in range(2)]
    assert is_near(np.corrcoef(np.hstack(calls), rowvar=False), np.eye(8), 1, n)


@torch.no_grad()
@pytest.mark.parametrize("keep_prob", [0.9, 0.5, 0.2])
def test_with_the_alpha_of_gaussian_dropout_a_unit_has_its_variance(keep_prob):
    layer, x, n = VariationalLinear(6, 1), torch.randn(6), 50_000
    alpha = (1 - keep_prob) / keep_prob
    layer.log_sigma2.copy_((alpha * layer.weight**2).log())
    torch.testing.assert_close(layer.log_alpha, torch.full_like(layer.weight, math.log(alpha)))
    noise = 1 + math.sqrt(alpha) * torch.randn(n, 6)
    dropped = linear(noise * x, layer.weight, layer.bias)
    expected = alpha * (layer.weight**2 * x**2).sum()
    for sample in (dropped, layer(x.expand(n, -1))):
        squares = (sample - linear(x, layer.weight, layer.bias)) ** 2
        assert is_near(squares.mean(), expected, np.sqrt(2) * expected, n)


@pytest.mark.parametrize("log_sigma2", [-1000.0, -100.0, -10.0, 0.0, 20.0, 1000.0])
@pytest.mark.parametrize("weight", [0.0, 1e-40, 1e-20, -1e-3, 1.0])
@pytest.mark.parametrize("inputs", [0.0, 1.0])
def test_outputs_kl_and_gradients_are_finite_at_the_ends(log_sigma2, weight, inputs):
    layer = VariationalLinear(3, 2, log_sigma2=log_sigma2)
    nn.init.constant_(layer.weight, weight)
    x = torch.full((4, 3), inputs, requires_grad=True)
    y = layer(x)
    value = y.square().mean() + layer.kl()
    gradients = torch.autograd.grad(value, [x, *layer.parameters()])
    for tensor in (y, value, layer.log_alpha, *gradients):
        assert tensor.isfinite().all()


def test_an_input_of_zeros_gives_the_bias_without_noise():
    layer = VariationalLinear(3, 2, log_sigma2=0.0)
    assert torch.equal(layer(torch.zeros(4, 3)), layer.bias.expand(4, 2))


@torch.no_grad()
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("log_sigma2", [-20.0, -10.0, 15.0])
def test_in_half_precision_the_noise_has_its_size_where_variances_would_not_fit(dtype, log_sigma2):
    layer, n = VariationalLinear(4, 1, bias=False, log_sigma2=log_sigma2, dtype=dtype), 20_000
    layer.weight.zero_()
    z = layer(torch.ones(n, 4, dtype=dtype)).double() / (2 * math.exp(log_sigma2 / 2))
    assert is_near((z**2).mean(), 1, math.sqrt(2), n)


def test_the_kl_of_a_large_layer_in_half_precision_is_finite():
    layer = VariationalLinear(300, 300)
    torch.testing.assert_close(layer.half().kl(), layer.float().kl(), rtol=1e-3, atol=0)


# Eval


@torch.no_grad()
def test_eval_leaves_out_the_weights_at_the_threshold_or_above():
    layer = VariationalLinear(4, 1, threshold=3.0, dtype=torch.float64).eval()
    layer.weight.copy_(torch.tensor([[1.0, -1.0, 2.0, 0.0]]))
    layer.log_sigma2.copy_(torch.tensor([[3.0, 2.99, 3.0, -50.0]]))
    # log alpha: 3, 2.99, 3 - 2 log 2, and as good as infinite
    assert layer.pruned.tolist() == [[True, False, False, True]]
    x = torch.tensor([10.0, 100.0, 1000.0, 1e4], dtype=torch.float64)
    torch.testing.assert_close(layer(x), -100 + 2000 + layer.bias)
    layer.threshold = math.inf
    assert not layer.pruned.any()


def test_in_eval_pruned_weights_get_no_gradient():
    layer = VariationalLinear(2, 1, bias=False, log_sigma2=0.0).eval()
    layer.weight.data.copy_(torch.tensor([[0.01, 5.0]]))
    layer(torch.ones(1, 2)).sum().backward()
    assert layer.weight.grad.tolist() == [[0.0, 1.0]]


# The KL of a layer


@few_examples
@given(seed=st.integers(0, 1000), scale=st.floats(1e-3, 1e3))
def test_its_kl_is_the_sum_of_molchanovs_over_the_weights_whatever_their_scale(seed, scale):
    torch.manual_seed(seed)
    layer = a_layer(5, 4, dtype=torch.float64)
    value = layer.kl().item()
    assert np.isclose(value, kl_molchanov(layer.log_alpha.detach().numpy()).sum())
    with torch.no_grad():
        layer.weight.mul_(scale)
        layer.log_sigma2.add_(2 * math.log(scale))
    assert np.isclose(layer.kl().item(), value)


def test_the_gradients_of_its_kl_agree_with_finite_differences():
    layer = a_layer(4, 3, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda *_: layer.kl(), (layer.weight, layer.log_sigma2))


def test_a_gaussian_prior_minds_the_scale_and_charges_for_noise():
    # what the lesson sets against the log-uniform prior
    prior = Normal(0.0, 1.0)
    charges = [kl_divergence(Normal(0.1, 0.1 * math.exp(a / 2)), prior).item() for a in (3, 6, 9)]
    assert charges[2] > charges[1] > 0
    assert kl_divergence(Normal(1.0, 1.0), prior) > 1.05 * kl_divergence(Normal(0.5, 0.5), prior)


def test_the_kl_pushes_the_noise_up_and_the_weights_towards_zero():
    layer = a_layer(5, 4)
    layer.kl().backward()
    assert (layer.log_sigma2.grad < 0).all()
    assert (layer.weight.grad * layer.weight > 0).all()


@every_dtype
def test_its_kl_is_right_in_every_dtype_up_to_rounding_at_a_mean_of_zero_too(dtype):
    layer = a_layer(5, 4)
    nn.init.zeros_(layer.weight[0])
    expected = layer.kl()
    torch.testing.assert_close(layer.to(dtype).kl().float(), expected, rtol=0.05, atol=0)


def test_side_by_side_their_kl_adds_up():
    nets = [a_layer(4, 3) for _ in range(3)]
    stack = SideBySide(nets)
    alone, together = sum(net.kl() for net in nets), stack.net.kl()
    torch.testing.assert_close(together, alone)
    (gradients,) = torch.autograd.grad(together, stack.net.weight)
    expected = torch.autograd.grad(alone, [net.weight for net in nets])
    torch.testing.assert_close(gradients, torch.stack(expected))


def test_trained_with_the_bound_it_prunes_most_inputs_that_say_nothing_and_not_the_one_that_does():
    def data(seed):
        generator = torch.Generator().manual_seed(seed)
        x = torch.randn(200, 20, generator=generator)
        y = (x[:, 0] > 0).long()
        return Split(x, y, x, y, x, y)

    stack = SideBySide.from_seeds(lambda: VariationalLinear(20, 2, log_sigma2=-5.0), range(3))

    def bound(output, y):
        loss = classification_loss(output, y)
        return loss + stack.net.kl() / 200 / 3 if stack.training else loss

    splits = stack_splits([data(seed) for seed in range(3)])
    fit(stack, splits, epochs=100, batch_size=100, learning_rate=0.05, loss=bound, every=100)
    for layer in stack.unstack():
        gone = layer.pruned.all(dim=0)
        assert not gone[0]
        assert gone[1:].float().mean() > 0.5


def test_a_variance_is_at_most_e_to_the_20_and_there_it_learns_no_more():
    layer = VariationalLinear(2, 1, log_sigma2=1000.0)
    torch.testing.assert_close(layer.sigma2, torch.full((1, 2), math.exp(20)))
    layer.sigma2.sum().backward()
    assert not layer.log_sigma2.grad.any()
