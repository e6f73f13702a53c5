"""What the tests of random things share."""

import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

# Few examples, with no limit of time.
few_examples = settings(
    max_examples=30,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)

keep_probs = st.floats(min_value=0.01, max_value=1.0)


def is_near(mean, expected, std, n):
    """Whether a mean of `n` independent draws is within six standard errors of what is expected.

    By chance alone it does not about once in five hundred million times.
    """
    mean, expected, std = map(np.asarray, (mean, expected, std))
    rounding = 1e-6
    return np.all(np.abs(mean - expected) <= 6 * std / np.sqrt(n) + rounding)


def is_standard_normal(z):
    """Whether the first four moments of draws along the first axis are those of a Gaussian.

    The power k of a standard Gaussian has the variance E[z^2k] - E[z^k]^2.
    """
    powers = ((1, 0, 1), (2, 1, 3 - 1), (3, 0, 15), (4, 3, 105 - 9))
    return all(is_near((z**k).mean(0), mean, np.sqrt(v), len(z)) for k, mean, v in powers)
