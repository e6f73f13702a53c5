"""What holds for the networks that lessons and experiments train."""

import torch
from torch import nn

from lib.layers import Dropout, GaussianDropout, StochasticDepth
from lib.networks import digit_classifier, multilayer_perceptron, residual_net


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
