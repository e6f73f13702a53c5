"""What noise on the inputs does to the loss: it adds a penalty.

With squared loss and a linear model it does so exactly. For one example, its input x, target y and
weights w::

    noise added,       e_i of variance s^2:   E[(y - (x + e) w)^2] = (y - x w)^2 + s^2 |w|^2
    inverted dropout,  mask m_i / p:          E[(y - (m x / p) w)^2]
                                                = (y - x w)^2 + (1 - p) / p  sum_i x_i^2 w_i^2

The first penalty is that of ridge regression. The second weighs each weight by the size of its
input.
"""

import numpy as np

from lib.validation import NUMBERS, POSITIVE, PROBABILITY, SCALING, Numbers, check_shapes, declared


@declared(X=Numbers(ndim=2), y=NUMBERS, keep_prob=PROBABILITY, scaling=SCALING)
def dropout_ridge(X, y, keep_prob, scaling="inverted"):
    r"""Weights of a linear model that minimise its expected loss under dropout on the inputs.

    With inverted scaling they minimise

    .. math:: |y - X w|^2 + \frac{1 - p}{p} \sum_i w_i^2 \sum_n x_{ni}^2 ,

    so that :math:`w = (X^T X + \frac{1 - p}{p} \, \text{diag}(X^T X))^{-1} X^T y`. Masks that are
    not scaled ask for weights larger by the factor 1 / p; at prediction these are scaled by p, and
    the two rules predict the same.

    Parameters
    ----------
    X : array_like of float, shape (examples, inputs)
        A constant column would be dropped like any other: for an intercept, centre `X` and `y`
        instead.
    y : array_like of float, shape (examples,) or (examples, outputs)
    keep_prob : float
        Probability to keep an input, in (0, 1].
    scaling : {"inverted", "weight"}
        Whether the masks in training are scaled by 1 / keep_prob, as for `lib.layers.Dropout`.

    Returns
    -------
    numpy.ndarray of float, shape (inputs,) or (inputs, outputs)
        The weights; the smallest ones if several are best, as for a column of zeros.

    References
    ----------
    Srivastava et al. (2014), section 9.1; Wager, Wang and Liang (2013), *Dropout training as
    adaptive regularization*, NeurIPS 26.

    Examples
    --------
    >>> X = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 3.0]])
    >>> dropout_ridge(X, [2.0, 2.0, 3.0], keep_prob=0.5)
    array([1. , 0.5])
    """
    fit = y.ndim in (1, 2) and len(X) == len(y)
    check_shapes(fit, "(n, inputs) and (n,) or (n, outputs)", X=X, y=y)
    # Rows that ask each weighted input to be zero add the penalty to the squares.
    weights_of_penalty = np.sqrt((1 - keep_prob) / keep_prob) * np.linalg.norm(X, axis=0)
    rows = np.vstack([X, np.diag(weights_of_penalty)])
    targets = np.concatenate([y, np.zeros((X.shape[1], *y.shape[1:]))])
    w = np.linalg.lstsq(rows, targets, rcond=None)[0]
    return w if scaling == "inverted" else w / keep_prob


@declared(gradients=NUMBERS, noise_std=POSITIVE)
def tikhonov_penalty(gradients, noise_std):
    r"""What small noise on the inputs adds to the mean squared error of a model near its optimum.

    .. math:: s^2 \; \frac1N \sum_n \sum_{k, i}
              \left( \frac{\partial f_k(x_n)}{\partial x_{ni}} \right)^2

    For a linear model this is exact, and :math:`s^2 |w|^2`. Otherwise it is the term of first order
    in :math:`s^2`, without :math:`s^2 (f - y) \nabla^2 f`, which vanishes on average where f is the
    mean of y given x. The model that minimises loss plus penalty is in general not the one that
    minimises the loss under noise.

    Parameters
    ----------
    gradients : array_like of float, shape (examples, inputs) or (examples, outputs, inputs)
        Derivatives of the model's outputs by its inputs, at each example.
    noise_std : float
        Standard deviation s of the noise on each input, which is independent, with mean 0.

    Returns
    -------
    float
        For the squared error summed over outputs, averaged over examples, and not halved.

    References
    ----------
    Bishop (1995), *Training with noise is equivalent to Tikhonov regularization*, Neural
    Computation 7(1).

    Examples
    --------
    >>> tikhonov_penalty([[3.0, 4.0], [3.0, 4.0]], noise_std=0.5)  # a linear model, twice
    6.25
    """
    fit = gradients.ndim in (2, 3) and len(gradients) > 0
    allowed = "(examples, inputs) or (examples, outputs, inputs)"
    check_shapes(fit, allowed, gradients=gradients)
    return float(noise_std**2 * np.square(gradients).sum() / len(gradients))
