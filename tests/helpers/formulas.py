"""What the tests of formulas share."""

import numpy as np


def close(one, other, tolerance=1e-12):
    """Fail unless two arrays agree, up to a tolerance that is relative and absolute."""
    np.testing.assert_allclose(one, other, rtol=tolerance, atol=tolerance)


def mean_and_variance(values, probabilities):
    mean = probabilities @ values
    return mean, probabilities @ (values - mean) ** 2
