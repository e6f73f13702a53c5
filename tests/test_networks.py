"""What holds for the networks that lessons and experiments train."""

import numpy as np
import pytest
import torch
from torch import nn

from lib.layers import Dropout, GaussianDropout, StochasticDepth
from lib.masks import all_masks, mask_probabilities
from lib.networks import AdaptedLinear, digit_classifier, multilayer_perceptron, residual_net


def test_a_network_has_its_masks_on_the_inputs_and_behind_each_hidden_layer():
    net = multilayer_perceptron([7, 5, 4, 3], keep_input=0.8, keep_hidden=0.5)
    hidden = [nn.Linear, nn.ReLU, Dropout]
    assert [type(layer) for layer in net] == [Dropout, *hidden, *hidden, nn.Linear]
    assert [net[i].keep_prob for i in (0, 3, 6)] == [0.8, 0.5, 0.5]
    assert net(torch.ones(2, 7)).shape == (2, 3)


def test_the_classifier_of_digits_has_two_masks_of_any_kind():
    for mask in (Dropout, GaussianDropout):
        net = digit_classifier(0.5, mask)
        assert [type(net[i]) for i in (2, 5)] == [mask, mask]
        assert net(torch.rand(3, 64)).shape == (3, 10)


def test_a_residual_net_has_a_block_for_each_survival_probability():
    net = residual_net([0.9, 0.5], maps=4)
    blocks = [layer for layer in net if isinstance(layer, StochasticDepth)]
    assert [block.survival_prob for block in blocks] == [0.9, 0.5]
    assert net(torch.rand(3, 784)).shape == (3, 10)


def adapted(keep_prob=0.5):
    """A layer of four inputs and three units, whose adapter has learned something."""
    layer = AdaptedLinear(nn.Linear(4, 3), rank=2, alpha=6.0, keep_prob=keep_prob).double()
    nn.init.normal_(layer.B)
    return layer


def test_an_adapted_layer_starts_as_the_layer_and_trains_its_adapter_alone():
    linear, x = nn.Linear(4, 3), torch.rand(5, 4)
    layer = AdaptedLinear(linear, rank=2, keep_prob=0.5)
    assert torch.equal(layer(x), linear(x))
    layer(x).sum().backward()
    learned = {name for name, each in layer.named_parameters() if each.grad is not None}
    assert learned == {"A", "B"}


@pytest.mark.parametrize("keep_prob", [0.3, 1.0])
def test_a_merged_layer_computes_what_the_adapted_one_does_in_eval(keep_prob):
    layer, x = adapted(keep_prob).eval(), torch.rand(5, 4).double()
    before = layer.linear.weight.clone()
    merged = layer.merged()
    assert torch.allclose(merged(x), layer(x))
    assert torch.equal(layer.linear.weight, before)
    assert type(merged) is nn.Linear


def test_merging_does_not_depend_on_the_mode():
    layer = adapted()
    assert torch.equal(layer.train().merged().weight, layer.eval().merged().weight)


def test_over_all_masks_the_mean_is_eval_and_the_variance_is_of_the_adapter_alone():
    layer, x = adapted(0.7), torch.rand(4).double()
    masks, chances = all_masks(4), mask_probabilities(all_masks(4), 0.7)
    with torch.no_grad():
        change = layer.factor * layer.B @ layer.A
        outputs = layer.linear(x) + torch.tensor(masks / 0.7) * x @ change.T
        mean, expected = chances @ outputs.numpy(), layer.eval()(x).numpy()
    assert np.allclose(mean, expected)
    variance = chances @ np.square(outputs.numpy() - mean)
    assert np.allclose(variance, 0.3 / 0.7 * np.square((change * x).numpy()).sum(axis=1))


def test_the_mask_is_on_the_input_of_the_adapter():
    torch.manual_seed(0)
    layer, x = adapted(0.5), torch.rand(20_000, 4).double()
    with torch.no_grad():
        drawn = layer(x[:1].expand(20_000, 4)) - layer.linear(x[:1])
        change = layer.factor * layer.B @ layer.A
        possible = 2 * torch.tensor(all_masks(4)) * x[:1] @ change.T
        nearest = torch.cdist(drawn, possible).min(dim=1)
    assert nearest.values.max() < 1e-6
    assert torch.bincount(nearest.indices, minlength=16).min() > 20_000 / 16 * 0.8
