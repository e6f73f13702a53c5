"""The few networks that lessons and experiments train."""

from torch import nn

from lib.layers import Dropout, StochasticDepth
from lib.layers.base import GATE
from lib.validation import COUNT, PROBABILITY, SCALING, Function, Many, declared


@declared(
    sizes=Many(COUNT, at_least=2),
    keep_hidden=PROBABILITY,
    keep_input=PROBABILITY,
    mask=Function(),
)
def multilayer_perceptron(sizes, keep_hidden=1.0, keep_input=1.0, mask=Dropout):
    """Build a network of fully connected ReLU layers, a mask behind each hidden one.

    Parameters
    ----------
    sizes : sequence of int
        Numbers of inputs, of units in each hidden layer, and of outputs.
    keep_hidden, keep_input : float
        Probabilities to KEEP a hidden unit and an input, in (0, 1].
    mask : callable
        Makes a dropout layer from a keep probability.

    Returns
    -------
    torch.nn.Sequential
        ``Linear, ReLU, mask`` for each hidden layer, then ``Linear``; before them a mask on the
        inputs if `keep_input` is below 1.

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
    """Build the book's network for scikit-learn's digits: 64-128-128-10.

    Parameters
    ----------
    keep_hidden : float
        Probability to KEEP a hidden unit, in (0, 1].
    mask : callable
        Makes a dropout layer from a keep probability.

    Returns
    -------
    torch.nn.Sequential
        As of `multilayer_perceptron`; the masks are its layers 2 and 5.
    """
    return multilayer_perceptron([64, 128, 128, 10], keep_hidden, mask=mask)


@declared(
    survival_probs=Many(PROBABILITY),
    maps=COUNT,
    side=COUNT,
    stride=COUNT,
    gate=GATE,
    scaling=SCALING,
)
def residual_net(survival_probs, maps=16, side=28, stride=4, gate="batch", scaling="inverted"):
    """Build a convolutional network of residual blocks, which stochastic depth may skip.

    Parameters
    ----------
    survival_probs : sequence of float
        Of each block, in (0, 1].
    maps : int
        Feature maps, the same in all blocks.
    side : int
        Height and width of the images, which come as vectors.
    stride : int
        By what the first convolution divides the sides.
    gate, scaling : str
        As of `lib.layers.StochasticDepth`.

    Returns
    -------
    torch.nn.Sequential
    """

    def branch():
        return nn.Sequential(
            *(nn.Conv2d(maps, maps, 3, padding=1, bias=False), nn.BatchNorm2d(maps), nn.ReLU()),
            *(nn.Conv2d(maps, maps, 3, padding=1, bias=False), nn.BatchNorm2d(maps)),
        )

    blocks = []
    for survival_prob in survival_probs:
        blocks += [StochasticDepth(branch(), survival_prob, gate, scaling), nn.ReLU()]
    return nn.Sequential(
        nn.Unflatten(-1, (1, side, side)),
        *(nn.Conv2d(1, maps, stride, stride, bias=False), nn.BatchNorm2d(maps), nn.ReLU()),
        *blocks,
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(maps, 10)),
    )
