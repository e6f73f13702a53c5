"""What the tests of formulas share."""

import numpy as np

from lib.masks import all_masks, mask_probabilities


def close(one, other, tolerance=1e-12):
    """Fail unless two arrays agree, up to a tolerance that is relative and absolute."""
    np.testing.assert_allclose(one, other, rtol=tolerance, atol=tolerance)


def mean_and_variance(values, probabilities):
    mean = probabilities @ values
    return mean, probabilities @ (values - mean) ** 2


def every_mask(n, keep_prob):
    """All masks of `n` units, and how probable they are."""
    masks = all_masks(n)
    return masks, mask_probabilities(masks, keep_prob)


def mean_maximum(values, keep_prob):
    """Mean of max_i m_i a_i over every mask."""
    values = np.asarray(values, dtype=float)
    masks, probabilities = every_mask(values.shape[-1], keep_prob)
    return (masks * values[..., None, :]).max(axis=-1) @ probabilities
