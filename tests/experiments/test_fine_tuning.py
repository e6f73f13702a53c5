"""What a side of the fine-tuning experiment trains, masks and keeps; whose recordings it sees."""

import pytest
import torch
from torch import nn

from lib.datasets.speech import N_DIGITS, N_TAKES
from lib.experiments.fine_tuning import SIDES, adapted, parts
from lib.layers import Dropout
from lib.networks import AdaptedLinear, multilayer_perceptron

X = torch.rand(7, 6)


@pytest.fixture
def net():
    torch.manual_seed(0)
    return multilayer_perceptron([6, 5, 4, 3])


def masks(net):
    """The keep probability of each mask that drops something, by the layer that reads it."""
    return {
        name: layer.keep_prob
        for name, layer in net.named_modules()
        if isinstance(layer, Dropout) and layer.keep_prob < 1
    }


@pytest.mark.parametrize("side", SIDES)
def test_a_side_begins_as_the_network_before_unless_from_scratch(net, side):
    ready, before = adapted(net, side, keep_prob=0.5).eval(), net(X)
    assert torch.equal(ready(X), before) == (side != "scratch")
    with torch.no_grad():
        for each in ready.parameters():
            each.add_(1)
    assert torch.equal(net(X), before)


@pytest.mark.parametrize("side", SIDES)
def test_a_side_masks_where_it_says(net, side):
    found = masks(adapted(net, side, keep_prob=0.5))
    expected = {"masked body": {"2"}, "masked head": {"5"}, "masked adapter": {"0.mask", "3.mask"}}
    if side.startswith("masked"):
        assert found == dict.fromkeys(expected[side], 0.5)
    assert masks(adapted(net, side, keep_prob=1.0)) == {}


@pytest.mark.parametrize("side", SIDES)
def test_a_side_trains_what_it_says(net, side):
    ready = adapted(net, side, keep_prob=0.5)
    trained = {name for name, each in ready.named_parameters() if each.requires_grad}
    head = {"6.weight", "6.bias"}
    if side == "head":
        assert trained == head
    elif side.endswith("adapter"):
        assert trained == head | {"0.A", "0.B", "3.A", "3.B"}
        assert [type(ready[i]) for i in (0, 3)] == [AdaptedLinear] * 2
    else:
        assert len(trained) == 2 * sum(isinstance(layer, nn.Linear) for layer in net)


@pytest.mark.parametrize("n_takes", [1, 3, 10])
def test_labelled_validation_and_test_recordings_are_of_different_takes(n_takes):
    digits = torch.arange(N_DIGITS).repeat_interleave(N_TAKES)
    takes = torch.arange(N_TAKES).repeat(N_DIGITS)
    split, tested = parts(n_takes, takes[:, None].float(), digits, 300 * digits + takes)
    seen = [set(part.flatten().int().tolist()) for part in split[::2]]
    assert [len(each) for each in seen] == [n_takes, 10, 20]
    assert len(set.union(*seen)) == n_takes + 30
    for labels in split[1::2]:
        assert torch.bincount(labels).unique().numel() == 1
    assert torch.equal(tested // 300, split.y_test)
