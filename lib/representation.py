"""Measures of what hidden units do: how sparse, local, dead or correlated they are."""

import numpy as np

from lib.validation import Numbers, Whole, check_shapes, declared


@declared(values=Numbers(), axis=Whole(-32, 31))
def hoyer_sparsity(values, axis=-1):
    r"""How much of a vector is carried by few of its entries, whatever its scale.

    .. math:: \frac{\sqrt n - |v|_1 / |v|_2}{\sqrt n - 1}

    It is 0 where all n entries have the same size, and 1 where all but one are zero.

    Parameters
    ----------
    values : array_like of float
    axis : int
        The dimension along which a vector lies.

    Returns
    -------
    numpy.ndarray of float
        One number a vector; NaN for a vector of zeros, which has no share to measure.

    Raises
    ------
    ValueError
        If there are fewer than two entries along `axis`.

    References
    ----------
    Hoyer (2004), *Non-negative matrix factorization with sparseness constraints*, JMLR 5.

    Examples
    --------
    >>> hoyer_sparsity([[0, 0, 0, 5], [1, -1, 1, 1]])
    array([1., 0.])
    """
    if not -values.ndim <= axis < values.ndim or values.shape[axis] < 2:
        raise ValueError(
            f"values must have at least two entries along axis {axis}, got shape {values.shape}"
        )
    n = values.shape[axis]
    largest = np.abs(values).max(axis=axis, keepdims=True)
    with np.errstate(invalid="ignore"):  # zeros give NaN
        values = values / largest  # or the squares of tiny values would vanish
        ratio = np.linalg.norm(values, 1, axis) / np.linalg.norm(values, axis=axis)
    return (np.sqrt(n) - ratio) / (np.sqrt(n) - 1)


@declared(images=Numbers())
def neighbour_correlation(images):
    r"""How alike neighbouring pixels of an image are.

    .. math:: \frac{\text{mean of } (v_a - \bar v)(v_b - \bar v)
              \text{ over neighbours } a, b}{\text{mean of } (v_a - \bar v)^2 \text{ over pixels}}

    It is near 1 for large patches, about 0 for independent pixels, and -1 for a chessboard.
    Neighbours share an edge. (In geography it is called Moran's I.)

    Parameters
    ----------
    images : array_like of float, shape (..., height, width)
        Images, or the weights of units that look at images.

    Returns
    -------
    numpy.ndarray of float, shape (...)
        One number an image; NaN for an image of one shade.

    Raises
    ------
    ValueError
        If the images are smaller than 2 x 2.

    References
    ----------
    Moran (1950), *Notes on continuous stochastic phenomena*, Biometrika 37.

    Examples
    --------
    >>> chessboard, halves = [[1, -1], [-1, 1]], [[1, 1], [-1, -1]]
    >>> neighbour_correlation([chessboard, halves])
    array([-1.,  0.])
    """
    fit = images.ndim >= 2 and min(images.shape[-2:]) >= 2
    check_shapes(fit, "(..., height, width) of at least 2 x 2", images=images)
    height, width = images.shape[-2:]
    n_pairs = height * (width - 1) + (height - 1) * width
    images = images - images.mean(axis=(-2, -1), keepdims=True)
    across = (images[..., :, 1:] * images[..., :, :-1]).sum(axis=(-2, -1))
    down = (images[..., 1:, :] * images[..., :-1, :]).sum(axis=(-2, -1))
    with np.errstate(invalid="ignore"):  # one shade gives NaN
        return (across + down) / (n_pairs * np.square(images).mean(axis=(-2, -1)))


@declared(activations=Numbers())
def dead_units(activations):
    """Which units are zero for every example, shape (..., units).

    Parameters
    ----------
    activations : array_like of float, shape (..., examples, units)
        After a ReLU.

    Examples
    --------
    >>> dead_units([[0.0, 1.0], [0.0, 0.0]])
    array([ True, False])
    """
    check_shapes(activations.ndim >= 2, "(..., examples, units)", activations=activations)
    return (activations == 0).all(axis=-2)


@declared(activations=Numbers(ndim=2))
def correlations(activations):
    """Correlation of each pair of units over the examples.

    Parameters
    ----------
    activations : array_like of float, shape (examples, units)

    Returns
    -------
    numpy.ndarray of float, shape (live units, live units)
        Pearson's coefficients. A unit that is the same for every example, such as a dead one, has
        none and is left out.

    Raises
    ------
    ValueError
        If there are fewer than two examples, or fewer than two units that vary.

    Examples
    --------
    >>> correlations([[1.0, 2.0, 0.0], [2.0, 4.0, 0.0], [3.0, 6.0, 0.0]]).round(3)
    array([[1., 1.],
           [1., 1.]])
    """
    _check_examples(activations)
    spread = np.ptp(activations, axis=0)
    varies = spread != 0
    if varies.sum() < 2:
        raise ValueError(f"activations must have two units that vary, got {varies.sum()}")
    scaled = activations[:, varies] / spread[varies]  # or the squares of tiny values would vanish
    return np.corrcoef(scaled, rowvar=False)


@declared(activations=Numbers(ndim=2))
def mean_correlation(activations):
    r"""Average strength of the correlation between two different units, from 0 to 1.

    .. math:: \frac{1}{n (n - 1)} \sum_{i \ne j} |r_{ij}|

    Parameters
    ----------
    activations : array_like of float, shape (examples, units)
        As for `correlations`: units that don't vary are left out.

    Examples
    --------
    >>> mean_correlation([[1.0, 0.0], [2.0, 0.0], [3.0, 3.0]])
    0.866...
    """
    strengths = np.abs(correlations(activations))
    n = len(strengths)
    return float((strengths.sum() - np.trace(strengths)) / (n * (n - 1)))


@declared(activations=Numbers(ndim=2))
def effective_dimension(activations):
    r"""Over how many directions the activations of a layer spread.

    With the eigenvalues :math:`\lambda_i` of their covariance matrix,

    .. math:: \frac{(\sum_i \lambda_i)^2}{\sum_i \lambda_i^2} ,

    which is k where the variance is spread evenly over k directions (the participation ratio): from
    1 to the number of units.

    Parameters
    ----------
    activations : array_like of float, shape (examples, units)

    Raises
    ------
    ValueError
        If there are fewer than two examples, or they are all equal.

    Examples
    --------
    >>> effective_dimension([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
    2.0
    """
    _check_examples(activations)
    covariance = np.cov(activations, rowvar=False).reshape(2 * activations.shape[1:])
    total = np.trace(covariance)
    if total == 0:
        raise ValueError("activations must differ between examples, got all of them equal")
    return float(total**2 / np.square(covariance).sum())


def _check_examples(activations):
    allowed = "(examples, units), with two examples or more"
    check_shapes(len(activations) >= 2, allowed, activations=activations)
