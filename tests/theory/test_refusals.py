"""Arguments that don't fit one another are refused, by a message that says them.

What a single argument may be is tested in `test_arguments.py`, for the whole library.
"""

import re
from functools import partial

import numpy as np
import pytest

from lib.theory import ensemble, moments, noise, nwgm, pooling, variance_shift


def misfits(message, function, *cases, **options):
    """Messages that say the shapes of arrays, and calls with arrays of these shapes."""
    for shapes in cases:
        yield message.format(*shapes), partial(function, *map(np.ones, shapes), **options)


def of_ensembles():
    for output in (1.0, np.ones(3), np.ones((7, 8))):
        message = f"forward must return an output for each of 8 masks, got shape {np.shape(output)}"
        yield message, partial(ensemble.subnetwork_outputs, lambda masks, y=output: y, 3)

    for average in (ensemble.ensemble_mean, nwgm.nwgm, nwgm.taylor_estimate):
        message = "probabilities must sum to 1, got the sum "
        yield message + "0.9", partial(average, [0.3, 0.9], [0.5, 0.4])
        yield message + "1.000000005", partial(average, [0.3, 0.9], [0.5, 0.500000005])
        yield message + "100", partial(average, [0.3, 0.9], [25, 75])
        yield message + "0", partial(average, [], [])
        message = "probabilities must have shape (m,) and outputs (m, ...), got {1} and {0}"
        yield from misfits(message, average, [(3,), (2,)], [(2, 3), (3,)], [(), (1,)])

    message = "predictions must hold those of at least two training sets, got shape {}"
    cases = [(), ()], [(0,), ()], [(1,), ()], [(1, 5), (5,)]
    yield from misfits(message, ensemble.bias_variance, *cases)
    message = "predictions and targets must have shapes (sets, ...) and (...), got {} and {}"
    cases = [(3, 4), (3,)], [(3, 4), ()], [(3, 4), (1,)], [(3,), (3,)], [(3, 2, 4), (4,)]
    yield from misfits(message, ensemble.bias_variance, *cases)

    cases = [(1.0, 1.001, 3, "-0.5"), (1.0, -0.501, 3, "-0.5"), (2.0, -2.1, 2, "-2")]
    cases += [(2.0, 2.1, 1, "-2"), (0.0, 0.1, 3, "-0"), (0.0, -0.1, 3, "-0")]
    for v, c, k, lowest in cases:
        message = f"covariance must lie between {lowest} and the variance {v:g}, got {c}"
        yield message, partial(ensemble.average_variance, v, c, k)


def of_moments():
    of_sum = partial(moments.masked_sum_moments, keep_prob=0.5)
    message = "weights and inputs must have shapes (n,) or (n, outputs) and (..., n), got {} and {}"
    yield from misfits(message, of_sum, [(1,), (2,)], [(), (1,)], [(1,), ()])
    message = "input_variance must broadcast to the inputs' shape (1,), got (2,)"
    yield message, partial(of_sum, [1.0], [1.0], input_variance=[1.0, 2.0])
    message = "keep_prob must be one number or have shape (2,), one for each input, got shape (1,)"
    yield message, partial(of_sum, np.ones(2), np.ones(2), keep_prob=[0.5])

    message = "mean and variance must have shapes that broadcast, got {} and {}"
    of_unit = partial(variance_shift.shift_ratio, keep_prob=0.5)
    for function in (moments.relu_moments, moments.sigmoid_moments, of_unit):
        yield from misfits(message, function, [(2,), (3,)])


def of_noise():
    message = "X and y must have shapes (n, inputs) and (n,) or (n, outputs), got {} and {}"
    cases = [(3, 2), (2,)], [(3, 2), (2, 3)], [(3, 2), ()], [(3, 2), (3, 1, 1)]
    yield from misfits(message, noise.dropout_ridge, *cases, keep_prob=0.5)
    message = "gradients must have shape (examples, inputs) or (examples, outputs, inputs), got {}"
    cases = [()], [(3,)], [(0, 3)], [(0, 2, 3)], [(1, 2, 3, 4)]
    yield from misfits(message, noise.tikhonov_penalty, *cases, noise_std=0.1)


def of_gradients():
    dropout = partial(nwgm.dropout_gradient, target=0.5, keep_prob=0.5)
    of_ensemble = partial(nwgm.ensemble_gradient, target=0.5, keep_prob=0.5)
    decay = partial(nwgm.weight_decay_term, keep_prob=0.5)
    for gradient in (dropout, of_ensemble, decay):
        message = "w and x must both have shape (n,), got {} and {}"
        yield from misfits(message, gradient, [(2,), (3,)], [(3,), (1,)])
        for shape in [(1,), (3,), (1, 2)]:
            message = f"keep_prob must be one number or have shape (2,), got shape {shape}"
            yield message, partial(gradient, [1, 2], [1, 2], keep_prob=np.ones(shape))
    for gradient in (dropout, of_ensemble):
        for target in (-0.1, 1.1):
            message = f"target must lie in [0, 1] for a sigmoid unit, got {target}"
            yield message, partial(gradient, [1, 2], [1, 2], target=target)
    yield "w must have at most 20 entries, got 21", partial(dropout, np.ones(21), np.ones(21))


def of_layers():
    message = "values must have shape (..., n), a window a row, none empty, got {}"
    yield from misfits(message, pooling.weighted_pool, [()], [(3, 0)], keep_prob=0.5)

    ratio = partial(variance_shift.linear_shift_ratio, keep_prob=0.5)
    message = "inputs and weights must have shapes (examples, n) and (n,) or (n, outputs), got "
    yield from misfits(message + "{} and {}", ratio, [(1, 2), (1,)], [(1, 2), ()])
    message = "groups must have shape (1,), one number for each input, got (2,)"
    yield message, partial(ratio, np.ones((1, 1)), np.ones(1), groups=[0, 1])
    ratio = partial(variance_shift.correlated_shift_ratio, 0.0, 1.0, keep_prob=0.5)
    message = "correlation must lie in [-0.5, 1] for 3 inputs, got -0.6"
    yield message, partial(ratio, -0.6, np.ones(3))
    yield "weights must not all be 0, got [0.0, 0.0]", partial(ratio, 0.0, np.zeros(2))


ALL = [*of_ensembles(), *of_moments(), *of_noise(), *of_gradients(), *of_layers()]


@pytest.mark.parametrize(("message", "call"), ALL)
def test_what_does_not_fit_is_a_value_error_that_says_it(message, call):
    with pytest.raises(ValueError, match=re.escape(message) + "$"):
        call()
