"""What holds for spatial dropout, beyond what holds for every layer."""

from functools import partial

import numpy as np
import pytest
import torch
from chance import few_examples, is_near, keep_probs
from hypothesis import given
from hypothesis import strategies as st
from layer_runs import DTYPES, in_vmap, output_and_gradient, under_seed
from torch import nn

from lib.layers import Dropout, SpatialDropout

SHAPES = [(4, 5, 6), (4, 5, 6, 7), (4, 5, 6, 7, 3), (4, 5, 1, 3), (1, 1, 5, 7)]


def masks_of(layer, *shape):
    """The masks that a layer draws, one number a map; every map must be of one value.

    The maps share memory, and have masks of their own all the same.
    """
    y = layer(torch.ones(1).expand(shape)).flatten(2)
    assert (y == y[..., :1]).all()
    return y[..., 0]


# Training: a map is kept whole or dropped whole


@few_examples
@given(keep_prob=keep_probs, shape=st.sampled_from(SHAPES), dtype=st.sampled_from(DTYPES))
def test_each_map_is_all_zero_or_the_input_times_one_over_the_keep_prob(keep_prob, shape, dtype):
    x = torch.linspace(1, 3, int(np.prod(shape))).view(shape).to(dtype)
    y, gradient = under_seed(partial(output_and_gradient, SpatialDropout(keep_prob)), x)
    assert y.dtype == gradient.dtype == dtype
    assert torch.equal(y, x * gradient)  # the gradient is the mask
    maps = gradient.flatten(2)
    assert (maps == maps[..., :1]).all()
    kept = maps[maps != 0].double()
    rounding = torch.finfo(dtype).eps
    torch.testing.assert_close(kept, torch.full_like(kept, 1 / keep_prob), rtol=rounding, atol=0)


def test_the_masks_of_channels_are_independent_and_so_are_those_of_examples():
    n = 20_000
    masks = masks_of(SpatialDropout(0.5), n, 6, 2, 2)
    assert is_near(np.corrcoef(masks, rowvar=False), np.eye(6), 1, n)
    assert is_near(np.corrcoef(masks[:-1, 0], masks[1:, 0]), np.eye(2), 1, n - 1)
    assert is_near(np.corrcoef(masks_of(SpatialDropout(0.5), 6, n, 2, 2)), np.eye(6), 1, n)


def test_maps_of_one_place_are_dropped_as_units_are():
    x = torch.randn(8, 9)
    units = under_seed(Dropout(0.4), x)
    assert torch.equal(under_seed(SpatialDropout(0.4), x[..., None, None])[..., 0, 0], units)


# The same masks give what torch gives


@pytest.mark.parametrize("keep_prob", [0.2, 0.5, 0.9])
@pytest.mark.parametrize("k", [1, 2, 3])
def test_output_and_gradient_are_those_of_torch_under_its_mask(k, keep_prob, monkeypatch):
    theirs = {1: nn.Dropout1d, 2: nn.Dropout2d, 3: nn.Dropout3d}[k](1 - keep_prob)
    x = torch.randn(20, 30, *(4, 3, 2)[:k])
    mask = (under_seed(theirs, torch.ones_like(x)) != 0).float()
    one_a_map = mask.flatten(2)[..., 0].view(20, 30, *[1] * k)
    assert torch.equal(one_a_map.expand_as(mask), mask)
    expected = under_seed(partial(output_and_gradient, theirs), x)

    def drawn(x, keep_prob, shape):
        assert shape == one_a_map.shape
        return one_a_map.clone()

    monkeypatch.setattr("lib.layers.spatial.keep_mask", drawn)
    for layer in (SpatialDropout(keep_prob), SpatialDropout(keep_prob, k)):
        for ours, torchs in zip(output_and_gradient(layer, x), expected, strict=True):
            torch.testing.assert_close(ours, torchs)


# Shapes


@pytest.mark.parametrize("shape", [(6, 5), (6, 5, 4), (6, 5, 4, 3)], ids=str)
def test_an_example_alone_is_treated_as_in_a_batch_of_one(shape):
    x, layer = torch.randn(shape), SpatialDropout(0.5, spatial_dims=len(shape) - 1)
    for of_a_batch in (layer, SpatialDropout(0.5)):
        assert torch.equal(under_seed(layer, x), under_seed(of_a_batch, x[None])[0])


def test_three_dimensions_are_a_batch_unless_two_of_them_are_said_to_be_spatial():
    x = torch.ones(40, 40, 40)
    batch = under_seed(SpatialDropout(0.5), x)
    assert (batch == batch[..., :1]).all()
    assert len(batch[..., 0].unique(dim=0)) == 40  # every example has its own masks
    image = under_seed(SpatialDropout(0.5, spatial_dims=2), x)
    assert (image == image[:, :1, :1]).all()
    assert set(image[:, 0, 0].tolist()) == {0.0, 2.0}


# torch.func


@pytest.mark.parametrize("shape", [(3, 8, 4, 4), (16, 4, 4)])
def test_under_vmap_each_model_has_its_own_masks_of_whole_maps(shape):
    layer = SpatialDropout(0.5, spatial_dims=2)
    y = in_vmap(layer, torch.ones(20, *shape), "different").flatten(-2)
    assert (y == y[..., :1]).all()
    assert len(y[..., 0].unique(dim=0)) == 20
