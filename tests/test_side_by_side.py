"""What holds for networks that are trained side by side: it is as if each were alone."""

import copy
import re
from functools import partial

import numpy as np
import pytest
import torch
from chance import is_near
from torch import nn
from training_runs import assert_trained_as_alone, conv_net, dense_net, in_turn, modes, states_equal

from lib.datasets import load_digits
from lib.layers import Dropout
from lib.side_by_side import SideBySide, stack_splits, train_seeds
from lib.training import classification_loss, fit, seed_everything, squared_loss

without_masks = partial(dense_net, keep_prob=1)


@pytest.mark.parametrize("make", [without_masks, conv_net])
@pytest.mark.parametrize("training", [True, False])
def test_each_network_computes_what_it_computes_alone(make, training):
    nets, x = [make().train(training) for _ in range(3)], torch.rand(3, 20, 64)
    side_by_side = SideBySide(nets)
    together = side_by_side(x)
    for i, (net, other) in enumerate(zip(nets, side_by_side.unstack(), strict=True)):
        torch.testing.assert_close(together[i], net(x[i]))
        # the statistics of batch normalization, and the count of batches, went along
        for key, expected in net.state_dict().items():
            torch.testing.assert_close(other.state_dict()[key], expected, msg=key)


def regression_net():
    return nn.Sequential(nn.Linear(64, 8), nn.Tanh(), nn.Linear(8, 2))


def faint_loss(output, y):
    """So small that Adam's steps depend on its size: a loss shared among networks would show."""
    return 1e-7 * squared_loss(output, y)


CASES = [
    (without_masks, classification_loss),
    (conv_net, classification_loss),
    (regression_net, squared_loss),
    (regression_net, faint_loss),
]


def three_splits(loss):
    splits = [load_digits(100, 20, 20, seed=seed) for seed in range(3)]
    if loss is classification_loss:
        return splits
    parts = ("train", "val", "test")
    return [
        split._replace(**{f"y_{part}": getattr(split, f"x_{part}")[:, 2:4] for part in parts})
        for split in splits
    ]


@pytest.mark.parametrize(("make", "loss"), CASES)
def test_without_masks_training_is_that_of_each_network_alone(make, loss, monkeypatch):
    monkeypatch.setattr("lib.training.minibatches", in_turn)
    settings = {"epochs": 3, "batch_size": 30, "max_norm": 1.5, "loss": loss}
    nets, splits = [make() for _ in range(3)], three_splits(loss)
    side_by_side = SideBySide(nets)
    together = fit(side_by_side, stack_splits(splits), **settings)
    assert_trained_as_alone(side_by_side.unstack(), together, nets, splits, **settings)


@pytest.mark.parametrize("side_by_side", [True, False])
def test_a_network_is_trained_for_each_seed_on_its_split(side_by_side, monkeypatch):
    monkeypatch.setattr("lib.training.minibatches", in_turn)
    splits, settings = three_splits(classification_loss), {"epochs": 2, "batch_size": 30}
    trained, history = train_seeds(without_masks, splits, side_by_side=side_by_side, **settings)
    assert not any(net.training for net in trained)
    nets = []
    for seed in range(3):
        seed_everything(seed)
        nets.append(without_masks())
    assert_trained_as_alone(trained, history, nets, splits, **settings)


def test_with_masks_training_is_distributed_as_that_of_each_network_alone():
    n, small = 40, load_digits(30, 0, 100)
    start = dense_net()
    together = fit(SideBySide([start] * n), stack_splits([small] * n), epochs=3)
    alone = [fit(copy.deepcopy(start), small, epochs=3) for _ in range(n)]
    for name in ("train_loss_masks_on", "train_loss", "test_loss"):
        side_by_side = getattr(together, name)[-1]
        one_by_one = torch.stack([getattr(history, name)[-1] for history in alone])
        std = (side_by_side.var() + one_by_one.var()).sqrt()
        assert len(side_by_side.unique()) == n  # own masks, own order
        assert is_near(side_by_side.mean() - one_by_one.mean(), 0, std, n)
        assert 1 / 3 < side_by_side.std() / one_by_one.std() < 3


def test_each_network_has_masks_of_its_own():
    nets = SideBySide(nn.Sequential(Dropout(0.5)) for _ in range(4))  # from a generator, too
    masks = nets(torch.ones(4, 10, 20))
    assert len(masks.flatten(1).unique(dim=0)) == 4
    assert len(masks.flatten(0, 1).unique(dim=0)) == 40


@pytest.mark.parametrize("make", [dense_net, conv_net])
def test_stacking_and_unstacking_gives_the_networks_back(make):
    nets = [make() for _ in range(3)]
    for net in nets:
        next(net.parameters()).requires_grad_(False)  # a frozen layer stays frozen
    for net, back in zip(nets, SideBySide(nets).unstack(), strict=True):
        assert states_equal(net, back)
        assert repr(net) == repr(back)
        assert modes(net) == modes(back)
        for expected, parameter in zip(net.parameters(), back.parameters(), strict=True):
            assert isinstance(parameter, nn.Parameter)
            assert parameter.is_leaf
            assert parameter.requires_grad == expected.requires_grad


def test_the_networks_stacked_and_unstacked_share_no_memory():
    nets = [dense_net() for _ in range(2)]
    before = copy.deepcopy(nets)
    side_by_side = SideBySide(nets)
    unstacked = side_by_side.unstack()
    unstacked_before = copy.deepcopy(unstacked)
    with torch.no_grad():
        for parameter in side_by_side.parameters():
            parameter.zero_()
    for now, then in zip(nets + unstacked, before + unstacked_before, strict=True):
        assert states_equal(now, then)


class WithSettings(nn.Module):
    """A network whose settings its printed form does not show."""

    def __init__(self, **settings):
        super().__init__()
        self.linear = nn.Linear(2, 2)
        vars(self).update(settings)

    def forward(self, x):
        return self.activation(self.linear(x))


def scaled_by(factor):
    return lambda x: factor * x


def scaled_by_default(default):
    def scaled(x, *, factor=default):
        return factor * x

    return scaled


def hooked(factor, before=False):
    net = WithSettings(activation=torch.tanh)
    register = net.register_forward_pre_hook if before else net.register_forward_hook
    register(lambda module, args, *_: factor * args[0])
    return net


def tied(*names):
    net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    for layer in net:
        layer.register_buffer("offset", torch.rand(2))
    for name in names:
        setattr(net[1], name, getattr(net[0], name))
    return net


def normalized():
    return nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(2, 2)))


@pytest.mark.filterwarnings("ignore:There is a performance drop")  # of weight_norm
@pytest.mark.parametrize(
    "make",
    [
        lambda: WithSettings(activation=scaled_by(2), p=[0.5, torch.ones(2)]),
        lambda: WithSettings(activation=scaled_by_default(2), p=[np.ones(2), float("nan")]),
        partial(hooked, 2),
        partial(hooked, 2, before=True),
        partial(tied, "weight", "bias", "offset"),
        normalized,
    ],
)
def test_networks_whose_settings_do_the_same_go_together(make):
    nets, x = [make() for _ in range(2)], torch.rand(2, 3, 2)
    expected = torch.stack([net(each) for net, each in zip(nets, x, strict=True)])
    side_by_side = SideBySide(nets)
    torch.testing.assert_close(side_by_side(x), expected)
    for net, back in zip(nets, side_by_side.unstack(), strict=True):
        assert states_equal(net, back)
        for kind in (nn.Module.parameters, nn.Module.buffers):
            assert len(list(kind(net))) == len(list(kind(back)))  # what is tied stays so


@pytest.mark.parametrize(
    "models",
    [
        [dense_net(hidden=8), dense_net(hidden=9)],
        [dense_net(keep_prob=0.5), dense_net(keep_prob=0.6)],
        [dense_net(keep_prob=0.5), dense_net(keep_prob=0.5 + 1e-9)],
        [dense_net(), conv_net()],
        [dense_net(), dense_net().eval()],
        [WithSettings(activation=torch.relu), WithSettings(activation=torch.tanh)],
        [WithSettings(p=0.3000001), WithSettings(p=0.3000004)],
        [WithSettings(activation=lambda x: x), WithSettings(activation=lambda x: -x)],
        [WithSettings(activation=scaled_by(1)), WithSettings(activation=scaled_by(2))],
        [WithSettings(activation=scaled_by_default(each)) for each in (1, 2)],
        [hooked(1), hooked(2)],
        [hooked(1, before=True), hooked(2, before=True)],
        [WithSettings(activation=torch.tanh), hooked(1)],
        [WithSettings(p=torch.ones(2)), WithSettings(p=torch.zeros(2))],
        [WithSettings(p=torch.ones(2)), WithSettings(p=torch.ones(2).double())],
        [WithSettings(p=np.ones(2)), WithSettings(p=np.zeros(2))],
        [WithSettings(p=np.ones(2)), WithSettings(p=np.ones(3))],
        [WithSettings(p={"a": [1, 2]}), WithSettings(p={"a": [1, 3]})],
        [WithSettings(p=1), WithSettings(q=1)],
        [nn.ModuleDict({name: nn.Tanh() for name in order}) for order in ("ab", "ba")],
        [dense_net(), dense_net().requires_grad_(False)],
        [tied(), tied("bias")],
        [tied("bias"), tied()],
        [tied("offset"), tied()],
    ],
)
def test_networks_that_differ_in_more_than_their_weights_are_a_value_error(models):
    with pytest.raises(ValueError, match="models must be networks of one .* that differ in"):
        SideBySide(models)


def test_a_network_that_holds_itself_is_a_value_error():
    in_parts, setting = [WithSettings(), WithSettings()], [[], []]
    for net, each in zip(in_parts, setting, strict=True):
        net.itself = net
        each.append(each)
    for models in (in_parts, in_parts[:1], [WithSettings(p=each) for each in setting]):
        with pytest.raises(ValueError, match="models must be networks that do not hold themselves"):
            SideBySide(models)


@pytest.mark.parametrize("shape", [(2, 5, 64), (64,), (5, 64), ()])
def test_an_input_for_another_number_of_networks_is_a_value_error(shape):
    message = f"x must have shape (3, batch, ...), a batch for each network, got {shape}"
    with pytest.raises(ValueError, match=re.escape(message)):
        SideBySide([dense_net() for _ in range(3)])(torch.rand(shape))


def test_data_sets_of_different_sizes_do_not_stack():
    with pytest.raises(RuntimeError, match="equal size"):
        stack_splits([load_digits(20), load_digits(30)])
