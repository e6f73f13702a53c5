"""One logistic unit under dropout: the normalized weighted geometric mean, and the gradient.

The unit gets the sum S of its masked inputs and answers O = sigma(S). Each mask gives a sum S_k and
an output O_k, with probability P_k. The geometric means G of the outputs and G' of their
complements, normalized to add up to one, give what the unit answers at the mean sum::

    NWGM = G / (G + G') = sigma(E[S])
"""

import numpy as np
from scipy.special import expit, logit

from lib.masks import LARGEST_ENUMERATION, all_masks, mask_probabilities
from lib.theory.ensemble import WEIGHTS, check_probabilities, ensemble_mean
from lib.validation import FINITE, PROBABILITIES, SCALING, SHARE, Numbers, OneOf, Real, declared

OUTPUTS = Numbers(SHARE)
VECTOR = Numbers(ndim=1, empty=False)
UNIT = OneOf("sigmoid", "linear")


@declared(outputs=OUTPUTS, probabilities=WEIGHTS)
def nwgm(outputs, probabilities):
    r"""Normalized weighted geometric mean of probabilities.

    .. math:: \frac{G}{G + G'}, \qquad G = \prod_k O_k^{P_k}, \quad
              G' = \prod_k (1 - O_k)^{P_k}

    It is computed as :math:`\sigma(\sum_k P_k \, \text{logit}(O_k))`, which is the same. An output
    close to 1 holds few digits of what it lacks to 1, and rounds to 1 where its sum is above 37 (in
    single precision, 17). Where the sums are known, sigma(E[S]) is more precise.

    Parameters
    ----------
    outputs : array_like of float, shape (m, ...)
        Probabilities O_k in [0, 1].
    probabilities : array_like of float, shape (m,)
        Weights P_k, not negative and summing to 1.

    Returns
    -------
    numpy.ndarray of float, shape (...)
        An output of 0 (of weight above 0) makes it 0, and an output of 1 makes it 1. With both
        among the outputs, G and G' are 0 and it is NaN.

    Raises
    ------
    ValueError
        If the probabilities don't sum to 1.

    References
    ----------
    Baldi and Sadowski (2013), *Understanding dropout*, NeurIPS 26.

    Examples
    --------
    >>> float(nwgm([0.3, 0.9], [2 / 3, 1 / 3]).round(4))
    0.5418
    """
    check_probabilities(probabilities, outputs)
    counts = probabilities > 0  # 0 times an infinite logit is 0 here, not NaN
    with np.errstate(invalid="ignore"):  # infinity minus infinity gives NaN, as stated
        return expit(np.tensordot(probabilities[counts], logit(outputs[counts]), axes=1))


@declared(outputs=OUTPUTS, probabilities=WEIGHTS, around=OneOf("half", "mean"))
def taylor_estimate(outputs, probabilities, around="half"):
    r"""Estimate how far the NWGM is from the mean, :math:`|\mathbb{E}(O) - \text{NWGM}|`.

    From a Taylor expansion of :math:`\log O` and :math:`\log(1 - O)` to second order around 1/2
    (Baldi and Sadowski's), or around the mean. With :math:`E = \mathbb{E}(O)` and
    :math:`V = \text{Var}(O)` they give

    .. math:: \frac{V \, |1 - 2E|}{1 - 2V} \quad \text{(half)}, \qquad
              \frac{V \, |1 - 2E|}{2 E (1 - E)} \quad \text{(mean)}.

    The second is right to the order of V. The first leaves out terms as large as itself: with all
    outputs near 1/2 it is half of the second. Neither is a bound: near E = 1/2 the third central
    moment of the outputs counts as much as :math:`V \, |1 - 2E|`.

    Parameters
    ----------
    outputs, probabilities
        As for `nwgm`.
    around : {"half", "mean"}
        Where to expand.

    Returns
    -------
    numpy.ndarray of float, shape (...)
        NaN for "mean" where the mean is 0 or 1.

    References
    ----------
    Baldi and Sadowski (2013), section 3.

    Examples
    --------
    >>> outputs, probabilities = [0.2, 0.4], [0.5, 0.5]
    >>> float(taylor_estimate(outputs, probabilities).round(4))
    0.0041
    >>> float(taylor_estimate(outputs, probabilities, around="mean").round(4))
    0.0095
    >>> float((0.3 - nwgm(outputs, probabilities)).round(4))
    0.0101
    """
    mean = ensemble_mean(outputs, probabilities)
    variance = ensemble_mean((outputs - mean) ** 2, probabilities)
    if around == "half":
        return variance * np.abs(1 - 2 * mean) / (1 - 2 * variance)
    with np.errstate(invalid="ignore"):  # 0 by 0 gives NaN
        return variance * np.abs(1 - 2 * mean) / (2 * mean * (1 - mean))


@declared(sum_variance=Numbers(Real(0, ends="[]")))
def rigorous_bound(sum_variance):
    r"""A bound on the distance between the mean output and the NWGM that always holds.

    .. math:: |\mathbb{E}[\sigma(S)] - \sigma(\mathbb{E}[S])|
              \le \tfrac12 \max |\sigma''| \, \text{Var}(S) = \frac{\text{Var}(S)}{12 \sqrt 3}

    Parameters
    ----------
    sum_variance : array_like of float
        Variance of the sum S; the bound has its shape.

    Examples
    --------
    >>> rigorous_bound([1.0, 2.0]).round(4)
    array([0.0481, 0.0962])
    """
    return sum_variance / (12 * np.sqrt(3))


@declared(w=VECTOR, x=VECTOR, target=FINITE, keep_prob=PROBABILITIES, unit=UNIT, scaling=SCALING)
def dropout_gradient(w, x, target, keep_prob, *, unit="sigmoid", scaling="weight"):
    r"""Gradient by the weights of the loss under dropout, averaged over all masks: shape (n,).

    Parameters
    ----------
    w, x : array_like of float, shape (n,)
        Weights and inputs of one unit, n at most 20.
    target : float
        In [0, 1] for a sigmoid unit.
    keep_prob : float or array_like of shape (n,)
        Probability to keep each input, in (0, 1].
    unit : {"sigmoid", "linear"}
        Sigmoid with cross-entropy, or linear with half the squared error: for both, the derivative
        of the loss by S is output minus target.
    scaling : {"weight", "inverted"}
        Whether the mask in the sum is m (as in the paper) or m / keep_prob.

    Raises
    ------
    ValueError
        If n is above 20, or the target of a sigmoid unit is not in [0, 1].

    References
    ----------
    Baldi and Sadowski (2013), section 5.

    Examples
    --------
    >>> dropout_gradient([1.0, 1.0], [1.0, 2.0], 0.0, 0.5, unit="linear")
    array([1. , 2.5])
    """
    respond, _, _ = _unit(w, x, target, keep_prob, unit, scaling)
    if len(w) > LARGEST_ENUMERATION:
        raise ValueError(f"w must have at most {LARGEST_ENUMERATION} entries, got {len(w)}")
    masks = all_masks(len(w))
    scaled = masks if scaling == "weight" else masks / keep_prob
    delta = respond(scaled * x @ w) - target  # (masks,)
    return (mask_probabilities(masks, keep_prob) * delta) @ scaled * x


@declared(w=VECTOR, x=VECTOR, target=FINITE, keep_prob=PROBABILITIES, unit=UNIT, scaling=SCALING)
def ensemble_gradient(w, x, target, keep_prob, *, unit="sigmoid", scaling="weight"):
    r"""Gradient by the weights of the loss of the ensemble, the unit at the mean sum: shape (n,).

    With cross-entropy, :math:`E_\text{ens} = -t \log \sigma(\mathbb{E}[S])
    - (1 - t) \log(1 - \sigma(\mathbb{E}[S]))`.

    Parameters
    ----------
    w, x, target, keep_prob, unit, scaling
        As for `dropout_gradient`; n may be any number here.

    References
    ----------
    Baldi and Sadowski (2013), section 5.

    Examples
    --------
    >>> ensemble_gradient([1.0, 1.0], [1.0, 2.0], 0.0, 0.5, unit="linear")
    array([0.75, 1.5 ])
    """
    respond, mean, _ = _unit(w, x, target, keep_prob, unit, scaling)
    return (respond(mean * x @ w) - target) * mean * x


@declared(w=VECTOR, x=VECTOR, keep_prob=PROBABILITIES, unit=UNIT, scaling=SCALING)
def weight_decay_term(w, x, keep_prob, *, unit="sigmoid", scaling="weight"):
    r"""What dropout adds to the ensemble's gradient: exactly for a linear unit, else about.

    .. math:: \sigma'(\mathbb{E}[S]) \; \text{Var}(M_i) \, x_i^2 \, w_i

    It has shape (n,). The mask in the sum has variance p (1 - p), or (1 - p) / p if it is scaled by
    1 / p. For a linear unit the factor in front is 1. For a sigmoid unit the term is of first order
    in the weights: what it leaves out, among it a push that makes the unit surer, is as large where
    the sum has a standard deviation of 1 or more.

    Parameters
    ----------
    w, x, keep_prob, unit, scaling
        As for `dropout_gradient`; n may be any number here.

    References
    ----------
    Baldi and Sadowski (2013), section 5.

    Examples
    --------
    >>> weight_decay_term([1.0, 1.0], [1.0, 2.0], 0.5, unit="linear")
    array([0.25, 1.  ])
    """
    respond, mean, variance = _unit(w, x, 0.0, keep_prob, unit, scaling)
    output = respond(mean * x @ w)
    slope = output * (1 - output) if unit == "sigmoid" else 1.0
    return slope * variance * x**2 * w


def _unit(w, x, target, keep_prob, unit, scaling):
    """What the unit makes of a sum; mean and variance of the masks in the sum."""
    if w.shape != x.shape:
        raise ValueError(f"w and x must both have shape (n,), got {w.shape} and {x.shape}")
    if unit == "sigmoid" and not 0 <= target <= 1:
        raise ValueError(f"target must lie in [0, 1] for a sigmoid unit, got {target!r}")
    if keep_prob.shape not in ((), w.shape):
        raise ValueError(
            f"keep_prob must be one number or have shape {w.shape}, got shape {keep_prob.shape}"
        )
    respond = expit if unit == "sigmoid" else lambda s: s
    if scaling == "weight":
        return respond, keep_prob, keep_prob * (1 - keep_prob)
    return respond, 1.0, (1 - keep_prob) / keep_prob
