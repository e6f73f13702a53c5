"""What holds for the LSTM with recurrent dropout."""

import re
from functools import partial

import pytest
import torch
from layer_runs import under_seed
from torch import nn
from torch.nn.utils import parametrize

from lib.inference import stochastic_layers
from lib.layers import Dropout, RecurrentDropoutLSTM

every_place = pytest.mark.parametrize("recurrent", ["state", "update", "cell", "weights"])
every_kind = pytest.mark.parametrize("masks", ["sequence", "step"])


def double_layer(*args, **kwargs):
    return RecurrentDropoutLSTM(*args, **kwargs, dtype=torch.float64)


def randn(*shape):
    return torch.randn(*shape, dtype=torch.float64)


def torchs(layer):
    settings = {"bias": layer.bias, "batch_first": layer.batch_first, "dtype": torch.float64}
    plain = nn.LSTM(layer.input_size, layer.hidden_size, **settings)
    plain.load_state_dict(layer.state_dict())
    return plain


def outputs_and_gradients(model, x, state=None):
    x = x.clone().requires_grad_()
    output, last = model(x, state)
    loss = (output * torch.arange(output.numel()).view(output.shape)).sum()
    loss = loss + last[0].square().sum() + last[1].sum()
    gradients = torch.autograd.grad(loss, [x, *model.parameters()])
    return [output, *last, *gradients]


def assert_all_close(ours, theirs):
    for got, expected in zip(ours, theirs, strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-10, atol=1e-10)


# torch's LSTM


@every_place
@every_kind
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("with_state", [True, False])
def test_in_eval_shapes_values_and_gradients_are_those_of_torch(
    recurrent, masks, bias, batch_first, with_state
):
    settings = {"bias": bias, "batch_first": batch_first}
    layer = double_layer(3, 4, masks=masks, recurrent=recurrent, **settings).eval()
    no_sequence = (0, 6, 3) if batch_first else (6, 0, 3)
    for shape in [(6, 5, 3), (6, 3), (1, 1, 3), no_sequence]:
        batch = (shape[0 if batch_first else 1],) if len(shape) == 3 else ()
        state = tuple(randn(2, 1, *batch, 4)) if with_state else None
        args = randn(*shape), state
        assert_all_close(
            outputs_and_gradients(layer, *args), outputs_and_gradients(torchs(layer), *args)
        )


def test_dropped_weights_are_those_of_torchs_lstm_with_dropout_on_its_weights():
    ours = double_layer(3, 4, 1, 0.5, recurrent="weights")
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


def test_it_is_none_of_torchs_recurrent_layers():
    layer = RecurrentDropoutLSTM(3, 4)
    assert not isinstance(layer, nn.RNNBase)  # for which mc_samples would not use vmap
    assert stochastic_layers(layer) == [layer]


# Masks


@every_place
@every_kind
def test_masks_are_multiplied_where_the_formulas_say_and_kept_or_drawn_at_each_step(
    recurrent, masks
):
    layer, x = double_layer(3, 4, 0.6, 0.4, recurrent=recurrent, masks=masks), randn(5, 2, 3)
    h, c = randn(2, 2, 4)
    got = under_seed(lambda x: layer(x, (h[None], c[None]))[0], x, seed=7)

    torch.manual_seed(7)  # the same draws, in the same order
    W, U = layer.weight_ih_l0, layer.weight_hh_l0
    draws = 5 if masks == "step" else 1
    m_x = Dropout(0.6)(torch.ones(draws, 2, 3).double()).expand(5, 2, 3)
    if recurrent == "weights":
        U = Dropout(0.4)(torch.ones_like(U)) * U
    else:
        m = Dropout(0.4)(torch.ones(draws, 2, 4).double()).expand(5, 2, 4)
    for t in range(5):
        m_h, m_g, m_c = (m[t] if recurrent == name else 1 for name in ("state", "update", "cell"))
        z = (m_x[t] * x[t]) @ W.T + (m_h * h) @ U.T + layer.bias_ih_l0 + layer.bias_hh_l0
        i, f, g, o = z.view(2, 4, 4).unbind(1)
        c = f.sigmoid() * (m_c * c) + i.sigmoid() * g.tanh() * m_g
        h = o.sigmoid() * c.tanh()
        torch.testing.assert_close(got[t], h, rtol=1e-10, atol=1e-10)


# Arguments


def test_by_default_both_keep_probabilities_are_the_same():
    assert RecurrentDropoutLSTM(3, 4, 0.3).recurrent_keep_prob == 0.3
    assert RecurrentDropoutLSTM(3, 4, 0.3, 0.9).recurrent_keep_prob == 0.9


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
