"""What holds for layers that multiply each entry by a mask of its own."""

from functools import partial

import numpy as np
import pytest
import torch
from chance import few_examples, is_near, keep_probs
from hypothesis import given
from hypothesis import strategies as st
from layer_runs import DTYPES, in_vmap, output_and_gradient, under_seed
from torch import nn

from lib.layers import Dropout, GaussianDropout

# name: takes a keep_prob, gives the layer
LAYERS = {
    "Dropout": Dropout,
    "Dropout, weight": partial(Dropout, scaling="weight"),
    "GaussianDropout": GaussianDropout,
}
every_layer = pytest.mark.parametrize("make", LAYERS.values(), ids=LAYERS)
any_layer = st.sampled_from(list(LAYERS.values()))


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


# Training


@few_examples
@given(make=any_layer, keep_prob=keep_probs, dtype=st.sampled_from(DTYPES))
def test_the_output_is_the_input_times_a_mask_of_its_dtype_which_is_the_gradient(
    make, keep_prob, dtype
):
    layer, x = make(keep_prob), torch.linspace(-3, 3, 500).to(dtype)
    y, gradient = under_seed(partial(output_and_gradient, layer), x)
    mask = under_seed(layer, torch.ones_like(x))
    assert y.dtype == mask.dtype == dtype
    assert torch.equal(gradient, mask)
    assert torch.equal(y, x * mask)


@every_layer
@pytest.mark.parametrize("x", [torch.ones(50, 64), torch.ones(1, 1).expand(50, 64)])
def test_each_entry_has_a_mask_of_its_own_even_where_they_share_memory(make, x):
    masks = make(0.5)(x)
    assert len(masks.unique(dim=0)) == 50
    assert len(masks.unique(dim=1).T) == 64


# Keep probability one


@every_layer
@pytest.mark.parametrize("training", [True, False])
def test_keep_prob_one_is_the_identity(make, training):
    x = torch.randn(10, 4)
    y, gradient = output_and_gradient(make(1).train(training), x)
    assert torch.equal(y, x)
    assert (gradient == 1).all()


# Shapes


@pytest.mark.parametrize(
    "shape", [(), (1,), (7,), (0,), (0, 5), (4, 0, 3), (3, 5), (2, 3, 5), (1, 2, 3, 4, 5)]
)
@every_layer
def test_any_shape_comes_back_and_passes_gradients(make, shape):
    y, gradient = output_and_gradient(make(0.5), torch.ones(shape))
    assert y.shape == gradient.shape == shape


@every_layer
def test_the_state_of_a_net_fits_one_with_torchs_layer(make):
    ours = nn.Sequential(nn.Linear(3, 4), make(0.5), nn.Linear(4, 2))
    torchs = nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.5), nn.Linear(4, 2))
    torchs.load_state_dict(ours.state_dict())
    ours[0].weight.data.zero_()
    ours.load_state_dict(torchs.state_dict())
    assert torch.equal(ours[0].weight, torchs[0].weight)
    assert not make(0.5).state_dict()


# torch.func


@every_layer
def test_under_vmap_masks_are_independent_across_models(make):
    models, units = 40, 5000
    masks = in_vmap(make(0.5), torch.ones(models, units), "different")
    assert is_near(np.corrcoef(masks.numpy()), np.eye(models), 1, units)


@every_layer
def test_under_vmap_gradients_have_a_mask_for_each_example(make):
    layer, x = make(0.5), torch.rand(20, 100)
    of_the_sum = torch.func.grad_and_value(lambda x: layer(x).sum())
    gradients, sums = in_vmap(of_the_sum, x, "different")
    assert len(gradients.unique(dim=0)) == 20
    torch.testing.assert_close(sums, (gradients * x).sum(dim=1))
