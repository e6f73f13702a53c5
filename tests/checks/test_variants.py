"""The checks of the exercises on variants: each known misconception is told what it is.

The first lines under each exercise's name are right answers written in other ways: they must pass.
"""

import math

import numpy as np
import pytest
import torch
from answers import assert_told, cases, shifted
from scipy import stats
from scipy.special import expit, log_expit, ndtr

from lib.checks import variants
from lib.layers import DropConnectLinear
from lib.theory.moments import relu_moments
from lib.theory.variational import MOLCHANOV, kl_log_uniform, kl_molchanov


def drop(
    of_weights=lambda n, o, i: (n, o, i),
    of_biases=lambda n, o: (n, o),
    scale=lambda p: 1 / p,
    bias_scale=None,
    keep=lambda p: p,
    bias_keep=None,
    after=lambda y: y,
    seed=None,
):
    """A right dropconnect but for one thing."""
    bias_scale, bias_keep = bias_scale or scale, bias_keep or keep

    def dropconnect(x, W, b, keep_prob, rng):
        rng = rng if seed is None else np.random.default_rng(seed)
        (n, _), (o, i) = x.shape, W.shape
        M = (rng.random(of_weights(n, o, i)) < keep(keep_prob)) * scale(keep_prob)
        m = (rng.random(of_biases(n, o)) < bias_keep(keep_prob)) * bias_scale(keep_prob)
        return after((M * W * x[:, None]).sum(axis=2) + m * b)

    return dropconnect


def loop_dropconnect(x, W, b, keep_prob, rng):
    rows = []
    for example in x:
        kept = W * rng.binomial(1, keep_prob, W.shape)
        biases = b * rng.binomial(1, keep_prob, b.shape)
        rows.append((kept @ example + biases) / keep_prob)
    return np.array(rows)


def einsum_dropconnect(x, W, b, keep_prob, rng):
    """Bias as one more column, single precision."""
    x = np.column_stack([x, np.ones(len(x))]).astype(np.float32)
    W = np.column_stack([W, b]).astype(np.float32)
    M = rng.choice([0, 1 / keep_prob], size=(len(x), *W.shape), p=[1 - keep_prob, keep_prob])
    return np.einsum("noi,oi,ni->no", M.astype(np.float32), W, x)


def with_layer(x, W, b, keep_prob, rng):
    torch.manual_seed(int(rng.integers(2**31)))
    layer = DropConnectLinear(W.shape[1], len(W), keep_prob).double().requires_grad_(False)
    layer.weight.copy_(torch.tensor(W))
    layer.bias.copy_(torch.tensor(b))
    return layer(torch.tensor(x)).numpy()


def units_dropped(x, W, b, keep_prob, rng):
    mask = (rng.random((len(x), len(W))) < keep_prob) / keep_prob
    return mask * (x @ W.T + b)


def inputs_dropped(x, W, b, keep_prob, rng):
    return (x * (rng.random(x.shape) < keep_prob) / keep_prob) @ W.T + b


def one_mask(x, W, b, keep_prob, rng):
    M, m = rng.random(W.shape) < keep_prob, rng.random(b.shape) < keep_prob
    return (x @ (M * W).T + m * b) / keep_prob


def by_share(x, W, b, keep_prob, rng):
    M = rng.random((len(x), *W.shape)) < keep_prob
    return np.einsum("noi,oi,ni->no", M, W, x) / M.mean() + b


def shared_with_bias(x, W, b, keep_prob, rng):
    M = (rng.random((len(x), *W.shape)) < keep_prob) / keep_prob
    return np.einsum("noi,oi,ni->no", M, W, x) + M[..., 0] * b


def same_number(x, W, b, keep_prob, rng):
    order = rng.permuted(np.tile(np.arange(W.size), (len(x), 1)), axis=1)
    M = (order < round(keep_prob * W.size)).reshape(len(x), *W.shape)
    m = rng.random((len(x), len(b))) < keep_prob
    return (np.einsum("noi,oi,ni->no", M, W, x) + m * b) / keep_prob


def gaussian_weights(x, W, b, keep_prob, rng):
    noise = rng.normal(1, math.sqrt((1 - keep_prob) / keep_prob), (len(x), *W.shape))
    return np.einsum("noi,oi,ni->no", noise, W, x) + b


def without_inputs(x, W, b, keep_prob, rng):
    M = rng.random((len(x), *W.shape)) < keep_prob
    m = rng.random((len(x), len(b))) < keep_prob
    return ((M * W).sum(axis=2) + m * b) / keep_prob


def squared_inputs(x, W, b, keep_prob, rng):
    return drop()(x**2, W, b, keep_prob, rng)


DROPCONNECT = [
    (drop(), None),
    (loop_dropconnect, None),
    (einsum_dropconnect, None),
    (with_layer, None),
    (one_mask, "One mask for the whole batch: every example lost the same weights"),
    (drop(lambda n, o, i: (o, i)), "One mask for the whole batch: every example lost the same w"),
    (drop(lambda n, o, i: (1, 1, i)), "One mask for the whole batch"),
    (drop(lambda n, o, i: (n, 1, i)), "dropout on the inputs"),
    (inputs_dropped, "dropout on the inputs"),
    (drop(lambda n, o, i: (n, o, 1)), "dropout of the units"),
    (units_dropped, "dropout of the units"),
    (drop(lambda n, o, i: (n, 1, 1)), "dropout"),
    (drop(keep=lambda p: 1 - p), "27% of the weights.*probability to drop"),
    (drop(keep=lambda p: 1 - p, scale=lambda p: 1 / (1 - p)), "probability to drop"),
    (drop(keep=lambda p: p**2), "keep_prob squared"),
    (drop(keep=lambda p: 0.5), "asks for 73%"),
    (drop(keep=lambda p: 2), "No weight was dropped"),
    (drop(keep=lambda p: -1), "Everything was dropped"),
    (lambda x, W, b, p, rng: x @ W.T + b, "No weight was dropped"),
    (drop(scale=lambda p: 1), "The weights are not scaled"),
    (drop(scale=lambda p: p), "multiplied by keep_prob, and masked"),
    (drop(scale=lambda p: 1 / p**2), "divided by keep_prob twice"),
    (drop(scale=lambda p: 1 / (1 - p) if p < 1 else 1), "divided by 1 - keep_prob"),
    (drop(scale=lambda p: 1 - p), "multiplied by 1 - keep_prob"),
    (drop(scale=lambda p: 1.1), "must be a sum of some of these weights"),
    (by_share, "share that happened to be kept"),
    (same_number, "same number of weights"),
    (gaussian_weights, "must be a sum of some of these weights"),
    (drop(bias_keep=lambda p: 2, bias_scale=lambda p: 1), "The bias has no mask"),
    (drop(bias_keep=lambda p: 2), "multiplied by 1.37, but never dropped"),
    (drop(bias_keep=lambda p: -1), "where is the bias"),
    (drop(bias_scale=lambda p: 1), "The biases are not scaled"),
    (drop(bias_scale=lambda p: 1.1), "Kept biases must be multiplied"),
    (drop(bias_keep=lambda p: 1 - p), "2.% of the biases.*probability to drop"),
    (drop(of_biases=lambda n, o: o), "every example lost the same biases"),
    (drop(of_biases=lambda n, o: (n, 1)), "all biases are kept or dropped together"),
    (lambda x, W, b, p, rng: drop()(x, W, -b, p, rng), "bias is subtracted"),
    (lambda x, W, b, p, rng: inputs_dropped(x, W, -b, p, rng), "dropout on the inputs"),
    (shared_with_bias, "shares a mask entry with a weight"),
    (squared_inputs, "is none of the sums"),
    (without_inputs, "is none of the sums"),
    (drop(after=lambda y: np.maximum(y, 0)), "never negative"),
    (drop(after=np.tanh), "range from -1 to 1"),
    (drop(after=expit), "looks like an activation"),
    (drop(seed=0), "Two calls drew the same mask"),
    (lambda x, W, b, p, rng: drop()(x, W, b, p, np.random.default_rng()), "same seed"),
    (drop(after=lambda y: y.tolist()), "must be a NumPy array"),
    (drop(after=lambda y: y.T), "must have shape"),
    (drop(after=lambda y: y.mean(axis=0)), "must have shape"),
    (lambda x, W, b, p, rng: x @ W + b, "raised ValueError"),
]


def infer(
    mean=lambda x, W, b, p: x @ W.T + b,
    factor=lambda p: (1 - p) / p,
    base=lambda x, W, b: x**2 @ (W**2).T + b**2,
    scale=np.sqrt,
    noise=lambda rng, T, n, o: rng.normal(size=(T, n, o)),
    average=lambda u, a: a(u).mean(axis=0),
    seed=None,
):
    """A right gaussian_inference but for one thing."""

    def gaussian_inference(x, W, b, keep_prob, activation, n_samples, rng):
        rng = rng if seed is None else np.random.default_rng(seed)
        s = scale(factor(keep_prob) * base(x, W, b))
        drawn = noise(rng, n_samples, len(x), len(W))
        return average(mean(x, W, b, keep_prob) + s * drawn, activation)

    return gaussian_inference


def loop_inference(x, W, b, keep_prob, activation, n_samples, rng):
    mean, total = x @ W.T + b, 0
    std = np.sqrt((np.square(x) @ np.square(W).T + np.square(b)) * (1 / keep_prob - 1))
    for _ in range(n_samples):
        total = total + activation(rng.normal(mean, std))
    return total / n_samples


def by_example(x, W, b, keep_prob, activation, n_samples, rng):
    rows = []
    for example in x:
        terms = np.column_stack([W * example, b])  # outputs, inputs + 1
        std = np.sqrt((1 - keep_prob) / keep_prob * (terms**2).sum(axis=1))
        u = rng.normal(terms.sum(axis=1), std, size=(n_samples, len(W)))
        rows.append(np.mean([activation(row) for row in u], axis=0))
    return np.float32(rows)


def real_masks(x, W, b, keep_prob, activation, n_samples, rng):
    samples = [loop_dropconnect(x, W, b, keep_prob, rng) for _ in range(n_samples)]
    return np.mean([activation(u) for u in samples], axis=0)


def moments_of_first(x, W, b, keep_prob, activation, n_samples, rng):
    first = np.tile(x[:1], (len(x), 1))
    spread = infer(mean=lambda *_: 0)(first, W, b, keep_prob, np.array, n_samples, rng)
    return activation(x @ W.T + b + spread) if n_samples == 1 else activation(x @ W.T + b + spread)


def uniform(rng, T, n, o):
    return rng.uniform(-math.sqrt(3), math.sqrt(3), (T, n, o))


def shared_by_halves(rng, T, n, o):
    """Partly shared by the outputs, as with dropout on the inputs."""
    return (rng.normal(size=(T, n, o)) + rng.normal(size=(T, n, 1))) / math.sqrt(2)


GAUSSIAN_INFERENCE = [
    (infer(), None),
    (loop_inference, None),
    (by_example, None),
    (infer(factor=lambda p: 1 / p - 1), None),
    (lambda x, W, b, p, a, T, rng: a(x @ W.T + b), "activation of the mean"),
    (infer(average=lambda u, a: a(u.mean(axis=0))), "averaged before the activation"),
    (infer(average=lambda u, a: u.mean(axis=0)), "never applied"),
    (infer(average=lambda u, a: a(u)), "returned one by one"),
    (infer(average=lambda u, a: a(u).sum(axis=0)), "samples are summed"),
    (infer(average=lambda u, a: a(u)[0]), "scatters as one sample does"),
    (infer(average=lambda u, a: a(u)[: len(u) // 2 + 1].mean(axis=0)), "independent samples"),
    (infer(average=lambda u, a: a(a(u)).mean(axis=0)), "must be near"),
    (infer(noise=lambda rng, T, n, o: rng.normal(size=(T, 1, o))), "All examples got the same"),
    (infer(noise=lambda rng, T, n, o: rng.normal(size=(T, 1, 1))), "All examples got the same"),
    (infer(noise=lambda rng, T, n, o: rng.normal(size=(T, n, 1))), "All outputs got the same"),
    (
        infer(noise=lambda rng, T, n, o: np.tile(rng.normal(size=(n, o)), (T, 1, 1))),
        "scatters as one sample does",
    ),
    (infer(noise=shared_by_halves), "samples of different outputs are correlated"),
    (infer(noise=uniform), "not Gaussian"),
    (real_masks, "real masks were drawn"),
    (infer(mean=lambda x, W, b, p: p * (x @ W.T + b)), "keep_prob times too small"),
    (infer(mean=lambda x, W, b, p: (x @ W.T + b) / p), "divided by keep_prob"),
    (infer(mean=lambda x, W, b, p: x @ W.T), "without the bias"),
    (infer(mean=lambda x, W, b, p: x @ W.T - b), "bias subtracted"),
    (infer(mean=lambda x, W, b, p: p * x @ W.T + b), "times the weights"),
    (infer(mean=lambda x, W, b, p: x @ W.T + p * b), "keep_prob times the bias"),
    (infer(mean=lambda x, W, b, p: 0), "the mean is missing"),
    (infer(mean=lambda x, W, b, p: x @ W.T + b + 1), "The mean of the pre-activations is"),
    (
        infer(mean=lambda x, W, b, p: p * (x @ W.T + b), factor=lambda p: p * (1 - p)),
        "keep_prob times too small",
    ),
    (infer(factor=lambda p: p * (1 - p)), r"is keep_prob \* \(1 - keep_prob\), that of zeros"),
    (infer(factor=lambda p: 1 - p), "which is what the slides"),
    (infer(factor=lambda p: p / (1 - p) if p < 1 else 0), "upside down"),
    (infer(factor=lambda p: (1 - p) / p**2), "once too often"),
    (infer(factor=lambda p: 1 / p), "mean square of a scaled mask"),
    (infer(scale=lambda v: v), "passed as the standard deviation"),
    (infer(scale=lambda v: v**0.25), "root of the variance is taken twice"),
    (infer(base=lambda x, W, b: x**2 @ (W**2).T), "bias is forgotten in the variance"),
    (infer(base=lambda x, W, b: x**2 @ (W**2).T + np.abs(b)), "unsquared"),
    (infer(base=lambda x, W, b: x**2 @ (W**2).T + b), "as it is"),
    (infer(base=lambda x, W, b: x**2 @ np.abs(W).T + b**2), "weights are not squared"),
    (infer(base=lambda x, W, b: np.abs(x) @ (W**2).T + b**2), "inputs are not squared"),
    (
        infer(base=lambda x, W, b: np.abs(x) @ np.abs(W).T + np.abs(b)),
        "Weights, inputs and bias are not squared",
    ),
    (infer(base=lambda x, W, b: x @ W.T + b), "Square weights and inputs|not squared"),
    (infer(base=lambda x, W, b: (x @ W.T) ** 2 + b**2), "squared as a whole"),
    (infer(base=lambda x, W, b: (x @ W.T + b) ** 2), "whole pre-activation is squared"),
    (infer(base=lambda x, W, b: 1 + 0 * x @ W.T), "have no part in the variance"),
    (infer(factor=lambda p: 3.0), "must have variances"),
    (lambda *a: infer()(*a[:5], 100, a[-1]), "n_samples=1 and an activation"),
    (infer(base=lambda x, W, b: (x**2).mean(axis=0) @ (W**2).T + b**2), "those of another one"),
    (infer(mean=lambda x, W, b, p: x.mean(axis=0) @ W.T + b), "those of another one"),
    (infer(seed=0), "Two calls|same noise|activation of the mean"),
    (lambda *a: infer()(*a[:-1], np.random.default_rng()), "same seed"),
    (infer(average=lambda u, a: a(u).mean(axis=0).tolist()), "must be a NumPy array"),
    (infer(average=lambda u, a: a(u).mean(axis=1)), "must have shape"),
    (infer(average=lambda u, a: a(u).mean()), "must be a NumPy array|must have shape"),
    (lambda x, W, b, p, a, T, rng: a(x @ W + b), "raised ValueError"),
]


def rectified(mean=None, square=None, variance=None, to=tuple):
    """A right fast_relu but for one thing. The parts get mu, s, Phi and phi."""

    def fast_relu(mu, v):
        s = np.sqrt(v)
        safe = np.where(s > 0, s, 1)
        a = np.where(s > 0, mu / safe, np.where(mu > 0, 99, -99))
        given = mu, s, ndtr(a), stats.norm.pdf(a)
        m = mu * given[2] + s * given[3] if mean is None else mean(*given)
        q = (mu**2 + v) * given[2] + mu * s * given[3] if square is None else square(*given)
        return to((m, q - m**2 if variance is None else variance(m, q, *given)))

    return fast_relu


def loop_rectified(mean, variance):
    moments = np.zeros((2, *mean.shape))
    for i in np.ndindex(mean.shape):
        mu, s = mean[i], math.sqrt(variance[i])
        if s == 0:
            moments[0][i] = max(0, mu)
            continue
        Phi, phi = stats.norm.cdf(mu / s), stats.norm.pdf(mu / s)
        moments[0][i] = mu * Phi + s * phi
        moments[1][i] = (mu**2 + s**2) * Phi + mu * s * phi - moments[0][i] ** 2
    return moments


def small_added(mean, variance):
    s = np.sqrt(variance) + 1e-12
    Phi, phi = ndtr(mean / s), stats.norm.pdf(mean / s)
    m = mean * Phi + s * phi
    return [m, (mean**2 + s**2) * Phi + mean * s * phi - m**2]


def by_zero(mean, variance):
    s = np.sqrt(variance)
    Phi, phi = ndtr(mean / s), stats.norm.pdf(mean / s)
    m = mean * Phi + s * phi
    return m, (mean**2 + variance) * Phi + mean * s * phi - m**2


def zeros_at_zero(mean, variance):
    return tuple(np.nan_to_num(part) for part in by_zero(mean, variance + 0 * variance / variance))


def at(f):
    """A mean in which Phi and phi are taken somewhere else."""
    return lambda mu, s, *_: f(mu, s, ndtr, stats.norm.pdf)


FAST_RELU = [
    (rectified(), None),
    (loop_rectified, None),
    (small_added, None),
    (relu_moments, None),
    (rectified(to=list), None),
    (lambda m, v: tuple(np.float32(part) for part in relu_moments(m, v)), None),
    (rectified(lambda mu, s, P, p: mu * p + s * P), "in each other's place"),
    (rectified(lambda mu, s, P, p: mu * P + p), "lacks its factor s"),
    (rectified(lambda mu, s, P, p: mu * P + s**2 * p), "multiplied by the variance"),
    (rectified(lambda mu, s, P, p: mu * P), "part s . phi.* is missing"),
    (rectified(lambda mu, s, P, p: s * p), "part mean . Phi.* is missing"),
    (rectified(lambda mu, s, P, p: mu * P - s * p), "sign of s"),
    (rectified(lambda mu, s, P, p: mu * (1 - P) + s * p), "BELOW 0"),
    (rectified(lambda mu, s, P, p: np.maximum(mu, 0)), "ReLU of the mean"),
    (rectified(lambda mu, s, P, p: mu + s * p / P), "given that it IS above"),
    (rectified(lambda mu, s, P, p: mu), "mean before the ReLU"),
    (rectified(lambda mu, s, P, p: mu * P + s * p + 1), "must be"),
    (rectified(at(lambda mu, s, P, p: mu * P(mu) + s * p(mu))), "taken at the mean"),
    (rectified(at(lambda mu, s, P, p: mu * P(mu) + s * p(mu / s))), "Phi is taken at the mean"),
    (rectified(at(lambda mu, s, P, p: mu * P(mu / s) + s * p(mu))), "phi is taken at the mean"),
    (
        rectified(at(lambda mu, s, P, p: mu * P(mu / s) + s * p(0, mu, s))),
        "lacks its factor s.*has a 1/s in it",
    ),
    (
        rectified(at(lambda mu, s, P, p: mu * P(mu / s**2) + s**2 * p(mu / s**2))),
        "taken for the standard deviation",
    ),
    (lambda m, v: rectified()(m, v**2), "taken for the standard deviation"),
    (rectified(variance=lambda m, q, *_: q), "mean SQUARE"),
    (rectified(variance=lambda m, q, mu, *_: q - mu**2), "BEFORE the ReLU"),
    (rectified(variance=lambda m, q, mu, *_: q - np.maximum(mu, 0) ** 2), "not of the ReLU of"),
    (rectified(variance=lambda m, q, *_: q - m), "Subtract the SQUARE"),
    (rectified(variance=lambda m, q, *_: np.sqrt(q - m**2)), "standard deviation"),
    (rectified(variance=lambda m, q, *_: m**2 - q), "sign is turned"),
    (rectified(variance=lambda m, q, mu, s, *_: s**2), "before the ReLU"),
    (rectified(variance=lambda m, q, mu, s, P, p: s**2 * P), "Cutting off"),
    (rectified(square=lambda mu, s, P, p: (mu**2 + s**2) * P), "lacks the part"),
    (rectified(square=lambda mu, s, P, p: (mu**2 + s**2) * P + s * p), "lacks the factor mean"),
    (rectified(square=lambda mu, s, P, p: (mu**2 + s**2) * P + mu * p), "lacks the factor s"),
    (
        rectified(square=lambda mu, s, P, p: (mu**2 + s**2) * P + mu * s**2 * p),
        "phi is multiplied by the variance",
    ),
    (rectified(square=lambda mu, s, P, p: (mu**2 + s) * P + mu * s * p), "place of its square"),
    (rectified(square=lambda mu, s, P, p: s**2 * P + mu * s * p), "lacks mean"),
    (rectified(variance=lambda m, q, *_: 2 * q), "The mean is right"),
    (lambda m, v: relu_moments(m, v)[::-1], "wrong way round"),
    (by_zero, "NaN or infinite there"),
    (zeros_at_zero, "For the means"),
    (lambda m, v: relu_moments(m, v)[0], "return two things|must have shape"),
    (rectified(to=lambda t: (*t, 1)), "return two things"),
    (rectified(to=lambda t: [part.tolist() for part in t]), "must be a NumPy array"),
    (rectified(to=lambda t: [part[:1] for part in t]), "must have shape"),
]

K1, K2, K3 = MOLCHANOV


def minus_kl(sigmoid=expit, tail=lambda a: np.logaddexp(0, -a) / 2, at=lambda a: a, end=K1):
    return lambda a: K1 * sigmoid(K2 + K3 * at(a)) - tail(a) - end


def bound(
    kl=kl_molchanov, data=lambda ll, N: -ll.mean(), total=np.sum, weight=lambda ll, a, N: 1 / N
):
    """A right negative_bound but for one thing."""
    return lambda ll, a, N: data(ll, N) + weight(ll, a, N) * total(kl(a))


def bound_of(minus):
    return bound(lambda a: -minus(a))


def loop_bound(log_likelihoods, log_alpha, n_train):
    loss = -sum(log_likelihoods.tolist()) / len(log_likelihoods)
    for a in log_alpha.ravel().tolist():
        soft = max(-a, 0) + math.log1p(math.exp(-abs(a)))
        z = K2 + K3 * a
        sigmoid = 1 / (1 + math.exp(-z)) if z > 0 else math.exp(z) / (1 + math.exp(z))
        loss += (K1 - K1 * sigmoid + soft / 2) / n_train
    return loss


def sigmoid_by_hand(z):
    return 1 / (1 + np.exp(-z))


NEGATIVE_BOUND = [
    (bound(), None),
    (bound_of(minus_kl()), None),
    (loop_bound, None),
    (bound_of(minus_kl(sigmoid=sigmoid_by_hand)), None),
    (bound_of(minus_kl(tail=lambda a: -log_expit(a) / 2)), None),
    (lambda ll, a, N: np.array([bound()(ll, a, N)]), None),
    (
        lambda ll, a, N: (
            torch.nn.functional.softplus(-torch.tensor(a)).sum().item() / 2 / N
            - ll.mean()
            + K1 * expit(-K2 - K3 * a).sum() / N
        ),
        None,
    ),
    (bound_of(lambda a: kl_molchanov(a)), "KL has the wrong sign"),
    (bound(weight=lambda ll, a, N: 1), "not divided by n_train. It is paid once"),
    (bound(weight=lambda ll, a, N: -1), "KL has the wrong sign.*And it is not divided"),
    (bound(weight=lambda ll, a, N: 1 / len(ll)), "divided by the size of the minibatch"),
    (bound(weight=lambda ll, a, N: len(ll) / N), "multiplied by batch / n_train"),
    (bound(total=np.mean), "KL is SUMMED over the weights; yours is their mean"),
    (bound(total=np.mean, weight=lambda ll, a, N: 1), "their mean. And divide by n_train"),
    (bound(total=lambda k: k.sum(axis=1).mean()), "averaged over the rows"),
    (bound(total=lambda k: k.sum(axis=0).mean()), "averaged over the columns"),
    (bound(total=lambda k: k.sum(axis=0)), "must be one number"),
    (bound(data=lambda ll, N: ll.mean()), "log-likelihood has the wrong sign"),
    (bound(data=lambda ll, N: -ll.sum()), "summed over the minibatch"),
    (bound(data=lambda ll, N: -ll.sum() / N), "summed and divided by n_train"),
    (
        bound(data=lambda ll, N: -N * ll.mean(), weight=lambda ll, a, N: 1),
        "loss of the whole training set",
    ),
    (lambda ll, a, N: len(ll) * bound()(ll, a, N), "loss of the whole minibatch"),
    (bound(data=lambda ll, N: -np.exp(ll).mean()), "log-likelihoods already"),
    (bound(data=lambda ll, N: 0), "log-likelihood is missing"),
    (bound(data=lambda ll, N: -ll), "must be one number"),
    (bound(kl=lambda a: 0 * a), "KL is missing"),
    (bound(lambda a: kl_molchanov(np.exp(a))), "alpha stands in the place of log"),
    (bound_of(minus_kl(at=np.exp)), "takes alpha itself"),
    (bound_of(minus_kl(at=lambda a: np.log(a))), "loss is NaN"),
    (bound_of(minus_kl(tail=lambda a: np.log(1 + 1 / a) / 2)), "loss is NaN"),
    (bound_of(minus_kl(tail=lambda a: np.log1p(1 / np.abs(a)) / 2)), "not log_alpha"),
    (bound_of(minus_kl(tail=lambda a: np.log1p(np.exp(-np.exp(a))) / 2)), "exponential twice"),
    (bound_of(minus_kl(tail=lambda a: np.logaddexp(0, a) / 2)), "takes 1 . alpha"),
    (bound_of(minus_kl(tail=lambda a: np.logaddexp(0, -a))), "lacks its factor 1/2"),
    (bound_of(minus_kl(tail=lambda a: -np.logaddexp(0, -a) / 2)), "sign of 1/2 log"),
    (bound_of(minus_kl(tail=lambda a: 0)), "log.* is missing"),
    (bound_of(minus_kl(tail=lambda a: -a / 2)), "1/alpha stands in the place"),
    (bound_of(minus_kl(end=0)), "constant k1 is missing"),
    (bound_of(minus_kl(end=-K1)), "sign of the constant"),
    (bound_of(minus_kl(sigmoid=lambda z: expit(-z))), "sign inside the sigmoid"),
    (bound_of(minus_kl(sigmoid=np.tanh)), "tanh stands"),
    (bound_of(minus_kl(sigmoid=lambda z: z)), "sigmoid is missing"),
    (bound_of(minus_kl(sigmoid=lambda z: expit(z) / K1)), "lacks its factor k1"),
    (bound_of(lambda a: K1 * expit(K3 + K2 * a) - np.logaddexp(0, -a) / 2 - K1), "are swapped"),
    (bound(lambda a: -a / 2), "start of the formula for small alpha"),
    (bound(kl_log_uniform), "must be.*from the data"),
    (bound_of(minus_kl(tail=lambda a: np.log(1 + np.exp(-a)) / 2)), "= -800 the loss is inf"),
    (bound_of(minus_kl(tail=lambda a: np.log(1 + 1 / np.exp(a)) / 2)), "= -800 the loss is inf"),
    (bound(lambda a: kl_molchanov(np.clip(a, -20, 20))), "clipped"),
    (bound_of(minus_kl(tail=lambda a: np.log(1 + 1 / (np.exp(a) + 1e-12)) / 2)), "clipped|small"),
    (bound_of(minus_kl(sigmoid=lambda z: np.exp(z) / (1 + np.exp(z)))), "= 800 the loss is nan"),
    (lambda ll, a, N: str(bound()(ll, a, N)), "must be one number"),
]


def rnn(
    mask_shape=lambda n, h: (n, h),
    scale=lambda p: 1 / p,
    keep=lambda p: p,
    test_factor=lambda p: 1.0,
    each_step=False,
    returns=lambda h, masked: h,
    seed=None,
    on=("train",),
    check_phase=True,
    to=lambda states: np.stack(states, axis=1),
):
    """A right run_rnn but for one thing."""

    def run_rnn(x, W, U, b, keep_prob, phase, rng):
        if check_phase and phase not in ("train", "test"):
            raise ValueError(phase)
        rng = rng if seed is None else np.random.default_rng(seed)
        n, h = len(x), np.zeros((len(x), len(U)))

        def draw():
            if phase not in on:
                return test_factor(keep_prob)
            return (rng.random(mask_shape(n, len(U))) < keep(keep_prob)) * scale(keep_prob)

        mask, states = draw(), []
        for t in range(x.shape[1]):
            if each_step:
                mask = draw()
            h = np.tanh(x[:, t] @ W.T + (mask * h) @ U.T + b)
            states.append(returns(h, mask * h))
        return to(states)

    return run_rnn


def masked_and_carried(x, W, U, b, keep_prob, phase, rng):
    """The mask on the new state, before it is carried on; a copy without it is returned."""
    if phase not in {"train", "test"}:
        raise ValueError("phase?")
    m = rng.binomial(1, keep_prob, (len(x), len(b))) / keep_prob if phase == "train" else 1
    out, carried = np.zeros((*x.shape[:2], len(b)), dtype=np.float32), np.zeros((len(x), len(b)))
    for t in range(x.shape[1]):
        h = np.tanh(x[:, t] @ W.T + carried @ U.T + b)
        out[:, t], carried = h, h * m
    return out


def by_sequence(x, W, U, b, keep_prob, phase, rng):
    if phase == "train":
        masks = (rng.random((len(x), len(b))) < keep_prob) / keep_prob
    elif phase == "test":
        masks = np.ones((len(x), len(b)))
    else:
        raise ValueError("phase?")
    result = []
    for sequence, m in zip(x, masks, strict=True):
        h, states = np.zeros(len(b)), []
        for x_t in sequence:
            h = np.tanh(W @ x_t + U @ (m * h) + b)
            states.append(h)
        result.append(states)
    return np.array(result)


def placed(step, shape=lambda n, inputs, h: (n, h)):
    """A network with its mask in some other place: step(x_t, h, W, U, b, m) gives the state."""

    def run_rnn(x, W, U, b, keep_prob, phase, rng):
        if phase not in ("train", "test"):
            raise ValueError
        h, states, m = np.zeros((len(x), len(U))), [], 1.0
        if phase == "train":
            m = (rng.random(shape(len(x), W.shape[1], len(U))) < keep_prob) / keep_prob
        for t in range(x.shape[1]):
            h = step(x[:, t], h, W, U, b, m)
            states.append(h)
        return np.stack(states, axis=1)

    return run_rnn


def output_masked(x_t, h, W, U, b, m):
    return m * np.tanh(x_t @ W.T + h @ U.T + b)


def input_masked(x_t, h, W, U, b, m):
    return np.tanh((m * x_t) @ W.T + h @ U.T + b)


def after_u(x_t, h, W, U, b, m):
    return np.tanh(x_t @ W.T + m * (h @ U.T) + b)


def sums_masked(x_t, h, W, U, b, m):
    return np.tanh(m * (x_t @ W.T + h @ U.T + b))


def weights_in_masked(x_t, h, W, U, b, m):
    return np.tanh(x_t @ (m * W).T + h @ U.T + b)


def weights_masked(x_t, h, W, U, b, m):
    return np.tanh(x_t @ W.T + h @ (m * U).T + b)


def plain(step):
    return placed(lambda x_t, h, W, U, b, m: step(x_t, m * h, W, U, b))


def by_share_of(axis):
    def run_rnn(x, W, U, b, keep_prob, phase, rng):
        if phase not in ("train", "test"):
            raise ValueError
        h, states, m = np.zeros((len(x), len(U))), [], 1.0
        if phase == "train":
            m = rng.random(h.shape) < keep_prob
            m = m / m.mean(axis=axis, keepdims=True)
        for t in range(x.shape[1]):
            h = np.tanh(x[:, t] @ W.T + (m * h) @ U.T + b)
            states.append(h)
        return np.stack(states, axis=1)

    return run_rnn


def scaled_output(x_t, h, W, U, b, m):
    return np.tanh(x_t @ W.T + h @ U.T + b) * (1 if np.isscalar(m) else 1.25)


RUN_RNN = [
    (rnn(), None),
    (masked_and_carried, None),
    (by_sequence, None),
    (rnn(each_step=True), "changes from step to step"),
    (rnn(each_step=True, mask_shape=lambda n, h: (1, h)), "changes from step to step"),
    (rnn(lambda n, h: h), "One mask for all sequences"),
    (rnn(lambda n, h: (1, h)), "One mask for all sequences"),
    (rnn(lambda n, h: (n, 1)), "all units are kept or dropped together"),
    (rnn(scale=lambda p: 1), "The kept states are not scaled"),
    (rnn(scale=lambda p: 1, test_factor=lambda p: p), "prediction the old state is multiplied"),
    (rnn(scale=lambda p: p), "multiplied by keep_prob, and masked"),
    (rnn(scale=lambda p: 1 / p**2), "divided by keep_prob twice"),
    (rnn(scale=lambda p: 1 / (1 - p) if p < 1 else 1), "divided by 1 - keep_prob"),
    (rnn(scale=lambda p: 1.5), "yours by 1.5"),
    (rnn(test_factor=lambda p: p), "prediction the old state is multiplied"),
    (rnn(test_factor=lambda p: 1 / p), "prediction the old state is divided"),
    (rnn(keep=lambda p: 1 - p), "probability to drop"),
    (rnn(keep=lambda p: p**2), "keep_prob squared"),
    (rnn(keep=lambda p: 0.5), "asks for 80%"),
    (rnn(keep=lambda p: 2, scale=lambda p: 1), "Nothing is dropped in training"),
    (rnn(keep=lambda p: -1), "always dropped"),
    (by_share_of(None), "share that happened to be kept"),
    (by_share_of(1), "share that happened to be kept"),
    (rnn(on=()), "Nothing is dropped in training"),
    (rnn(on=("train", "test")), "mask is still on at prediction"),
    (rnn(on=("test",)), "phases are swapped"),
    (rnn(returns=lambda h, masked: masked), "outputs themselves are masked"),
    (placed(output_masked), "outputs themselves are masked"),
    (placed(input_masked, lambda n, i, h: (n, i)), "first step differs"),
    (placed(sums_masked), "outputs themselves are masked"),
    (placed(weights_in_masked, lambda n, i, h: (h, i)), "first step differs"),
    (placed(scaled_output), "are multiplied by 1.25"),
    (placed(after_u), "multiplies U h"),
    (placed(weights_masked, lambda n, i, h: (h, h)), "mask on the weights U"),
    (plain(lambda x, h, W, U, b: np.tanh(x @ W.T + h @ U + b)), "U is transposed"),
    (plain(lambda x, h, W, U, b: np.tanh(x @ W.T + h @ U.T)), "bias is missing"),
    (plain(lambda x, h, W, U, b: np.tanh(x @ W.T + h @ U.T - b)), "bias is subtracted"),
    (plain(lambda x, h, W, U, b: x @ W.T + np.tanh(h) @ U.T + b), "pre-activations"),
    (plain(lambda x, h, W, U, b: x @ W.T + h @ U.T + b), "tanh is missing"),
    (plain(lambda x, h, W, U, b: expit(x @ W.T + h @ U.T + b)), "logistic sigmoid"),
    (plain(lambda x, h, W, U, b: np.maximum(x @ W.T + h @ U.T + b, 0)), "A ReLU stands"),
    (plain(lambda x, h, W, U, b: np.tanh(x @ W.T + b)), "no part in the new one"),
    (plain(lambda x, h, W, U, b: np.tanh(x @ W.T + 2 * h @ U.T + b)), "Without masks the states"),
    (rnn(to=lambda s: np.stack(s)), "Time comes first"),
    (rnn(to=lambda s: np.stack(s[::-1], axis=1)), "reverse order"),
    (lambda x, *rest: rnn()(x[:, ::-1], *rest), "runs backwards"),
    (rnn(to=lambda s: s[-1]), "must have shape"),
    (rnn(to=lambda s: s), "must be a NumPy array"),
    (rnn(seed=0), "Two calls drew the same mask"),
    (lambda *a: rnn()(*a[:-1], np.random.default_rng()), "same seed"),
    (rnn(check_phase=False), "was accepted"),
]

ANSWERS = {
    "dropconnect": DROPCONNECT,
    "gaussian_inference": GAUSSIAN_INFERENCE,
    "fast_relu": FAST_RELU,
    "negative_bound": NEGATIVE_BOUND,
    "run_rnn": RUN_RNN,
}


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize(("check", "answer", "message"), cases(variants, ANSWERS))
def test_answer_is_told_what_it_missed(check, answer, message, capsys):
    assert_told(check, answer, message, capsys)


@pytest.mark.parametrize("by", range(1, 11))
def test_no_false_alarm(by):
    """A right answer passes however its random numbers fall."""
    variants.dropconnect(shifted(drop(), by))
    variants.gaussian_inference(shifted(infer(), by))
    variants.run_rnn(shifted(rnn(), by))
