"""What holds for DropConnect: its masks, its moments, and its three rules of inference."""

import re

import numpy as np
import pytest
import torch
from chance import few_examples, is_near, keep_probs
from formulas import close, every_mask
from hypothesis import example, given
from hypothesis import strategies as st
from layer_runs import every_dtype, every_scaling, under_seed
from scipy import stats
from scipy.special import expit
from torch import nn
from torch.nn.functional import linear

from lib.inference import mc_samples, weight_scaled
from lib.layers import DropConnectConv2d, DropConnectLinear, Dropout
from lib.theory.moments import relu_moments


def a_layer(*args, dtype=torch.float64, **settings):
    """A layer with weights and biases of about the same size."""
    layer = DropConnectLinear(*args, dtype=dtype, **settings)
    for parameter in layer.parameters():
        nn.init.normal_(parameter)
    return layer


def every_output(layer, x):
    """Outputs without scale under every mask, (masks, out), and the probabilities of the masks."""
    weights, x = layer.weight.detach().numpy(), x.numpy()
    if layer.bias is not None:
        weights, x = np.column_stack([weights, layer.bias.detach()]), np.append(x, 1)
    masks, probabilities = every_mask(weights.size, layer.keep_prob)
    return (masks.reshape(-1, *weights.shape) * weights) @ x, probabilities


# Moments, against every mask


@few_examples
@given(
    shape=st.sampled_from([(1, 1), (3, 2), (2, 3), (5, 2), (3, 3), (11, 1)]),
    keep_prob=keep_probs,
    scaling=st.sampled_from(["inverted", "weight"]),
    bias=st.booleans(),
    seed=st.integers(0, 1000),
)
@example(shape=(3, 2), keep_prob=1, scaling="inverted", bias=True, seed=0)
def test_the_moments_are_those_over_all_masks_and_the_units_are_uncorrelated(
    shape, keep_prob, scaling, bias, seed
):
    torch.manual_seed(seed)
    layer, x = a_layer(*shape, keep_prob, bias, scaling), torch.randn(shape[0]).double()
    outputs, chances = every_output(layer, x)
    outputs = outputs / keep_prob if scaling == "inverted" else outputs
    expected = chances @ outputs
    covariance = (chances[:, None] * (outputs - expected)).T @ (outputs - expected)
    mean, variance = (moment.detach().numpy() for moment in layer.moments(x))
    in_eval = layer.eval()(x).detach().numpy()
    for found, exact in ((mean, expected), (np.diag(variance), covariance), (in_eval, expected)):
        close(found, exact, 1e-10)


@every_scaling
def test_the_moments_are_the_same_in_every_mode_and_of_any_shape(scaling):
    layer, x = a_layer(4, 3, scaling=scaling), torch.randn(2, 5, 4).double()
    in_training = layer.moments(x)
    for moment, same, alone in zip(
        in_training, layer.eval().moments(x), layer.moments(x[1, 2]), strict=True
    ):
        assert moment.shape == (2, 5, 3)
        assert torch.equal(moment, same)
        torch.testing.assert_close(moment[1, 2], alone)


def test_the_moments_have_the_gradients_of_their_formulas():
    layer, x = a_layer(3, 2), torch.randn(4, 3).double().requires_grad_()
    assert torch.autograd.gradcheck(lambda x, *_: layer.moments(x), (x, *layer.parameters()))


# Training, under given masks and under drawn ones


def with_masks(monkeypatch, *masks):
    """Let the layer draw these masks, in this order."""
    left = list(masks)

    def keep_mask(x, keep_prob, shape=None):
        mask = left.pop(0)
        assert mask.shape == (x.shape if shape is None else shape)
        return mask.to(x.dtype)

    monkeypatch.setattr("lib.layers.dropconnect.keep_mask", keep_mask)


@every_scaling
@pytest.mark.parametrize("bias", [True, False])
def test_under_given_masks_output_and_gradients_are_those_of_masked_linear_layers(
    scaling, bias, monkeypatch
):
    layer, n = a_layer(4, 3, 0.3, bias, scaling), 6
    x = torch.randn(n, 4, dtype=torch.float64, requires_grad=True)
    M, m = torch.randint(2, (n, 3, 4)), torch.randint(2, (n, 3))
    upstream = torch.randn(n, 3).double()
    inputs = (x, *layer.parameters())
    with_masks(monkeypatch, M, m)
    ours = layer(x)
    one_by_one = [
        linear(x[i], M[i] * layer.weight, m[i] * layer.bias if bias else None) for i in range(n)
    ]
    expected = torch.stack(one_by_one) / (0.3 if scaling == "inverted" else 1)
    torch.testing.assert_close(ours, expected)
    for gradient, theirs in zip(
        torch.autograd.grad(ours, inputs, upstream),
        torch.autograd.grad(expected, inputs, upstream),
        strict=True,
    ):
        torch.testing.assert_close(gradient, theirs)


def drawn_masks(n, n_in=9, n_out=4, keep_prob=0.5):
    """Masks of n examples, (n, out, in + 1), the bias last: read from the bits of the outputs."""
    layer = DropConnectLinear(n_in, n_out, keep_prob, scaling="weight", dtype=torch.float64)
    layer.requires_grad_(False)
    layer.weight.copy_(2.0 ** torch.arange(n_in))
    layer.bias.fill_(2.0**n_in)
    y = layer(torch.ones(n, n_in, dtype=torch.float64)).long()
    return (y.unsqueeze(-1) >> torch.arange(n_in + 1)) & 1


@pytest.mark.parametrize("keep_prob", [0.1, 0.5, 0.9])
def test_each_weight_and_each_bias_is_kept_with_keep_prob(keep_prob):
    n = 5000
    kept = drawn_masks(n, keep_prob=keep_prob).double().mean(dim=0)
    assert is_near(kept, keep_prob, np.sqrt(keep_prob * (1 - keep_prob)), n)


def test_all_entries_of_the_masks_are_independent_across_examples_units_and_inputs():
    n = 10_000
    entries = drawn_masks(n).flatten(1).numpy()
    assert is_near(np.corrcoef(entries, rowvar=False), np.eye(40), 1, n)
    assert is_near(np.corrcoef(entries[:-1].ravel(), entries[1:].ravel()), np.eye(2), 1, n)


def test_without_bias_one_unit_is_a_unit_behind_dropout():
    # the same random numbers decide: one mask entry for each input
    layer = a_layer(7, 1, 0.4, bias=False, dtype=torch.float32)
    behind_dropout = nn.Sequential(Dropout(0.4), nn.Linear(7, 1, bias=False))
    behind_dropout[1].load_state_dict(layer.state_dict())
    x = torch.randn(50, 7)
    torch.testing.assert_close(under_seed(layer, x), under_seed(behind_dropout, x))


@every_scaling
@pytest.mark.parametrize("bias", [True, False])
def test_with_one_mask_a_batch_it_is_a_linear_layer_with_masked_weights(scaling, bias, monkeypatch):
    layer, x = a_layer(4, 3, 0.3, bias, scaling, "batch"), torch.randn(2, 6, 4).double()
    M, m = torch.randint(2, (3, 4)), torch.randint(2, (3,))
    with_masks(monkeypatch, M, m)
    expected = linear(x, M * layer.weight, m * layer.bias if bias else None)
    torch.testing.assert_close(layer(x), expected / (0.3 if scaling == "inverted" else 1))


@pytest.mark.parametrize(
    "layer", [DropConnectLinear(4, 3, masks="batch"), DropConnectConv2d(4, 3, 1, masks="batch")]
)
def test_with_one_mask_a_batch_equal_examples_come_out_equal_and_calls_differ(layer):
    x = torch.randn(4) if isinstance(layer, DropConnectLinear) else torch.randn(4, 2, 2)
    x = x.expand(20, *x.shape)
    y = layer(x)
    torch.testing.assert_close(y, y[:1].expand_as(y))
    assert len({layer(x)[0].detach().numpy().tobytes() for _ in range(20)}) > 1


# Convolutions


CONVOLUTIONS = [
    {"kernel_size": (2, 3)},
    {"kernel_size": 2, "stride": (2, 1), "padding": (1, 0), "dilation": (1, 2)},
    {"kernel_size": (1, 3), "padding": (0, 1), "padding_mode": "circular"},
    {"kernel_size": (1, 3), "groups": 2},
]


def a_convolution(*args, **settings):
    layer = DropConnectConv2d(*args, dtype=torch.float64, **settings)
    for parameter in layer.parameters():
        nn.init.normal_(parameter)
    return layer.requires_grad_(False)


def torchs(layer):
    """Torch's layer, with other weights, as a function."""
    names = ("in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation")
    settings = {name: getattr(layer, name) for name in (*names, "groups", "padding_mode")}
    plain = nn.Conv2d(**settings, dtype=torch.float64)
    return lambda x, W, b: torch.func.functional_call(plain, {"weight": W, "bias": b}, (x,))


@every_scaling
@pytest.mark.parametrize("masks", ["example", "batch"])
@pytest.mark.parametrize("settings", CONVOLUTIONS)
def test_moments_of_a_convolution_are_those_over_all_masks_at_each_place(scaling, masks, settings):
    n = settings.get("groups", 1)  # feature maps
    layer = a_convolution(n, n, keep_prob=0.3, scaling=scaling, masks=masks, **settings)
    x, convolved = torch.randn(n, 3, 4).double(), torchs(layer)
    every, chances = every_mask(layer.weight.numel() + n, 0.3)
    M, m = torch.as_tensor(every).split([layer.weight.numel(), n], dim=1)
    M = M.unflatten(1, layer.weight.shape)
    outputs = torch.vmap(lambda M, m: convolved(x, M * layer.weight, m * layer.bias))(M, m)
    outputs = (outputs / (0.3 if scaling == "inverted" else 1)).numpy()
    mean = np.tensordot(chances, outputs, 1)
    variance = np.tensordot(chances, (outputs - mean) ** 2, 1)
    found = (*layer.moments(x), layer.eval()(x))
    for got, exact in zip(found, (mean, variance, mean), strict=True):
        close(got.numpy(), exact, 1e-10)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("settings", CONVOLUTIONS)
def test_under_given_masks_a_convolution_is_one_with_masked_weights_for_each_example(
    settings, bias, monkeypatch
):
    layer, n = a_convolution(4, 2, keep_prob=0.3, bias=bias, **settings), 5
    x, convolved = torch.randn(n, 4, 5, 6).double(), torchs(layer)
    M, m = torch.randint(2, (n, *layer.weight.shape)), torch.randint(2, (n, 2, 1, 1))
    with_masks(monkeypatch, M, m)
    b = layer.bias if bias else torch.zeros(2).double()
    each = [convolved(x[i], M[i] * layer.weight, m[i].flatten() * b) for i in range(n)]
    torch.testing.assert_close(layer(x), torch.stack(each) / 0.3)


@pytest.mark.parametrize("masks", ["example", "batch"])
def test_mean_and_variance_of_drawn_convolutions_are_the_moments(masks):
    n = 5000
    layer = a_convolution(2, 3, 2, keep_prob=0.4, masks=masks)
    x = torch.randn(2, 3, 3).double()
    y = mc_samples(layer, x[None], n)[:, 0]
    mean, variance = layer.moments(x)
    assert is_near(y.mean(dim=0), mean, variance.sqrt(), n)
    assert is_near((y - mean).square().mean(dim=0), variance, (y - mean).square().std(dim=0), n)


@pytest.mark.parametrize("shape", [(), (4,), (4, 3), (3, 5, 5), (2, 3, 5, 5), (1, 2, 4, 5, 5)])
@pytest.mark.parametrize("training", [True, False])
def test_images_with_other_channels_are_a_value_error(shape, training):
    layer = DropConnectConv2d(4, 3, 2).train(training)
    message = "x must have shape (batch, 4, height, width) or (4, height, width), got " + str(shape)
    for use in (layer, layer.moments):
        with pytest.raises(ValueError, match=re.escape(message)):
            use(torch.ones(shape))


# Inference


@every_scaling
@pytest.mark.parametrize("training", [True, False])
def test_gaussian_inference_is_the_mean_of_a_rectified_gaussian_in_any_mode(scaling, training):
    n, layer = 20_000, a_layer(6, 8, 0.6, scaling=scaling).train(training)
    x = torch.randn(6).double()
    mean, variance = relu_moments(*(moment.detach().numpy() for moment in layer.moments(x)))
    found = layer.gaussian_inference(x, torch.relu, n)
    assert is_near(found, mean, np.sqrt(variance), n)
    off = np.abs(torch.relu(layer.moments(x)[0]).detach().numpy() - mean)
    assert (off > 12 * np.sqrt(variance / n)).any()  # it is not the activation of the mean


def test_gaussian_inference_samples_each_unit_by_itself():
    # softmax of two logits is the sigmoid of their difference, whose variance is the sum
    n, layer, x = 20_000, a_layer(6, 2, 0.5), torch.rand(6).double()
    mean, variance = (moment.detach().numpy() for moment in layer.moments(x))
    difference = stats.norm(mean[0] - mean[1], np.sqrt(variance.sum()))
    first, second = difference.expect(expit), difference.expect(lambda u: expit(u) ** 2)
    found = layer.gaussian_inference(x, lambda u: u.softmax(dim=-1), n)
    assert is_near(found[0], first, np.sqrt(second - first**2), n)
    assert torch.isclose(found.sum(), torch.tensor(1.0).double())


def test_where_the_sum_is_nearly_normal_it_is_the_mean_over_all_masks():
    n, layer = 20_000, a_layer(12, 1, 0.5, bias=False).requires_grad_(False)
    layer.weight.copy_(torch.linspace(-1.2, 1, 12))
    x = torch.ones(12).double()
    outputs, chances = every_output(layer, x)
    exact = chances @ np.maximum(outputs[:, 0] / 0.5, 0)
    std = layer.moments(x)[1].sqrt().item()
    found = layer.gaussian_inference(x, torch.relu, n).item()
    assert abs(found - exact) < 6 * std / np.sqrt(n) + 0.005 * std
    mean_only = max(layer.eval()(x).item(), 0)
    assert exact - mean_only > 0.2 * std


@every_dtype
def test_gaussian_inference_has_the_dtype_of_the_layer_and_no_gradient(dtype):
    layer = a_layer(16, 8, bias=False, dtype=dtype)
    zeros_and_more = torch.cat([torch.zeros(1, 16), torch.randn(9, 16)]).to(dtype).requires_grad_()
    found = layer.gaussian_inference(zeros_and_more, torch.sigmoid, 500)
    assert found.dtype == dtype
    assert not found.requires_grad
    torch.testing.assert_close(found[0], torch.full((8,), 0.5, dtype=dtype), atol=0.05, rtol=0)
    assert ((found >= 0) & (found <= 1.05)).all()


# Beside other parts of a network


@every_scaling
@torch.no_grad()
def test_weight_scaled_computes_what_the_net_computes_in_eval(scaling):
    layer = DropConnectLinear(6, 5, 0.5, scaling=scaling)
    net = nn.Sequential(Dropout(0.5, "weight"), layer, nn.ReLU(), Dropout(0.7))
    x, scaled = torch.randn(20, 6), weight_scaled(net)
    torch.testing.assert_close(scaled(x), net.eval()(x))


def test_moments_and_gaussian_inference_work_under_vmap():
    layer, x = a_layer(4, 3), torch.randn(5, 2, 4).double()
    torch.testing.assert_close(torch.vmap(layer.moments)(x), layer.moments(x))
    infer = torch.vmap(lambda x: layer.gaussian_inference(x, torch.relu, 2), randomness="different")
    found = infer(x[:1].expand(5, -1, -1))
    assert found.shape == (5, 2, 3)
    assert len(found.unique(dim=0)) == 5


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("shape", [(), (3,), (2, 5), (4, 1), (0,)])
def test_an_input_of_another_size_is_a_value_error_in_every_mode(training, shape):
    layer = DropConnectLinear(4, 3).train(training)
    message = re.escape(f"x must have shape (..., 4), one value a feature, got {shape}")
    for use in (layer, layer.moments, lambda x: layer.gaussian_inference(x, torch.relu, 2)):
        with pytest.raises(ValueError, match=message):
            use(torch.ones(shape))
