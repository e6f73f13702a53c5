"""The few networks that lessons and experiments train."""

import copy
import math

import torch
from torch import Tensor, nn

from lib.layers import Dropout, StochasticDepth
from lib.validation import (
    COUNT,
    POSITIVE,
    PROBABILITY,
    Function,
    Instance,
    Many,
    check_shapes,
    declared,
)


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


@declared(
    n_tokens=COUNT, survival_probs=Many(PROBABILITY), width=COUNT, heads=COUNT, context=COUNT,
    keep_embedding=PROBABILITY, keep_attention=PROBABILITY, keep_hidden=PROBABILITY,
    keep_branch=PROBABILITY,
)  # fmt: skip
def transformer(
    n_tokens, survival_probs, width=64, heads=4, context=64, *, keep_embedding=1.0,
    keep_attention=1.0, keep_hidden=1.0, keep_branch=1.0,
):  # fmt: skip
    """Build a transformer that predicts the next token at each place, with masks in five places.

    It takes tokens (batch, n), n up to `context`, and gives logits (batch, n, n_tokens). A block
    has two residual branches, attention and a feed-forward layer, each with layer normalization
    first.

    Parameters
    ----------
    n_tokens : int
        Different tokens: characters, for instance.
    survival_probs : sequence of float
        Of both branches of each block, in (0, 1]: 1 for each block where none is to be skipped.
        Each sequence has gates of its own.
    width, heads, context : int
        Units of a place, attention heads, and the largest number of places.
    keep_embedding, keep_attention, keep_hidden, keep_branch : float
        Probabilities to KEEP an entry of the embeddings, an attention weight, a hidden unit of the
        feed-forward layer, and an entry of a branch's output, each in (0, 1].

    Raises
    ------
    ValueError
        If `width` is no multiple of `heads`.

    References
    ----------
    Vaswani et al. (2017), *Attention is all you need*: section 5.4. There, layer normalization
    comes after the sum.

    Examples
    --------
    >>> net = transformer(96, [1.0, 1.0], keep_attention=0.9)
    >>> net(torch.zeros(2, 10, dtype=torch.int64)).shape
    torch.Size([2, 10, 96])
    """

    def residual(survival_prob, *layers):
        branch = nn.Sequential(nn.LayerNorm(width), *layers, Dropout(keep_branch))
        return StochasticDepth(branch, survival_prob, gate="example")

    blocks = []
    for prob in survival_probs:
        hidden = nn.Linear(width, 4 * width), nn.GELU(), Dropout(keep_hidden)
        blocks += [
            residual(prob, CausalAttention(width, heads, keep_attention)),
            residual(prob, *hidden, nn.Linear(4 * width, width)),
        ]
    start = Embedding(n_tokens, width, context), Dropout(keep_embedding)
    return nn.Sequential(*start, *blocks, nn.LayerNorm(width), nn.Linear(width, n_tokens))


@declared(n_tokens=COUNT, width=COUNT, context=COUNT)
class Embedding(nn.Module):
    """The sum of a vector for each token and a vector for each place.

    Parameters
    ----------
    n_tokens, width, context : int
        As of `transformer`.

    Shape
    -----
    Input: tokens (batch, n), int, from 0 to n_tokens - 1, n up to `context`. Output: (batch, n,
    width).
    """

    def __init__(self, n_tokens, width, context):
        super().__init__()
        self.token, self.place = nn.Embedding(n_tokens, width), nn.Embedding(context, width)
        for table in (self.token, self.place):
            nn.init.normal_(table.weight, std=1 / math.sqrt(width))

    def forward(self, tokens: Tensor) -> Tensor:  # (batch, n)
        fits = tokens.dim() == 2 and tokens.shape[1] <= self.place.num_embeddings
        check_shapes(fits, f"(batch, n), n up to {self.place.num_embeddings}", tokens=tokens)
        return self.token(tokens) + self.place.weight[: tokens.shape[1]]


@declared(width=COUNT, heads=COUNT, keep_prob=PROBABILITY)
class CausalAttention(nn.Module):
    """Attention of each place to itself and those before it, with a mask on its weights.

    Parameters
    ----------
    width, heads : int
        As of `transformer`.
    keep_prob : float
        Probability to KEEP a weight, in (0, 1]. Each head has a mask of its own.

    Shape
    -----
    Input and output: (batch, n, width).

    Raises
    ------
    ValueError
        If `width` is no multiple of `heads`.
    """

    def __init__(self, width, heads, keep_prob):
        super().__init__()
        if width % heads:
            raise ValueError(f"width must be a multiple of heads, got {width} and {heads}")
        self.heads = heads
        self.project, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.drop = Dropout(keep_prob)

    def forward(self, x: Tensor) -> Tensor:  # (batch, n, width)
        parts = self.project(x).unflatten(-1, (3, self.heads, -1))
        q, k, v = parts.permute(2, 0, 3, 1, 4)  # each (batch, heads, n, width / heads)
        scores = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])
        later = torch.ones(scores.shape[-2:], dtype=torch.bool, device=x.device).triu(1)
        weights = scores.masked_fill(later, -torch.inf).softmax(dim=-1)  # (batch, heads, n, n)
        return self.out((self.drop(weights) @ v).transpose(1, 2).flatten(-2))


class _PlainLinear(Instance):
    """A linear layer that computes x W^T + b, with weights that may be read and set."""

    def __init__(self):
        allowed = "a plain torch.nn.Linear, its weights real and not computed from others"
        super().__init__(nn.Linear, allowed, lambda: nn.Linear(3, 2))

    def has(self, value):
        weight = value._parameters.get("weight")  # not there if it is computed
        is_own = weight is not None and not nn.parameter.is_lazy(weight)
        is_plain = type(value).forward is nn.Linear.forward
        return is_plain and is_own and weight.is_floating_point()


LINEAR = _PlainLinear()


@declared(linear=LINEAR, rank=COUNT, alpha=POSITIVE, keep_prob=PROBABILITY)
class AdaptedLinear(nn.Module):
    r"""A linear layer that is frozen, and beside it a low-rank adapter that is trained: LoRA.

    With the frozen weights W and bias b, the adapter's A (rank, in) and B (out, rank), and a mask
    m on the adapter's input alone, p the probability to keep:

    .. math:: y = W x + b + \frac{\alpha}{r} \, B A \, \frac{m \odot x}{p} .

    B starts at zero, so the adapted layer starts as the layer that it adapts.

    Parameters
    ----------
    linear : torch.nn.Linear
        The layer to adapt. It is kept, not copied, and its parameters are frozen. A subclass with a
        forward of its own, or weights that are computed from others (spectral norm, pruning), would
        not be what `merged` computes.
    rank : int
        Number r of rows of A.
    alpha : float
        The adapter's factor is ``alpha / rank``.
    keep_prob : float
        Probability to KEEP an input of the adapter, in (0, 1].

    Shape
    -----
    Input: (..., in), of the dtype of the weights. Output: (..., out). A and B begin with the dtype
    and on the device of `linear`.

    References
    ----------
    Hu et al. (2022), *LoRA: Low-rank adaptation of large language models*, ICLR; section 4.1. The
    mask is in the authors' code.

    Examples
    --------
    >>> layer = AdaptedLinear(nn.Linear(100, 50), rank=4)
    >>> [tuple(each.shape) for each in layer.parameters() if each.requires_grad]
    [(4, 100), (50, 4)]
    >>> layer.merged()
    Linear(in_features=100, out_features=50, bias=True)
    """

    def __init__(self, linear, rank=8, alpha=8.0, keep_prob=1.0):
        super().__init__()
        self.linear = linear.requires_grad_(False)
        new = linear.weight.new_empty
        self.A = nn.Parameter(new(rank, linear.in_features))
        self.B = nn.Parameter(new(linear.out_features, rank))
        self.factor, self.mask = alpha / rank, Dropout(keep_prob)
        nn.init.kaiming_uniform_(self.A, a=5**0.5)  # as torch begins the weights of a linear layer
        nn.init.zeros_(self.B)
        self.train(linear.training)

    def forward(self, x):
        return self.linear(x) + self.factor * (self.mask(x) @ self.A.T @ self.B.T)

    @torch.no_grad()
    def merged(self):
        """Return a linear layer that computes what this one computes in eval: a copy, frozen."""
        linear = copy.deepcopy(self.linear)
        linear.weight += self.factor * (self.B @ self.A)
        return linear
