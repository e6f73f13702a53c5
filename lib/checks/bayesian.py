"""Checks of the exercises on the Bayesian view."""

import copy
import itertools
import math
import numbers
import warnings

import numpy as np
from scipy.special import logsumexp, softmax, xlogy

from lib.checks.common import as_array, brief, call, check_value, expect, farthest
from lib.masks import all_masks

NO_PRIOR = (
    "The prior is forgotten: this is the likelihood, normalised. The posterior is the likelihood "
    "TIMES the prior, so add their logarithms first."
)
ONLY_PRIOR = "This is the prior, normalised: the data has no part in it."
NOT_NORMALISED = (
    "The shape is right, but the probabilities sum to {:.3g}. Divide by their sum: the grid points "
    "are all the hypotheses there are, so together they have probability 1."
)
LOGARITHM = (
    "These are logarithms of probabilities. Take np.exp of them, at the very end: the function "
    "returns the probabilities themselves."
)
SUBTRACT = (
    "Subtract the largest entry of log_likelihood + log_prior BEFORE np.exp; the normalisation "
    "takes any constant out again."
)
UNDERFLOW = (
    "np.exp(-2000) is 0 in double precision, so that 0 is divided by 0. Stay in logarithms, and: "
) + SUBTRACT
OVERFLOW = (
    "np.exp(2000) overflows: a log-likelihood may be positive too, since densities can be above 1. "
) + SUBTRACT
BOTH = (
    "Here the likelihood is largest where the prior is nearly 0: each alone is no guide. "
) + SUBTRACT


def grid_posterior(student):
    """Check a posterior computed on a grid.

    Parameters
    ----------
    student : callable
        ``grid_posterior(log_likelihood, log_prior)``, returning probabilities of that shape.

    Raises
    ------
    AssertionError
        Naming what is wrong: the prior, the normalisation, a logarithm, underflow or overflow.
    """
    __tracebackhide__ = True

    def run(log_likelihood, log_prior):
        __tracebackhide__ = True
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return call(student, log_likelihood=log_likelihood, log_prior=log_prior)

    data = np.random.default_rng(0)
    for shape in ((7,), (4, 5)):
        likelihood, prior = data.uniform(-4, 0, shape), data.uniform(-3, 1, shape)
        shaped = as_array(run(likelihood, prior), shape, "The posterior", "One for each grid point")
        _name_posterior(shaped, likelihood, prior)
    _check_far(run, data)
    prior = np.log(np.array([0.5, 0.5, 1.0]))
    prior[2] = -np.inf  # excluded
    result = as_array(run(np.array([-1.0, -2.0, 0.0]), prior), (3,), "The posterior")
    expect(
        np.allclose(result, softmax([-1, -2, -np.inf])),
        "Where the prior is 0, so log_prior -inf, the posterior must be 0, and the others must be "
        f"as if that point were not there. Yours is {np.array2string(result, precision=3)}.",
    )
    print("grid_posterior: likelihood times prior, normalised, far from 1 too.")


def _name_posterior(value, likelihood, prior):
    __tracebackhide__ = True
    right = softmax(likelihood + prior)
    ratio = value / right
    if (value > 0).all() and np.ptp(ratio) < 1e-4 * ratio.mean():
        expect(abs(value.sum() - 1) < 1e-4, NOT_NORMALISED.format(value.sum()))
        return
    at = farthest(value, right)
    each_row = [softmax(likelihood + prior, axis=axis) for axis in range(value.ndim)]
    mistakes = [
        (softmax(likelihood), NO_PRIOR),
        (np.exp(likelihood), f"{NO_PRIOR} It is not normalised either."),
        (softmax(prior), ONLY_PRIOR),
        (np.log(right), LOGARITHM),
        (likelihood + prior, f"{LOGARITHM} And they are not normalised yet."),
        (
            softmax(likelihood - prior),
            "The likelihood is DIVIDED by the prior. Their logarithms add up.",
        ),
        (
            softmax(likelihood * prior),
            "The logarithms are multiplied. Multiplying the likelihood by the prior means ADDING "
            "their logarithms.",
        ),
        (
            softmax(likelihood + np.exp(prior)),
            "The prior is added to the log-likelihood as it is. Add its logarithm, log_prior.",
        ),
        (
            _shares(np.exp(likelihood) + np.exp(prior)),
            "Likelihood and prior are added. They must be multiplied: add their LOGARITHMS.",
        ),
        (
            softmax(likelihood) + softmax(prior),
            "Likelihood and prior are added. They must be multiplied: add their LOGARITHMS.",
        ),
        (
            (likelihood + prior) / (likelihood + prior).sum(),
            "The logarithms themselves are normalised. Take np.exp of them first.",
        ),
        (
            softmax(-likelihood - prior),
            "The sign is turned: the likelier a hypothesis, the less it gets here.",
        ),
        (softmax(likelihood + 2 * prior), "The prior is in it twice. Multiply by it once."),
        (
            _shares(2 ** (likelihood + prior)),
            "The logarithms are natural ones: undo them with np.exp, not with powers of 2.",
        ),
        (
            _shares(10 ** (likelihood + prior)),
            "The logarithms are natural ones: undo them with np.exp, not with powers of 10.",
        ),
        (
            np.eye(value.size)[(likelihood + prior).argmax()].reshape(value.shape),
            "All the probability is at the best point. That is the search for one hypothesis; the "
            "posterior keeps all of them, each with its weight.",
        ),
    ]
    if value.ndim > 1:
        for wrong in each_row:
            mistakes.append(
                (
                    wrong,
                    "Rows or columns are normalised one by one. The whole grid is one set of "
                    "hypotheses: all its probabilities together sum to 1.",
                )
            )
    check_value(
        value,
        right,
        mistakes,
        "The posterior is proportional to exp(log_likelihood + log_prior), and sums to 1. At the "
        f"grid point {list(at)} it must be {right[at]:.6f}; yours is {value[at]:.6f}.",
        rtol=1e-4,
        atol=1e-6,
    )


def _shares(weights):
    return weights / weights.sum()


def _check_far(run, data):
    """Log-likelihoods far from 0 on both sides, and a prior that excludes the likeliest point."""
    __tracebackhide__ = True
    near = data.uniform(-3, 0, 6)
    apart = np.array([0.0, -3000, -2990, -2995, -2992, -3001])  # the likelihood's best, alone
    for likelihood, prior, where, message in (
        (near - 2000, -near / 2, "around -2000", UNDERFLOW),
        (near + 2000, -near / 2, "around 2000", OVERFLOW),
        (apart - 2000, np.where(apart == 0, -9000.0, -1.0), "from -5001 to -2000", BOTH),
    ):
        result = run(likelihood, prior)
        value = np.asarray(result, dtype=float)
        expect(
            np.isfinite(value).all(),
            f"With log-likelihoods {where} your posterior holds NaN or infinity. {message}",
        )
        value, right = (
            as_array(result, likelihood.shape, "The posterior"),
            softmax(likelihood + prior),
        )
        expect(
            np.allclose(value, right, rtol=5e-3, atol=1e-4),
            f"With log-likelihoods {where} your posterior sums to {value.sum():.3g}, and its "
            f"largest value is {value.max():.3g} in place of {right.max():.3g}. Is underflow "
            "covered up, by clipping or by a small number? Subtract the largest sum of logarithms "
            "before np.exp instead.",
        )


WHOLE_MODEL = (
    "The whole model was put into training mode. BatchNorm then normalises with the statistics of "
    "the batch, and changes its stored ones: put the model into eval, then switch on the Dropout "
    "layers alone."
)
BATCH_STATISTICS = (
    "BatchNorm used the statistics of the batch: an example's prediction hangs on the others "
    "beside it. In whatever mode the model arrives, call model.eval() first, then switch on the "
    "Dropout layers alone."
)
DROPOUT_OFF = (
    "Dropout was off: every sample is the same, the single pass with all units. After "
    "model.eval(), set training = True on each nn.Dropout. They may be nested: "
    "model.modules() finds them all."
)
SAME_MASK = (
    "All samples are equal: they share their masks. Each sample needs fresh ones. Is a seed set "
    "inside the loop, or is the model run once only?"
)
LOGITS = (
    "The outputs are logits. The model returns logits: apply softmax(dim=-1) to each sample, then "
    "average."
)
LOG_PROBABILITIES = (
    "The outputs are logarithms of probabilities. Average the probabilities themselves: softmax, "
    "not log_softmax."
)
MEAN_LOGITS = (
    "The logits (or log-probabilities) were averaged before the softmax. That is a geometric mean. "
    "p(y|x) is the average of the PROBABILITIES: softmax each sample, then average."
)
MEAN_LOGS = (
    "Log-probabilities were averaged, and then np.exp taken: a geometric mean, which does not even "
    "sum to 1. Average the probabilities."
)


class _Network:
    """A classifier with BatchNorm and nested Dropout, and all that its masks can make of x."""

    def __init__(self, seed):
        import torch
        from torch import nn

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            inner = nn.Sequential(nn.Linear(3, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Dropout(0.3))
            self.model = nn.Sequential(inner, nn.Linear(5, 4))
            self.x = torch.randn(200, 3)
            with torch.no_grad():
                inner[1].running_mean.normal_(0.5, 0.5)
                inner[1].running_var.uniform_(0.3, 0.6)
                inner[1].bias.uniform_(2, 3)  # units that rarely are 0
                self.model[1].weight.mul_(3)
        self.model.eval()
        self.masks = torch.tensor(all_masks(5) / 0.7, dtype=torch.float32)

    def logits(self, batch_statistics=False):
        """The logits under every mask, (examples, masks, classes); last those without a mask."""
        import torch

        linear, norm, relu, _ = copy.deepcopy(self.model[0])
        with torch.no_grad():
            hidden = relu(norm.train(batch_statistics)(linear(self.x)))
            masked = hidden[:, None] * self.masks
            return self.model[1](torch.cat([masked, hidden[:, None]], dim=1)).numpy()

    def state(self):
        """Everything of the model that must stay."""
        import torch

        rates = {str(i): torch.tensor(m.p) for i, m in self.dropouts()}
        return {k: v.clone() for k, v in self.model.state_dict().items()} | rates

    def modes(self):
        return [module.training for module in self.model.modules()]

    def dropouts(self):
        return [(i, m) for i, m in enumerate(self.model.modules()) if hasattr(m, "p")]


def mc_predict(student):
    """Check a Monte Carlo prediction with a torch classifier.

    Parameters
    ----------
    student : callable
        ``mc_predict(model, x, n_samples)``, returning the averaged class probabilities.

    Raises
    ------
    AssertionError
        Naming what is wrong: dropout left off, BatchNorm in training mode, logits averaged, masks
        shared by the samples, the mode not restored, gradients kept.
    """
    __tracebackhide__ = True
    expect(
        callable(student),
        f"The check wants the function itself, without parentheses: it got {brief(student)}.",
    )
    for seed, arrives in enumerate(("in eval mode", "in training mode", "with BatchNorm frozen")):
        network = _Network(seed)
        network.model.train(arrives != "in eval mode")
        if arrives == "with BatchNorm frozen":
            network.model[0][1].eval()
        one, two, many, again = (_predict(student, network, n, arrives) for n in (1, 2, 20, 20))
        _name_first_sample(one, network)
        _name_average(two, many, network)
        expect(
            not np.array_equal(many, again),
            "Two calls gave exactly the same. Is a seed set inside your function? Then every call "
            "draws the same masks, and whoever draws after it gets them too.",
        )
    print("mc_predict: probabilities averaged, fresh masks, the model as it was.")


def _predict(student, network, n_samples, arrives):
    """One call: its result as an array, once it is clear that the model is as it was."""
    __tracebackhide__ = True
    import torch

    def named(model, x, n_samples):
        return student(network.model, x, n_samples)

    named.__name__ = getattr(student, "__name__", "your function")
    before, modes = network.state(), network.modes()
    had_gradients = torch.is_grad_enabled()
    try:
        result = call(named, model="a network", x=network.x, n_samples=n_samples)
        keeps_gradients = torch.is_grad_enabled() == had_gradients
    finally:
        torch.set_grad_enabled(had_gradients)
    changed = [key for key, value in network.state().items() if not value.equal(before[key])]
    expect(
        not any("running" in key or "num_batches" in key for key in changed),
        f"The stored statistics of BatchNorm have changed. The model came {arrives}. "
        + (WHOLE_MODEL if arrives == "in eval mode" else BATCH_STATISTICS),
    )
    expect(not changed, f"Your function changed the model: {', '.join(changed)}.")
    values = _as_probabilities(result, network.x, n_samples)
    expect(
        not result.requires_grad,
        "The result carries a gradient: torch keeps what is needed for one, for every sample. "
        "Prediction needs none: compute under `with torch.no_grad():`.",
    )
    expect(
        keeps_gradients,
        "Gradients are switched off for good after your function. Use `with torch.no_grad():`, "
        "which ends with its block.",
    )
    expect(
        network.modes() == modes,
        f"The model came {arrives}, and not every layer left as it came. Note the flag `training` "
        "of EACH module first, and set it back at the end: whoever goes on training, or "
        "predicting, relies on it.",
    )
    return values


def _as_probabilities(result, x, n_samples):
    __tracebackhide__ = True
    import torch

    expect(
        isinstance(result, torch.Tensor),
        f"Return a torch tensor; yours is of type {type(result).__name__}.",
    )
    shape, shown = (len(x), 4), tuple(result.shape)
    expect(
        shown != (n_samples, *shape),
        f"The samples are returned one by one, of shape {shown}. Average them: .mean(dim=0).",
    )
    expect(
        shown == shape,
        f"For {len(x)} examples, 4 classes and n_samples={n_samples} the result must have shape "
        f"{shape}, yours has {shown}. The average is over the samples, and over nothing else.",
    )
    expect(
        result.is_floating_point(),
        f"The result must hold probabilities, yours holds {result.dtype}.",
    )
    values = result.detach().double().numpy()
    expect(np.isfinite(values).all(), "The result has entries that are NaN or infinite.")
    return values


def _among(values, outcomes):
    """Whether each example has one of its possible outcomes, (examples, outcomes, classes)."""
    return (np.abs(values[:, None] - outcomes).max(axis=2).min(axis=1) < 1e-4).all()


def _name_first_sample(one, network):
    """Look at a single sample: it must be the probabilities under one mask."""
    __tracebackhide__ = True
    logits = network.logits()
    outcomes = softmax(logits, axis=2)
    expect(not _among(one, outcomes[:, -1:]), DROPOUT_OFF)
    if _among(one, outcomes):
        return
    expect(not _among(one, logits), LOGITS)
    expect(not _among(one, np.log(outcomes)), LOG_PROBABILITIES)
    batch = network.logits(batch_statistics=True)
    expect(not _among(one, softmax(batch, axis=2)), BATCH_STATISTICS)
    expect(not _among(one, batch), f"{LOGITS} Besides: {BATCH_STATISTICS}")
    sums = one.sum(axis=1)
    expect(
        not np.allclose(one.sum(axis=0), 1, atol=1e-4) or np.allclose(sums, 1, atol=1e-4),
        "The softmax runs over the examples: what sums to 1 is a column. Take softmax(dim=-1), "
        "over the classes.",
    )
    expect(
        np.allclose(sums, 1, atol=1e-4),
        f"The probabilities of an example must sum to 1; with n_samples=1 yours sum to "
        f"{sums[0]:.4g}. Is each sample a softmax over the classes, and their sum divided by "
        "n_samples?",
    )
    expect(
        not np.isin(one, (0, 1)).all(),
        "These are votes: each sample counts for its likeliest class alone. Average the "
        "probabilities, which also say how sure a sample is.",
    )
    raise AssertionError(
        "With n_samples=1 each example must get the softmax of its logits under one mask. Yours "
        "is something else: are there more samples than n_samples, or is the mask one of your own?"
    )


def _name_average(two, many, network):
    """Look at two samples: they must be averaged as probabilities. And at many: they differ."""
    __tracebackhide__ = True
    logits = network.logits()[:, :-1]
    first, second = np.array(
        list(itertools.combinations_with_replacement(range(logits.shape[1]), 2))
    ).T

    def pairs(values):
        return (values[:, first] + values[:, second]) / 2

    outcomes = softmax(logits, axis=2)
    if not _among(two, pairs(outcomes)):
        expect(
            not _among(two / 2, pairs(outcomes)),
            "The samples are summed: with n_samples=2 the probabilities of an example sum to 2. "
            "Divide by n_samples.",
        )
        expect(not _among(two, softmax(pairs(logits), axis=2)), MEAN_LOGITS)
        expect(not _among(two, np.exp(pairs(np.log(outcomes)))), MEAN_LOGS)
        raise AssertionError(
            "One sample is right, but with n_samples=2 the result is not the average of the "
            "probabilities under two masks. Softmax each sample, then take the mean of the two."
        )
    expect(not _among(many, outcomes), SAME_MASK)


FAR = (
    "A target far from all samples has a density that np.exp rounds to 0, and log(0) is -inf. Stay "
    "in logarithms: scipy.special.logsumexp over the samples of the log-densities."
)
# What may stand for the precision tau: in the exponent, in the normalisation, what it means.
PRECISIONS = (
    (lambda tau: tau, lambda tau: tau, None),
    (
        lambda tau: 1 / tau,
        lambda tau: 1 / tau,
        "tau is taken for the variance. It is the precision: the variance is 1/tau.",
    ),
    (
        lambda tau: tau**-2,
        lambda tau: tau**-2,
        "tau is taken for the standard deviation. It is the precision: the variance is 1/tau, and "
        "the standard deviation 1/sqrt(tau).",
    ),
    (
        lambda tau: tau**2,
        lambda tau: tau**2,
        "1/tau is taken for the standard deviation. It is the variance: the standard deviation is "
        "1/sqrt(tau).",
    ),
    (
        lambda tau: 1.0,
        lambda tau: 1.0,
        "tau has no part in it: this is the density for a noise of variance 1. The noise has the "
        "variance 1/tau.",
    ),
    (
        lambda tau: 1.0,
        lambda tau: tau,
        "The exponent lacks tau: it is -tau/2 (y - f)^2. The smaller the noise, the more a miss "
        "costs.",
    ),
    (
        lambda tau: 1 / tau,
        lambda tau: tau,
        "The exponent divides by tau. It is the precision, 1/variance: multiply, -tau/2 (y - f)^2.",
    ),
    (lambda tau: tau**2, lambda tau: tau, "The exponent has tau squared. It is -tau/2 (y - f)^2."),
)
EXPONENTS = (
    (0.5, None),
    (1.0, "The exponent lacks its 1/2: it is -tau/2 (y - f)^2."),
    (0.0, "The exponent -tau/2 (y - f)^2 is missing."),
    (-0.5, "The exponent has its sign turned: it is MINUS tau/2 (y - f)^2."),
)
CONSTANTS = (
    (1.0, None),
    (0.0, "The constant -1/2 log(2 pi) is missing. A density integrates to 1 only with it."),
    (2.0, "The constant is -log(2 pi). It is half of that: -1/2 log(2 pi)."),
    (-1.0, "The constant has its sign turned: it is MINUS 1/2 log(2 pi)."),
)
ROOTS = (
    (1.0, None),
    (
        0.0,
        "The normalisation lacks tau: the density is sqrt(tau / (2 pi)) times the exponential. "
        "Without it, a small noise would earn nothing for being small.",
    ),
    (2.0, "The normalisation has log(tau). It is 1/2 log(tau): the root of tau."),
    (-1.0, "The normalisation has -1/2 log(tau). It is PLUS: the density grows with sqrt(tau)."),
)
MEAN_OF_LOGS = (
    "The log-densities are averaged. The prediction is an average of DENSITIES: take the logarithm "
    "of their mean, logsumexp less log(n_samples)."
)
PLUG_IN = (
    "This is the density at the mean of the samples, for one Gaussian around it. It forgets that "
    "the samples differ: average the densities of all samples."
)
MOMENTS = (
    "This is one Gaussian with the mean and variance of the prediction. The prediction is a "
    "mixture of Gaussians, one around each sample: average their densities."
)
AVERAGES = (
    (lambda d: logsumexp(d, axis=0) - math.log(len(d)), None),
    (lambda d: d.mean(axis=0), MEAN_OF_LOGS),
    (
        lambda d: logsumexp(d, axis=0),
        "The densities are summed, not averaged: subtract log(n_samples).",
    ),
    (
        lambda d: logsumexp(d, axis=0) - math.log(len(d)) / 2,
        "log(n_samples) is halved. The mean of the densities is their sum over n_samples.",
    ),
    (
        lambda d: logsumexp(d, axis=0) / len(d),
        "The logarithm of the sum is divided by n_samples. Divide the SUM: subtract "
        "log(n_samples) from its logarithm.",
    ),
    (
        lambda d: d.sum(axis=0),
        "The log-densities are summed over the samples, which multiplies densities. The prediction "
        "is their average.",
    ),
    (lambda d: np.exp(d).mean(axis=0), "This is the average density itself. Take its logarithm."),
    (
        lambda d: logsumexp(d, axis=0) - math.log(d.shape[1]),
        "log(n), of the number of targets, is subtracted. The mean is over the samples: subtract "
        "log(n_samples).",
    ),
    (lambda d: d.max(axis=0), "This is the best sample alone. Average over all of them."),
    (lambda d: d[0], "This is the first sample alone. Average over all of them."),
)


OUTCOMES = (
    (lambda value: value, None),
    (lambda value: -value, "The sign is turned: this is minus the log-likelihood."),
    (
        lambda value: value / math.log(2),
        "Take the natural logarithm, np.log: the answer is in nats.",
    ),
)


def predictive_log_likelihood(student):
    """Check the log-likelihood of targets under an average of Gaussians.

    Parameters
    ----------
    student : callable
        ``predictive_log_likelihood(samples, targets, tau)``, one number for each target.

    Raises
    ------
    AssertionError
        Naming what is wrong: log-densities averaged, tau misread or missing, the constant, far
        targets that underflow.
    """
    __tracebackhide__ = True
    what = "The log-likelihoods"
    why = "There is one for each target: the average is over the samples alone."
    for seed, tau in enumerate((3.0, 0.4)):
        data = np.random.default_rng(seed)
        targets = data.normal(size=4)
        samples = targets + data.normal(size=(6, 4))
        result = call(student, samples=samples, targets=targets, tau=tau)
        _name_likelihood(_for_each(result, (4,), what, why), samples, targets, tau)
    samples, targets = np.array([[0.0, 1.0], [1.0, 0.0]]), np.array([300.0, -90.0])
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = call(student, samples=samples, targets=targets, tau=2.0)
    expect(not np.isinf(np.asarray(result, dtype=float)).any(), FAR)
    value, right = as_array(result, (2,), what, why), _mixture(samples, targets, 2.0)
    expect(
        np.allclose(value, right, rtol=1e-4),
        f"Far from all samples the log-likelihood must be {right[0]:.1f}; yours is {value[0]:.1f}. "
        "Was something small added before the logarithm, or clipped? Use logsumexp instead.",
    )
    print("predictive_log_likelihood: densities averaged, precision tau, far targets too.")


def _for_each(result, shape, what, why):
    """As `as_array`, with a word on what one number for all examples means."""
    __tracebackhide__ = True
    expect(not isinstance(result, numbers.Real), f"{what} came out as one number. {why}")
    return as_array(result, shape, what, why)


def _mixture(samples, targets, tau):
    squares = np.square(samples - targets)
    densities = -tau / 2 * squares + np.log(tau / (2 * math.pi)) / 2
    return logsumexp(densities, axis=0) - math.log(len(samples))


def _name_likelihood(value, samples, targets, tau):
    """Tell the mistakes that would give these numbers: first one alone, then two at once."""
    __tracebackhide__ = True
    right, squares = _mixture(samples, targets, tau), np.square(samples - targets)
    if np.allclose(value, right, rtol=1e-5, atol=1e-6):
        return
    variants = list(itertools.product(PRECISIONS, EXPONENTS, CONSTANTS, ROOTS, AVERAGES, OUTCOMES))
    for n_mistakes in (1, 2):
        for variant in variants:
            messages = [part[-1] for part in variant if part[-1]]
            if len(messages) == n_mistakes:
                (inside, before, _), (half, _), (constant, _), (root, _), (average, _), (to, _) = (
                    variant
                )
                scale = root / 2 * math.log(before(tau)) - constant / 2 * math.log(2 * math.pi)
                yours = to(average(scale - half * inside(tau) * squares))
                expect(not np.allclose(value, yours, rtol=1e-5, atol=1e-6), messages[0])
    mean, spread = samples.mean(axis=0, keepdims=True), samples.var(axis=0)
    mistakes = [
        (_mixture(mean, targets, tau), PLUG_IN),
        (_mixture(mean, targets, 1 / (spread + 1 / tau)), MOMENTS),
        (_mixture(mean, targets, 1 / (samples.var(axis=0, ddof=1) + 1 / tau)), MOMENTS),
        (logsumexp(-tau / 2 * squares, axis=0), "The normalisation is missing altogether."),
        (
            _mixture(mean, targets, 1 / spread),
            f"{MOMENTS} And the noise, of variance 1/tau, is left out.",
        ),
    ]
    check_value(
        value,
        right,
        mistakes,
        "Each sample gives a Gaussian of variance 1/tau: average their densities, then take the "
        f"logarithm. For {len(samples)} samples and tau={tau} that is {_show(right)}; yours is "
        f"{_show(value)}.",
    )


def _show(values):
    return np.array2string(np.asarray(values), precision=4, suppress_small=True)


ONE_SAMPLE = (
    "The predictive entropy is that of one sample. It belongs to the prediction, which is the "
    "AVERAGE of all samples: average the probabilities first, then take the entropy."
)
ENTROPIES_MEAN = (
    "The predictive entropy is the mean of the samples' entropies. Average the probabilities "
    "first, then take the entropy of that: two sure samples that disagree are unsure together."
)
ENTROPY_OF_MEAN = (
    "The expected entropy is that of the averaged probabilities. Take the entropy of each sample "
    "first, then their mean."
)
BITS = (
    "The {} is in bits: log2 was used. The answer is in nats: take the natural logarithm, np.log."
)
ZEROS = (
    "Where a probability is 0 the result is NaN: NumPy makes 0 * log(0) NaN, and its limit is 0. "
    "scipy.special.entr or xlogy knows that; so does np.where."
)
SWAPPED = (
    "The predictive and the expected entropy are swapped. Return predictive (of the mean), then "
    "expected (the mean of each), then their difference."
)


def decompose(student):
    """Check the split of a prediction's entropy.

    Parameters
    ----------
    student : callable
        ``decompose(samples)``, returning predictive entropy, expected entropy and mutual
        information.

    Raises
    ------
    AssertionError
        Naming what is wrong: the entropy of one sample, the logarithm, zeros, signs, axes, order.
    """
    __tracebackhide__ = True
    samples = np.random.default_rng(3).dirichlet(np.full(4, 0.6), size=(6, 5))
    _name_parts(_three(student, samples), samples)
    with_zeros = samples.copy()
    with_zeros[:2, 0], with_zeros[2:, 0] = np.eye(4)[0], np.eye(4)[2]  # sure, and opposed
    with_zeros[:, 1] = np.eye(4)[3]  # sure, and of one mind
    with_zeros[:, 2, 0] = 0
    with_zeros[:, 2] /= with_zeros[:, 2].sum(axis=-1, keepdims=True)
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        parts = _three(student, with_zeros, zeros=True)
    for name, value, right in zip(PARTS, parts, _parts(with_zeros), strict=True):
        expect(
            np.allclose(value, right, atol=1e-5),
            f"Where some probabilities are 0, the {name} must be {_show(right)}; yours is "
            f"{_show(value)}. A probability of 0 adds 0, and nothing else changes.",
        )
    print("decompose: predictive = expected + mutual information, in nats.")


PARTS = ("predictive entropy", "expected entropy", "mutual information")


def _entropy(probabilities, axis=-1):
    return -xlogy(probabilities, probabilities).sum(axis=axis)


def _parts(samples):
    total, expected = _entropy(samples.mean(axis=0)), _entropy(samples).mean(axis=0)
    return total, expected, total - expected


def _three(student, samples, zeros=False):
    """Call the student's function; return its three arrays."""
    __tracebackhide__ = True
    result = call(student, samples=samples)
    several = isinstance(result, list | tuple) or (
        isinstance(result, np.ndarray) and result.ndim > 0
    )
    expect(
        several and len(result) == 3,
        "The function must return three arrays: return predictive, expected, information.",
    )
    if zeros:
        flat = [np.asarray(part, dtype=float) for part in result]
        expect(not any(np.isnan(part).any() for part in flat), ZEROS)
    return [
        _for_each(
            part,
            samples.shape[1:2],
            f"The {name}",
            "There is one number for each example: average over the samples (axis 0), and sum "
            "over the classes (the last axis).",
        )
        for name, part in zip(PARTS, result, strict=True)
    ]


def _name_parts(parts, samples):
    __tracebackhide__ = True
    total, expected, information = parts
    right_total, right_expected, right_information = _parts(samples)
    each = _entropy(samples)

    def is_(value, other):
        return np.allclose(value, other, atol=1e-6)

    expect(not (is_(total, right_expected) and is_(expected, right_total)), SWAPPED)
    n_classes, bits = samples.shape[2], math.log(2)
    spoken = ((PARTS[0], total, right_total), (PARTS[1], expected, right_expected))
    for name, value, right in spoken:
        mistakes = [
            (right / bits, BITS.format(name)),
            (right / math.log(10), f"The {name} has base 10. Take the natural logarithm, np.log."),
            (-right, f"The {name} has its sign turned: H = MINUS the sum of p log p."),
            (
                right / math.log(n_classes),
                f"The {name} is divided by log(classes). Return it in nats, as it is.",
            ),
            (right / n_classes, f"The {name} is a mean over the classes. Sum over them."),
            (
                right_total if right is right_expected else right_expected,
                ENTROPY_OF_MEAN if right is right_expected else ENTROPIES_MEAN,
            ),
            (
                right_information,
                f"This is the mutual information, in the place of the {name}. Return predictive, "
                "expected, information.",
            ),
            (
                each.sum(axis=0),
                f"The {name} is a sum over the samples. Take the mean of the probabilities (for "
                "the predictive one) or of the entropies (for the expected one).",
            ),
        ]
        of_one = (
            ONE_SAMPLE
            if right is right_total
            else ("The expected entropy is that of one sample. Take the mean over all of them.")
        )
        mistakes += [(one, of_one) for one in each] + [(one / bits, of_one) for one in each]
        check_value(
            value,
            right,
            mistakes,
            f"The {name} must be {_show(right)} here; yours is {_show(value)}.",
            atol=1e-6,
        )
    check_value(
        information,
        right_information,
        [
            (
                -right_information,
                "The mutual information has its sign turned. It is predictive LESS expected, and "
                "never negative: disagreement adds to what each sample is unsure of.",
            ),
            (right_information / bits, BITS.format("mutual information")),
            (
                right_total + right_expected,
                "The two entropies are added. The mutual information is their difference.",
            ),
            (
                right_information / right_total,
                "The mutual information is divided by the predictive entropy. Return the "
                "difference itself, in nats.",
            ),
            (
                right_total / right_expected,
                "This is a ratio. The mutual information is the DIFFERENCE of the two entropies.",
            ),
        ],
        "Both entropies are right, and the mutual information is their difference, "
        f"{_show(right_information)}; yours is {_show(information)}.",
        atol=1e-6,
    )


NO_NOISE = (
    "1/tau is forgotten: this is the variance of the samples alone, which says where the MEAN may "
    "be. A target scatters around that mean with the variance 1/tau: add it."
)
ADDED_TAU = (
    "tau is added. It is the precision, 1/variance: what adds up are variances, so add 1/tau."
)
DEVIATION = "A standard deviation stands for a variance. Variances add up, deviations do not."
OVER_EXAMPLES = (
    "The variance is taken over the examples: how different they are from one another. What is "
    "wanted is, for each example, the variance over the samples: axis=0."
)
LESS_ONE = (
    "The squares are divided by n_samples - 1 (ddof=1). The prediction is the average of exactly "
    "these Gaussians, so divide by n_samples."
)


def total_variance(student):
    """Check the variance of a prediction, noise included.

    Parameters
    ----------
    student : callable
        ``total_variance(samples, tau)``, one variance for each example.

    Raises
    ------
    AssertionError
        Naming what is wrong: 1/tau forgotten or misread, a standard deviation, the axis.
    """
    __tracebackhide__ = True
    for shape, tau in (((6, 4), 3.0), ((5, 5), 0.4)):
        data = np.random.default_rng(shape[0])
        samples = 2 + data.normal(size=shape) * data.uniform(0.5, 2, shape[1])
        result = call(student, samples=samples, tau=tau)
        value = _for_each(
            result,
            shape[1:],
            "The variances",
            "There is one for each example: the variance over the samples, axis=0.",
        )
        _name_variance(value, samples, tau)
    print("total_variance: the samples' variance plus 1/tau.")


def _name_variance(value, samples, tau):
    """Tell the mistakes that would give these numbers: of the smallest set, the first."""
    __tracebackhide__ = True
    n, spread = len(samples), samples.var(axis=0)
    bases = [
        (spread, None),
        (np.sqrt(spread), DEVIATION),
        (samples.var(axis=0, ddof=1), LESS_ONE),
        (samples.std(axis=0, ddof=1), DEVIATION),
        (
            np.square(samples).mean(axis=0),
            "The square of the mean is not taken off. The variance of the samples is the mean of "
            "their squares LESS the square of their mean.",
        ),
        (
            spread / n,
            "The variance of the samples is divided by their number. That is how well their mean "
            "is known; each sample is a hypothesis, and their spread does not shrink with more.",
        ),
        (spread * n, "The squares are summed. Divide by the number of samples."),
        (
            np.full(len(spread), samples.var()),
            "The variance is taken over samples and examples at once. Take axis=0.",
        ),
        (np.zeros_like(spread), "The samples have no part in it: this is the noise alone."),
        (
            np.full(len(spread), spread.mean()),
            "The variances are averaged over the examples. Each example has its own.",
        ),
    ]
    if samples.shape[0] == samples.shape[1]:
        bases += [(samples.var(axis=1), OVER_EXAMPLES), (samples.std(axis=1), OVER_EXAMPLES)]
    noises = (
        (1 / tau, None),
        (0, NO_NOISE),
        (tau, ADDED_TAU),
        (
            1 / math.sqrt(tau),
            "1/sqrt(tau) is added: the standard deviation of the noise. Its variance is 1/tau.",
        ),
        (1 / tau**2, "1/tau is squared. It is a variance already: add it as it is."),
        (math.sqrt(tau), "sqrt(tau) is added. The variance of the noise is 1/tau."),
        (
            1 / (n * tau),
            "The noise is divided by the number of samples. A new target has noise of its own: all "
            "of 1/tau.",
        ),
        (n / tau, "1/tau is counted once for each sample. Add it once."),
        (-1 / tau, "1/tau is subtracted. The noise adds to the variance."),
        (1, "1 is added, as for a noise of variance 1. The noise has the variance 1/tau."),
    )
    found = []
    for (base, a), (noise, b) in itertools.product(bases, noises):
        total = base + noise
        for yours, c in (
            (total, None),
            (np.sqrt(np.maximum(total, 0)), "The root is taken. Return the variance itself."),
        ):
            if np.allclose(value, yours, rtol=1e-5):
                found.append([message for message in (b, a, c) if message])
    if found:
        fewest = min(found, key=len)
        expect(not fewest, fewest[0] if fewest else "")
        return
    right = spread + 1 / tau
    check_value(
        value,
        right,
        [
            (spread / tau, "The variance is divided by tau. Noise adds to it: ADD 1/tau."),
            (spread * tau, "The variance is multiplied by tau. Noise adds to it: ADD 1/tau."),
            (
                (np.sqrt(spread) + math.sqrt(1 / tau)) ** 2,
                "Standard deviations are added, then squared. Independent VARIANCES add up.",
            ),
        ],
        f"For {n} samples and tau={tau} the variances must be {_show(right)}; yours are "
        f"{_show(value)}.",
        rtol=1e-5,
    )
