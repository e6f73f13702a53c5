"""What holds for Gaussian dropout, beyond what holds for every layer."""

import numpy as np
import torch
from chance import few_examples, is_near, is_standard_normal, keep_probs
from formulas import every_mask
from hypothesis import given
from hypothesis import strategies as st
from layer_runs import DTYPES, under_seed

from lib.layers import GaussianDropout


@few_examples
@given(keep_prob=st.floats(0.01, 0.9999))
def test_the_noise_has_the_first_four_moments_of_a_gaussian_with_the_variance_of_a_mask(keep_prob):
    n = 100_000
    masks, probabilities = every_mask(1, keep_prob)
    variance = probabilities @ (masks[:, 0] / keep_prob - 1) ** 2
    deviation = under_seed(GaussianDropout(keep_prob), torch.ones(n, dtype=torch.float64)) - 1
    assert is_standard_normal(deviation / float(variance) ** 0.5)


@few_examples
@given(keep_prob=keep_probs, dtype=st.sampled_from(DTYPES))
def test_in_every_dtype_mean_and_variance_of_the_noise_are_right_up_to_rounding(keep_prob, dtype):
    n = 20_000
    noise = under_seed(GaussianDropout(keep_prob), torch.ones(n, dtype=dtype)).double()
    variance = (1 - keep_prob) / keep_prob
    std, rounding = np.sqrt(variance), torch.finfo(dtype).eps
    assert abs(noise.mean() - 1) <= 6 * std / np.sqrt(n) + rounding
    squares = ((noise - 1) ** 2).mean()
    assert abs(squares - variance) <= 6 * np.sqrt(2 / n) * variance + rounding * (1 + 2 * variance)


def test_the_entries_of_the_noise_are_independent():
    n = 20_000
    noise = GaussianDropout(0.5)(torch.ones(n, 6))
    assert is_near(np.corrcoef(noise, rowvar=False), np.eye(6), 1, n)
    assert is_near(np.corrcoef(noise[:-1, 0], noise[1:, 0]), np.eye(2), 1, n - 1)
