"""What AlphaDropout promises, on torch's own: this library has none."""

import math

import pytest
import torch
from chance import is_near
from torch import nn

from lib.layers import Dropout

N = 400_000
SATURATED = -1.0507009873554805 * 1.6732632423543772  # the value of SELU far below zero


def moments(y):
    return y.mean(), y.var()


@pytest.mark.parametrize("keep_prob", [0.9, 0.5, 0.2])
def test_mean_and_variance_of_standard_normal_input_are_kept_which_dropout_does_not(keep_prob):
    x = torch.randn(N, dtype=torch.float64)
    y = nn.AlphaDropout(1 - keep_prob)(x)
    assert is_near(y.mean(), 0, 1, N)
    assert is_near(y.var(), 1, (y.square()).std(), N)
    dropped = Dropout(keep_prob)(x)
    assert is_near(dropped.mean(), 0, dropped.std(), N)
    assert is_near(dropped.var(), 1 / keep_prob, dropped.square().std(), N)


@pytest.mark.parametrize("keep_prob", [0.9, 0.5, 0.2])
def test_what_is_dropped_becomes_the_least_value_of_selu_and_all_is_put_back_in_scale(keep_prob):
    x = torch.randn(1000, dtype=torch.float64)
    p, q = keep_prob, 1 - keep_prob
    a = 1 / math.sqrt(p + SATURATED**2 * p * q)
    b = -a * q * SATURATED
    y = nn.AlphaDropout(q)(x)
    kept = (y - (a * x + b)).abs() < 1e-9
    torch.testing.assert_close(y[~kept], torch.full_like(y[~kept], a * SATURATED + b))
    assert 0 < kept.sum() < len(x)
    # these a and b make the mean 0 and the variance 1, exactly
    mean = a * q * SATURATED + b
    variance = a**2 * (p + q * SATURATED**2 - (q * SATURATED) ** 2)
    assert math.isclose(mean, 0, abs_tol=1e-12)
    assert math.isclose(variance, 1)


def test_through_layers_of_selu_the_moments_stay_and_with_dropout_they_drift():
    """Weights drawn with variance 1 / inputs, as SELU's authors have them."""

    def last(make_dropout):
        torch.manual_seed(0)
        x = torch.randn(1000, 500)
        for _ in range(8):
            x = make_dropout()(torch.selu(x @ torch.randn(500, 500) / math.sqrt(500)))
        return moments(x)

    mean, variance = last(lambda: nn.AlphaDropout(0.1))
    assert abs(mean) < 0.1
    assert abs(variance - 1) < 0.1
    _, drifted = last(lambda: Dropout(0.9))
    assert abs(drifted - 1) > 0.1
