"""Networks to train, and the order in which they are trained."""

import torch
from torch import nn

from lib.layers import Dropout
from lib.training import fit


def dense_net(keep_prob=0.5, inputs=64, hidden=32):
    return nn.Sequential(
        nn.Linear(inputs, hidden), nn.ReLU(), Dropout(keep_prob), nn.Linear(hidden, 10)
    )


def conv_net():
    return nn.Sequential(
        nn.Unflatten(-1, (1, 8, 8)),
        nn.Conv2d(1, 4, 3, bias=False),  # normalization takes a bias out again
        nn.BatchNorm2d(4),
        nn.ReLU(inplace=True),
        nn.Flatten(-3),
        nn.Linear(4 * 36, 10),
    )


def modes(model):
    return [module.training for module in model.modules()]


def states_equal(one, other):
    pairs = zip(one.state_dict().items(), other.state_dict().items(), strict=True)
    return all(a == b and torch.equal(x, y) for (a, x), (b, y) in pairs)


def in_turn(x, y, batch_size):
    """The minibatches, in the order of the data."""
    examples = y.dim() - 2 if y.is_floating_point() else y.dim() - 1
    return zip(x.split(batch_size, examples), y.split(batch_size, examples), strict=True)


def assert_trained_as_alone(trained, history, nets, splits, **settings):
    """Networks trained together, against the same ones trained here one by one."""
    for i, (net, split) in enumerate(zip(nets, splits, strict=True)):
        alone = fit(net, split, **settings)
        for name, column in history._asdict().items():
            expected, near = getattr(alone, name), {"rtol": 1e-3, "atol": 1e-4, "msg": name}
            torch.testing.assert_close(column[:, i], expected, equal_nan=True, **near)
        for parameter, expected in zip(trained[i].parameters(), net.parameters(), strict=True):
            torch.testing.assert_close(parameter, expected, rtol=1e-2, atol=1e-3)
