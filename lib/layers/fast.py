"""Fast dropout: the mean and variance over all masks, carried through the network; no mask."""

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from lib.layers.base import TENSOR
from lib.validation import COUNT, PROBABILITY, Flag, Kind, OneOf, check_shapes, declared


@declared(
    in_features=COUNT,
    out_features=COUNT,
    keep_prob=PROBABILITY,
    activation=OneOf("relu", "sigmoid", None),
    bias=Flag(),
    passes=OneOf("moments", "mean"),
)
class FastDropoutLinear(nn.Linear):
    r"""Linear layer behind dropout, and its activation: mean and variance instead of masks.

    Inputs with means :math:`\mu` and variances v are dropped with inverted scaling and summed. The
    sums z have (squares are taken entry by entry)

    .. math::

        \mathbb{E}[z] = W \mu + b, \qquad
        \text{Var}(z) = W^2 \Big( \frac{v}{p} + \frac{1 - p}{p} \, \mu^2 \Big) .

    Each z is then taken for Gaussian, and the mean and variance of its activation are passed on
    (`lib.theory.moments`). The units of a layer are treated as independent, which they are not, as
    they read the same masked inputs.

    ============  ===========================================================
    training      the pair (mean, variance), or the mean alone (`passes`)
    eval          the activation of :math:`W x + b`, one tensor
    ============  ===========================================================

    Nothing is random in either mode, so it is no `StochasticLayer`. Eval is the ordinary network,
    as for inverted dropout; for the moments at prediction, leave it in training mode.

    Parameters
    ----------
    in_features, out_features : int
        Numbers of inputs and of units.
    keep_prob : float
        Probability to KEEP an input, in (0, 1].
    activation : {"relu", "sigmoid"} or None
        What follows the sum. With None, mean and variance are exact if the inputs are independent.
    bias : bool
        Whether to add a bias. It is not dropped.
    passes : {"moments", "mean"}
        What it returns in training. The last layer passes "moments" to a loss that can use them
        (`expected_cross_entropy`). With "mean" and no activation, dropout has no effect here.
    device, dtype
        As for ``torch.nn.Linear``.

    Shape
    -----
    Input (..., in_features), or a pair of two such tensors, means and variances; the pair of the
    layer before goes through ``nn.Sequential`` as it is. Output (..., out_features), or a pair. In
    eval the variances of a pair are not used. Another dtype, a pair of two shapes, and a variance
    that is negative or NaN (not asked under ``torch.vmap`` and ``torch.compile``) are errors.

    References
    ----------
    Wang and Manning (2013), *Fast dropout training*, ICML.

    Examples
    --------
    >>> layer = FastDropoutLinear(2, 1, keep_prob=0.5, bias=False).requires_grad_(False)
    >>> _ = layer.weight.copy_(torch.tensor([[1.0, -1.0]]))
    >>> mean, variance = layer(torch.ones(2))
    >>> mean, variance  # z has mean 0 and variance 2
    (tensor([0.5642]), tensor([0.6817]))
    >>> layer.eval()(torch.ones(2))
    tensor([0.])
    """

    def __init__(
        self,
        in_features,
        out_features,
        keep_prob=0.5,
        activation="relu",
        bias=True,
        *,
        passes="moments",
        device=None,
        dtype=None,
    ):
        super().__init__(in_features, out_features, bias, device=device, dtype=dtype)
        self.keep_prob = keep_prob
        self.activation = activation
        self.passes = passes

    def forward(self, x):
        mean, variance = MOMENTS.check(x, "x")
        plain, moments = ACTIVATIONS[self.activation]
        nothing_varies = self.keep_prob == 1 and variance is None
        if nothing_varies or not self.training:
            mean = plain(linear(mean, self.weight, self.bias))
            variance = torch.zeros_like(mean)
        else:
            spread = mean.square() * ((1 - self.keep_prob) / self.keep_prob)  # (..., in)
            if variance is not None:
                spread = spread + variance / self.keep_prob
            z_mean = linear(mean, self.weight)  # (..., out)
            z_variance = linear(spread, self.weight.square())
            if self.bias is not None:
                z_mean = z_mean + self.bias
            mean, variance = moments(z_mean, z_variance)
        return (mean, variance) if self.training and self.passes == "moments" else mean

    def extra_repr(self):
        return (
            f"{super().extra_repr()}, keep_prob={self.keep_prob:g}, "
            f"activation={self.activation!r}, passes={self.passes!r}"
        )


@declared(mean=TENSOR, variance=TENSOR)
def relu_moments(mean, variance):
    """Mean and variance of max(0, z), z Gaussian: `lib.theory.moments.relu_moments` in torch.

    The gradients are finite at variance 0 too.

    Parameters
    ----------
    mean, variance : torch.Tensor, of one shape
        Of z: such a pair as `FastDropoutLinear` takes.
    """
    return _relu_moments(*MOMENTS.check((mean, variance), "mean and variance"))


def _relu_moments(mean, variance):
    return ReluMoments.apply(mean, variance)[:2]


class ReluMoments(torch.autograd.Function):
    r"""The moments E and V of max(0, z), with their derivatives in closed form.

    For Gaussian z, d/dmean E[f(z)] = E[f'(z)] and d/dvariance E[f(z)] = E[f''(z)] / 2. So, with
    a = mean / s, Phi the probability that z > 0, and h = phi(a) / (2 s),

        dE / dmean = Phi             dE / dvariance = h
        dV / dmean = 2 E (1 - Phi)   dV / dvariance = Phi - 2 E h .
    """

    generate_vmap_rule = True

    @staticmethod
    def slopes(mean, variance):
        """Return s, a, Phi(a) and phi(a)."""
        # The floor and the clamp keep what is multiplied by zero from being infinite.
        std = variance.clamp(min=math.sqrt(torch.finfo(variance.dtype).tiny)).sqrt_()
        a = (mean / std).clamp(-30, 30)
        active = torch.erfc(a * -math.sqrt(0.5)).mul_(0.5)  # P(z > 0)
        density = a.square().mul_(-0.5).sub_(math.log(2 * math.pi) / 2).exp_()
        return std, a, active, density

    @staticmethod
    def forward(mean, variance):
        std, a, active, density = ReluMoments.slopes(mean, variance)
        above = torch.addcmul(density, a, active)  # E[max(0, z)] / s
        below = above - a  # E[max(0, -z)] / s
        relu_mean = torch.addcmul(mean * active, std, density)
        relu_variance = torch.addcmul(active, above, below, value=-1).clamp(min=0).mul_(variance)
        return relu_mean, relu_variance, active, density.div_(std).mul_(0.5)

    @staticmethod
    def setup_context(ctx, inputs, output):
        relu_mean, _, active, h = output
        ctx.mark_non_differentiable(active, h)
        ctx.save_for_backward(*inputs, relu_mean, active, h)

    @staticmethod
    def backward(ctx, by_mean, by_variance, *_):
        mean, variance, relu_mean, active, h = ctx.saved_tensors
        if torch.is_grad_enabled():  # a second derivative may be asked for
            std, _, active, density = ReluMoments.slopes(mean, variance)
            h = density / (2 * std)
        pull = 2 * by_variance * relu_mean
        by_active = by_mean - pull
        to_mean = torch.addcmul(pull, by_active, active)
        return to_mean, torch.addcmul(by_variance * active, by_active, h)


@declared(mean=TENSOR, variance=TENSOR)
def sigmoid_moments(mean, variance):
    """Mean and variance of sigma(z), z Gaussian: `lib.theory.moments.sigmoid_moments` in torch.

    Parameters
    ----------
    mean, variance : torch.Tensor, of one shape
        Of z: such a pair as `FastDropoutLinear` takes.
    """
    return _sigmoid_moments(*MOMENTS.check((mean, variance), "mean and variance"))


def _sigmoid_moments(mean, variance):
    kappa = torch.rsqrt(1 + variance * (math.pi / 8))
    m = torch.sigmoid(kappa * mean)
    return m, m * (1 - m) * (1 - kappa)


# name: the activation of a number, and of the moments of a Gaussian
ACTIVATIONS = {
    "relu": (torch.relu, _relu_moments),
    "sigmoid": (torch.sigmoid, _sigmoid_moments),
    None: (lambda z: z, lambda mean, variance: (mean, variance)),
}


class Moments(Kind):
    """A tensor of numbers, or their means and variances."""

    allowed = (
        "a tensor of a floating-point dtype, or a pair of them of one shape: means, and variances "
        "of at least 0"
    )
    good = (torch.ones(2, 3), torch.ones(2, 3))
    bad = (
        *(None, "ab", torch.ones(2, 3).long(), 1j * torch.ones(2, 3), torch.ones(2, 3).numpy()),
        *((torch.ones(2, 3),), (torch.ones(2, 3),) * 3, (torch.ones(2, 3), 1.0)),
        *((torch.ones(2, 3), torch.ones(3)), (torch.ones(2, 3), -torch.ones(2, 3))),
    )

    def check(self, value, name):
        """Return means and variances; None for the variances of a tensor."""
        parts = value if isinstance(value, tuple | list) else (value,)
        if not all(isinstance(part, Tensor) and part.is_floating_point() for part in parts):
            self.refuse(value, name, TypeError)
        if isinstance(value, Tensor):
            return value, None
        if len(parts) != 2 or parts[0].shape != parts[1].shape:
            self.refuse([part.shape for part in parts], name)
        if not _are_variances(parts[1]):
            self.refuse(parts[1][~(parts[1] >= 0)][0].item(), name)
        return parts


def _are_variances(x):
    """Whether all are at least 0; not asked where a graph is traced, or a value stands for many."""
    if torch.compiler.is_compiling():
        return True
    try:
        return bool((x >= 0).all())
    except RuntimeError:  # under vmap, and on the device meta
        return True


MOMENTS = Moments()


@declared(output=MOMENTS, labels=TENSOR)
def expected_cross_entropy(output, labels) -> Tensor:
    r"""Cross-entropy averaged over the noise of the logits: an upper bound, close for small noise.

    The logits z are taken for independent Gaussians with means :math:`\mu_k` and variances
    :math:`v_k`. (Under dropout they covary, in a linear model too, since they read the same masked
    inputs.) For any numbers a, by Jensen's inequality,

    .. math::

        \mathbb{E}[-\log \text{softmax}_y(z)]
        &= \mathbb{E}\Big[\log \sum_k e^{z_k - \sum_j a_j z_j}\Big]
           + \sum_j a_j \mu_j - \mu_y \\
        &\le \log \sum_k e^{\mu_k + (1 - 2 a_k) v_k / 2} + \tfrac12 \sum_j a_j^2 v_j - \mu_y .

    Here a is the softmax of the means. To the first order in v the bound is then exact: the usual
    cross-entropy plus :math:`\frac12 \sum_k a_k (1 - a_k) v_k`. That term alone would be a poor
    loss, as it vanishes where the means are sure, whatever the noise.

    Parameters
    ----------
    output : pair of torch.Tensor, shape (..., n, classes), or one such tensor
        Means and variances of the logits; or logits, for which it is the usual cross-entropy.
    labels : torch.Tensor of int, shape (..., n)

    Returns
    -------
    torch.Tensor, shape (...)
        Mean over the n examples, of which there must be some. It can be a `loss` of `fit`.

    References
    ----------
    Knowles and Minka (2011), *Non-conjugate variational message passing for multinomial and binary
    regression*, NIPS, for the bound.

    Examples
    --------
    >>> mean, labels = torch.zeros(1, 2), torch.tensor([0])
    >>> expected_cross_entropy(mean, labels)
    tensor(0.6931)
    >>> expected_cross_entropy((mean, torch.ones(1, 2)), labels)
    tensor(0.9431)
    """
    mean, variance = output
    fits = mean.shape[:-1] == labels.shape and labels.numel() > 0
    allowed = "(..., n, classes) and (..., n), with examples"
    check_shapes(fits, allowed, output=mean, labels=labels)
    chosen = mean.gather(-1, labels[..., None])[..., 0]  # (..., n)
    if variance is None:
        return (mean.logsumexp(dim=-1) - chosen).mean(dim=-1)
    a = mean.softmax(dim=-1)
    bound = (mean + (0.5 - a) * variance).logsumexp(dim=-1)
    bound = bound + (a.square() * variance).sum(dim=-1) / 2
    return (bound - chosen).mean(dim=-1)
