"""What is left of a maximum under dropout: the formulas against every mask."""

import itertools

import numpy as np
import pytest
from chance import few_examples, keep_probs
from formulas import close, every_mask, mean_maximum
from hypothesis import given
from hypothesis import strategies as st

from lib.theory.pooling import pooled_weights, weighted_pool


@pytest.mark.parametrize("n", [1, 2, 4, 9])
@pytest.mark.parametrize("keep_prob", [0.05, 0.3, 0.5, 0.8, 1])
def test_the_weights_are_the_chances_to_come_out_over_all_masks(n, keep_prob):
    masks, chances = every_mask(n, keep_prob)
    comes_out = (masks * np.arange(1, n + 1)).max(axis=1)  # the activations are 1 ... n
    expected = [chances[comes_out == i].sum() for i in range(1, n + 1)]
    close(pooled_weights(n, keep_prob), expected)
    close(1 - pooled_weights(n, keep_prob).sum(), chances[comes_out == 0].sum())


@pytest.mark.parametrize("keep_prob", [0.05, 0.5, 0.9, 1])
def test_the_weighted_mean_is_that_over_all_masks_for_any_signs_and_ties(keep_prob, rng):
    small = [list(itertools.product(range(-3, 4), repeat=n)) for n in (1, 2, 4)]
    for windows in (*small, rng.normal(size=(50, 9)), rng.integers(-3, 4, size=(50, 9))):
        close(weighted_pool(windows, keep_prob), mean_maximum(windows, keep_prob))


not_negative = st.lists(st.floats(0, 5), min_size=1, max_size=9)


@few_examples
@given(values=not_negative, keep_prob=keep_probs)
def test_the_mean_lies_between_the_scaled_maximum_and_the_maximum(values, keep_prob):
    mean, largest = weighted_pool(values, keep_prob), max(values)
    assert keep_prob * largest - 1e-12 <= mean <= largest + 1e-12


@few_examples
@given(values=not_negative, keep_prob=keep_probs)
def test_the_noise_is_relatively_no_stronger_than_that_of_dropout_after_pooling(values, keep_prob):
    mean = weighted_pool(values, keep_prob)
    mean_square = weighted_pool(np.square(values), keep_prob)
    assert keep_prob * mean_square <= mean**2 + 1e-9


def test_the_order_in_a_window_does_not_matter_and_windows_keep_their_places(rng):
    values = rng.normal(size=(3, 5, 4))
    mean = weighted_pool(values, 0.3)
    assert mean.shape == (3, 5)
    close(weighted_pool(values[..., ::-1], 0.3), mean)
    close(weighted_pool(values[1, 2], 0.3), mean[1, 2])
    assert weighted_pool(np.ones((0, 4)), 0.3).shape == (0,)


def test_the_values_given_stay_as_they_were():
    values = np.array([3.0, 1.0, 2.0])
    weighted_pool(values, 0.5)
    assert values.tolist() == [3, 1, 2]
