"""DropConnect: y = (M * W) x + m * b, with a mask for every weight instead of every unit."""

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from ..validation import COUNT, PROBABILITY, SCALING, Flag, Function, check_shapes, declared
from .base import TENSOR, StochasticLayer, check_floating_point
from .draw import keep_mask
from .gates import GATE


class DropConnect(StochasticLayer):
    """What layers with masked weights share. A subclass says what its weights do with x."""

    def forward(self, x: Tensor) -> Tensor:
        self._check_input(x)
        if self.keep_prob == 1 or not self.training:
            return self._mean(x)
        if self.masks == "example":
            return self._product_of_each(x)
        W = self.weight * self._mask(self.weight)
        b = None if self.bias is None else self.bias * self._mask(self.bias)
        return self._product(x, W, b)

    def _mask(self, x, shape=None):
        mask = keep_mask(x, self.keep_prob, shape)
        return mask.div_(self.keep_prob) if self.scaling == "inverted" else mask

    def moments(self, x):
        r"""Mean and variance of the pre-activation over all masks, in the shape of the output.

        They are exact, and the same in every mode. Given x, the units of an example are
        independent. Squares are taken entry by entry:

        ============  =====================  ==================================================
        scaling       mean                   variance
        ============  =====================  ==================================================
        "inverted"    :math:`W x + b`        :math:`\frac{1 - p}{p} \, (W^2 x^2 + b^2)`
        "weight"      :math:`p \, (Wx + b)`  :math:`p \, (1 - p) \, (W^2 x^2 + b^2)`
        ============  =====================  ==================================================

        Parameters
        ----------
        x : torch.Tensor
            As for the layer.
        """
        self._check_input(x)
        p = self.keep_prob
        spread = (1 - p) / p if self.scaling == "inverted" else p * (1 - p)
        b_squared = None if self.bias is None else self.bias.square()
        return self._mean(x), spread * self._product(x.square(), self.weight.square(), b_squared)

    @declared(x=TENSOR, activation=Function(), n_samples=COUNT)
    @torch.no_grad()
    def gaussian_inference(self, x, activation, n_samples):
        r"""Mean activation if the pre-activation were Gaussian, by sampling: the paper's inference.

        It is :math:`\frac{1}{n} \sum_{k=1}^n a(u_k)`, with :math:`u_k` drawn from the normal
        distribution that has the two `moments`: a tensor without gradient, in every mode.

        Parameters
        ----------
        x : torch.Tensor
            As for the layer.
        activation : callable
            The nonlinearity a, ``torch.relu`` say, of a sample of the output's shape.
        n_samples : int
            Number n of samples, at least 1: taken one after the other, so memory does not grow.

        Examples
        --------
        >>> _ = torch.manual_seed(0)
        >>> layer = DropConnectLinear(2, 1, bias=False).requires_grad_(False)
        >>> _ = layer.weight.copy_(torch.tensor([[1.0, -1.0]]))
        >>> torch.relu(layer.eval()(torch.ones(2)))
        tensor([0.])
        >>> layer.gaussian_inference(torch.ones(2), torch.relu, 10_000).round(decimals=1)
        tensor([0.6000])
        """
        mean, variance = self.moments(x)
        std, total = variance.sqrt(), 0
        for _ in range(n_samples):
            total = total + activation(mean + std * torch.randn_like(mean)) / n_samples
        return total

    def _mean(self, x):
        y = self._product(x, self.weight, self.bias)
        return y if self.scaling == "inverted" else y * self.keep_prob


@declared(
    in_features=COUNT,
    out_features=COUNT,
    keep_prob=PROBABILITY,
    bias=Flag(),
    scaling=SCALING,
    masks=GATE,
)
class DropConnectLinear(DropConnect, nn.Linear):
    r"""Linear layer that keeps each weight and each bias with probability `keep_prob`.

    With :math:`M_{ji}, m_j \sim \text{Bernoulli}(p)`, all independent and drawn anew for each
    example, p the probability to keep, and x the input:

    ============  =======================================  =========================
    scaling       training                                 eval
    ============  =======================================  =========================
    "inverted"    :math:`((M \odot W) x + m \odot b) / p`  :math:`W x + b`
    "weight"      :math:`(M \odot W) x + m \odot b`        :math:`p \, (W x + b)`
    ============  =======================================  =========================

    Either way eval gives the mean of what training gives. The activation of that mean is not the
    mean of the activation: for that there is the paper's `gaussian_inference`, which stands for
    the layer *and* its activation.

    Parameters
    ----------
    in_features, out_features : int
        Numbers of inputs and of units.
    keep_prob : float
        Probability to KEEP a weight, in (0, 1].
    bias : bool
        Whether to add a bias. It is masked too.
    scaling : {"inverted", "weight"}
        Whether the factor goes into training, or into eval, the paper's form.
    masks : {"example", "batch"}
        Whether each example has a mask of its own, as in the paper, or all of a call share one,
        which costs no more than a linear layer.
    device, dtype
        As for ``torch.nn.Linear``.

    Shape
    -----
    Input (..., in_features) (else a ValueError), of a floating-point dtype (else a TypeError);
    output (..., out_features). Each row of the input is an example, with a mask of its own.

    Notes
    -----
    A mask has examples x out x in entries. Training holds about three tensors of that size until
    the gradient is computed: in single precision, 2.5 GB for 50 examples and 2048 x 2048 weights.
    Give `lib.inference.mc_samples` a small `max_rows` with this layer. Eval needs no mask.

    References
    ----------
    Wan et al. (2013), *Regularization of neural networks using DropConnect*, ICML; section 3.2 and
    algorithm 2 for inference.

    Examples
    --------
    >>> _ = torch.manual_seed(0)
    >>> layer = DropConnectLinear(4, 3, keep_prob=0.5, bias=False).requires_grad_(False)
    >>> _ = layer.weight.fill_(1.0)
    >>> layer(torch.ones(2, 4))  # twice the number of weights kept
    tensor([[2., 2., 2.],
            [2., 6., 4.]])
    >>> layer.eval()(torch.ones(2, 4))
    tensor([[4., 4., 4.],
            [4., 4., 4.]])
    >>> layer.moments(torch.ones(4))
    (tensor([4., 4., 4.]), tensor([4., 4., 4.]))
    """

    def __init__(
        self,
        in_features,
        out_features,
        keep_prob=0.5,
        bias=True,
        scaling="inverted",
        masks="example",
        *,
        device=None,
        dtype=None,
    ):
        super().__init__(in_features, out_features, bias, device=device, dtype=dtype)
        self.keep_prob = keep_prob
        self.scaling = scaling
        self.masks = masks

    _product = staticmethod(linear)

    def _product_of_each(self, x):
        """The same with a mask for each example: x is (..., in)."""
        one_an_example = (*x.shape[:-1], *self.weight.shape)  # (..., out, in)
        mask = self._mask(self.weight, one_an_example)
        y = (mask * self.weight * x.unsqueeze(-2)).sum(dim=-1)  # (..., out)
        return y if self.bias is None else y + self._mask(y) * self.bias

    def _check_input(self, x):
        fits = check_floating_point(x).shape[-1:] == (self.in_features,)
        check_shapes(fits, f"(..., {self.in_features}), one value a feature", x=x)
