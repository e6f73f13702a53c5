"""The few networks that lessons and experiments train."""

from torch import nn

from lib.layers import Dropout, StochasticDepth
from lib.validation import COUNT, PROBABILITY, Function, Many, declared


@declared(sizes=Many(COUNT, 2), keep_hidden=PROBABILITY, keep_input=PROBABILITY, mask=Function())
def multilayer_perceptron(sizes, keep_hidden=1.0, keep_input=1.0, mask=Dropout):
    """Build a network of fully connected ReLU layers, a mask behind each hidden one.

    Parameters
    ----------
    sizes : sequence of int
        Numbers of inputs, of units in each hidden layer, and of outputs.
    keep_hidden, keep_input : float
        Probabilities to KEEP a hidden unit and an input, in (0, 1]. Inputs have a mask only if
        theirs is below 1.
    mask : callable
        Makes a dropout layer from a keep probability.

    Examples
    --------
    >>> multilayer_perceptron([64, 128, 10], keep_hidden=0.5)
    Sequential(
      (0): Linear(in_features=64, out_features=128, bias=True)
      (1): ReLU()
      (2): Dropout(keep_prob=0.5, scaling='inverted')
      (3): Linear(in_features=128, out_features=10, bias=True)
    )
    """
    layers = [mask(keep_input)] if keep_input < 1 else []
    for n_in, n_out in zip(sizes[:-2], sizes[1:-1], strict=True):
        layers += [nn.Linear(n_in, n_out), nn.ReLU(), mask(keep_hidden)]
    return nn.Sequential(*layers, nn.Linear(sizes[-2], sizes[-1]))


@declared(keep_hidden=PROBABILITY, mask=Function())
def digit_classifier(keep_hidden=1.0, mask=Dropout):
    """Build the book's network for scikit-learn's digits, 64-128-128-10: masks are layers 2 and 5.

    Parameters
    ----------
    keep_hidden, mask
        As of `multilayer_perceptron`.
    """
    return multilayer_perceptron([64, 128, 128, 10], keep_hidden, mask=mask)


@declared(survival_probs=Many(PROBABILITY), maps=COUNT)
def residual_net(survival_probs, maps=16):
    """Build a network of residual blocks, which stochastic depth may skip, for Fashion-MNIST.

    It takes images as vectors of 784 pixels.

    Parameters
    ----------
    survival_probs : sequence of float
        Of each block, in (0, 1].
    maps : int
        Feature maps, the same in all blocks.
    """

    def convolution(inputs, size, **settings):
        return nn.Conv2d(inputs, maps, size, bias=False, **settings), nn.BatchNorm2d(maps)

    blocks = []
    for survival_prob in survival_probs:
        first, second = convolution(maps, 3, padding=1), convolution(maps, 3, padding=1)
        branch = nn.Sequential(*first, nn.ReLU(), *second)
        blocks += [StochasticDepth(branch, survival_prob), nn.ReLU()]
    start = nn.Unflatten(-1, (1, 28, 28)), *convolution(1, 4, stride=4), nn.ReLU()
    end = nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(maps, 10)
    return nn.Sequential(*start, *blocks, *end)
