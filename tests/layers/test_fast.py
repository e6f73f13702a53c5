"""What holds for fast dropout: moments, gradients, and no randomness at all."""

import re

import numpy as np
import pytest
import torch
from chance import few_examples, keep_probs
from hypothesis import given
from hypothesis import strategies as st
from layer_runs import in_vmap
from torch import nn

from lib.inference import mc_samples
from lib.layers import FastDropoutLinear
from lib.layers.expected_loss import expected_cross_entropy
from lib.layers.moments import MOMENTS, relu_moments, sigmoid_moments
from lib.masks import all_masks, mask_probabilities
from lib.theory import moments as theory
from lib.training import classification_loss

# name: the activation, and its moments
ACTIVATIONS = {
    "relu": (torch.relu, theory.relu_moments),
    "sigmoid": (torch.sigmoid, theory.sigmoid_moments),
    None: (lambda z: z, lambda mean, variance: (mean, variance)),
}
activations = pytest.mark.parametrize("activation", ACTIVATIONS)


def double_layer(*args, **kwargs):
    return FastDropoutLinear(*args, **kwargs, dtype=torch.float64)


# Moments


@few_examples
@given(n=st.integers(1, 12), keep_prob=keep_probs, seed=st.integers(0, 1000))
def test_the_moments_of_the_sum_are_those_over_all_masks(n, keep_prob, seed):
    torch.manual_seed(seed)
    layer, x = double_layer(n, 3, keep_prob, None), torch.randn(n, dtype=torch.float64)
    masks = torch.tensor(all_masks(n) / keep_prob)
    chances = torch.tensor(mask_probabilities(all_masks(n), keep_prob))
    sums = nn.functional.linear(masks * x, layer.weight, layer.bias)
    mean, variance = layer(x)
    torch.testing.assert_close(mean, chances @ sums, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(variance, chances @ (sums - mean) ** 2, rtol=1e-10, atol=1e-10)


@few_examples
@given(mean=st.floats(-1e3, 1e3), variance=st.floats(0, 1e4))
def test_torch_and_numpy_have_the_same_moments(mean, variance):
    pair = torch.tensor([mean], dtype=torch.float64), torch.tensor([variance], dtype=torch.float64)
    for ours, expected in (
        (relu_moments, theory.relu_moments),
        (sigmoid_moments, theory.sigmoid_moments),
    ):
        got = np.concatenate(ours(*pair))
        np.testing.assert_allclose(got, expected(mean, variance), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("variance", [0.0, 1e-30, 1e-8, 1.0, 1e6])
def test_single_precision_is_close_to_double(variance):
    mean = torch.linspace(-40, 40, 401)
    got = relu_moments(mean, torch.full_like(mean, variance))
    expected = theory.relu_moments(mean.double().numpy(), variance)
    scale = max(40, variance**0.5)
    assert np.abs(got[0].numpy() - expected[0]).max() <= 1e-6 * scale
    assert np.abs(got[1].numpy() - expected[1]).max() <= 1e-5 * variance


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("moments", [relu_moments, sigmoid_moments])
@pytest.mark.parametrize("variance", [1e-4, 1e-2, 1.0, 1e4])
def test_half_precision_is_close_to_double_too(moments, variance, dtype):
    mean = torch.linspace(-8, 8, 33, dtype=dtype)
    pair = mean, torch.full_like(mean, variance)
    expected = moments(*(each.double() for each in pair))
    for got, value in zip(moments(*pair), expected, strict=True):
        eps, smallest = torch.finfo(dtype).eps, torch.finfo(dtype).smallest_normal
        torch.testing.assert_close(got.double(), value, rtol=2 * eps, atol=smallest)


@activations
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("scale", [1e-3, 1.0, 300.0])
def test_layers_in_half_precision_have_variances_that_are_too_small_or_large_for_it(
    activation, dtype, scale
):
    net = nn.Sequential(*(FastDropoutLinear(4, 4, 0.01, activation) for _ in range(2))).to(dtype)
    x = (scale * torch.randn(6, 4)).to(dtype)
    mean, variance = net(x)
    exact_mean, exact_variance = net.double()(x.double())
    std = exact_variance.sqrt()
    rounding = 8 * torch.finfo(dtype).eps
    assert (mean.dtype, variance.dtype) == (dtype, torch.float32)
    assert ((mean - exact_mean).abs() <= rounding * (exact_mean.abs() + std + scale)).all()
    torch.testing.assert_close(variance.double(), exact_variance, rtol=rounding, atol=1e-9)


@activations
def test_two_layers_compose_as_the_formulas_do(activation):
    first, second = double_layer(4, 5, 0.8, activation), double_layer(5, 2, 0.5, None)
    x = torch.randn(3, 4, dtype=torch.float64)
    got = nn.Sequential(first, second)(x)
    moments = ACTIVATIONS[activation][1]
    w1, b1, w2, b2 = (p.detach().numpy() for p in (*first.parameters(), *second.parameters()))
    mean, variance = theory.masked_sum_moments(w1.T, x.numpy(), 0.8)
    mean, variance = moments(mean + b1, variance)
    mean, variance = theory.masked_sum_moments(w2.T, mean, 0.5, input_variance=variance)
    np.testing.assert_allclose(got[0].detach(), mean + b2, atol=1e-12)
    np.testing.assert_allclose(got[1].detach(), variance, atol=1e-12)


def test_mean_is_the_first_of_the_moments():
    layer, x = FastDropoutLinear(4, 3), torch.randn(2, 4)
    both = layer(x)
    layer.passes = "mean"
    assert torch.equal(layer(x), both[0])


# The ordinary network


@activations
def test_at_keep_prob_one_variances_are_zero_and_the_long_way_gives_the_same(activation):
    layer, x = double_layer(4, 3, 1.0, activation), torch.randn(5, 4, dtype=torch.float64)
    in_training = layer(x), layer((x, torch.zeros_like(x)))
    for mean, variance in in_training:
        torch.testing.assert_close(mean, layer.eval()(x))
        assert not variance.any()


@activations
def test_eval_is_the_ordinary_layer_for_a_tensor_and_for_a_pair(activation):
    plain, layer = nn.Linear(4, 3), FastDropoutLinear(4, 3, 0.3, activation).eval()
    layer.load_state_dict(plain.state_dict())
    x = torch.randn(5, 4)
    expected = ACTIVATIONS[activation][0](plain(x))
    assert torch.equal(layer(x), expected)
    assert torch.equal(layer((x, torch.ones_like(x))), expected)


# Nothing is random


def test_training_draws_no_random_numbers_and_it_is_no_stochastic_layer():
    layer, x = FastDropoutLinear(4, 8), torch.randn(5, 4)
    before = torch.get_rng_state()
    layer(x)
    assert torch.equal(torch.get_rng_state(), before)
    with pytest.raises(ValueError, match="model must have a layer that drops at random"):
        mc_samples(layer, x, 3)


# Gradients


@activations
def test_gradients_agree_with_finite_differences(activation):
    net = nn.Sequential(double_layer(4, 3, 0.6, activation), double_layer(3, 2, 0.5, activation))
    x = torch.randn(5, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x, *_: net(x), (x, *net.parameters()))


def test_rectified_gradients_agree_with_finite_differences_far_out_too():
    mean = torch.tensor([-9.0, -3.0, -0.1, 0.0, 0.1, 3.0, 9.0], dtype=torch.float64)
    for value in (0.01, 1.0, 100.0):
        variance = torch.full_like(mean, value).requires_grad_()
        inputs = (mean.clone().requires_grad_(), variance)
        assert torch.autograd.gradcheck(relu_moments, inputs, eps=1e-6 * value)
        assert torch.autograd.gradgradcheck(relu_moments, inputs, eps=1e-6 * value)


@activations
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("scale", [0.0, 1e-30, 1e-12, 1.0, 1e6])
@pytest.mark.parametrize("bias", [0.0, 1.0, -1.0])
def test_gradients_are_finite_at_variance_zero_and_far_from_it(activation, dtype, scale, bias):
    first = FastDropoutLinear(4, 3, 0.5, activation, dtype=dtype)
    net = nn.Sequential(first, FastDropoutLinear(3, 2, 0.5, activation, dtype=dtype))
    nn.init.constant_(first.bias, bias)
    x = (scale * torch.randn(5, 4, dtype=dtype)).requires_grad_()
    mean, variance = net(x)
    (mean.sum() + variance.sum()).backward()
    for tensor in (mean, variance, x.grad, *(p.grad for p in net.parameters())):
        assert tensor.isfinite().all()


# The loss


def test_without_variance_the_expected_cross_entropy_is_the_usual_one():
    logits, y = torch.randn(3, 7, 5), torch.randint(5, (3, 7))
    expected = classification_loss(logits, y)
    torch.testing.assert_close(expected_cross_entropy(logits, y), expected)
    pair = (logits, torch.zeros_like(logits))
    torch.testing.assert_close(expected_cross_entropy(pair, y), expected)


@pytest.mark.parametrize("shape", [(0,), (1,), (7, 1)])
def test_labels_that_are_not_one_an_output_are_a_value_error(shape):
    logits = torch.zeros(0 if shape == (0,) else 7, 5)
    message = f"got {tuple(logits.shape)} and {shape}"
    for output in (logits, (logits, torch.ones_like(logits))):
        with pytest.raises(ValueError, match=re.escape(message)):
            expected_cross_entropy(output, torch.zeros(shape, dtype=torch.long))


def mean_over_gaussian_logits(mean, variance, label):
    """Exact expectation for three logits, on a grid of Gauss-Hermite nodes."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(24)
    grid = torch.tensor(np.stack(np.meshgrid(nodes, nodes, nodes), -1).reshape(-1, 3))
    weights = torch.tensor(np.prod(np.meshgrid(weights, weights, weights), axis=0).ravel())
    losses = -(mean + grid * variance.sqrt()).log_softmax(dim=-1)[:, label]
    return (weights / weights.sum()) @ losses


@pytest.mark.parametrize("label", [0, 1, 2])
def test_for_small_variance_the_expected_cross_entropy_is_the_mean_over_the_noise(label):
    mean = torch.randn(1, 3, dtype=torch.float64)
    variance = torch.tensor([[0.01, 0.02, 0.03]], dtype=torch.float64)
    got = expected_cross_entropy((mean, variance), torch.tensor([label]))
    expected = mean_over_gaussian_logits(mean, variance, label)
    noise = expected - classification_loss(mean, torch.tensor([label]))
    assert abs(got - expected) < 0.03 * noise


@few_examples
@given(
    mean=st.lists(st.floats(-6, 6), min_size=3, max_size=3),
    variance=st.lists(st.floats(0, 6), min_size=3, max_size=3),
    label=st.integers(0, 2),
)
def test_the_expected_cross_entropy_is_never_below_the_mean_over_the_noise(mean, variance, label):
    pair = torch.tensor([mean], dtype=torch.float64), torch.tensor([variance], dtype=torch.float64)
    got = expected_cross_entropy(pair, torch.tensor([label]))
    assert got >= mean_over_gaussian_logits(*pair, label) - 1e-4  # of the quadrature


def test_noise_costs_something_where_the_means_are_sure():
    # what the term of first order alone would miss, and a network would learn to use
    sure, y = torch.tensor([[20.0, 0.0]]), torch.tensor([0])
    assert expected_cross_entropy((sure, torch.full((1, 2), 60.0)), y) > 1


# Pairs


@activations
def test_pairs_pass_under_vmap_as_in_a_batch(activation):
    layer = FastDropoutLinear(4, 3, activation=activation)
    pair = torch.randn(6, 2, 4), torch.rand(6, 2, 4)
    for got, expected in zip(in_vmap(layer, pair, "error"), layer(pair), strict=True):
        torch.testing.assert_close(got, expected)


@pytest.mark.parametrize(
    ("variance", "got"),
    [
        (torch.tensor([0.0, 1.0, -2.5, 1.0]).expand(2, 4), "-2.5"),
        (torch.tensor([0.0, 1.0, torch.nan, 1.0]).expand(2, 4), "nan"),
        (torch.ones(4), "[torch.Size([2, 4]), torch.Size([4])]"),
    ],
)
def test_a_pair_with_an_impossible_variance_or_of_two_shapes_is_a_value_error(variance, got):
    mean, layer = torch.ones(2, 4), FastDropoutLinear(4, 3)
    for call, name in (
        (lambda: layer((mean, variance)), "x"),
        (lambda: relu_moments(mean, variance), "mean and variance"),
        (lambda: sigmoid_moments(mean, variance), "mean and variance"),
    ):
        message = f"{name} must be {MOMENTS.allowed}, got {got}"
        with pytest.raises(ValueError, match=re.escape(message)):
            call()


def test_numbers_that_are_nan_give_nan_as_in_another_layer():
    mean, variance = FastDropoutLinear(4, 3)(torch.full((2, 4), torch.nan))
    assert mean.isnan().all()
    assert variance.isnan().all()
