"""Maxima of windows whose entries are dropped."""

import numpy as np

from lib.masks import all_masks, mask_probabilities


def over_all_masks(values, keep_prob):
    """Mean of max_i m_i a_i over every mask."""
    values = np.asarray(values, dtype=float)
    masks = all_masks(values.shape[-1])
    pooled = (masks * values[..., None, :]).max(axis=-1)
    return pooled @ mask_probabilities(masks, keep_prob)
