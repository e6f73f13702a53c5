"""What every layer does, written once and run over all of them."""

import copy
import io
import math
import pickle
import re
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest
import torch
import torch.distributed
from chance import is_near
from commands import call
from layer_runs import DTYPES, in_vmap, output_and_gradient, under_seed
from repository import ROOT
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.proxy_tensor import make_fx

from lib.inference import masks_held, mc_samples, sampling
from lib.layers import (
    ConcreteDropout,
    DropBlock2d,
    DropConnectConv2d,
    DropConnectLinear,
    Dropout,
    FastDropoutLinear,
    FractalBlock,
    FractalJoin,
    GaussianDropout,
    MaxPoolDropout2d,
    RecurrentDropoutGRU,
    RecurrentDropoutLSTM,
    SpatialDropout,
    StochasticDepth,
    VariationalLinear,
)
from lib.side_by_side import SideBySide


class Joined(nn.Module):
    """A join of two paths that come from one input."""

    def __init__(self, keep_prob, gate):
        super().__init__()
        self.join = FractalJoin(keep_prob, gate)

    def forward(self, x):
        return self.join((x, -2 * x))


class Outputs(nn.Module):
    """A recurrent layer without its last state."""

    def __init__(self, keep_prob, kind=RecurrentDropoutLSTM, **settings):
        super().__init__()
        self.recurrent = kind(3, 2, keep_prob, batch_first=True, **settings)

    def forward(self, x):
        return self.recurrent(x)[0]


GRU = partial(Outputs, kind=RecurrentDropoutGRU)


def branch():
    return nn.Sequential(nn.Linear(3, 3), nn.Tanh())


def noisy(keep_prob):
    return VariationalLinear(3, 4, log_sigma2=-2.0, threshold=math.inf)


def relaxed(keep_prob, **settings):
    """A layer whose keep probability is learned, and so is never 1."""
    return ConcreteDropout(min(keep_prob, 0.999), **settings)


def moments(keep_prob):
    first = FastDropoutLinear(3, 5, keep_prob)
    return nn.Sequential(first, FastDropoutLinear(5, 4, keep_prob, None, passes="mean"))


# name: makes the layer for a keep probability; shape of one example
LAYERS = {
    "Dropout": (Dropout, (3,)),
    "Dropout, weight": (partial(Dropout, scaling="weight"), (3,)),
    "Dropout, a rate a unit": (lambda p: Dropout(torch.tensor([p, p, 1.0])), (3,)),
    "GaussianDropout": (GaussianDropout, (3,)),
    "ConcreteDropout": (relaxed, (3,)),
    "ConcreteDropout, maps": (partial(relaxed, spatial_dims=2), (3, 2, 2)),
    "SpatialDropout": (partial(SpatialDropout, spatial_dims=2), (3, 2, 2)),
    "DropBlock2d": (partial(DropBlock2d, 2), (3, 4, 5)),
    "DropBlock2d, all maps": (partial(DropBlock2d, 2, masks="example"), (3, 4, 5)),
    "StochasticDepth, batch": (lambda p: StochasticDepth(branch(), p), (3,)),
    "StochasticDepth, example": (lambda p: StochasticDepth(branch(), p, "example", "weight"), (3,)),
    "StochasticDepth, batch, computed": (lambda p: StochasticDepth(branch(), p, skip=False), (3,)),
    "StochasticDepth, example, computed": (
        lambda p: StochasticDepth(branch(), p, "example", skip=False),
        (3,),
    ),
    "FractalJoin, batch": (partial(Joined, gate="batch"), (3,)),
    "FractalJoin, example": (partial(Joined, gate="example"), (3,)),
    "FractalBlock, batch": (partial(FractalBlock, branch, 2), (3,)),
    "FractalBlock, batch, computed": (partial(FractalBlock, branch, 2, skip=False), (3,)),
    "FractalBlock, example": (partial(FractalBlock, branch, 2, gate="example"), (3,)),
    "MaxPoolDropout2d": (partial(MaxPoolDropout2d, 2), (2, 4, 4)),
    "MaxPoolDropout2d, overlapping": (partial(MaxPoolDropout2d, 3, stride=2, padding=1), (2, 4, 4)),
    "LSTM, state": (Outputs, (3, 3)),
    "LSTM, update": (partial(Outputs, recurrent="update"), (3, 3)),
    "LSTM, cell, step": (partial(Outputs, recurrent="cell", masks="step"), (3, 3)),
    "LSTM, weights": (partial(Outputs, recurrent="weights"), (3, 3)),
    "LSTM, two layers, both ways": (partial(Outputs, num_layers=2, bidirectional=True), (3, 3)),
    "GRU, state": (GRU, (3, 3)),
    "GRU, update, step, both ways": (
        partial(GRU, recurrent="update", masks="step", bidirectional=True),
        (3, 3),
    ),
    "GRU, weights, two layers": (partial(GRU, recurrent="weights", num_layers=2), (3, 3)),
    "DropConnectLinear": (partial(DropConnectLinear, 3, 4), (3,)),
    "DropConnectLinear, weight": (partial(DropConnectLinear, 3, 4, scaling="weight"), (3,)),
    "DropConnectLinear, batch": (partial(DropConnectLinear, 3, 4, masks="batch"), (3,)),
    "DropConnectConv2d": (partial(DropConnectConv2d, 2, 4, (2, 3), groups=2), (2, 4, 5)),
    "DropConnectConv2d, batch": (
        partial(DropConnectConv2d, 2, 4, 3, padding=1, padding_mode="reflect", masks="batch"),
        (2, 4, 5),
    ),
    "VariationalLinear": (noisy, (3,)),
    "FastDropoutLinear": (moments, (3,)),
}


def names(*without):
    return [name for name in LAYERS if not name.startswith(without)]


STOCHASTIC = names("FastDropoutLinear")
# One draw for a whole call: two calls may well draw the same.
ONE_DRAW = [name for name in LAYERS if ", batch" in name or ", weights" in name]
NEEDS_A_BATCH = [name for name in LAYERS if "example" in name]
ANY_LEADING_SHAPE = [name for name, (_, example) in LAYERS.items() if example == (3,)]
# For others it is an approximation.
EVAL_IS_THE_MEAN = names("LSTM", "GRU", "FastDropoutLinear", "ConcreteDropout", "DropBlock2d")
# Others draw a column, or noise that knows no keep probability, or ask no tensor what it holds.
KEEPS_ALL_AT_ONE = names(
    *("FractalBlock", "VariationalLinear", "Dropout, a rate", "ConcreteDropout")
)

every_layer = pytest.mark.parametrize("name", LAYERS)
every_stochastic_layer = pytest.mark.parametrize("name", STOCHASTIC)


def made(name, batch=16, dtype=torch.float32, keep_prob=0.5):
    """A layer in training mode, and a batch for it."""
    make, example = LAYERS[name]
    return make(keep_prob).to(dtype), torch.randn(batch, *example, dtype=dtype)


def saved_and_loaded(layer):
    file = io.BytesIO()
    torch.save(layer, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


# Modes


@every_stochastic_layer
def test_training_draws_anew_at_each_call(name):
    layer, x = made(name)
    outputs = [layer(x) for _ in range(20)]
    assert len({output.detach().numpy().tobytes() for output in outputs}) > 1
    if name not in ONE_DRAW:
        assert not torch.equal(outputs[0], outputs[1])


@every_layer
def test_the_seed_of_torch_decides_on_what_is_drawn(name):
    layer, x = made(name)
    assert torch.equal(under_seed(layer, x, 3), under_seed(layer, x, 3))


@every_layer
def test_eval_is_deterministic_and_draws_nothing(name):
    layer, x = made(name)
    before = torch.get_rng_state()
    assert torch.equal(layer.eval()(x), layer(x))
    assert torch.equal(torch.get_rng_state(), before)


@every_stochastic_layer
def test_inside_sampling_it_draws_and_batch_norm_stays_in_eval(name):
    layer, x = made(name)
    net = nn.Sequential(layer, nn.Flatten(), nn.LazyBatchNorm1d())
    net(x)
    before = copy.deepcopy(net.eval().state_dict())
    with sampling(net):
        outputs = [net(x) for _ in range(20)]
    assert len({output.detach().numpy().tobytes() for output in outputs}) > 1
    assert not any(module.training for module in net.modules())
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())


@every_stochastic_layer
def test_inside_masks_held_each_call_repeats_the_first_and_the_next_block_draws_anew(name):
    layer, x = made(name)
    outputs = []
    for _ in range(20):
        with masks_held(layer):
            outputs.append(layer(x))
            assert torch.equal(layer(x), outputs[-1])
    assert len({output.detach().numpy().tobytes() for output in outputs}) > 1


@every_stochastic_layer
def test_samples_with_the_same_masks_are_equal_for_equal_examples(name):
    layer, x = made(name, batch=1)
    samples = mc_samples(layer, torch.cat(4 * [x]), 20, same_masks=True)
    torch.testing.assert_close(samples, samples[:, :1].expand_as(samples))
    assert len(samples.flatten(1).unique(dim=0)) > 1


@pytest.mark.parametrize("name", EVAL_IS_THE_MEAN)
def test_eval_is_the_mean_of_training(name):
    layer, x = made(name, batch=4, dtype=torch.float64, keep_prob=0.7)
    samples, n = mc_samples(layer, x, 5000), 5000
    assert is_near(samples.mean(dim=0), layer.eval()(x).detach(), samples.std(dim=0), n)


@pytest.mark.parametrize("name", KEEPS_ALL_AT_ONE)
def test_with_keep_prob_one_training_is_eval_and_draws_nothing(name):
    layer, x = made(name, keep_prob=1)
    before = torch.get_rng_state()
    torch.testing.assert_close(layer(x), layer.eval()(x))
    assert torch.equal(torch.get_rng_state(), before)


@every_layer
@pytest.mark.parametrize("training", [True, False])
def test_a_call_changes_neither_its_input_nor_the_layer(name, training):
    layer, x = made(name)
    before, state = x.clone(), copy.deepcopy(layer.state_dict())
    layer.train(training)(x)
    assert torch.equal(x, before)
    assert all(torch.equal(value, state[key]) for key, value in layer.state_dict().items())
    assert all(module.training == training for module in layer.modules())


# Dtypes, devices, shapes


@every_layer
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("training", [True, False])
def test_the_output_has_the_dtype_of_the_input_and_is_finite(name, dtype, training):
    layer, x = made(name, dtype=dtype)
    y = layer.train(training)(x)
    assert y.dtype == dtype
    assert y.isfinite().all()


@every_layer
@pytest.mark.parametrize(
    ("dtype", "keep_prob"), [(torch.float32, 1e-9), (torch.float16, 1e-8), (torch.bfloat16, 1e-8)]
)
def test_a_tiny_keep_prob_gives_finite_outputs_and_gradients(name, dtype, keep_prob):
    layer, x = made(name, dtype=dtype, keep_prob=keep_prob)
    for each in output_and_gradient(layer, x):
        assert each.isfinite().all()
    assert all(w.grad is None or w.grad.isfinite().all() for w in layer.parameters())


@every_layer
@pytest.mark.parametrize("dtype", [torch.int64, torch.bool, torch.complex64], ids=str)
def test_an_input_that_is_not_floating_point_is_an_error_in_training(name, dtype):
    layer, x = made(name, batch=4)
    with pytest.raises((TypeError, RuntimeError), match="dtype"):
        layer(x.to(dtype))


@every_layer
def test_an_input_that_is_no_tensor_is_an_error_in_training(name):
    layer, x = made(name, batch=4)
    with pytest.raises(TypeError, match="must be .*[tT]ensor"):
        layer(x.numpy())


@every_layer
@pytest.mark.parametrize("training", [True, False])
def test_an_input_in_pieces_of_memory_gives_the_same_output_and_gradient(name, training):
    layer, x = made(name)
    apart = torch.stack([x, x], dim=-1)[..., 0]
    run = partial(output_and_gradient, layer.train(training))
    for got, expected in zip(under_seed(run, apart), under_seed(run, x), strict=True):
        torch.testing.assert_close(got, expected)


@every_layer
@pytest.mark.parametrize("training", [True, False])
def test_an_empty_batch_comes_back_empty(name, training):
    layer, x = made(name)
    expected = layer.eval()(x).shape[1:]
    assert layer.train(training)(x[:0]).shape == (0, *expected)


@pytest.mark.parametrize("name", [name for name in LAYERS if name not in NEEDS_A_BATCH])
def test_an_example_without_a_batch_is_treated_as_a_batch_of_one(name):
    layer, x = made(name, batch=1)
    for mode in (layer.train(), layer.eval()):
        torch.testing.assert_close(under_seed(mode, x[0]), under_seed(mode, x)[0])


@pytest.mark.parametrize("name", ANY_LEADING_SHAPE)
def test_a_batch_may_have_several_dimensions(name):
    layer, _ = made(name)
    x = torch.randn(2, 5, 3)
    y = layer(x)
    expected = layer.eval()(x.flatten(0, 1))
    assert y.shape[:-1] == (2, 5)
    torch.testing.assert_close(layer(x).flatten(0, 1), expected)


NO_EXAMPLES = "must have a first dimension of examples"
NO_TIME = "at least one step in time, got {}"
NO_SEQUENCE = "x must have shape ({}, 3) or (time, 3), got {{}}"
IN_TIME, IN_BATCHES = (RecurrentDropoutLSTM(3, 4, batch_first=first) for first in (False, True))
# A layer, what it says, and shapes of which it says that.
REFUSED = [
    (StochasticDepth(nn.Tanh(), 0.5, "example"), NO_EXAMPLES, [()]),
    (Joined(0.5, "example"), NO_EXAMPLES, [()]),
    (FractalBlock(nn.Tanh, 2, gate="example"), NO_EXAMPLES, [()]),
    (IN_TIME, NO_SEQUENCE.format("time, batch"), [(5, 2, 4), (3,), (1, 5, 2, 3), ()]),
    (IN_BATCHES, NO_SEQUENCE.format("batch, time"), [(5, 2, 4)]),
    *((IN_TIME, NO_TIME, [(0, 2, 3)]), (IN_BATCHES, NO_TIME, [(2, 0, 3), (0, 3)])),
]
for p in (0.5, 1):
    block = DropBlock2d(2, p)
    REFUSED += [(block, "width), with pixels, got {}", [(), (6, 6), (2, 0, 3), (1, 2, 3, 4, 5)])]
    pool, of_maps = MaxPoolDropout2d((5, 4), p, padding=(1, 2)), "(channels, height, width), got {}"
    small = "at least as large as kernel_size (5, 4), got shape {}"
    REFUSED += [
        (pool, of_maps, [(), (6,), (6, 6), (2, 3, 4, 6, 6)]),
        (pool, small, [(1, 2, 6), (2, 1, 2, 6), (1, 0, 6), (0, 1, 6, 0)]),
        (SpatialDropout(p), "at least 3 dimensions, got {}", [(), (2,), (2, 2)]),
    ]
    for k in (1, 2, 3):
        wrong = [(2,) * rank for rank in range(7) if rank not in (k + 1, k + 2)]
        REFUSED += [(SpatialDropout(p, k), f"{k + 2} or {k + 1} dimensions, got {{}}", wrong)]


@pytest.mark.parametrize(("layer", "message", "shapes"), REFUSED)
@pytest.mark.parametrize("training", [True, False])
def test_an_input_of_a_shape_that_does_not_fit_is_a_value_error(layer, message, shapes, training):
    for shape in shapes:
        with pytest.raises(ValueError, match=re.escape(message.format(shape))):
            layer.train(training)(torch.ones(shape))


OF_IMAGES = [
    *(Dropout(), GaussianDropout(), SpatialDropout(), MaxPoolDropout2d(2), DropBlock2d(3)),
    *(ConcreteDropout(), ConcreteDropout(spatial_dims=2)),
    DropConnectConv2d(3, 5, 3, masks="batch"),  # with a mask for each example, a plain copy
    *(StochasticDepth(nn.Tanh(), 0.5, gate) for gate in ("batch", "example")),
    *(FractalBlock(nn.Tanh, 2, 0.5, gate=gate) for gate in ("batch", "example")),
]


@pytest.mark.parametrize("layer", OF_IMAGES, ids=repr)
@pytest.mark.parametrize("training", [True, False])
def test_channels_last_stays_channels_last(layer, training):
    x = torch.randn(4, 3, 6, 8).to(memory_format=torch.channels_last)
    for _ in range(8):
        assert layer.train(training)(x).is_contiguous(memory_format=torch.channels_last)


@every_layer
@pytest.mark.parametrize("training", [True, False])
def test_without_numbers_shapes_are_known(name, training):
    """On the meta device, and of fake tensors."""
    layer, x = made(name)
    expected = layer.train(training)(x).shape
    with FakeTensorMode(allow_non_fake_inputs=True):
        assert layer(torch.empty_like(x)).shape == expected
    y = layer.to("meta")(x.to("meta"))
    assert (y.device.type, y.shape) == ("meta", expected)


@every_layer
def test_it_computes_where_its_input_is_whatever_the_default_device(name):
    layer, x = made(name)
    expected = under_seed(layer, x)
    with torch.device("meta"):
        y = under_seed(layer, x)
    assert torch.equal(y, expected)


on_a_graphics_card = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


@on_a_graphics_card
@every_layer
def test_on_a_graphics_card(name):
    layer, x = made(name)
    for mode in (layer.cuda().train(), layer.eval()):
        y = mode(x.cuda())
        assert y.device.type == "cuda"
        assert y.isfinite().all()


@on_a_graphics_card
@every_layer
@pytest.mark.parametrize("training", [True, False])
def test_a_graphics_card_is_never_waited_for(name, training):
    """Nothing is copied to it at a call either, a keep probability say, but numbers of rows."""
    layer, x = made(name)
    layer, x = layer.cuda().train(training), x.cuda().requires_grad_()
    layer(x).sum().backward()
    torch.cuda.set_sync_debug_mode("error")
    try:
        for _ in range(8):
            layer(x).sum().backward()
    finally:
        torch.cuda.set_sync_debug_mode("default")


# Copies


@every_layer
@pytest.mark.parametrize(
    "copy_of", [copy.copy, copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x)), saved_and_loaded]
)
@pytest.mark.parametrize("training", [True, False])
def test_a_copy_does_the_same(name, copy_of, training):
    layer, x = made(name)
    layer.train(training)
    other = copy_of(layer)
    assert repr(other) == repr(layer)
    assert other.training == training
    assert torch.equal(under_seed(other, x), under_seed(layer, x))


@every_layer
def test_a_state_dict_carries_over_what_was_learned(name):
    layer, x = made(name)
    other = LAYERS[name][0](0.5)
    other.load_state_dict(layer.state_dict())
    assert torch.equal(other.eval()(x), layer.eval()(x))


PRINTED = [
    "Dropout(keep_prob=0.3, scaling='weight')",
    "GaussianDropout(keep_prob=0.3)",
    "ConcreteDropout(keep_prob=0.3, temperature=0.1, spatial_dims=2)",
    "DropBlock2d(block_size=3, keep_prob=0.3, masks='example')",
    "SpatialDropout(keep_prob=0.3)",
    "SpatialDropout(keep_prob=0.3, spatial_dims=2)",
    "FractalJoin(keep_prob=0.3, gate='example')",
    "MaxPoolDropout2d(kernel_size=(2, 2), keep_prob=0.3, stride=(2, 2), padding=(0, 0))",
    "RecurrentDropoutLSTM(input_size=3, hidden_size=4, keep_prob=0.3, recurrent_keep_prob=0.9, "
    "masks='sequence', num_layers=1, bias=True, batch_first=False, bidirectional=False, "
    "recurrent='state')",
    "RecurrentDropoutGRU(input_size=3, hidden_size=4, keep_prob=0.3, recurrent_keep_prob=0.9, "
    "between_keep_prob=0.5, masks='step', num_layers=2, bias=True, batch_first=True, "
    "bidirectional=True, recurrent='update')",
    "DropConnectLinear(in_features=4, out_features=3, bias=False, keep_prob=0.3, scaling='weight', "
    "masks='example')",
    "DropConnectConv2d(in_channels=4, out_channels=3, kernel_size=(2, 3), keep_prob=0.3, "
    "stride=(1, 2), padding=(0, 1), dilation=(1, 1), groups=1, bias=False, "
    "padding_mode='circular', scaling='weight', masks='batch')",
    "VariationalLinear(in_features=4, out_features=2, bias=True, threshold=2)",
    "FastDropoutLinear(in_features=4, out_features=3, bias=True, keep_prob=0.3, activation='relu', "
    "passes='moments')",
]


@pytest.mark.parametrize("text", PRINTED)
def test_the_printed_layer_is_the_call_that_makes_it(text):
    assert repr(eval(text)) == text


def test_a_printed_block_says_its_settings_and_its_branch():
    printed = repr(StochasticDepth(nn.Tanh(), 0.3, "example", "weight"))
    settings = "survival_prob=0.3, gate='example', scaling='weight', skip=True"
    assert printed == f"StochasticDepth(\n  {settings}\n  (branch): Tanh()\n)"


OURS_AND_TORCHS = [
    *((make, nn.Dropout) for make in (Dropout, GaussianDropout, SpatialDropout)),
    (partial(Dropout, torch.tensor([0.5, 0.9])), nn.Dropout),
    (partial(DropConnectLinear, 4, 3), partial(nn.Linear, 4, 3)),
    (partial(DropConnectLinear, 4, 3, bias=False), partial(nn.Linear, 4, 3, bias=False)),
    (partial(DropConnectConv2d, 4, 3, 2), partial(nn.Conv2d, 4, 3, 2)),
    (partial(VariationalLinear, 4, 3), partial(nn.Linear, 4, 3)),
    (partial(RecurrentDropoutLSTM, 4, 3), partial(nn.LSTM, 4, 3)),
    (
        partial(RecurrentDropoutLSTM, 4, 3, num_layers=2, bidirectional=True, bias=False),
        partial(nn.LSTM, 4, 3, num_layers=2, bidirectional=True, bias=False),
    ),
    (
        partial(RecurrentDropoutGRU, 4, 3, num_layers=2, bidirectional=True),
        partial(nn.GRU, 4, 3, num_layers=2, bidirectional=True),
    ),
]


@pytest.mark.parametrize(("ours", "torchs"), OURS_AND_TORCHS)
def test_names_and_first_values_of_the_weights_are_those_of_torchs_layer(ours, torchs):
    weights, expected = (
        under_seed(lambda _, make=make: make().state_dict(), None) for make in (ours, torchs)
    )
    assert weights.keys() - {"log_sigma2"} == expected.keys()
    assert all(torch.equal(weights[name], value) for name, value in expected.items())


@every_layer
def test_parameters_reset_are_those_of_a_new_layer(name):
    """As after the device meta, from which a layer comes without any."""
    layer = made(name)[0].to("meta").to_empty(device="cpu")
    for parameter in layer.parameters():
        nn.init.constant_(parameter, torch.nan)
    torch.manual_seed(3)
    for module in layer.modules():
        if module._parameters:
            module.reset_parameters()
    torch.manual_seed(3)
    for parameter, expected in zip(
        layer.parameters(), LAYERS[name][0](0.5).parameters(), strict=True
    ):
        assert torch.equal(parameter, expected)


# Gradients


@every_layer
@pytest.mark.parametrize("training", [True, False])
def test_first_and_second_derivatives_agree_with_finite_differences(name, training):
    layer, x = made(name, batch=2, dtype=torch.float64)
    layer.train(training)
    parameters = dict(layer.named_parameters())

    def run(x, *values):
        state = dict(zip(parameters, values, strict=True))
        torch.manual_seed(0)
        return torch.func.functional_call(layer, state, (x,))

    inputs = [each.detach().requires_grad_() for each in (x, *parameters.values())]
    assert torch.autograd.gradcheck(run, inputs)
    assert torch.autograd.gradgradcheck(run, inputs, fast_mode=True)


@every_layer
def test_a_checkpoint_draws_the_same_again_for_the_gradient(name):
    layer, x = made(name)
    results = []
    for run in (layer, partial(torch.utils.checkpoint.checkpoint, layer, use_reentrant=False)):
        given = x.clone().requires_grad_()
        torch.manual_seed(0)
        output = run(given)
        results.append((output, torch.autograd.grad(output.sum(), given)[0]))
    for plain, checkpointed in zip(*results, strict=True):
        torch.testing.assert_close(plain, checkpointed)


# torch.func


@every_layer
def test_functional_gradients_are_those_of_autograd(name):
    layer, x = made(name, batch=4)
    for seed in range(5):
        gradient = under_seed(torch.func.grad(lambda x: layer(x).sum()), x, seed)
        _, expected = under_seed(partial(output_and_gradient, layer), x, seed)
        torch.testing.assert_close(gradient, expected)


@every_stochastic_layer
def test_under_vmap_models_draw_the_same_where_the_same_randomness_is_asked_for(name):
    layer, x = made(name, batch=4)
    y = in_vmap(lambda _: layer(x), torch.arange(20), "same")
    assert (y == y[0]).all()


@every_layer
def test_side_by_side_each_net_computes_and_learns_what_it_does_alone(name):
    nets = [made(name)[0] for _ in range(3)]
    stack, x = SideBySide(nets), torch.stack([made(name)[1] for _ in nets]).requires_grad_()
    stack(x).square().sum().backward()  # in training
    assert all(w.grad.isfinite().all() for w in (x, *stack.parameters()))
    stack.eval().zero_grad()
    together = stack(x)
    together.square().sum().backward()
    for i, net in enumerate(nets):
        alone = net.eval()(x[i])
        torch.testing.assert_close(together[i], alone)
        alone.square().sum().backward()
        for key, w in net.named_parameters():
            gradients = stack.net.get_parameter(key).grad
            torch.testing.assert_close(gradients if gradients is None else gradients[i], w.grad)


@every_stochastic_layer
def test_under_vmap_each_model_draws_for_itself(name):
    layer, x = made(name, batch=4)
    y = in_vmap(lambda _: layer(x), torch.arange(20), "different")
    assert y.shape == (20, *layer.eval()(x).shape)
    assert len(y.detach().flatten(1).unique(dim=0)) > (1 if name in ONE_DRAW else 10)


@every_layer
def test_per_example_gradients_are_those_of_each_example_alone(name):
    layer, x = made(name, batch=4)
    layer.eval()
    state = dict(layer.named_parameters()) | dict(layer.named_buffers())

    def loss(x):
        return torch.func.functional_call(layer, state, (x[None],)).sum()

    gradients = torch.vmap(torch.func.grad(loss))(x)
    given = x.clone().requires_grad_()
    (expected,) = torch.autograd.grad(layer(given).sum(), given)
    torch.testing.assert_close(gradients, expected)


# Deployment


@every_layer
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("size", [1, 300])  # the square of 300 is too large for float16
def test_it_trains_under_autocast(name, dtype, size):
    layer, x = made(name)
    x = (size * x).requires_grad_()
    with torch.autocast("cpu", dtype):
        y = layer(x)
    y.float().sum().backward()
    for each in (y, x.grad, *(w.grad for w in layer.parameters())):
        assert each is None or each.isfinite().all()


@every_layer
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_eval_under_autocast_is_eval_up_to_rounding(name, dtype):
    layer, x = made(name)
    expected = layer.eval()(x)
    with torch.autocast("cpu", dtype):
        y = layer(x)
    torch.testing.assert_close(y.float(), expected, rtol=0.02, atol=0.02)


# What is drawn decides on what is computed: Python has to know it.
BREAK_THE_GRAPH = {"StochasticDepth, batch", "StochasticDepth, example", "FractalBlock, batch"}


@every_layer
def test_it_compiles(name):
    """Traced, not turned into machine code, which would take a minute."""
    torch._dynamo.reset()  # it compiles one function a few times only
    layer, x = made(name)
    fullgraph = name not in BREAK_THE_GRAPH
    compiled = torch.compile(layer, backend="aot_eager", fullgraph=fullgraph)
    given = x.clone().requires_grad_()
    y = compiled(given)
    y.sum().backward()
    assert given.grad.isfinite().all()
    torch.testing.assert_close(compiled.eval()(x), layer.eval()(x))


@every_layer
@pytest.mark.parametrize("training", [True, False])
def test_a_program_compiled_for_any_batch_serves_every_batch(name, training):
    if training and name in BREAK_THE_GRAPH:
        pytest.skip("is compiled for each part of the graph when it is first drawn")
    if name.startswith("DropConnectConv2d"):
        pytest.skip("torch's convolution is compiled anew below 16 examples")
    layer, x = made(name)
    compiled = torch.compile(layer.train(training), backend="eager", dynamic=True)
    compiled(x)
    with torch.compiler.set_stance("fail_on_recompile"):
        for n in (5, 9):
            assert compiled(x[:n]).shape == layer(x[:n]).shape


FREE_BATCH = ({0: torch.export.Dim("batch")},)


@every_layer
def test_a_program_exported_in_eval_computes_the_same_for_any_batch(name):
    layer, x = made(name)
    program = torch.export.export(layer.eval(), (x,), dynamic_shapes=FREE_BATCH).module()
    for given in (x, x[:5]):
        torch.testing.assert_close(program(given), layer(given))


@every_stochastic_layer
def test_a_program_exported_in_training_draws_anew_for_any_batch(name):
    layer, x = made(name)
    program = torch.export.export(layer, (x,), dynamic_shapes=FREE_BATCH).module()
    outputs = [program(x[:5]).detach() for _ in range(20)]
    assert outputs[0].shape == layer(x[:5]).shape
    assert len({output.numpy().tobytes() for output in outputs}) > 1


@every_stochastic_layer
@pytest.mark.filterwarnings(
    "ignore::torch.jit.TracerWarning", "ignore:.*torch.jit:DeprecationWarning"
)
def test_a_program_traced_in_training_draws_anew(name):
    layer, x = made(name)
    traced = torch.jit.trace(layer, (x,), check_trace=False)
    assert len({traced(x).detach().numpy().tobytes() for _ in range(20)}) > 1


@every_stochastic_layer
@pytest.mark.parametrize("mode", ["real", "symbolic"])
def test_a_graph_of_its_operations_draws_anew(name, mode):
    """With symbolic sizes for any batch."""
    layer, x = made(name)
    state = dict(layer.named_parameters()) | dict(layer.named_buffers())
    call = partial(torch.func.functional_call, layer)
    graph = make_fx(lambda state, x: call(state, (x,)), tracing_mode=mode)(state, x)
    given = x[:5] if mode == "symbolic" else x
    outputs = [graph(state, given).detach() for _ in range(20)]
    assert outputs[0].shape == layer(given).shape
    assert len({output.numpy().tobytes() for output in outputs}) > 1


@pytest.fixture(scope="module")
def alone():
    """A group of processes for training in parallel, of which there is one."""
    torch.distributed.init_process_group(
        "gloo", store=torch.distributed.HashStore(), rank=0, world_size=1
    )
    yield
    torch.distributed.destroy_process_group()


# What was skipped has no gradient, for which DistributedDataParallel waits.
LEAVE_OUT = {"StochasticDepth, batch", "FractalBlock, batch"}
LEARN = [name for name in names(*LEAVE_OUT) if list(made(name)[0].parameters())]


@pytest.mark.usefixtures("alone")
@pytest.mark.parametrize("name", [*LEARN, *(f"{name}, computed" for name in sorted(LEAVE_OUT))])
def test_it_trains_in_parallel(name):
    layer, x = made(name)
    parallel = nn.parallel.DistributedDataParallel(layer)
    for _ in range(8):
        parallel(x).sum().backward()
    assert all(w.grad is not None for w in layer.parameters())


@pytest.mark.slow
def test_two_processes_that_draw_gates_of_their_own_learn_the_same_weights(tmp_path):
    script = ROOT / "tests" / "helpers" / "parallel_training.py"
    run = partial(call, cwd=tmp_path, PYTHONPATH=str(ROOT))
    with ThreadPoolExecutor() as pool:
        ranks = [pool.submit(run, sys.executable, script, rank, "store") for rank in "01"]
    (code, said), (other_code, other_said) = (rank.result() for rank in ranks)
    assert (code, other_code) == (0, 0), said + other_said
    assert said.splitlines()[-1] == other_said.splitlines()[-1]
