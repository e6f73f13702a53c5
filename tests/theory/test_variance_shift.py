"""The variance that batch norm remembers after dropout: formulas against every mask."""

import numpy as np
import pytest
import torch
from chance import few_examples, keep_probs
from formulas import close, every_mask, mean_and_variance
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from lib.layers import Dropout, SpatialDropout
from lib.masks import all_masks
from lib.theory.moments import masked_sum_moments
from lib.theory.variance_shift import correlated_shift_ratio, linear_shift_ratio, shift_ratio

numbers = st.floats(-20, 20)


def enumerated(inputs, weights, keep_prob, groups=None):
    """Variance at prediction by variance in training, over all examples and all masks."""
    inputs, n = np.asarray(inputs, dtype=float), np.shape(inputs)[1]
    groups = np.arange(n) if groups is None else np.asarray(groups)
    names = np.unique(groups)
    masks, chances = every_mask(len(names), keep_prob)
    mask_of_input = masks[:, np.searchsorted(names, groups)] / keep_prob
    sums = (mask_of_input[:, None] * inputs) @ weights  # (masks, examples)
    chances = np.repeat(chances / len(inputs), len(inputs))
    mean, variance = mean_and_variance(sums.ravel(), chances)
    close(mean, (inputs @ weights).mean(), 1e-9)  # no shift of the mean
    return np.var(inputs @ weights) / variance


# Dropout right before batch norm


@few_examples
@given(values=st.lists(numbers, min_size=2, max_size=8), keep_prob=keep_probs)
def test_the_ratio_of_a_unit_is_that_over_its_values_and_both_masks(values, keep_prob):
    values = np.array([*values, max(values) + 1])  # it varies
    got = shift_ratio(values.mean(), values.var(), keep_prob)
    np.testing.assert_allclose(got, enumerated(values[:, None], [1.0], keep_prob), rtol=1e-8)
    np.testing.assert_allclose(linear_shift_ratio(values[:, None], [2.0], keep_prob), got)


def test_known_ratios():
    assert shift_ratio(1, 1, 0.5) == pytest.approx(1 / 3)
    assert shift_ratio(3, 2, 1) == 1
    means, variances = np.array([0.0, 1.0, 1.0]), np.array([[5.0], [0.0]])
    ratios = shift_ratio(means, variances, 0.25)
    assert ratios.shape == (2, 3)
    # of mean 0: p; without variance: 0, unless it is 0 in training as well
    close(ratios[:, 0], [0.25, 1])
    close(ratios[1, 1:], 0)
    assert shift_ratio([], [], 0.5).shape == (0,)


@few_examples
@given(mean=numbers, variance=st.floats(0, 400, exclude_min=True), keep_prob=keep_probs)
def test_right_before_batch_norm_the_ratio_is_at_most_keep_prob(mean, variance, keep_prob):
    ratio = shift_ratio(mean, variance, keep_prob)
    assert 0 <= ratio <= keep_prob * (1 + 1e-12)
    assert ratio >= shift_ratio(2 * mean, variance, keep_prob)


# A linear layer between them


@few_examples
@given(n=st.integers(1, 8), keep_prob=keep_probs, seed=st.integers(0, 1000), shared=st.booleans())
def test_the_ratio_behind_a_linear_unit_is_that_over_all_masks(n, keep_prob, seed, shared):
    rng = np.random.default_rng(seed)
    inputs = rng.normal(size=(5, n)) @ rng.normal(size=(n, n)) + rng.normal(size=n)
    weights = rng.normal(size=n)
    groups = rng.integers(0, 3, n) * 7 if shared else None
    got = linear_shift_ratio(inputs, weights, keep_prob, groups)
    np.testing.assert_allclose(got, enumerated(inputs, weights, keep_prob, groups), rtol=1e-7)


def test_an_output_for_each_column_of_weights(rng):
    inputs, weights, groups = rng.normal(size=(7, 4)), rng.normal(size=(4, 3)), [1, 0, 1, 0]
    for choice in (None, groups):
        each = [linear_shift_ratio(inputs, w, 0.3, choice) for w in weights.T]
        close(linear_shift_ratio(inputs, weights, 0.3, choice), each)
    assert np.all(linear_shift_ratio(inputs, weights, 1.0) == 1)
    assert linear_shift_ratio(inputs, np.zeros(4), 0.5) == 1


def test_for_independent_inputs_it_is_the_ratio_of_the_moments_of_a_masked_sum():
    signs = 2 * all_masks(4) - 1  # every combination once: independent, of variance 1
    mean, std, weights = np.array([[1, 0.5, 0, -2], [1, 2, 0.5, 1], [1, -1, 2, 3]])
    moments = {"inputs": mean, "input_variance": std**2}
    _, in_training = masked_sum_moments(weights, **moments, keep_prob=0.4)
    _, at_prediction = masked_sum_moments(weights, **moments, keep_prob=1)
    got = linear_shift_ratio(mean + std * signs, weights, 0.4)
    close(got, at_prediction / in_training)


def test_one_mask_for_all_inputs_is_dropout_of_their_sum(rng):
    inputs, weights = rng.normal(1, 1, (6, 5)), np.arange(5.0)
    total = inputs @ weights
    got = linear_shift_ratio(inputs, weights, 0.7, groups=np.zeros(5, dtype=int))
    close(got, shift_ratio(total.mean(), total.var(), 0.7))


# Inputs that are all alike


@pytest.mark.parametrize("weights", [[1, 1, 1, 1], [1, -1, 1, -1], [0.3, -2, 1, 0], [2.0]])
@pytest.mark.parametrize("correlation", [0, 0.3, 1])
def test_the_ratio_for_inputs_that_are_all_alike_is_that_over_all_masks(weights, correlation):
    d, mean, std = len(weights), 0.8, 1.5
    signs = 2 * all_masks(d + 1) - 1  # a sign that all share, and one of each
    shared, own = signs[:, :1], signs[:, 1:]
    inputs = mean + std * (np.sqrt(correlation) * shared + np.sqrt(1 - correlation) * own)
    got = correlated_shift_ratio(mean, std**2, correlation, weights, 0.6)
    close(got, enumerated(inputs, weights, 0.6))


def test_width_helps_only_correlated_inputs_with_weights_that_agree(rng):
    for d in (4, 64, 1024):
        alike, signs = np.ones(d), np.tile([1.0, -1.0], d // 2)
        alone = shift_ratio(1.0, 2.0, 0.5)
        any_weights = correlated_shift_ratio(1.0, 2.0, 0.0, rng.normal(size=d), 0.5)
        close(any_weights, alone)
        assert correlated_shift_ratio(1.0, 2.0, 0.5, signs, 0.5) < alone
        assert 1 - correlated_shift_ratio(1.0, 2.0, 0.5, alike, 0.5) < 4 / d
    # the most negative correlation there is: the sum does not vary
    assert correlated_shift_ratio(0.0, 1.0, -1 / 3, np.ones(4), 0.5) == pytest.approx(0, abs=1e-12)


# The layers, and batch norm


@pytest.mark.parametrize("layer", [Dropout(0.5), SpatialDropout(0.5)])
def test_batch_norm_behind_a_convolution_remembers_the_variance_of_the_formula(layer):
    x = torch.rand(40, 3, 4, 4).double()
    net = nn.Sequential(layer, nn.Conv2d(3, 2, 3), nn.BatchNorm2d(2, momentum=None)).double()
    with torch.no_grad():
        for _ in range(400):  # momentum None: the plain mean over all batches
            net(x)
        patches = x.unfold(2, 3, 1).unfold(3, 3, 1).permute(0, 2, 3, 1, 4, 5).reshape(-1, 27)
        at_prediction = net[1](x).var(dim=(0, 2, 3), unbiased=False).numpy()
    groups = np.repeat(range(3), 9) if isinstance(layer, SpatialDropout) else None
    weights = net[1].weight.detach().flatten(1).T
    expected = linear_shift_ratio(patches.numpy(), weights.numpy(), 0.5, groups)
    np.testing.assert_allclose(at_prediction / net[2].running_var.numpy(), expected, rtol=0.05)
