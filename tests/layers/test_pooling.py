"""What holds for max-pooling dropout: the theory by enumeration, the layer against the theory."""

import copy
import io
import itertools
import pickle
import re

import numpy as np
import pytest
import torch
from chance import few_examples, is_near, keep_probs
from hypothesis import given
from hypothesis import strategies as st
from layer_runs import every_dtype, in_vmap, output_and_gradient, under_seed
from torch import nn

from lib.inference import mc_samples, sampling
from lib.layers import MaxPoolDropout2d
from lib.masks import all_masks, mask_probabilities
from lib.side_by_side import SideBySide
from lib.theory.pooling import pooled_weights, weighted_pool


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def enumerated(values, keep_prob):
    """Mean of max_i m_i a_i over every mask."""
    values = np.asarray(values, dtype=float)
    masks = all_masks(values.shape[-1])
    pooled = (masks * values[..., None, :]).max(axis=-1)
    return pooled @ mask_probabilities(masks, keep_prob)


# The theory


@pytest.mark.parametrize("n", [1, 2, 4, 9])
@pytest.mark.parametrize("keep_prob", [0.05, 0.3, 0.5, 0.8, 1])
def test_the_weights_are_the_chances_to_come_out_over_all_masks(n, keep_prob):
    masks = all_masks(n)
    chances = mask_probabilities(masks, keep_prob)
    comes_out = (masks * np.arange(1, n + 1)).max(axis=1)  # the activations are 1 ... n
    expected = [chances[comes_out == i].sum() for i in range(1, n + 1)]
    np.testing.assert_allclose(pooled_weights(n, keep_prob), expected, rtol=0, atol=1e-12)
    nothing = chances[comes_out == 0].sum()
    np.testing.assert_allclose(1 - pooled_weights(n, keep_prob).sum(), nothing, atol=1e-12)


def test_with_keep_prob_one_all_the_weight_is_on_the_largest():
    assert pooled_weights(4, 1).tolist() == [0, 0, 0, 1]


# few different values, so that there are ties and zeros
coarse = st.integers(-3, 3).map(lambda k: k / 2)
windows = st.lists(coarse, min_size=1, max_size=9) | st.lists(
    st.floats(-5, 5), min_size=1, max_size=9
)


@few_examples
@given(values=windows, keep_prob=keep_probs)
def test_the_weighted_mean_is_that_over_all_masks_for_any_signs_and_ties(values, keep_prob):
    expected = enumerated(values, keep_prob)
    np.testing.assert_allclose(weighted_pool(values, keep_prob), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("keep_prob", [0.2, 0.5, 0.9, 1])
def test_the_weighted_mean_is_that_over_all_masks_for_every_small_window(keep_prob):
    values = np.array(list(itertools.product([-2, -1, 0, 1, 2], repeat=4)))
    expected = enumerated(values, keep_prob)
    np.testing.assert_allclose(weighted_pool(values, keep_prob), expected, rtol=0, atol=1e-12)


@few_examples
@given(values=st.lists(st.floats(0, 5), min_size=1, max_size=9), keep_prob=keep_probs)
def test_the_mean_lies_between_the_scaled_maximum_and_the_maximum(values, keep_prob):
    mean, largest = weighted_pool(values, keep_prob), max(values)
    assert keep_prob * largest - 1e-12 <= mean <= largest + 1e-12


@few_examples
@given(values=st.lists(st.floats(0, 5), min_size=1, max_size=9), keep_prob=keep_probs)
def test_the_noise_is_relatively_no_stronger_than_that_of_dropout_after_pooling(values, keep_prob):
    mean = weighted_pool(values, keep_prob)
    mean_square = weighted_pool(np.square(values), keep_prob)
    assert keep_prob * mean_square <= mean**2 + 1e-9


def test_the_order_in_a_window_does_not_matter_and_windows_keep_their_places():
    values = np.random.default_rng(0).normal(size=(3, 5, 4))
    mean = weighted_pool(values, 0.3)
    assert mean.shape == (3, 5)
    np.testing.assert_allclose(weighted_pool(values[..., ::-1], 0.3), mean)
    np.testing.assert_allclose(weighted_pool(values[1, 2], 0.3), mean[1, 2])
    assert weighted_pool(np.ones((0, 4)), 0.3).shape == (0,)


def test_the_values_given_stay_as_they_were():
    values = np.array([3.0, 1.0, 2.0])
    weighted_pool(values, 0.5)
    assert values.tolist() == [3, 1, 2]


# The layer: settings under which windows overlap, have gaps, and hang over the border

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
        expected = [enumerated(window, keep_prob) for window in windows_of(image, **settings)]
        np.testing.assert_allclose(pooled.flatten(), expected, rtol=0, atol=1e-12)


def test_eval_of_windows_with_ties_is_the_mean_over_all_masks():
    x = torch.randint(-1, 3, (50, 1, 3, 3)).double()
    y = MaxPoolDropout2d(3, keep_prob=0.4).eval()(x)
    expected = enumerated(x.flatten(1), 0.4)
    np.testing.assert_allclose(y.flatten(), expected, rtol=0, atol=1e-12)


@every_setting
@pytest.mark.parametrize("shift", [-3, 0, 3])
def test_training_has_the_mean_of_eval(settings, shift):
    n, layer = 20_000, MaxPoolDropout2d(keep_prob=0.6, **settings)
    image = torch.randn(5, 4) + shift
    y = layer(image.expand(n, 1, 5, 4)).double()
    mean = layer.eval()(image[None, None])[0]
    assert is_near(y.mean(dim=0), mean, y.std(dim=0), n)


def test_training_has_the_variance_that_the_masks_have():
    n, window = 50_000, torch.tensor([[3.0, 1.0], [0.0, 2.0]])
    y = MaxPoolDropout2d(2, keep_prob=0.4)(window.expand(n, 1, 2, 2)).double()
    second = enumerated(window.flatten() ** 2, 0.4)
    fourth = enumerated(window.flatten() ** 4, 0.4)
    assert is_near((y**2).mean(), second, np.sqrt(fourth - second**2), n)


@every_setting
def test_training_is_max_pooling_of_what_is_kept_unscaled(settings, monkeypatch):
    x = torch.randn(2, 3, 7, 6)
    mask = (torch.rand_like(x) < 0.5).float()
    monkeypatch.setattr("lib.layers.pooling.keep_mask", lambda *_: mask)
    expected = nn.MaxPool2d(**settings)(x * mask)
    assert torch.equal(MaxPoolDropout2d(keep_prob=0.5, **settings)(x), expected)


def test_windows_that_overlap_share_the_mask():
    x = torch.zeros(1000, 1, 1, 3)
    x[..., 1] = 1
    y = MaxPoolDropout2d((1, 2), keep_prob=0.5, stride=1)(x)
    assert torch.equal(y[..., 0], y[..., 1])
    assert y.unique().tolist() == [0, 1]


def test_each_example_channel_and_place_has_a_mask_of_its_own_and_each_call():
    layer, n = MaxPoolDropout2d(1, keep_prob=0.5), 5000
    masks = layer(torch.ones(n, 2, 1, 2)).flatten(1)
    assert is_near(np.corrcoef(masks, rowvar=False), np.eye(4), 1, n)
    assert not torch.equal(layer(torch.ones(9, 9, 9)), layer(torch.ones(9, 9, 9)))


@every_setting
@pytest.mark.parametrize("training", [True, False])
def test_keep_prob_one_is_torchs_max_pooling(settings, training):
    x, before = torch.randn(2, 3, 7, 6), torch.get_rng_state()
    layer = MaxPoolDropout2d(keep_prob=1, **settings).train(training)
    for ours, torchs in zip(
        output_and_gradient(layer, x),
        output_and_gradient(nn.MaxPool2d(**settings), x),
        strict=True,
    ):
        assert torch.equal(ours, torchs)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("sign", [1, -1])
def test_near_keep_prob_one_eval_is_near_torchs_max_pooling(sign):
    x = sign * torch.rand(2, 3, 7, 6)
    y = MaxPoolDropout2d(3, 1 - 1e-7, 2, 1).eval()(x)
    torch.testing.assert_close(y, nn.MaxPool2d(3, 2, 1)(x))


def test_a_tiny_keep_prob_gives_finite_values_and_gradients():
    for training in (True, False):
        for each in output_and_gradient(
            MaxPoolDropout2d(2, 1e-9).train(training), torch.randn(50, 3, 4, 4)
        ):
            assert each.isfinite().all()
            assert (each.abs() < 1e-6).all()


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


@pytest.mark.parametrize("settings", SETTINGS[:2], ids=str)
@pytest.mark.parametrize("training", [True, False])
def test_gradients_agree_with_finite_differences_under_a_fixed_seed(settings, training):
    layer = MaxPoolDropout2d(keep_prob=0.6, **settings).train(training)
    x = torch.randperm(4 * 5).view(1, 4, 5).double() - 7.5  # no ties, and none at zero
    x.requires_grad_()
    assert torch.autograd.gradcheck(lambda x: under_seed(layer, x), x)
    assert torch.autograd.gradgradcheck(lambda x: under_seed(layer, x), x)


# Shapes, dtypes, layouts, devices


@every_setting
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("shape", [(3, 7, 6), (2, 3, 7, 6), (2, 3, 5, 9), (0, 3, 7, 6)])
def test_the_shape_is_that_of_torchs_max_pooling(settings, training, shape):
    x = torch.randn(shape)
    y, gradient = output_and_gradient(
        MaxPoolDropout2d(keep_prob=0.5, **settings).train(training), x
    )
    assert y.shape == nn.MaxPool2d(**settings)(x).shape
    assert gradient.shape == shape


@pytest.mark.parametrize("training", [True, False])
def test_an_example_alone_is_treated_as_in_a_batch_of_one(training):
    layer, x = MaxPoolDropout2d(3, 0.5, 2, 1).train(training), torch.randn(3, 7, 6)
    assert torch.equal(under_seed(layer, x), under_seed(layer, x[None])[0])


@every_dtype
def test_every_dtype_comes_back_with_the_mean_up_to_its_rounding(dtype):
    layer, x = MaxPoolDropout2d(3, 0.6, 2, 1), torch.randn(2, 3, 7, 6).to(dtype)
    y, mean = layer(x), layer.eval()(x)
    assert y.dtype == mean.dtype == dtype
    rounding = 20 * torch.finfo(dtype).eps
    torch.testing.assert_close(mean.double(), layer(x.double()), rtol=rounding, atol=rounding)


@pytest.mark.parametrize("training", [True, False])
def test_channels_last_gives_the_same_and_stays_channels_last(training):
    layer, x = MaxPoolDropout2d(2, 0.5).train(training), torch.randn(2, 3, 8, 6)
    y = under_seed(layer, x.to(memory_format=torch.channels_last))
    assert torch.equal(y, under_seed(layer, x))
    assert y.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("training", [True, False])
def test_the_input_stays_as_it_was_and_the_output_is_on_its_device(training):
    layer, x = MaxPoolDropout2d(2, 0.5).train(training), torch.randn(2, 3, 8, 6)
    before = x.clone()
    layer(x)
    assert torch.equal(x, before)
    y = layer(torch.ones(2, 3, 8, 6, device="meta"))
    assert (y.device.type, y.shape) == ("meta", (2, 3, 4, 3))


# Modes, copies


def test_eval_is_deterministic_and_inside_sampling_it_is_stochastic_again():
    model = nn.Sequential(nn.BatchNorm2d(3), MaxPoolDropout2d(2, 0.5)).eval()
    x = torch.randn(20, 3, 6, 6)
    before, rng = model(x), torch.get_rng_state()
    assert torch.equal(model(x), before)
    assert torch.equal(torch.get_rng_state(), rng)
    with sampling(model):
        assert not torch.equal(model(x), model(x))
    assert torch.equal(model(x), before)
    samples = mc_samples(model, x, 2000).double()
    assert is_near(samples.mean(dim=0), before.detach(), samples.std(dim=0), 2000)


def saved_and_loaded(layer):
    file = io.BytesIO()
    torch.save(layer, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


@pytest.mark.parametrize(
    "copy_of", [copy.copy, copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x)), saved_and_loaded]
)
def test_a_copy_does_what_the_layer_does(copy_of):
    layer, x = MaxPoolDropout2d((3, 2), 0.3, 2, 1).eval(), torch.randn(2, 7, 6)
    other = copy_of(layer)
    assert repr(other) == repr(layer)
    assert torch.equal(other(x), layer(x))
    assert torch.equal(under_seed(other.train(), x), under_seed(layer.train(), x))


def test_the_state_of_a_net_fits_one_with_torchs_layer():
    ours = nn.Sequential(nn.Conv2d(1, 2, 3), MaxPoolDropout2d(2))
    torchs = nn.Sequential(nn.Conv2d(1, 2, 3), nn.MaxPool2d(2))
    torchs.load_state_dict(ours.state_dict())
    ours.load_state_dict(torchs.state_dict())
    assert not MaxPoolDropout2d(2).state_dict()


# torch.func


def test_under_vmap_each_model_has_its_own_mask_and_the_same_mean():
    layer, x = MaxPoolDropout2d(3, 0.5, 2, 1), torch.randn(20, 2, 3, 7, 6)
    assert len(in_vmap(layer, x[:1].expand(x.shape), "different").unique(dim=0)) == 20
    layer.eval()
    torch.testing.assert_close(in_vmap(layer, x, "different"), torch.stack([layer(i) for i in x]))


def test_it_trains_side_by_side():
    nets = SideBySide.from_seeds(
        lambda: nn.Sequential(nn.Conv2d(1, 2, 3), MaxPoolDropout2d(2, 0.5), nn.Flatten()), range(3)
    )
    y = nets(torch.randn(3, 5, 1, 8, 8))
    assert y.shape == (3, 5, 18)
    y.sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in nets.parameters())


# Bad input


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kernel_size": 0}, "kernel_size must be at least 1, got 0"),
        ({"kernel_size": (2, -1)}, "kernel_size must be at least 1, got -1"),
        ({"kernel_size": (2, 2, 2)}, "kernel_size must be one whole number or a pair of them"),
        ({"kernel_size": 2, "stride": 0}, "stride must be at least 1, got 0"),
        ({"kernel_size": 2, "padding": -1}, "padding must be at least 0, got -1"),
        ({"kernel_size": 3, "padding": 2}, r"padding must be at most half of kernel_size \(3, 3\)"),
        ({"kernel_size": (4, 1), "padding": 1}, r"at most half of kernel_size \(4, 1\), got 1"),
    ],
)
def test_a_setting_out_of_range_is_a_value_error(settings, message):
    with pytest.raises(ValueError, match=message):
        MaxPoolDropout2d(**settings)


@pytest.mark.parametrize("name", ["kernel_size", "stride", "padding"])
@pytest.mark.parametrize("value", [1.5, "2", True, (1, 1.0)])
def test_a_setting_that_is_no_whole_number_is_a_type_error(name, value):
    with pytest.raises(TypeError, match=f"{name} must be a whole number"):
        MaxPoolDropout2d(**({"kernel_size": 2} | {name: value}))


every_use = pytest.mark.parametrize(
    ("keep_prob", "training"), [(0.5, True), (0.5, False), (1, True), (1, False)]
)


@every_use
@pytest.mark.parametrize("shape", [(), (6,), (6, 6), (2, 3, 4, 6, 6)])
def test_an_input_of_another_rank_is_a_value_error(keep_prob, training, shape):
    layer = MaxPoolDropout2d(2, keep_prob).train(training)
    with pytest.raises(ValueError, match=re.escape(f"(channels, height, width), got {shape}")):
        layer(torch.ones(shape))


@every_use
@pytest.mark.parametrize("shape", [(1, 2, 6), (2, 1, 6, 2), (1, 0, 6), (0, 1, 6, 0)])
def test_an_input_smaller_than_a_window_is_a_value_error(keep_prob, training, shape):
    layer = MaxPoolDropout2d(5, keep_prob, padding=1).train(training)
    with pytest.raises(ValueError, match=r"at least as large as kernel_size \(5, 5\), got shape"):
        layer(torch.ones(shape))


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("dtype", [torch.int64, torch.bool, torch.complex64], ids=str)
def test_an_input_that_is_not_floating_point_is_a_type_error(training, dtype):
    layer = MaxPoolDropout2d(2, 0.5).train(training)
    with pytest.raises(TypeError, match="x must have a floating-point dtype, got torch"):
        layer(torch.ones(1, 4, 4).to(dtype))


def test_the_printed_layer_says_its_settings():
    assert repr(MaxPoolDropout2d(2, 0.3)) == (
        "MaxPoolDropout2d(kernel_size=(2, 2), keep_prob=0.3, stride=(2, 2), padding=(0, 0))"
    )
    assert MaxPoolDropout2d(2).keep_prob == 0.5
