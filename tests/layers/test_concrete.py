"""What holds for concrete dropout: its mask, its limit, its gradient, its terms of the loss."""

import math

import numpy as np
import pytest
import torch
from chance import few_examples, is_near
from hypothesis import given
from hypothesis import strategies as st
from layer_runs import DTYPES, under_seed
from torch import nn
from torch.distributions import Bernoulli

from lib.layers import ConcreteDropout

inside = st.floats(min_value=0.01, max_value=0.99)


def relaxed(u, keep_prob, temperature):
    """The paper's formula, in its words: a unit is dropped with probability 1 - keep_prob."""
    drop = 1 - keep_prob
    dropped = torch.log(drop / (1 - drop)) - torch.log(u / (1 - u))
    return 1 - torch.sigmoid(dropped / temperature)


# The mask


@few_examples
@given(keep_prob=inside, temperature=st.floats(0.05, 2))
def test_the_mask_is_that_of_the_formula_and_scaled_by_one_over_the_keep_prob(
    keep_prob, temperature
):
    layer = ConcreteDropout(keep_prob, temperature).double()
    x = torch.randn(50, dtype=torch.float64)
    u = under_seed(torch.rand_like, x)
    z = relaxed(u, layer.keep_prob, temperature)
    torch.testing.assert_close(under_seed(layer, x), x * z / layer.keep_prob)


@torch.no_grad()
@pytest.mark.parametrize("keep_prob", [0.2, 0.5, 0.9])
@pytest.mark.parametrize("temperature", [0.1, 1.0, 5.0])
def test_a_mask_is_above_one_half_with_the_keep_prob_at_every_temperature(keep_prob, temperature):
    n = 50_000
    z = ConcreteDropout(keep_prob, temperature)(torch.ones(n)) * keep_prob
    assert is_near((z > 0.5).float().mean(), keep_prob, math.sqrt(keep_prob * (1 - keep_prob)), n)


@torch.no_grad()
@pytest.mark.parametrize("keep_prob", [0.2, 0.5, 0.9])
def test_the_mean_of_training_at_temperature_one_in_closed_form(keep_prob):
    """It is below eval, which is the input, where more than half is kept."""
    n, odds = 50_000, keep_prob / (1 - keep_prob)
    y = ConcreteDropout(keep_prob, 1.0)(torch.ones(n))
    mean = 0.5 if odds == 1 else odds * (odds - 1 - math.log(odds)) / (odds - 1) ** 2
    assert is_near(y.mean(), mean / keep_prob, y.std(), n)


@torch.no_grad()
@pytest.mark.parametrize("keep_prob", [0.2, 0.5, 0.9])
def test_at_low_temperature_it_is_dropout(keep_prob):
    n = 50_000
    u = under_seed(torch.rand, n)
    y = under_seed(ConcreteDropout(keep_prob, 1e-4), torch.ones(n))
    between = (y > 1e-6) & (y < 1 / keep_prob - 1e-6)
    assert between.float().mean() < 0.01
    kept = u > 1 - keep_prob
    torch.testing.assert_close(y[~between], kept[~between] / keep_prob)


@pytest.mark.parametrize("spatial_dims", [0, 1, 2])
def test_the_last_dimensions_share_a_mask_entry(spatial_dims):
    x = torch.ones(4, 3, 5, 6)
    y = ConcreteDropout(0.5, spatial_dims=spatial_dims)(x).reshape(*x.shape[: 4 - spatial_dims], -1)
    assert (y == y[..., :1]).all()
    assert len(y[..., 0].unique()) > 0.3 * y[..., 0].numel()
    with pytest.raises(ValueError, match="at least 2 dimensions"):
        ConcreteDropout(spatial_dims=2)(torch.ones(3))


# The keep probability


@few_examples
@given(keep_prob=inside, temperature=st.floats(0.05, 2))
def test_the_gradient_to_the_logit_in_closed_form(keep_prob, temperature):
    """Of z / p it is z (1 - z) / (t p) - z (1 - p) / p."""
    layer = ConcreteDropout(keep_prob, temperature).double()
    ones = torch.ones(20, dtype=torch.float64)
    z = relaxed(under_seed(torch.rand_like, ones), layer.keep_prob, temperature).detach()
    p = layer.keep_prob.detach()
    under_seed(layer, ones).sum().backward()
    expected = (z * (1 - z) / temperature / p - z * (1 - p) / p).sum()
    torch.testing.assert_close(layer.logit.grad, expected)


@torch.no_grad()
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_the_keep_prob_begins_where_it_is_told_to(dtype):
    for keep_prob in (0.001, 0.3, 0.9, 0.999):
        layer = ConcreteDropout(keep_prob).to(dtype)
        assert np.isclose(layer.keep_prob.item(), keep_prob, rtol=4 * torch.finfo(dtype).eps)


def test_it_keeps_inputs_that_say_something_more_often_with_more_data():
    """Trained with the whole loss, whose terms count less the more examples there are."""

    def learned(n_examples):
        torch.manual_seed(0)
        layer, linear = ConcreteDropout(0.7), nn.Linear(10, 1)
        x = torch.randn(500, 10)
        y = x.sum(dim=1, keepdim=True)
        parameters = [*layer.parameters(), *linear.parameters()]
        optimizer = torch.optim.Adam(parameters, lr=0.02)
        for _ in range(400):
            optimizer.zero_grad()
            misfit = (linear(layer(x)) - y).square().mean() / 2  # of a Gaussian of variance 1
            (misfit + layer.kl(linear.weight, 0.1) / n_examples).backward()
            optimizer.step()
        return layer.keep_prob.item()

    few, many = learned(2), learned(200)
    assert few < 0.85
    assert many > 0.95


# The terms of the loss


def test_its_kl_is_the_entropy_of_the_masks_and_a_penalty_on_the_weights():
    weight = torch.randn(4, 3, dtype=torch.float64)
    for keep_prob in (0.1, 0.5, 0.9):
        layer = ConcreteDropout(keep_prob).double()
        entropy = Bernoulli(layer.keep_prob).entropy()
        of_paper = weight / layer.keep_prob  # masks without a factor
        penalty = 0.3**2 * layer.keep_prob / 2 * of_paper.square().sum()
        torch.testing.assert_close(layer.kl(weight, 0.3), penalty - 3 * entropy)


def test_its_kl_differs_from_that_of_narrow_gaussians_by_a_constant():
    """Of the mixture p N(w / p, s^2) + (1 - p) N(0, s^2), s small, to N(0, 1 / l^2): by sampling.

    It is what the paper's two terms stand for, for each input alone.
    """
    n, s, length_scale, w = 200_000, 1e-3, 2.0, 0.4
    constants = []
    for keep_prob in (0.3, 0.5, 0.8):
        layer = ConcreteDropout(keep_prob).double()
        p = layer.keep_prob.detach()
        kept = (torch.rand(n, dtype=torch.float64) < p).double()
        noise = torch.randn(n, dtype=torch.float64)
        m = w / p
        value = kept * m + s * noise
        # s is so small that a value tells which of the two it came from
        log_q = kept * p.log() + (1 - kept) * (1 - p).log() - noise.square() / 2 - math.log(s)
        log_prior = -((length_scale * value) ** 2) / 2 + math.log(length_scale)
        difference = log_q - log_prior
        kl = layer.kl(torch.tensor([[w]], dtype=torch.float64), length_scale).item()
        constants.append(difference.mean() - kl)
        constant = -0.5 - math.log(s) - math.log(length_scale)
        assert is_near(constants[-1], constant, difference.std(), n)


def test_its_gradients_agree_with_finite_differences():
    layer, weight = ConcreteDropout(0.3).double(), torch.randn(4, 3, 2, dtype=torch.float64)

    def kl(logit, weight):
        return torch.func.functional_call(Terms(layer), {"layer.logit": logit}, (weight,))

    assert torch.autograd.gradcheck(
        kl, (layer.logit.detach().clone().requires_grad_(), weight.requires_grad_())
    )


class Terms(nn.Module):
    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, weight):
        return self.layer.kl(weight, 0.5)


@pytest.mark.parametrize("logit", [-80.0, -20.0, 20.0, 80.0])
def test_its_terms_and_gradients_are_finite_where_the_probability_rounds_to_an_end(logit):
    layer, weight = ConcreteDropout(), torch.zeros(2, 3)
    nn.init.constant_(layer.logit, logit)
    value = layer.kl(weight, 1.0) + layer(torch.ones(50)).sum()
    value.backward()
    assert value.isfinite()
    assert layer.logit.grad.isfinite()


def test_weights_of_maps_count_their_maps():
    layer = ConcreteDropout(0.5)
    kernel = torch.zeros(8, 3, 5, 5)
    assert np.isclose(layer.kl(kernel, 1.0).item(), -3 * math.log(2))
