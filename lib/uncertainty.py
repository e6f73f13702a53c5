r"""What to make of Monte Carlo samples: how likely are the targets, and how unsure is the model.

Samples are the outputs of T passes with masks on, from `lib.inference.mc_samples`. For regression
each sample f_t is the mean of a normal distribution of precision tau, so that the prediction is::

    p(y | x) = 1/T sum_t N(y; f_t(x), 1/tau).

For classification each sample is a vector of class probabilities, and the prediction is their mean.
"""

import math

import torch

from lib.layers.base import REAL_TENSOR
from lib.validation import COUNT, POSITIVE, PROBABILITY, Optional, Real, check_shapes, declared


@declared(samples=REAL_TENSOR, targets=REAL_TENSOR, tau=POSITIVE)
def predictive_log_likelihood(samples, targets, tau):
    r"""Log-likelihood of each target, shape (n,), under the average over the samples, in nats.

    .. math:: \log \frac1T \sum_t N(y;\, f_t(x),\, \tau^{-1} I)

    The *average* of the densities, not of their logarithms. Given a sample, the outputs of one
    example are independent: their log-densities add up before the average is taken.

    Parameters
    ----------
    samples : torch.Tensor, shape (n_samples, n, ...)
        Outputs f_t.
    targets : torch.Tensor, shape (n, ...)
    tau : float
        Precision of the observation noise, 1 / variance.

    Raises
    ------
    ValueError
        If a value is not finite.

    References
    ----------
    Gal and Ghahramani (2016), *Dropout as a Bayesian approximation*, ICML, section 4.

    Examples
    --------
    >>> samples = torch.tensor([[0.0], [2.0]])
    >>> predictive_log_likelihood(samples, torch.tensor([1.0]), tau=1.0)
    tensor([-1.4189])
    """
    _check(samples, targets)
    squares = (samples - targets).square()[..., None].flatten(2).sum(dim=-1)  # (T, n)
    n_outputs = math.prod(targets.shape[1:])
    log_densities = -tau / 2 * squares + n_outputs / 2 * math.log(tau / (2 * math.pi))
    return log_densities.logsumexp(dim=0) - math.log(len(samples))


@declared(samples=REAL_TENSOR, targets=REAL_TENSOR, level=Real(0, 1), tau=Optional(POSITIVE))
def interval_coverage(samples, targets, level=0.95, tau=None):
    r"""Share of targets that lie in the central interval of their predictive distribution.

    A float from 0 to 1. A target y is inside if the distribution function F, averaged over the
    samples, has :math:`\frac{1 - \text{level}}{2} \le F(y) \le \frac{1 + \text{level}}{2}`. A well
    calibrated model has a coverage near `level`.

    Parameters
    ----------
    samples : torch.Tensor, shape (n_samples, n, ...)
    targets : torch.Tensor, shape (n, ...)
    level : float
        Probability of the interval, in (0, 1).
    tau : float, optional
        Precision of the observation noise. Without it the interval is that of the samples: it says
        where the model's *mean* may be, not where a noisy target will fall.

    Raises
    ------
    ValueError
        If a value is not finite.

    Examples
    --------
    >>> samples = torch.zeros(10, 3)
    >>> round(interval_coverage(samples, torch.tensor([0.0, 1.9, 2.1]), tau=1.0), 3)
    0.667
    """
    _check(samples, targets)
    if tau is None:
        below = (samples < targets).float() + (samples == targets).float() / 2
    else:
        below = torch.special.ndtr((targets - samples) * math.sqrt(tau))
    tail = (1 - level) / 2
    quantile = below.mean(dim=0)
    return ((quantile >= tail) & (quantile <= 1 - tail)).float().mean().item()


@declared(samples=REAL_TENSOR)
def predictive_entropy(samples):
    r"""Entropy of the averaged class probabilities, in nats: how unsure the prediction is.

    .. math:: H(\bar p) = -\sum_c \bar p_c \log \bar p_c , \qquad \bar p = \frac1T \sum_t p_t

    Parameters
    ----------
    samples : torch.Tensor, shape (n_samples, ..., classes)
        Class probabilities; the last dimension sums to 1.

    Returns
    -------
    torch.Tensor, shape (...)
        From 0 to log(classes).

    Raises
    ------
    ValueError
        If the samples are no probabilities.

    Examples
    --------
    >>> predictive_entropy(torch.tensor([[[1.0, 0.0]], [[0.0, 1.0]]]))
    tensor([0.6931])
    """
    samples, dtype = _probabilities(samples)
    return _entropy(samples.mean(dim=0)).to(dtype)


@declared(samples=REAL_TENSOR)
def expected_entropy(samples):
    r"""Average entropy of the samples, in nats: how unsure each of them is by itself.

    .. math:: \frac1T \sum_t H(p_t)

    The samples, and the shapes, are as for `predictive_entropy`.

    Examples
    --------
    >>> expected_entropy(torch.tensor([[[1.0, 0.0]], [[0.0, 1.0]]]))
    tensor([0.])
    """
    samples, dtype = _probabilities(samples)
    return _entropy(samples).mean(dim=0).to(dtype)


@declared(samples=REAL_TENSOR)
def mutual_information(samples):
    r"""How much of the entropy comes from the samples' disagreement, in nats.

    .. math:: H(\bar p) - \frac1T \sum_t H(p_t) \ge 0

    It is the mutual information between the answer and the mask, and 0 if all samples agree. The
    samples, and the shapes, are as for `predictive_entropy`.

    Examples
    --------
    >>> mutual_information(torch.tensor([[[1.0, 0.0]], [[0.0, 1.0]]]))
    tensor([0.6931])
    """
    samples, dtype = _probabilities(samples)
    information = _entropy(samples.mean(dim=0)) - _entropy(samples).mean(dim=0)
    return information.clamp(min=0).to(dtype)  # not below zero by rounding


@declared(keep_prob=PROBABILITY, length_scale=POSITIVE, n_train=COUNT, tau=POSITIVE)
def gal_weight_decay(keep_prob, length_scale, n_train, tau):
    r"""Weight decay that belongs to a prior length-scale and an observation noise.

    .. math:: \lambda = \frac{l^2 \, p}{2 N \tau}

    It is the factor of :math:`|W|^2` beside the *mean* over the examples of
    :math:`\frac12 (y - f)^2`.

    Parameters
    ----------
    keep_prob : float
        Probability p to KEEP a unit.
    length_scale : float
        Length-scale l of the prior over functions: a longer one asks for smoother functions.
    n_train : int
        Number N of training examples.
    tau : float
        Precision of the observation noise.

    References
    ----------
    Gal and Ghahramani (2016), *Dropout as a Bayesian approximation*, ICML, sections 3 and 4.

    Examples
    --------
    >>> gal_weight_decay(keep_prob=0.5, length_scale=2.0, n_train=100, tau=1.0)
    0.01
    """
    return length_scale**2 * keep_prob / (2 * n_train * tau)


def _check(samples, targets):
    fit = samples.dim() >= 2 and samples.numel() > 0 and samples.shape[1:] == targets.shape
    allowed = "(n_samples, n, ...) and (n, ...), none empty"
    check_shapes(fit, allowed, samples=samples, targets=targets)
    for name, values in (("samples", samples), ("targets", targets)):
        if bad := (~values.isfinite()).sum().item():
            raise ValueError(
                f"{name} must be finite, got NaN or infinity in {bad} of {values.numel()} values"
            )


def _probabilities(samples):
    """Check class probabilities; return them in double precision, and the dtype to answer in."""
    fit = samples.dim() >= 2 and samples.numel() > 0
    check_shapes(fit, "(n_samples, ..., classes), none empty", samples=samples)
    samples, dtype = samples.double(), torch.promote_types(samples.dtype, torch.float32)
    sums = samples.sum(dim=-1)
    if not ((samples >= 0).all() and torch.allclose(sums, torch.ones_like(sums), atol=1e-4)):
        raise ValueError(
            "samples must hold class probabilities, at least 0 and of sum 1, "
            f"got a smallest value of {samples.min().item():.6g} and sums from "
            f"{sums.min().item():.6g} to {sums.max().item():.6g}"
        )
    return samples, dtype


def _entropy(probabilities):
    return torch.special.entr(probabilities).sum(dim=-1)
