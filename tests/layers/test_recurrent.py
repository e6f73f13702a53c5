"""What holds for the recurrent layers with dropout."""

import re
from functools import partial

import pytest
import torch
from layer_runs import under_seed
from torch import nn
from torch.nn.utils import parametrize
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from lib.inference import stochastic_layers
from lib.layers import Dropout, RecurrentDropoutGRU, RecurrentDropoutLSTM
from lib.layers import recurrent as of_lstm
from lib.layers import sequences as shared

PLACES = {
    RecurrentDropoutLSTM: ["state", "update", "cell", "weights"],
    RecurrentDropoutGRU: ["state", "update", "weights"],
}
every_place = pytest.mark.parametrize(
    ("layer", "recurrent"), [(layer, place) for layer in PLACES for place in PLACES[layer]]
)
every_kind = pytest.mark.parametrize("masks", ["sequence", "step"])
every_layer = pytest.mark.parametrize("layer", PLACES)
DEEP = {"num_layers": 2, "bidirectional": True, "between_keep_prob": 0.7}
LENGTHS = [3, 6, 1, 6, 4]


def double(layer, *args, **kwargs):
    return layer(*args, **kwargs, dtype=torch.float64)


def randn(*shape):
    return torch.randn(*shape, dtype=torch.float64)


def torchs(layer):
    names = ("bias", "batch_first", "num_layers", "bidirectional")
    settings = {name: getattr(layer, name) for name in names}
    plain = double(layer.torchs, layer.input_size, layer.hidden_size, **settings)
    plain.load_state_dict(layer.state_dict())
    return plain


def state_of(layer, *batch):
    ends = layer.num_layers * (1 + layer.bidirectional)
    parts = tuple(randn(ends, *batch, layer.hidden_size) for _ in layer.parts)
    return parts if len(parts) > 1 else parts[0]


def as_parts(state):
    return [state] if isinstance(state, torch.Tensor) else list(state)


def outputs_and_gradients(model, x, state=None):
    x = x.clone().requires_grad_()
    output, last = model(x, state)
    loss = (output * torch.arange(output.numel()).view(output.shape)).sum()
    loss = loss + sum(part.square().sum() for part in as_parts(last))
    gradients = torch.autograd.grad(loss, [x, *model.parameters()])
    return [output, *as_parts(last), *gradients]


def assert_all_close(ours, theirs):
    for got, expected in zip(ours, theirs, strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-10, atol=1e-10)


@pytest.fixture
def formula(monkeypatch):
    """Let the layers compute by their formulas alone."""
    for module in (shared, of_lstm):
        monkeypatch.setattr(module, "may_be_fused", lambda *args, **kwargs: False)


# Torch's layers


@pytest.fixture(params=["as it is", "formula"])
def either_way(request):
    if request.param == "formula":
        request.getfixturevalue("formula")


@pytest.mark.usefixtures("either_way")
@every_layer
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("deep", [{}, {"num_layers": 2}, {"bidirectional": True}, DEEP])
@pytest.mark.parametrize("with_state", [True, False])
def test_in_eval_shapes_values_and_gradients_are_those_of_torch(
    layer, bias, batch_first, deep, with_state
):
    layer = double(layer, 3, 4, bias=bias, batch_first=batch_first, **deep).eval()
    no_sequence = (0, 6, 3) if batch_first else (6, 0, 3)
    for shape in [(6, 5, 3), (6, 3), (1, 1, 3), no_sequence]:
        batch = (shape[0 if batch_first else 1],) if len(shape) == 3 else ()
        args = randn(*shape), state_of(layer, *batch) if with_state else None
        assert_all_close(
            outputs_and_gradients(layer, *args), outputs_and_gradients(torchs(layer), *args)
        )


@pytest.mark.usefixtures("either_way")
@every_layer
@pytest.mark.parametrize("deep", [{}, DEEP])
@pytest.mark.parametrize("sorted_first", [True, False])
@pytest.mark.parametrize("with_state", [True, False])
def test_in_eval_packed_sequences_are_read_as_torch_reads_them(
    layer, deep, sorted_first, with_state
):
    layer = double(layer, 3, 4, **deep).eval()
    lengths = sorted(LENGTHS, reverse=True) if sorted_first else LENGTHS
    x = pack_padded_sequence(randn(6, 5, 3), lengths, enforce_sorted=sorted_first)
    state = state_of(layer, 5) if with_state else None
    (ours, end), (theirs, their_end) = layer(x, state), torchs(layer)(x, state)
    for got, expected in zip(ours, theirs, strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-10, atol=1e-10)
    assert_all_close(as_parts(end), as_parts(their_end))


def test_dropped_weights_are_those_of_torchs_lstm_with_dropout_on_its_weights():
    ours = double(RecurrentDropoutLSTM, 3, 4, 1, 0.5, recurrent="weights")
    theirs, x = torchs(ours), randn(6, 2, 3)
    parametrize.register_parametrization(theirs, "weight_hh_l0", Dropout(0.5))

    def cached(x):
        with parametrize.cached():  # else torch draws anew at each look at the weights
            return outputs_and_gradients(theirs, x)

    *outputs, by_x, W, b_ih, b_hh, U = under_seed(cached, x)  # what is parametrized comes last
    ours_in_training = under_seed(partial(outputs_and_gradients, ours), x)
    assert_all_close(ours_in_training, [*outputs, by_x, W, U, b_ih, b_hh])
    assert not torch.equal(theirs(x)[0], theirs(x)[0])
    assert_all_close(ours.eval()(x)[1], theirs.eval()(x)[1])


@every_layer
def test_it_is_none_of_torchs_recurrent_layers(layer):
    layer = layer(3, 4)
    assert not isinstance(layer, nn.RNNBase)  # for which mc_samples would not use vmap
    assert stochastic_layers(layer) == [layer]


# Masks


def cell(layer, x, state, W, U, b, b_state, m):
    """One step by hand; `m` gives the mask of a place, or 1."""
    x, h = x @ W.T + b, state[0]
    if isinstance(layer, RecurrentDropoutLSTM):
        z = x + (m("state") * h) @ U.T + b_state
        i, f, g, o = z.chunk(4, dim=-1)
        c = f.sigmoid() * (m("cell") * state[1]) + i.sigmoid() * g.tanh() * m("update")
        return o.sigmoid() * c.tanh(), c
    r, z, n = zip(x.chunk(3, -1), ((m("state") * h) @ U.T + b_state).chunk(3, -1), strict=True)
    r, z = sum(r).sigmoid(), sum(z).sigmoid()
    n = (n[0] + r * n[1]).tanh() * m("update")
    return ((1 - z) * n + z * h,)


def mask_of(masked, mask, place):
    return mask if place == masked else 1


def by_hand(layer, x, state, keep_probs, lengths=None):
    """The formulas for (time, batch, input), with masks drawn as the layer draws them."""
    keep, keep_recurrent, between = keep_probs
    steps, batch, _ = x.shape
    lengths = torch.full((batch,), steps) if lengths is None else lengths
    draws, n = steps if layer.masks == "step" else 1, layer.hidden_size
    last = []
    for level in range(layer.num_layers):
        p = between if level else keep
        x = x * Dropout(p)(torch.ones(draws, batch, x.shape[-1]).double())
        suffixes = [f"_l{level}", f"_l{level}_reverse"][: 1 + layer.bidirectional]
        weights, masks, outputs = [], [], []
        for suffix in suffixes:
            names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
            W, U, b, b_state = (getattr(layer, name + suffix) for name in names)
            m = torch.ones(draws, batch, n).double()
            if layer.recurrent == "weights":
                U = Dropout(keep_recurrent)(torch.ones_like(U)) * U
            else:
                m = Dropout(keep_recurrent)(m)
            weights.append((W, U, b, b_state))
            masks.append(m.expand(steps, -1, -1))
        for way, (own, m) in enumerate(zip(weights, masks, strict=True)):
            now, out = [part[len(last)] for part in state], [None] * steps
            for t in range(steps)[:: -1 if way else 1]:
                mask_at = partial(mask_of, layer.recurrent, m[t])
                is_on = (t < lengths)[:, None]
                new = cell(layer, x[t], now, *own, mask_at)
                now = [torch.where(is_on, *both) for both in zip(new, now, strict=True)]
                out[t] = is_on * now[0]
            last.append(now)
            outputs.append(torch.stack(out))
        x = torch.cat(outputs, dim=-1)
    return [x, *(torch.stack(part) for part in zip(*last, strict=True))]


@pytest.mark.usefixtures("either_way")
@every_place
@every_kind
@pytest.mark.parametrize("deep", [{}, DEEP])
def test_masks_are_multiplied_where_the_formulas_say_and_kept_or_drawn_at_each_step(
    layer, recurrent, masks, deep
):
    layer = double(layer, 3, 4, 0.6, 0.4, recurrent=recurrent, masks=masks, **deep)
    x, state = randn(5, 2, 3), state_of(layer, 2)
    output, end = under_seed(lambda x: layer(x, state), x, seed=7)
    torch.manual_seed(7)  # the same draws, in the same order
    expected = by_hand(layer, x, as_parts(state), (0.6, 0.4, 0.7))
    assert_all_close([output, *as_parts(end)], expected)


@every_place
@every_kind
@pytest.mark.parametrize("deep", [{}, DEEP])
def test_what_is_fused_is_the_formula_with_its_first_and_second_derivatives(
    layer, recurrent, masks, deep, request
):
    layer = double(layer, 3, 4, 0.6, 0.4, recurrent=recurrent, masks=masks, **deep)
    x, state = randn(5, 2, 3), state_of(layer, 2)
    weights = torch.arange(5.0).view(5, 1, 1)

    def derivatives(x):
        inputs = [x.clone().requires_grad_(), *layer.parameters()]
        output, end = layer(inputs[0], state)
        loss = (weights * output).sum() + sum(part.square().sum() for part in as_parts(end))
        first = torch.autograd.grad(loss, inputs, create_graph=True)
        again = sum(each.square().sum() for each in first)
        return [output, *first, *torch.autograd.grad(again, inputs)]

    fused = under_seed(derivatives, x)
    request.getfixturevalue("formula")
    assert_all_close(fused, under_seed(derivatives, x))


@pytest.mark.parametrize("training", [True, False])
def test_a_second_derivative_in_single_precision_is_that_in_double_precision(training):
    layer, x = RecurrentDropoutLSTM(3, 4, bidirectional=True).train(training), torch.randn(5, 2, 3)

    def second(x):
        inputs = [x.clone().requires_grad_(), *layer.parameters()]
        first = torch.autograd.grad(layer(inputs[0])[0].square().sum(), inputs, create_graph=True)
        return torch.autograd.grad(sum(each.square().sum() for each in first), inputs)

    single = under_seed(second, x)
    layer.double()
    for got, expected in zip(single, under_seed(second, x.double()), strict=True):
        torch.testing.assert_close(got.double(), expected, rtol=1e-4, atol=1e-4)


@every_place
@every_kind
@pytest.mark.parametrize("deep", [{}, DEEP])
def test_in_training_packed_sequences_have_the_masks_of_their_places_in_the_batch(
    layer, recurrent, masks, deep
):
    layer = double(layer, 3, 4, 0.6, 0.4, recurrent=recurrent, masks=masks, **deep)
    x, state = randn(6, 5, 3), state_of(layer, 5)
    packed = pack_padded_sequence(x, LENGTHS, enforce_sorted=False)
    output, end = under_seed(lambda x: layer(x, state), packed)
    output, lengths = pad_packed_sequence(output)
    torch.manual_seed(0)
    expected = by_hand(layer, x, as_parts(state), (0.6, 0.4, 0.7), lengths)
    assert_all_close([output, *as_parts(end)], expected)


# Arguments


@every_layer
def test_by_default_all_keep_probabilities_are_the_same(layer):
    assert layer(3, 4, 0.3).recurrent_keep_prob == 0.3
    assert layer(3, 4, 0.3, 0.9).recurrent_keep_prob == 0.9
    assert layer(3, 4, 0.3, 0.9, num_layers=2).between_keep_prob == 0.3
    assert layer(3, 4, 0.3, num_layers=2, between_keep_prob=0.9).between_keep_prob == 0.9


@every_layer
def test_a_keep_probability_between_layers_where_there_is_one_is_a_value_error(layer):
    with pytest.raises(ValueError, match="between_keep_prob must be None with one layer.*got 0.5"):
        layer(3, 4, between_keep_prob=0.5)


@pytest.mark.parametrize(
    ("x", "state"),
    [
        (torch.ones(5, 2, 3), [torch.ones(1, 3, 4)] * 2),
        (torch.ones(5, 2, 3), [torch.ones(2, 4)] * 2),
        (torch.ones(5, 2, 3), [torch.ones(1, 2, 4)]),
        (torch.ones(5, 2, 3), torch.ones(1, 2, 4)),
        (torch.ones(5, 3), [torch.ones(1, 1, 4)] * 2),
        (pack_padded_sequence(torch.ones(5, 2, 3), [5, 4]), [torch.ones(1, 1, 4)] * 2),
    ],
)
def test_a_state_of_a_wrong_shape_is_a_value_error(x, state):
    with pytest.raises(ValueError, match=re.escape("state must be two tensors (h, c) of shape (1")):
        RecurrentDropoutLSTM(3, 4)(x, state)
    if len(state) == 1:
        return
    with pytest.raises(ValueError, match=re.escape("state must be a tensor h of shape (1")):
        RecurrentDropoutGRU(3, 4)(x, state)


@every_layer
def test_packed_rows_of_another_size_are_a_value_error(layer):
    packed = pack_padded_sequence(torch.ones(5, 2, 7), [5, 4])
    with pytest.raises(ValueError, match=re.escape("x must have shape (rows, 3), packed, got (9")):
        layer(3, 4)(packed)
