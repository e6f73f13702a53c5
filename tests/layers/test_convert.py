"""What holds for layers made from those of torch."""

import copy
import re
from functools import partial

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, prune, weight_norm

from lib.layers import (
    DropConnectConv2d,
    DropConnectLinear,
    FastDropoutLinear,
    RecurrentDropoutGRU,
    RecurrentDropoutLSTM,
    VariationalLinear,
    from_torch,
)
from lib.layers.convert import PLACES

DEEP = {"num_layers": 2, "bidirectional": True, "batch_first": True, "dropout": 0.25}
# our class, torch's layer, an input
CASES = [
    *((kind, partial(nn.Linear, 4, 3), (5, 4)) for kind in PLACES if PLACES[kind][0] is nn.Linear),
    (DropConnectLinear, partial(nn.Linear, 4, 3, bias=False), (5, 4)),
    (DropConnectConv2d, partial(nn.Conv2d, 4, 6, (2, 3), groups=2), (5, 4, 6, 6)),
    (
        DropConnectConv2d,
        partial(nn.Conv2d, 4, 6, 3, 2, 1, padding_mode="reflect", bias=False),
        (5, 4, 6, 6),
    ),
    (RecurrentDropoutLSTM, partial(nn.LSTM, 4, 3), (5, 2, 4)),
    (RecurrentDropoutLSTM, partial(nn.LSTM, 4, 3, bias=False, **DEEP), (5, 2, 4)),
    (RecurrentDropoutGRU, partial(nn.GRU, 4, 3), (5, 2, 4)),
    (RecurrentDropoutGRU, partial(nn.GRU, 4, 3, **DEEP), (5, 2, 4)),
]
every_case = pytest.mark.parametrize(("kind", "make", "shape"), CASES)


def test_each_class_of_the_table_has_a_case():
    assert {kind for kind, _, _ in CASES} == set(PLACES)


@every_case
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_weights_are_kept_and_eval_is_that_of_the_layer(kind, make, shape, dtype):
    plain, x = make(dtype=dtype), torch.randn(*shape, dtype=dtype)
    before = copy.deepcopy(plain.state_dict())
    state = torch.get_rng_state()
    layer = from_torch(plain, kind)
    assert torch.equal(torch.get_rng_state(), state)
    assert type(layer) is kind
    for name, weight in plain.named_parameters():
        ours = layer.get_parameter(name)
        assert torch.equal(ours, weight)
        assert torch.equal(weight, before[name])
        assert (ours.device, ours.dtype) == (weight.device, weight.dtype)
        assert ours.data_ptr() != weight.data_ptr()
    ours, theirs = layer.eval()(x), plain.eval()(x)
    torch.testing.assert_close(ours, theirs)


@every_case
def test_modes_and_frozen_weights_are_kept(kind, make, shape):
    plain = make().eval()
    next(plain.parameters()).requires_grad_(False)
    layer = from_torch(plain, kind)
    assert not layer.training
    assert from_torch(plain.train(), kind).training
    for name, weight in plain.named_parameters():
        assert layer.get_parameter(name).requires_grad == weight.requires_grad


def test_settings_are_those_given_and_dropout_between_layers_is_kept():
    assert from_torch(nn.Linear(4, 3), DropConnectLinear, keep_prob=0.3).keep_prob == 0.3
    lstm = nn.LSTM(4, 3, num_layers=2, dropout=0.25)
    assert from_torch(lstm, RecurrentDropoutLSTM, keep_prob=0.3).between_keep_prob == 0.75
    given = from_torch(lstm, RecurrentDropoutLSTM, keep_prob=0.3, between_keep_prob=0.6)
    assert given.between_keep_prob == 0.6
    fast = from_torch(nn.Linear(4, 3), FastDropoutLinear, activation="relu")
    assert fast.activation == "relu"


def test_small_weights_get_variances_with_which_they_are_not_pruned():
    plain = nn.Linear(50, 40)
    plain.weight.data[:, :25] *= 1e-4
    plain.weight.data[0, :3] = 0
    layer = from_torch(plain, VariationalLinear, log_sigma2=-6.0, threshold=2.0)
    assert not layer.pruned[layer.weight != 0].any()
    unchanged = layer.log_sigma2 == -6
    assert 0.1 < unchanged.float().mean() < 0.9
    x = torch.randn(5, 50)
    torch.testing.assert_close(layer.eval()(x), plain(x))


class Scaled(nn.Linear):
    def forward(self, x):
        return 2 * super().forward(x)


def pruned():
    layer = nn.Linear(4, 3)
    prune.random_unstructured(layer, "weight", 0.5)
    return layer


def hooked():
    layer = nn.Linear(4, 3)
    layer.register_forward_hook(lambda module, args, output: 2 * output)
    return layer


REFUSED = [
    (nn.LSTM(4, 3), DropConnectLinear, {}, TypeError, "a torch.nn.Linear, and none of its"),
    (nn.LSTM(4, 3), RecurrentDropoutGRU, {}, TypeError, "got a LSTM"),
    (nn.RNN(4, 3), RecurrentDropoutLSTM, {}, TypeError, "got a RNN"),
    (nn.LazyLinear(3), DropConnectLinear, {}, TypeError, "got a LazyLinear"),
    (Scaled(4, 3), DropConnectLinear, {}, TypeError, "got a Scaled"),
    (
        *(parametrizations.weight_norm(nn.Linear(4, 3)), DropConnectLinear, {}, TypeError),
        "got a ParametrizedLinear",
    ),
    (nn.Linear(4, 3), DropConnectLinear, {"in_features": 4}, TypeError, "in_features"),
    (nn.Linear(4, 3), DropConnectLinear, {"bias": True}, TypeError, "bias"),
    (pruned(), DropConnectLinear, {}, ValueError, "no hooks"),
    (hooked(), DropConnectLinear, {}, ValueError, "no hooks"),
    (nn.Linear(4, 3, dtype=torch.complex64), DropConnectLinear, {}, ValueError, "complex"),
    (nn.LSTM(4, 3, proj_size=2), RecurrentDropoutLSTM, {}, ValueError, "proj_size 0, got 2"),
    (nn.Linear(4, 3), DropConnectLinear, {"scaling": "weight"}, ValueError, "scaling"),
    (nn.Linear(4, 3), VariationalLinear, {"threshold": -torch.inf}, ValueError, "threshold"),
    (nn.Linear(4, 3), DropConnectLinear, {"keep_prob": 1.5}, ValueError, "keep_prob"),
    (nn.Conv2d(4, 3, 3, padding="same"), DropConnectConv2d, {}, (TypeError, ValueError), "padding"),
]


@pytest.mark.parametrize(("layer", "kind", "settings", "error", "message"), REFUSED)
def test_what_cannot_be_converted_is_named(layer, kind, settings, error, message):
    with pytest.raises(error, match=re.escape(message)):
        from_torch(layer, kind, **settings)


def test_weights_that_are_computed_from_others_are_refused():
    with pytest.warns(FutureWarning):
        layer = weight_norm(nn.Linear(4, 3))
    layer._forward_pre_hooks.clear()
    with pytest.raises(ValueError, match="not computed from others, got bias, weight_g, weight_v"):
        from_torch(layer, DropConnectLinear)
