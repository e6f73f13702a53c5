"""What holds for the KL to the log-uniform prior, and for its approximations."""

import numpy as np
import pytest
from chance import is_near
from scipy import stats
from scipy.integrate import quad
from scipy.special import digamma

from lib.theory.variational import SMALL_NOISE, kl_log_uniform, kl_molchanov

GRID = np.linspace(-12, 12, 241)


def by_its_definition(log_alpha):
    """E log|e + 1/sqrt(alpha)| - E log|e|, integrated over the density of e."""

    def mean_log(shift):
        def f(e):
            return stats.norm.pdf(e) * np.log(abs(e + shift))

        ends = sorted({-12.0, min(12.0, max(-12.0, -shift)), 12.0})  # the logarithm is -inf between
        return sum(quad(f, *ab, limit=300)[0] for ab in zip(ends, ends[1:], strict=False))

    return mean_log(np.exp(-log_alpha / 2)) - mean_log(0)


def by_a_series(log_alpha):
    """(e + m)^2 is a chi-square with 1 + 2J degrees of freedom, J Poisson with mean m^2 / 2."""
    mean = np.exp(-log_alpha) / 2
    j = np.arange(int(mean + 30 * np.sqrt(mean) + 60))
    return stats.poisson.pmf(j, mean) @ (digamma(j + 0.5) - digamma(0.5)) / 2


@pytest.mark.parametrize("log_alpha", [-8.0, -3.0, -1.0, 0.0, 0.7, 3.0, 8.0])
def test_the_kl_agrees_with_its_definition_and_with_a_series(log_alpha):
    value = kl_log_uniform(log_alpha)
    assert np.isclose(value, by_its_definition(log_alpha), rtol=0, atol=1e-8)
    assert np.isclose(value, by_a_series(log_alpha), rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("log_alpha", [-2.0, 0.0, 2.0])
@pytest.mark.parametrize("theta", [0.01, -3.0])
def test_up_to_one_constant_it_is_the_mean_log_ratio_of_the_densities(log_alpha, theta):
    # E_q[log q(w) - log 1/|w|] over draws of q; the constant is where alpha has no end
    std = np.exp(log_alpha / 2) * abs(theta)
    w = np.random.default_rng(0).normal(theta, std, 400_000)
    terms = stats.norm.logpdf(w, theta, std) + np.log(abs(w))
    constant = -0.5 * np.log(2 * np.pi * np.e) - SMALL_NOISE
    assert is_near(terms.mean(), kl_log_uniform(log_alpha) + constant, terms.std(), len(w))


def test_the_kl_is_positive_falls_with_alpha_and_tends_to_zero():
    for kl in (kl_log_uniform, kl_molchanov):
        assert (kl(GRID) > 0).all()
        assert (np.diff(kl(GRID)) < 0).all()
        assert kl(40.0) < 1e-15


def test_for_small_and_large_noise_it_has_the_limits_of_the_text():
    assert np.isclose(kl_log_uniform(-20.0), 10 + SMALL_NOISE, atol=1e-8)
    assert np.isclose(kl_log_uniform(12.0), np.exp(-12.0) / 2, rtol=1e-4)


def test_the_approximation_is_as_near_as_its_docstring_says():
    exact = kl_log_uniform(GRID)
    off = kl_molchanov(GRID) - exact
    assert 0.0093 < abs(off).max() < 0.0094
    assert -3.8 < GRID[abs(off).argmax()] < -3.2


def test_the_shape_of_the_input_is_kept():
    for kl in (kl_log_uniform, kl_molchanov):
        assert kl(np.full((2, 3), -1.0)).shape == (2, 3)
        assert kl([]).shape == (0,)
        assert np.ndim(kl(-1.0)) == 0
