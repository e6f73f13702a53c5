"""What holds for layers that multiply each entry by a mask of its own."""

import os
from functools import partial

import pytest
import torch
from chance import few_examples, is_near, keep_probs
from hypothesis import given
from hypothesis import strategies as st
from layer_runs import DTYPES, in_vmap, output_and_gradient, under_seed
from torch import nn

from lib.layers import Dropout, GaussianDropout, SpatialDropout, bernoulli

os.environ.setdefault("KERAS_BACKEND", "torch")

# name: takes a keep_prob, gives the layer
LAYERS = {
    "Dropout": Dropout,
    "Dropout, weight": partial(Dropout, scaling="weight"),
    "GaussianDropout": GaussianDropout,
}
every_layer = pytest.mark.parametrize("make", LAYERS.values(), ids=LAYERS)
any_layer = st.sampled_from(list(LAYERS.values()))


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


def of_torch(keep_prob):
    return partial(under_seed, nn.Dropout(1 - keep_prob))


def of_keras(name, keep_prob):
    import keras  # here, as it takes seconds

    return lambda x: getattr(keras.layers, name)(1 - keep_prob, seed=3)(x, training=True)


@pytest.mark.parametrize("keep_prob", [0.2, 0.5, 0.9])
@pytest.mark.parametrize(
    ("make", "of_library"),
    [
        (Dropout, of_torch),
        (Dropout, partial(of_keras, "Dropout")),
        (GaussianDropout, partial(of_keras, "GaussianDropout")),
    ],
    ids=["torch's Dropout", "Keras' Dropout", "Keras' GaussianDropout"],
)
def test_output_and_gradient_are_those_of_a_library_under_its_mask(
    make, of_library, keep_prob, monkeypatch
):
    theirs, x, variance = of_library(keep_prob), torch.randn(20, 3000), (1 - keep_prob) / keep_prob
    mask = theirs(torch.ones_like(x))
    for power, mean in ((1, 0), (2, variance)):
        deviation = (mask - 1) ** power
        assert is_near(deviation.mean(), mean, deviation.std(), mask.numel())
    expected = output_and_gradient(theirs, x)
    monkeypatch.setattr(bernoulli, "keep_mask", lambda *_: (mask != 0).float())
    monkeypatch.setattr(torch, "randn_like", lambda _: (mask - 1) / variance**0.5)
    for ours, other in zip(output_and_gradient(make(keep_prob), x), expected, strict=True):
        torch.testing.assert_close(ours, other)


# Eval


@pytest.mark.parametrize("make", [Dropout, GaussianDropout, SpatialDropout])
@pytest.mark.parametrize("dtype", [*DTYPES, torch.int64, torch.bool, torch.complex64], ids=str)
def test_eval_of_inverted_scaling_is_the_identity_for_whatever_dtype(make, dtype):
    x = (3 * torch.randn(10, 4, 2)).to(dtype)
    y = make(0.3).eval()(x)
    assert y.dtype == dtype
    assert torch.equal(y, x)


# Shapes


@pytest.mark.parametrize(
    "shape", [(), (1,), (7,), (0,), (0, 5), (4, 0, 3), (3, 5), (2, 3, 5), (1, 2, 3, 4, 5)]
)
@every_layer
def test_any_shape_comes_back_and_passes_gradients(make, shape):
    y, gradient = output_and_gradient(make(0.5), torch.ones(shape))
    assert y.shape == gradient.shape == shape


# torch.func


@every_layer
def test_under_vmap_gradients_have_a_mask_for_each_example(make):
    layer, x = make(0.5), torch.rand(20, 100)
    of_the_sum = torch.func.grad_and_value(lambda x: layer(x).sum())
    gradients, sums = in_vmap(of_the_sum, x, "different")
    assert len(gradients.unique(dim=0)) == 20
    torch.testing.assert_close(sums, (gradients * x).sum(dim=1))
