"""Concrete dropout: y = z * x / p with masks z in (0, 1), so that p, to keep, is learned."""

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import logsigmoid

from ..validation import POSITIVE, Real, Whole, check_shapes, declared
from .base import TENSOR, StochasticLayer, check_floating_point, single_at_least


@declared(keep_prob=Real(0, 1), temperature=POSITIVE, spatial_dims=Whole(0))
class ConcreteDropout(StochasticLayer):
    r"""Dropout whose keep probability is a parameter, learned with the weights.

    A mask of zeros and ones has no gradient to its probability p. Here it is relaxed: with u
    uniform on (0, 1), t the temperature, and x the input,

    .. math::

        z = \sigma\!\left(\frac{1}{t} \Big( \log\frac{p}{1 - p} + \log\frac{u}{1 - u} \Big)\right)

    ============  ========================
    training      :math:`z \odot x / p`
    eval          :math:`x`
    ============  ========================

    Whatever t is, z is above 1/2 with probability p. The lower t, the nearer z is to 0 or 1, and
    its mean to p: at t = 0 this would be dropout. At t > 0 eval is close to the mean of training,
    and equal to it at p = 1/2.

    The loss to minimise is the mean negative log-likelihood over the N training examples, plus
    `kl` / N of every such layer. In `kl` the entropy of the mask asks for noise, p = 1/2, and the
    weights for less: their term grows with 1 / p.

    Parameters
    ----------
    keep_prob : float
        First value of p, the probability to KEEP, in (0, 1). The authors begin with 0.9.
    temperature : float
        t, above 0. In the authors' code 0.1, and 2 / 3 for maps.
    spatial_dims : int
        How many of the last dimensions share one mask entry: 0 for units, 2 for the maps of images.

    Attributes
    ----------
    logit : torch.nn.Parameter, shape ()
        log(p / (1 - p)): what is learned.

    Shape
    -----
    Input and output: any shape with at least `spatial_dims` dimensions (else a ValueError), any
    floating-point dtype (another one is a TypeError in training).

    References
    ----------
    Gal, Hron and Kendall (2017), *Concrete dropout*, NeurIPS 30. The authors' code,
    yaringal/ConcreteDropout, whose p is the probability to drop.

    Examples
    --------
    >>> _ = torch.manual_seed(0)
    >>> layer = ConcreteDropout(keep_prob=0.5)
    >>> layer(torch.ones(6)).detach().round(decimals=2)
    tensor([0.9300, 2.0000, 0.0000, 0.0000, 0.0000, 1.9900])
    """

    def __init__(self, keep_prob=0.9, temperature=0.1, spatial_dims=0):
        super().__init__()
        self.first_logit = math.log(keep_prob) - math.log1p(-keep_prob)
        self.temperature = temperature
        self.spatial_dims = spatial_dims
        self.logit = nn.Parameter(torch.tensor(self.first_logit))

    def reset_parameters(self):
        """Give the keep probability its first value."""
        nn.init.constant_(self.logit, self.first_logit)

    @property
    def keep_prob(self) -> Tensor:
        """The probability p to keep, of which gradients reach `logit`."""
        return torch.sigmoid(self.logit)

    def forward(self, x: Tensor) -> Tensor:
        k = self.spatial_dims
        check_shapes(TENSOR.check(x, "x").dim() >= k, f"of at least {k} dimensions", x=x)
        if not self.training:
            return x
        dtype = single_at_least(check_floating_point(x).dtype)
        shape = (*x.shape[: x.dim() - k], *(1 for _ in range(k)))
        u = torch.rand(shape, dtype=dtype, device=x.device)
        logit = self.logit.to(dtype)
        log_z = logsigmoid((logit + torch.logit(u)) / self.temperature)
        return x * (log_z - logsigmoid(logit)).exp().to(x.dtype)  # z / p

    @declared(weight=TENSOR, length_scale=POSITIVE)
    def kl(self, weight, length_scale):
        r"""KL from the distribution of the weights behind this layer to their prior, in nats.

        Up to a constant, and with M the weights, which are W / p in the paper's form, K the inputs
        that are dropped, l the prior's length scale, and H the entropy of one mask entry,

        .. math::

            \frac{l^2}{2 p} \, \|W\|^2 - K H(p), \qquad
            H(p) = -p \log p - (1 - p) \log(1 - p)

        Parameters
        ----------
        weight : torch.Tensor, shape (out, in, ...)
            W, of the linear or convolutional layer that takes the output of this one: K is its
            second size.
        length_scale : float
            l, above 0. A large one keeps the weights small.

        Returns
        -------
        torch.Tensor, shape ()
        """
        check_shapes(weight.dim() >= 2, "(out, in, ...)", weight=weight)
        logit = self.logit.to(single_at_least(self.logit.dtype))
        keep, drop = torch.sigmoid(logit), torch.sigmoid(-logit)
        entropy = -keep * logsigmoid(logit) - drop * logsigmoid(-logit)
        squares = weight.to(logit.dtype).square().sum() * (1 + torch.exp(-logit))  # over p
        return length_scale**2 / 2 * squares - weight.shape[1] * entropy

    def extra_repr(self):
        p = "learned" if self.logit.is_meta else f"{self.keep_prob.item():g}"
        return f"keep_prob={p}, temperature={self.temperature:g}, spatial_dims={self.spatial_dims}"
