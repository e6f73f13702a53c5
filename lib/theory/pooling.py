"""What is left of a maximum when activations are dropped before it is taken.

A window holds the activations a_1 <= ... <= a_n, all at least 0. Each is kept with probability p,
else it counts as 0. The largest one that is kept comes out, so a_i does if it is kept and the
n - i larger ones are dropped.
"""

import numpy as np

from lib.validation import COUNT, NUMBERS, PROBABILITY, check_shapes, declared


@declared(n=COUNT, keep_prob=PROBABILITY)
def pooled_weights(n, keep_prob):
    r"""Probability of each of n sorted activations to be the largest that is kept.

    .. math:: w_i = p \, q^{n - i}, \qquad i = 1, \dots, n, \quad q = 1 - p .

    They sum to :math:`1 - q^n`; with probability :math:`q^n` nothing is kept. Equal activations may
    take their places in any order: together they have the sum of their weights.

    Parameters
    ----------
    n : int
        Number of activations in the window.
    keep_prob : float
        Probability to KEEP an activation, in (0, 1].

    Returns
    -------
    numpy.ndarray of float, shape (n,)
        In ascending order of the activations: the last is the weight of the largest.

    References
    ----------
    Wu and Gu (2015), *Towards dropout training for convolutional neural networks*, Neural Networks
    71: max-pooling dropout, and probabilistic weighted pooling.

    Examples
    --------
    >>> pooled_weights(4, keep_prob=0.5)
    array([0.0625, 0.125 , 0.25  , 0.5   ])
    """
    return keep_prob * (1 - keep_prob) ** np.arange(n)[::-1]


@declared(values=NUMBERS, keep_prob=PROBABILITY)
def weighted_pool(values, keep_prob):
    r"""Mean of the maximum of a window over all masks, :math:`\mathbb{E}[\max_i m_i a_i]`.

    .. math::

        \mathbb{E}\big[\max_i m_i a_i\big] = \sum_{i=1}^n p \, q^{n-i} \max(a_i, 0)
                                             + p^n \min(a_n, 0),
        \qquad a_1 \le \dots \le a_n .

    This is exact for activations of any sign. A dropped activation counts as 0, so once one is
    dropped a negative one cannot win: it comes out only if all are negative and all are kept. For
    activations of at least 0, as a ReLU gives, the last term is 0.

    Parameters
    ----------
    values : array_like of float, shape (..., n)
        Activations, a window a row, none empty, in any order.
    keep_prob : float
        Probability to KEEP an activation, in (0, 1].

    Returns
    -------
    numpy.ndarray of float, shape (...)

    References
    ----------
    Wu and Gu (2015), as for `pooled_weights`: probabilistic weighted pooling. The term for negative
    windows is ours.

    Examples
    --------
    >>> weighted_pool([1.0, 0.0, 4.0, 2.0], keep_prob=0.5)
    array(2.625)
    >>> weighted_pool([-1.0, -2.0], keep_prob=0.5)
    array(-0.25)
    """
    fit = values.ndim > 0 and values.shape[-1] > 0
    check_shapes(fit, "(..., n), a window a row, none empty", values=values)
    values, n = np.sort(values, axis=-1), values.shape[-1]
    positive = np.maximum(values, 0) @ pooled_weights(n, keep_prob)
    return np.asarray(positive + keep_prob**n * np.minimum(values[..., -1], 0))
