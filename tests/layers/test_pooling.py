"""What holds for max-pooling dropout, by enumeration of masks."""

import numpy as np
import pytest
import torch
from chance import is_near
from formulas import close, mean_maximum
from layer_runs import every_dtype, output_and_gradient
from torch import nn

from lib.layers import MaxPoolDropout2d, two_by_two
from lib.theory.pooling import pooled_weights

# Under these windows overlap, have gaps, and hang over the border.
SETTINGS = [
    {"kernel_size": 2},
    {"kernel_size": 3, "stride": 2, "padding": 1},
    {"kernel_size": 3, "stride": 1},
    {"kernel_size": 2, "stride": 3},
    {"kernel_size": (2, 3), "stride": (1, 2), "padding": (1, 0)},
    {"kernel_size": (1, 4), "padding": (0, 2)},
    {"kernel_size": 1},
]
every_setting = pytest.mark.parametrize("settings", SETTINGS, ids=str)


def pair(value):
    return value if isinstance(value, tuple) else (value, value)


def windows_of(image, kernel_size, stride=None, padding=0):
    """The windows of an image, without what hangs over its border: row by row."""
    sizes, pads = pair(kernel_size), pair(padding)
    steps = sizes if stride is None else pair(stride)
    starts = [
        range(-pad, length + pad - size + 1, step)
        for length, size, step, pad in zip(image.shape, sizes, steps, pads, strict=True)
    ]
    return [
        image[max(i, 0) : i + sizes[0], max(j, 0) : j + sizes[1]].flatten()
        for i in starts[0]
        for j in starts[1]
    ]


@every_setting
@pytest.mark.parametrize("shift", [-3, 0, 3])
@pytest.mark.parametrize("keep_prob", [0.3, 0.8])
def test_eval_is_the_mean_over_all_masks_of_what_is_really_in_the_window(
    settings, shift, keep_prob
):
    x = torch.randn(2, 3, 7, 6, dtype=torch.float64) + shift
    y = MaxPoolDropout2d(keep_prob=keep_prob, **settings).eval()(x)
    for image, pooled in zip(x.flatten(0, 1), y.flatten(0, 1), strict=True):
        expected = [mean_maximum(window, keep_prob) for window in windows_of(image, **settings)]
        close(pooled.flatten(), expected)


def test_eval_of_windows_with_ties_is_the_mean_over_all_masks():
    x = torch.randint(-1, 3, (50, 1, 3, 3)).double()
    y = MaxPoolDropout2d(3, keep_prob=0.4).eval()(x)
    expected = mean_maximum(x.flatten(1), 0.4)
    close(y.flatten(), expected)


@pytest.mark.parametrize("shape", [(3, 2, 2), (2, 3, 7, 6), (2, 3, 5, 9), (0, 3, 4, 4)])
def test_windows_of_two_by_two_are_compared_as_others_are_sorted(shape, monkeypatch):
    x, layer = torch.randn(shape).double(), MaxPoolDropout2d(2, keep_prob=0.3).eval()
    compared_all = output_and_gradient(layer, x)
    layer.stride = [2, 2]  # is no tuple, and so not recognised
    sorted_all = output_and_gradient(layer, x)
    for compared, as_sorted in zip(compared_all, sorted_all, strict=True):
        torch.testing.assert_close(compared, as_sorted)


@pytest.mark.parametrize("at_once", [1, 100, 1000])
@pytest.mark.parametrize("shape", [(3, 6, 6), (10, 3, 4, 6)])
def test_many_maps_are_pooled_in_parts_with_the_same_result(shape, at_once, monkeypatch):
    x, layer = torch.randn(shape), MaxPoolDropout2d(2, keep_prob=0.3).eval()
    if len(shape) == 4:
        x = x.to(memory_format=torch.channels_last)
    whole = output_and_gradient(layer, x)
    monkeypatch.setattr(two_by_two, "AT_ONCE", at_once)
    in_parts = output_and_gradient(layer, x)
    for part, expected in zip(in_parts, whole, strict=True):
        assert torch.equal(part, expected)
        assert part.stride() == expected.stride()


def test_training_has_the_variance_that_the_masks_have():
    n, window = 50_000, torch.tensor([[3.0, 1.0], [0.0, 2.0]])
    y = MaxPoolDropout2d(2, keep_prob=0.4)(window.expand(n, 1, 2, 2)).double()
    second = mean_maximum(window.flatten() ** 2, 0.4)
    fourth = mean_maximum(window.flatten() ** 4, 0.4)
    assert is_near((y**2).mean(), second, np.sqrt(fourth - second**2), n)


@every_setting
def test_training_is_max_pooling_of_what_is_kept_unscaled(settings, monkeypatch):
    x = torch.randn(2, 3, 7, 6)
    mask = (torch.rand_like(x) < 0.5).float()
    monkeypatch.setattr("lib.layers.pooling.keep_mask", lambda *_: mask)
    expected = nn.MaxPool2d(**settings)(x * mask)
    assert torch.equal(MaxPoolDropout2d(keep_prob=0.5, **settings)(x), expected)


def test_each_example_channel_and_place_has_a_mask_of_its_own():
    n = 5000
    masks = MaxPoolDropout2d(1, keep_prob=0.5)(torch.ones(n, 2, 1, 2)).flatten(1)
    assert is_near(np.corrcoef(masks, rowvar=False), np.eye(4), 1, n)


@every_setting
@pytest.mark.parametrize("training", [True, False])
def test_keep_prob_one_is_torchs_max_pooling(settings, training):
    layer, x = MaxPoolDropout2d(keep_prob=1, **settings).train(training), torch.randn(2, 3, 7, 6)
    expected = output_and_gradient(nn.MaxPool2d(**settings), x)
    for ours, torchs in zip(output_and_gradient(layer, x), expected, strict=True):
        assert torch.equal(ours, torchs)


# Gradients


def test_in_training_the_gradient_goes_to_the_kept_activation_that_came_out():
    x = torch.rand(200, 3, 4, 4) + 0.1
    y, gradient = output_and_gradient(MaxPoolDropout2d(2, keep_prob=0.5), x)
    assert set(gradient.unique().tolist()) == {0, 1}
    torch.testing.assert_close((gradient * x).sum((2, 3)), y.sum((2, 3)))
    windows = gradient.unfold(2, 2, 2).unfold(3, 2, 2).sum((-1, -2))
    assert torch.equal(windows, (y > 0).float())  # one a window, none where nothing is kept


def test_in_eval_the_gradient_is_the_weight_of_the_activation():
    x = torch.tensor([[[3.0, 1.0], [4.0, 2.0]]], dtype=torch.float64)
    _, gradient = output_and_gradient(MaxPoolDropout2d(2, keep_prob=0.3).eval(), x)
    weights = torch.tensor(pooled_weights(4, 0.3))
    torch.testing.assert_close(gradient, weights[x.long() - 1], rtol=0, atol=1e-15)


def test_in_eval_a_window_of_zeros_gets_no_gradient_and_a_negative_one_only_its_largest():
    x = torch.tensor([[[0.0, 0.0, -3.0, -1.0], [0.0, 0.0, -4.0, -2.0]]])
    _, gradient = output_and_gradient(MaxPoolDropout2d(2, keep_prob=0.5).eval(), x)
    expected = torch.zeros(1, 2, 4)
    expected[0, 0, 3] = 0.5**4
    assert torch.equal(gradient, expected)


# Shapes and dtypes


@every_setting
@pytest.mark.parametrize("shape", [(3, 7, 6), (2, 3, 7, 6), (2, 3, 5, 9), (0, 3, 7, 6)])
def test_the_shape_in_eval_is_that_of_torchs_max_pooling(settings, shape):
    layer, x = MaxPoolDropout2d(keep_prob=0.5, **settings).eval(), torch.randn(shape)
    assert layer(x).shape == nn.MaxPool2d(**settings)(x).shape


@every_dtype
def test_every_dtype_comes_back_with_the_mean_up_to_its_rounding(dtype):
    layer, x = MaxPoolDropout2d(3, 0.6, 2, 1).eval(), torch.randn(2, 3, 7, 6).to(dtype)
    rounding = 20 * torch.finfo(dtype).eps
    torch.testing.assert_close(layer(x).double(), layer(x.double()), rtol=rounding, atol=rounding)


# Bad input


@pytest.mark.parametrize(("kernel_size", "padding"), [(3, 2), ((4, 1), 1)])
def test_a_padding_of_more_than_half_the_window_is_a_value_error(kernel_size, padding):
    message = rf"padding must be at most half of kernel_size \({pair(kernel_size)[0]}, "
    with pytest.raises(ValueError, match=message):
        MaxPoolDropout2d(kernel_size, padding=padding)
