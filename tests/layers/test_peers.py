"""What the tests of torch, Keras, torchvision and timm ask of their dropout, asked of ours.

What is asked of every layer stands in the contract: dtypes, seeds, copies, shapes without a batch
and without examples, whole channels. What they have and we do not is listed in `ABSENT`.
"""

from functools import partial

import numpy as np
import pytest
import torch
from chance import is_near
from layer_runs import output_and_gradient, under_seed
from torch import nn

from lib.layers import (
    DropConnectLinear,
    Dropout,
    FastDropoutLinear,
    FractalJoin,
    GaussianDropout,
    RecurrentDropoutLSTM,
    SpatialDropout,
    StochasticDepth,
    VariationalLinear,
    linear_survival,
)

keep_probs = pytest.mark.parametrize("keep_prob", [0.2, 0.5, 0.8])
UNITS = {
    "Dropout": Dropout,
    "Dropout, weight": partial(Dropout, scaling="weight"),
    "GaussianDropout": GaussianDropout,
    "SpatialDropout": SpatialDropout,
}
every_layer_of_units = pytest.mark.parametrize("make", UNITS.values(), ids=UNITS)


# torch


@keep_probs
@every_layer_of_units
def test_the_gradient_has_the_mean_that_it_has_in_eval(make, keep_prob):
    layer, x = make(keep_prob), torch.full((500, 200, 1), 0.5)
    _, gradient = output_and_gradient(layer, x)
    _, expected = output_and_gradient(layer.eval(), x)
    assert is_near(gradient.mean(), expected.mean(), gradient.std(), gradient.numel())


LAYOUTS = {
    "transposed": lambda x: x.transpose(0, 1),
    "every second": lambda x: x[:, ::2],
    "channels last": lambda x: x.to(memory_format=torch.channels_last),
    "expanded": lambda x: x[:1].expand_as(x),
    "reversed": lambda x: x.flip(-1).transpose(-1, -2),
}


@pytest.mark.parametrize("make", [Dropout, SpatialDropout])  # Gaussian noise goes by the layout
@pytest.mark.parametrize("lay_out", LAYOUTS.values(), ids=LAYOUTS)
def test_where_an_input_lies_in_memory_changes_no_number(make, lay_out):
    layer, x = make(0.5), lay_out(torch.randn(4, 6, 5, 3))
    torch.testing.assert_close(under_seed(layer, x), under_seed(layer, x.contiguous()))


@every_layer_of_units
@pytest.mark.parametrize("keep_prob", [1 - 1e-10, 1])
def test_with_a_keep_prob_of_as_good_as_one_the_input_comes_back(make, keep_prob):
    x = torch.randn(10, 4, 3)
    torch.testing.assert_close(make(keep_prob)(x), x, rtol=1e-4, atol=0)


@pytest.mark.parametrize("spatial_dims", [1, 2, 3])
@keep_probs
def test_channels_are_kept_whole_as_often_as_keep_prob_says(spatial_dims, keep_prob):
    layer = SpatialDropout(keep_prob, spatial_dims)
    y = layer(torch.ones(500, 8, *(2,) * spatial_dims)).flatten(2)
    assert (y == y[..., :1]).all()
    kept = (y[..., 0] > 0).double()
    assert is_near(kept.mean(), keep_prob, np.sqrt(keep_prob * (1 - keep_prob)), kept.numel())


WITH_WEIGHTS = {
    "DropConnectLinear": partial(DropConnectLinear, 4, 3),
    "VariationalLinear": partial(VariationalLinear, 4, 3),
    "FastDropoutLinear": partial(FastDropoutLinear, 4, 3),
    "RecurrentDropoutLSTM": partial(RecurrentDropoutLSTM, 4, 3),
}


@pytest.mark.parametrize("make", WITH_WEIGHTS.values(), ids=WITH_WEIGHTS)
def test_weights_are_made_of_the_dtype_and_on_the_device_asked_for(make):
    assert {w.dtype for w in make(dtype=torch.float64).parameters()} == {torch.float64}
    assert {w.device.type for w in make(device="meta").parameters()} == {"meta"}
    with torch.device("meta"):
        assert {w.device.type for w in make().parameters()} == {"meta"}


# Keras


@keep_probs
@pytest.mark.parametrize("make", [Dropout, SpatialDropout, partial(SpatialDropout, spatial_dims=1)])
def test_what_is_kept_is_scaled_by_exactly_one_over_keep_prob(make, keep_prob):
    y = make(keep_prob)(torch.ones(20, 50, 10))
    assert y.unique().tolist() == [0, torch.tensor(1 / keep_prob).item()]


@keep_probs
def test_gaussian_noise_has_the_standard_deviation_of_the_mask(keep_prob):
    y, n = GaussianDropout(keep_prob)(torch.ones(20, 5000)).double(), 100_000
    variance = (1 - keep_prob) / keep_prob
    assert is_near(y.mean(), 1, np.sqrt(variance), n)
    assert is_near((y - 1).square().mean(), variance, np.sqrt(2) * variance, n)


def test_masks_of_a_sequence_are_shared_by_its_steps_and_by_no_other_sequence():
    y = SpatialDropout(0.5, 1)(torch.ones(30, 6, 10))  # (batch, features, steps)
    assert (y == y[..., :1]).all()
    assert len(y[..., 0].unique(dim=0)) > 10


# torchvision and timm


@keep_probs
@pytest.mark.parametrize("gate", ["batch", "example"])
@pytest.mark.parametrize("skip", [True, False])
def test_branches_survive_as_often_as_survival_prob_says(gate, skip, keep_prob):
    layer, n = StochasticDepth(nn.Identity(), keep_prob, gate, skip=skip), 500
    x = torch.ones(n if gate == "example" else 3, 2)
    y = layer(x) if gate == "example" else torch.stack([layer(x) for _ in range(n)])[:, 0]
    kept = (y[:, 0] > 1).double()
    assert is_near(kept.mean(), keep_prob, np.sqrt(keep_prob * (1 - keep_prob)), n)
    values = torch.tensor([1, 1 + 1 / keep_prob])
    torch.testing.assert_close(y.unique(), values)


def test_survival_falls_by_the_same_amount_from_block_to_block_to_the_last():
    probs = np.array(linear_survival(12, 0.8))
    np.testing.assert_allclose(np.diff(probs), probs[0] - 1)
    assert probs[-1] == 0.8


# What they have

ABSENT = {
    "dropping everything": (lambda: Dropout(0), ValueError),
    "dropping everything, of a branch": (lambda: StochasticDepth(nn.Identity(), 0), ValueError),
    "dropping everything, of a join": (lambda: FractalJoin(0), ValueError),
    "working in place": (lambda: Dropout(0.5, inplace=True), TypeError),
    "a mask of a shape of one's own": (lambda: Dropout(0.5, noise_shape=(None, 1)), TypeError),
    "a seed of its own": (lambda: Dropout(0.5, seed=1), TypeError),
    "a mode by argument": (lambda: Dropout(0.5)(torch.ones(3), training=False), TypeError),
    "scaling as one likes": (lambda: StochasticDepth(nn.Identity(), scaling=False), ValueError),
    "nested tensors": (
        lambda: Dropout(0.5)(torch.nested.nested_tensor([torch.ones(2), torch.ones(3)])),
        (RuntimeError, TypeError, ValueError),
    ),
    "TorchScript": (lambda: torch.jit.script(Dropout(0.5)), RuntimeError),
    "symbolic traces": (lambda: torch.fx.symbolic_trace(Dropout(0.5)), torch.fx.proxy.TraceError),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("call", "error"), ABSENT.values(), ids=ABSENT)
def test_what_is_absent_is_an_error_and_nothing_else(call, error):
    with pytest.raises(error):
        call()
