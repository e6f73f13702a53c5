"""What holds for dropout of units."""

import os

import numpy as np
import pytest
import torch
from chance import few_examples, is_near, keep_probs
from hypothesis import given
from hypothesis import strategies as st
from layer_runs import DTYPES, every_dtype, output_and_gradient, under_seed
from torch import nn

from lib.layers import Dropout, bernoulli
from lib.layers.draw import keep_mask

os.environ.setdefault("KERAS_BACKEND", "torch")

SCALINGS = ["inverted", "weight"]


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


# Training: what is kept, and how much of it


@few_examples
@given(keep_prob=keep_probs, dtype=st.sampled_from(DTYPES))
def test_inverted_kept_units_are_divided_by_keep_prob_and_the_others_zero(keep_prob, dtype):
    x = torch.linspace(-3, 3, 500).to(dtype)
    y = under_seed(Dropout(keep_prob), x)
    mask = under_seed(lambda x: keep_mask(x, keep_prob), x)
    assert y.dtype == dtype
    if keep_prob < 1:
        expected = (x.double() * mask.double() / keep_prob).to(dtype)
        torch.testing.assert_close(y, expected, rtol=2 * torch.finfo(dtype).eps, atol=0)


@few_examples
@given(keep_prob=keep_probs, dtype=st.sampled_from(DTYPES))
def test_the_weight_rule_passes_kept_units_on_unscaled(keep_prob, dtype):
    x = torch.linspace(-3, 3, 500).to(dtype)
    y = Dropout(keep_prob, "weight")(x)
    assert y.dtype == dtype
    assert torch.equal(y, torch.where(y != 0, x, torch.zeros_like(x)))


@every_dtype
@pytest.mark.parametrize("keep_prob", [1e-3, 0.1, 0.5, 0.7, 0.9, 0.999])
def test_the_mean_of_output_and_gradient_is_kept_exactly_up_to_rounding(dtype, keep_prob):
    # the mean over the masks is (kept value) x (probability), which the tests of the draw fix
    y, gradient = output_and_gradient(Dropout(keep_prob), torch.ones(20_000, dtype=dtype))
    for kept in (y.max(), gradient.max()):
        assert abs(kept.double().item() * keep_prob - 1) <= torch.finfo(dtype).eps


@pytest.mark.parametrize("scaling", SCALINGS)
@pytest.mark.parametrize("keep_prob", [1e-3, 0.1, 0.5, 0.7, 0.999, 1 - 1e-9])
def test_so_it_is_in_a_large_sample(keep_prob, scaling):
    n, scale = 200_000, 1 / keep_prob if scaling == "inverted" else 1
    y, gradient = output_and_gradient(Dropout(keep_prob, scaling), torch.full((n,), 3.0))
    mean, std = scale * keep_prob, scale * np.sqrt(keep_prob * (1 - keep_prob))
    assert is_near(y.double().mean(), 3 * mean, 3 * std, n)
    assert is_near(gradient.double().mean(), mean, std, n)


# Training: which units


def test_one_layer_used_twice_draws_two_masks():
    layer = Dropout(0.5)
    y = nn.Sequential(layer, layer)(torch.ones(10_000))
    assert set(y.unique().tolist()) == {0, 4}
    assert is_near((y != 0).double().mean(), 0.25, np.sqrt(0.25 * 0.75), 10_000)


def test_both_scalings_draw_the_same_mask_under_one_seed():
    x = torch.ones(100)
    inverted, weight = (under_seed(Dropout(0.5, scaling), x) for scaling in SCALINGS)
    assert torch.equal(inverted * 0.5, weight)


# The same mask gives what the libraries give


@pytest.mark.parametrize("keep_prob", [0.5, 0.75, 0.9])
def test_output_and_gradient_are_those_of_torch_under_its_mask(keep_prob, monkeypatch):
    x, theirs = torch.randn(20, 30), nn.Dropout(1 - keep_prob)
    mask = (under_seed(theirs, torch.ones_like(x)) != 0).float()
    expected = output_and_gradient(lambda x: under_seed(theirs, x), x)
    monkeypatch.setattr(bernoulli, "keep_mask", lambda *_: mask.clone())
    for ours, torchs in zip(output_and_gradient(Dropout(keep_prob), x), expected, strict=True):
        torch.testing.assert_close(ours, torchs)


@pytest.mark.parametrize("keep_prob", [0.5, 0.75, 0.9])
def test_output_and_gradient_are_those_of_keras_under_its_mask(keep_prob, monkeypatch):
    import keras  # here, as it takes seconds

    def theirs(x):
        return keras.layers.Dropout(1 - keep_prob, seed=3)(x, training=True)

    x = torch.randn(20, 30)
    mask = (theirs(torch.ones_like(x)) != 0).float()
    assert is_near(mask.mean(), keep_prob, np.sqrt(keep_prob * (1 - keep_prob)), 600)
    expected = output_and_gradient(theirs, x)
    monkeypatch.setattr(bernoulli, "keep_mask", lambda *_: mask.clone())
    for ours, kerass in zip(output_and_gradient(Dropout(keep_prob), x), expected, strict=True):
        torch.testing.assert_close(ours, kerass)


# Eval


@every_dtype
def test_inverted_dropout_is_the_identity_in_eval(dtype):
    x = torch.randn(10, 4).to(dtype)
    assert torch.equal(Dropout(0.3).eval()(x), x)


@every_dtype
def test_the_weight_rule_multiplies_by_keep_prob_in_eval(dtype):
    x = torch.randn(10, 4).to(dtype)
    y = Dropout(0.3, "weight").eval()(x)
    assert y.dtype == dtype
    assert torch.equal(y, x * 0.3)


# Layouts


NOT_CONTIGUOUS = {
    "transposed": torch.randn(6, 10).t(),
    "every other": torch.randn(6, 10)[:, ::2],
    "expanded": torch.randn(6, 1).expand(6, 10),
    "channels last": torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last),
}


@pytest.mark.parametrize("layout", NOT_CONTIGUOUS)
def test_the_layout_in_memory_makes_no_difference(layout):
    layer, x = Dropout(0.5), NOT_CONTIGUOUS[layout]
    assert torch.equal(under_seed(layer, x), under_seed(layer, x.contiguous()))
