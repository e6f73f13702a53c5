"""What holds for the LSTM with recurrent dropout."""

import re

import numpy as np
import pytest
import torch
from chance import is_near
from layer_runs import under_seed
from torch import nn

from lib.inference import stochastic_layers
from lib.layers import Dropout, RecurrentDropoutLSTM, StochasticLayer

PLACES = ["state", "update", "cell", "weights"]
MASKS = ["sequence", "step"]
every_place = pytest.mark.parametrize("recurrent", PLACES)
every_kind = pytest.mark.parametrize("masks", MASKS)


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def double_layer(*args, **kwargs):
    return RecurrentDropoutLSTM(*args, **kwargs, dtype=torch.float64)


def torchs(layer):
    plain = nn.LSTM(
        layer.input_size,
        layer.hidden_size,
        bias=layer.bias,
        batch_first=layer.batch_first,
        dtype=layer.weight_hh_l0.dtype,
    )
    plain.load_state_dict(layer.state_dict())
    return plain


def outputs_and_gradients(model, x, state):
    x = x.clone().requires_grad_()
    output, last = model(x, state)
    loss = (output * torch.arange(output.numel()).view(output.shape)).sum()
    loss = loss + last[0].square().sum() + last[1].sum()
    gradients = torch.autograd.grad(loss, [x, *model.parameters()])
    return [output, *last, *gradients]


# Without masks: torch's LSTM


@every_place
@every_kind
@pytest.mark.parametrize("keep_prob", [1.0, "eval"])
def test_without_masks_outputs_and_gradients_are_those_of_torch(recurrent, masks, keep_prob):
    probability = 0.3 if keep_prob == "eval" else 1
    layer = double_layer(3, 4, probability, masks=masks, recurrent=recurrent)
    layer.train(keep_prob != "eval")
    x = torch.randn(6, 5, 3, dtype=torch.float64)
    state = tuple(torch.randn(2, 1, 5, 4, dtype=torch.float64))
    before = torch.get_rng_state()
    ours = outputs_and_gradients(layer, x, state)
    assert torch.equal(torch.get_rng_state(), before)
    for got, expected in zip(ours, outputs_and_gradients(torchs(layer), x, state), strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(
    ("batch_first", "shape"),
    [
        *((first, shape) for first in (True, False) for shape in [(6, 5, 3), (6, 3), (1, 1, 3)]),
        (True, (0, 6, 3)),
        (False, (6, 0, 3)),
    ],
)
@pytest.mark.parametrize("with_state", [True, False])
def test_shapes_and_values_are_those_of_torch(bias, batch_first, shape, with_state):
    layer = double_layer(3, 4, bias=bias, batch_first=batch_first).eval()
    x, state = torch.randn(shape, dtype=torch.float64), None
    if with_state:
        batch = (shape[0 if batch_first else 1],) if len(shape) == 3 else ()
        state = tuple(torch.randn(2, 1, *batch, 4, dtype=torch.float64))
    output, last = layer(x, state)
    expected, expected_last = torchs(layer)(x, state)
    for got, wanted in zip((output, *last), (expected, *expected_last), strict=True):
        assert got.shape == wanted.shape
        torch.testing.assert_close(got, wanted, rtol=1e-10, atol=1e-10)


def test_names_and_first_values_of_the_weights_are_those_of_torch():
    ours = under_seed(lambda _: RecurrentDropoutLSTM(3, 4), None)
    plain = under_seed(lambda _: nn.LSTM(3, 4), None)
    assert ours.state_dict().keys() == plain.state_dict().keys()
    for name, value in plain.state_dict().items():
        assert torch.equal(ours.state_dict()[name], value)


def test_without_bias_it_has_none():
    assert len(RecurrentDropoutLSTM(3, 4, bias=False).state_dict()) == 2


# The masks, read off


def gated(hidden_size, keep_prob, **settings):
    """Gates wide open or shut, so that c_t = f c_{t-1} + tanh(W x_t + U h_{t-1}), W = U = 0."""
    layer = double_layer(hidden_size, hidden_size, 1, keep_prob, **settings).requires_grad_(False)
    for parameter in layer.parameters():
        parameter.zero_()
    i, f, g, o = layer.bias_ih_l0.chunk(4)
    i.fill_(1e3)
    f.fill_(-1e3)
    o.fill_(1e3)
    return layer, (i, f, g, o)


def masks_seen(recurrent, masks, keep_prob=0.25, *, steps=5, batch=40, units=30):
    """Masks of a layer, divided by their probability, (steps, batch, units), from its output."""
    layer, (i, f, g, _) = gated(units, keep_prob, masks=masks, recurrent=recurrent)
    x = torch.zeros(steps, batch, units, dtype=torch.float64)
    state = torch.ones(2, 1, batch, units, dtype=torch.float64)
    small = 1e-6  # tanh(small) is small, to 1e-18
    if recurrent == "update":
        g.fill_(small)
        return layer(x)[0] / small
    if recurrent == "state":
        layer.weight_hh_l0[2 * units : 3 * units].copy_(torch.eye(units))
        powers = layer(x, state * small)[0] / small  # masks multiplied up
    else:  # cell
        i.fill_(-1e3)
        f.fill_(1e3)
        powers = layer(x, state * small)[0] / small
    alive = powers[:-1] > 0
    ratios = torch.where(alive, powers[1:] / powers[:-1].clamp(min=1e-300), torch.nan)
    return torch.cat([powers[:1], ratios])


@pytest.mark.parametrize("recurrent", ["state", "update", "cell"])
@every_kind
def test_entries_of_the_mask_are_zero_or_one_by_the_keep_probability(recurrent, masks):
    seen = masks_seen(recurrent, masks)
    assert (seen.isnan() | (seen == 0) | ((seen - 4).abs() < 1e-4)).all()
    assert is_near((seen[0] > 0).double().mean(), 0.25, np.sqrt(0.25 * 0.75), 30 * 40)


@pytest.mark.parametrize("recurrent", ["state", "update", "cell"])
def test_a_sequence_keeps_its_mask_and_differs_from_the_others(recurrent):
    seen = masks_seen(recurrent, "sequence")
    assert (seen.isnan() | ((seen > 0) == (seen[:1] > 0))).all()
    assert len((seen[0] > 0).unique(dim=0)) == 40


@pytest.mark.parametrize("recurrent", ["state", "update", "cell"])
def test_with_masks_of_each_step_a_survivor_may_be_dropped_later(recurrent):
    seen = masks_seen(recurrent, "step", keep_prob=0.5)
    assert ((seen[0] > 0) & (seen[1] == 0)).any()
    assert ((seen[0] > 0) & (seen[1] > 0)).any()


@every_kind
def test_the_mask_of_the_input_is_drawn_once_or_at_each_step(masks):
    layer, (_, _, _, _) = gated(20, 1, masks=masks)
    layer.keep_prob = 0.25
    layer.weight_ih_l0[40:60].copy_(torch.eye(20))
    seen = layer(torch.full((6, 30, 20), 1e-6, dtype=torch.float64))[0] / 1e-6
    assert ((seen == 0) | ((seen - 4).abs() < 1e-4)).all()
    assert len(seen[0].round().unique(dim=0)) == 30
    same = (seen[1:] > 0) == (seen[:1] > 0)
    assert same.all() if masks == "sequence" else 0.5 < same.double().mean() < 0.75
    n = 30 * 20 * (1 if masks == "sequence" else 6)
    assert is_near(seen.mean(), 1, np.sqrt(3), n)


def test_dropped_weights_are_shared_by_the_steps_and_the_sequences_of_a_call():
    units = 40
    layer, _ = gated(units, 0.25, recurrent="weights")
    layer.weight_hh_l0[2 * units : 3 * units].fill_(1.0)
    small = 1e-9
    first = small * torch.eye(units, dtype=torch.float64)  # sequence k starts with unit k alone
    output, _ = layer(
        torch.zeros(2, units, units, dtype=torch.float64),
        (first[None], torch.zeros_like(first)[None]),
    )
    matrix = output[0].T / small  # the masked weights
    assert ((matrix == 0) | ((matrix - 4).abs() < 1e-6)).all()
    assert is_near(matrix.mean(), 1, np.sqrt(3), units**2)
    torch.testing.assert_close(output[1].T / small, matrix @ matrix, rtol=1e-5, atol=1e-8)


@every_place
def test_masks_are_multiplied_where_the_formulas_say(recurrent):
    layer = double_layer(3, 4, 0.6, 0.4, recurrent=recurrent)
    x = torch.randn(5, 2, 3, dtype=torch.float64)
    h, c = torch.randn(2, 2, 4, dtype=torch.float64)
    got = under_seed(lambda x: layer(x, (h[None], c[None]))[0], x, seed=7)

    torch.manual_seed(7)  # the same draws, in whichever order they come
    W, U = layer.weight_ih_l0, layer.weight_hh_l0
    m_x = Dropout(0.6)(torch.ones(2, 3, dtype=torch.float64))
    m = Dropout(0.4)(torch.ones_like(U if recurrent == "weights" else h))
    m_h, m_g, m_c = (m if recurrent == name else 1 for name in ("state", "update", "cell"))
    U = U * m if recurrent == "weights" else U
    for step, x_t in zip(got, x, strict=True):
        z = (m_x * x_t) @ W.T + (m_h * h) @ U.T + layer.bias_ih_l0 + layer.bias_hh_l0
        i, f, g, o = z.view(2, 4, 4).unbind(1)
        c = f.sigmoid() * (m_c * c) + i.sigmoid() * g.tanh() * m_g
        h = o.sigmoid() * c.tanh()
        torch.testing.assert_close(step, h, rtol=1e-10, atol=1e-10)


def test_it_is_found_as_a_stochastic_layer_and_is_none_of_torchs_recurrent_ones():
    layer = RecurrentDropoutLSTM(3, 4)
    assert isinstance(layer, StochasticLayer)
    assert not isinstance(layer, nn.RNNBase)  # for which mc_samples would not use vmap
    assert stochastic_layers(layer) == [layer]


# Arguments


def test_by_default_both_keep_probabilities_are_the_same():
    assert RecurrentDropoutLSTM(3, 4, 0.3).recurrent_keep_prob == 0.3
    assert RecurrentDropoutLSTM(3, 4, 0.3, 0.9).recurrent_keep_prob == 0.9


@pytest.mark.parametrize(
    ("x", "batch_first", "message"),
    [
        (torch.ones(5, 2, 4), False, "shape (time, batch, 3) or (time, 3), got (5, 2, 4)"),
        (torch.ones(5, 2, 4), True, "shape (batch, time, 3) or (time, 3), got (5, 2, 4)"),
        (torch.ones(3), False, "shape (time, batch, 3) or (time, 3), got (3,)"),
        (torch.ones(1, 5, 2, 3), False, "or (time, 3), got (1, 5, 2, 3)"),
        (torch.tensor(1.0), False, "or (time, 3), got ()"),
        (torch.ones(0, 2, 3), False, "at least one step in time, got (0, 2, 3)"),
        (torch.ones(2, 0, 3), True, "at least one step in time, got (2, 0, 3)"),
        (torch.ones(0, 3), True, "at least one step in time, got (0, 3)"),
    ],
)
@pytest.mark.parametrize("training", [True, False])
def test_an_input_of_a_wrong_shape_is_a_value_error(x, batch_first, message, training):
    layer = RecurrentDropoutLSTM(3, 4, batch_first=batch_first).train(training)
    with pytest.raises(ValueError, match=re.escape(message)):
        layer(x)


@pytest.mark.parametrize(
    ("x", "state"),
    [
        (torch.ones(5, 2, 3), [torch.ones(1, 3, 4)] * 2),
        (torch.ones(5, 2, 3), [torch.ones(2, 4)] * 2),
        (torch.ones(5, 2, 3), [torch.ones(1, 2, 4)]),
        (torch.ones(5, 3), [torch.ones(1, 1, 4)] * 2),
    ],
)
def test_a_state_of_a_wrong_shape_is_a_value_error(x, state):
    with pytest.raises(ValueError, match=re.escape("state must be two tensors (h, c) of shape (1")):
        RecurrentDropoutLSTM(3, 4)(x, state)


@every_place
@every_kind
def test_an_empty_batch_and_a_single_sequence_come_back(recurrent, masks):
    layer = RecurrentDropoutLSTM(3, 4, masks=masks, recurrent=recurrent)
    output, (h, c) = layer(torch.ones(5, 0, 3))
    assert (output.shape, h.shape, c.shape) == ((5, 0, 4), (1, 0, 4), (1, 0, 4))
    x = torch.randn(5, 3)
    alone, (h, _) = under_seed(layer, x)
    batch, _ = under_seed(layer, x[:, None])
    assert torch.equal(alone, batch[:, 0])
    assert torch.equal(h[0], alone[-1])
