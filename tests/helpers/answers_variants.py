"""Answers to the exercises on variants: right ones in other styles, wrong ones not in the table."""

import math

import numpy as np
from scipy import stats
from scipy.special import log_expit, ndtr

from lib.theory.moments import relu_moments
from lib.theory.variational import MOLCHANOV, kl_log_uniform, kl_molchanov

# DropConnect


def drop(
    of_weights=lambda n, o, i: (n, o, i),
    of_biases=lambda n, o: (n, o),
    scale=lambda p: 1 / p,
    bias_scale=None,
    keep=lambda p: p,
    bias_keep=None,
    after=lambda y: y,
    coins=lambda rng, size, p: rng.random(size) < p,
    rng=lambda rng: rng,
):
    """A right dropconnect but for one thing."""
    bias_scale, bias_keep = bias_scale or scale, bias_keep or keep

    def dropconnect(x, W, b, keep_prob, generator):
        r, (n, _), (o, i) = rng(generator), x.shape, W.shape
        M = coins(r, of_weights(n, o, i), keep(keep_prob)) * scale(keep_prob)
        m = (r.random(of_biases(n, o)) < bias_keep(keep_prob)) * bias_scale(keep_prob)
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
    import torch

    from lib.layers import DropConnectLinear

    torch.manual_seed(int(rng.integers(2**31)))
    layer = DropConnectLinear(W.shape[1], len(W), keep_prob).double().requires_grad_(False)
    layer.weight.copy_(torch.tensor(W))
    layer.bias.copy_(torch.tensor(b))
    return layer(torch.tensor(x)).numpy()


def by_output(x, W, b, keep_prob, rng):
    out = np.zeros((len(x), len(W)))
    for o, (row, bias) in enumerate(zip(W, b, strict=True)):
        m = np.where(rng.uniform(size=len(x)) >= 1 - keep_prob, bias / keep_prob, 0)
        out[:, o] = (x * row * rng.binomial(1, keep_prob, x.shape) / keep_prob).sum(1) + m
    return out


def with_matmul(x, W, b, keep_prob, rng):
    M = rng.permuted(rng.random((*W.shape, len(x)))).transpose(2, 0, 1) < keep_prob
    bias = rng.binomial(1, keep_prob, (len(b), len(x))).T * b
    return (np.matmul(np.where(M, W, 0), x[..., None])[..., 0] + bias) / np.float64(keep_prob)


def units_dropped(x, W, b, keep_prob, rng):
    mask = (rng.random((len(x), len(W))) < keep_prob) / keep_prob
    return mask * (x @ W.T + b)


def inputs_dropped(x, W, b, keep_prob, rng):
    return (x * (rng.random(x.shape) < keep_prob) / keep_prob) @ W.T + b


def by_share(*axes):
    def dropconnect(x, W, b, keep_prob, rng):
        M = rng.random((len(x), *W.shape)) < keep_prob
        share = M.mean(axis=axes or None, keepdims=True)
        M = M / np.where(share > 0, share, 1)
        return np.einsum("noi,oi,ni->no", M, W, x) + b

    return dropconnect


def shared_with_bias(at):
    def dropconnect(x, W, b, keep_prob, rng):
        M = (rng.random((len(x), *W.shape)) < keep_prob) / keep_prob
        return np.einsum("noi,oi,ni->no", M, W, x) + M[..., at] * b

    return dropconnect


def same_number(axis):
    def coins(rng, size, p):
        if axis is None:
            order = rng.permuted(np.tile(np.arange(math.prod(size[1:])), (size[0], 1)), axis=1)
            return (order < round(p * order.shape[1])).reshape(size)
        order = np.argsort(rng.random(size), axis=axis)
        return order < round(p * size[axis])

    return coins


def never_empty(rng, size, p):
    M = rng.random(size) < p
    M[~M.any(axis=2), 0] = True
    return M


def gaussian_weights(x, W, b, keep_prob, rng):
    noise = rng.normal(1, math.sqrt((1 - keep_prob) / keep_prob), (len(x), *W.shape))
    return np.einsum("noi,oi,ni->no", noise, W, x) + b


def without_inputs(x, W, b, keep_prob, rng):
    return drop()(np.ones_like(x), W, b, keep_prob, rng)


RIGHT = {
    "dropconnect": [
        drop(),
        loop_dropconnect,
        einsum_dropconnect,
        with_layer,
        by_output,
        with_matmul,
    ]
}
UNLISTED = {
    "dropconnect": [
        (drop(lambda n, o, i: (o, i), lambda n, o: o), "shared-by-examples"),
        (drop(lambda n, o, i: (1, o, i)), "shared-by-examples"),
        (drop(lambda n, o, i: (1, 1, i)), "shared-by-examples"),
        (drop(lambda n, o, i: (n, 1, i)), "shared-by-outputs"),
        (inputs_dropped, "shared-by-outputs"),
        (drop(lambda n, o, i: (n, o, 1)), "shared-by-inputs"),
        (units_dropped, "shared-by-inputs"),
        (drop(lambda n, o, i: (n, 1, 1)), "shared-by-.*"),
        (drop(keep=lambda p: 1 - p), "drop-for-keep"),
        (drop(keep=lambda p: 1 - p, scale=lambda p: 1 / (1 - p) if p < 1 else 1), "drop-for-keep"),
        (drop(keep=lambda p: p**2), "two-masks"),
        (drop(keep=lambda p: 0.5), "always-half"),
        (drop(keep=lambda p: 2), "no-mask"),
        (drop(keep=lambda p: -1), "all-dropped"),
        (lambda x, W, b, p, rng: x @ W.T + b, "no-mask"),
        (drop(scale=lambda p: 1), "not-scaled"),
        (drop(scale=lambda p: p), "multiplied"),
        (drop(scale=lambda p: 1 / p**2), "divided-twice"),
        (drop(scale=lambda p: p**-0.5), "divided-by-root"),
        (drop(scale=lambda p: 1 / (1 - p) if p < 1 else 1), "divided-by-drop"),
        (drop(scale=lambda p: 1 - p), "multiplied-by-drop"),
        (drop(scale=lambda p: 1.1), "other-factor"),
        (by_share(), "by-share"),
        (by_share(1, 2), "by-share"),
        (by_share(2), "by-share"),
        (drop(coins=same_number(None)), "fixed-number"),
        (drop(coins=same_number(0)), "fixed-total-per-.*"),
        (gaussian_weights, "no-coins"),
        (drop(bias_keep=lambda p: 2, bias_scale=lambda p: 1), "bias-no-mask"),
        (drop(bias_keep=lambda p: 2), "bias-no-mask"),
        (drop(bias_keep=lambda p: -1), "no-bias"),
        (drop(bias_scale=lambda p: 1), "bias-not-scaled"),
        (drop(bias_scale=lambda p: 1.1), "bias-(other-factor|by-share)"),
        (drop(bias_keep=lambda p: 1 - p), "bias-drop-for-keep"),
        (drop(of_biases=lambda n, o: o), "bias-shared-by-examples"),
        (drop(of_biases=lambda n, o: (n, 1)), "bias-shared-by-outputs"),
        (lambda x, W, b, p, rng: drop()(x, W, -b, p, rng), "bias-sign"),
        (lambda x, W, b, p, rng: inputs_dropped(x, W, -b, p, rng), "shared-by-outputs"),
        *((shared_with_bias(at), "bias-tied-to-weight") for at in (0, 1, -1)),
        (without_inputs, "inputs-mistaken"),
        (drop(rng=lambda rng: np.random.default_rng(0)), "shared-by-calls"),
        (drop(rng=lambda rng: np.random.default_rng()), "not-from-rng"),
        (drop(after=lambda y: y.tolist()), "no-array"),
        (drop(after=lambda y: y.T), "shape"),
        (drop(after=lambda y: y.mean(axis=0)), "shape"),
        (drop(after=np.squeeze), "shape"),
        (lambda x, W, b, p, rng: x @ W + b, "raises"),
        (drop(coins=lambda rng, size, p: rng.uniform(0, 2 * p, size)), "no-coins"),
        (drop(coins=lambda rng, size, p: rng.poisson(p, size)), "no-coins"),
        (drop(coins=lambda rng, size, p: np.where(rng.random(size) < p, 1, -1)), "not-a-sum"),
        (drop(coins=never_empty), "never-empty"),
        (drop(coins=lambda rng, size, p: (rng.random(size) < p) / size[2]), "averaged"),
        (drop(after=lambda z: z / (1 + np.abs(z))), "activation"),
    ]
}

# DropConnect at prediction


def infer(
    mean=lambda x, W, b, p: x @ W.T + b,
    factor=lambda p: (1 - p) / p,
    base=lambda x, W, b: x**2 @ (W**2).T + b**2,
    scale=np.sqrt,
    noise=lambda rng, T, n, o: rng.normal(size=(T, n, o)),
    average=lambda u, a: a(u).mean(axis=0),
    rng=lambda rng: rng,
):
    """A right gaussian_inference but for one thing."""

    def gaussian_inference(x, W, b, keep_prob, activation, n_samples, generator):
        s = scale(factor(keep_prob) * base(x, W, b))
        drawn = noise(rng(generator), n_samples, len(x), len(W))
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


def with_quantiles(x, W, b, keep_prob, activation, n_samples, rng):
    x, W = np.column_stack([x, np.ones(len(x))]), np.column_stack([W, b])
    std = np.sqrt(np.einsum("ni,oi->no", x**2, W**2) * (1 / keep_prob - 1))
    z = stats.norm.ppf(rng.random((len(x), len(W), n_samples)))
    u = (x @ W.T)[..., None] + std[..., None] * z
    return np.average(np.array([activation(u[..., t]) for t in range(n_samples)]), axis=0)


def box_muller(rng, T, n, o):
    size, angle = rng.random((T, n, o)), rng.random((T, n, o))
    return np.sqrt(-2 * np.log(1 - size)) * np.cos(2 * np.pi * angle)


def real_masks(x, W, b, keep_prob, activation, n_samples, rng):
    samples = [loop_dropconnect(x, W, b, keep_prob, rng) for _ in range(n_samples)]
    return np.mean([activation(u) for u in samples], axis=0)


def quadrature(x, W, b, keep_prob, activation, n_samples, rng):
    t, w = np.polynomial.hermite_e.hermegauss(20)
    s = np.sqrt((1 - keep_prob) / keep_prob * (x**2 @ (W**2).T + b**2))
    u = x @ W.T + b + s * t[:, None, None]
    return np.tensordot(w / w.sum(), activation(u), 1)


def noisy_activation(x, W, b, keep_prob, activation, n_samples, rng):
    u = x @ W.T + b
    s = np.sqrt((1 - keep_prob) / keep_prob * (x**2 @ (W**2).T + b**2))
    return (activation(u) + s * rng.normal(size=(n_samples, *u.shape))).mean(axis=0)


def uniform(rng, T, n, o):
    return rng.uniform(-math.sqrt(3), math.sqrt(3), (T, n, o))


def shared_by_halves(rng, T, n, o):
    """Partly shared by the outputs, as with dropout on the inputs."""
    return (rng.normal(size=(T, n, o)) + rng.normal(size=(T, n, 1))) / math.sqrt(2)


def standardized(axis):
    def noise(rng, T, n, o):
        z = rng.normal(size=(T, n, o))
        if z.shape[axis] == 1:
            return z
        return (z - z.mean(axis, keepdims=True)) / z.std(axis, keepdims=True)

    return noise


def stratified(rng, T, n, o):
    return stats.norm.ppf((np.arange(T)[:, None, None] + rng.random((T, n, o))) / T)


def antithetic(rng, T, n, o):
    z = rng.normal(size=(T // 2, n, o))
    return np.concatenate([z, -z, rng.normal(size=(T % 2, n, o))])


RIGHT["gaussian_inference"] = [
    infer(),
    loop_inference,
    by_example,
    with_quantiles,
    infer(noise=box_muller),
    infer(factor=lambda p: 1 / p - 1),
    infer(noise=lambda rng, T, n, o: rng.standard_normal((o, n, T)).T),
]
UNLISTED["gaussian_inference"] = [
    (lambda x, W, b, p, a, T, rng: a(x @ W.T + b), "activation-of-mean"),
    (lambda x, W, b, p, a, T, rng: a(p * (x @ W.T + b)), "activation-of-mean"),
    (quadrature, "no-samples"),
    (infer(average=lambda u, a: a(u.mean(axis=0))), "averaged-first"),
    (infer(average=lambda u, a: u.mean(axis=0)), "ignores-activation"),
    (infer(average=lambda u, a: np.tanh(u).mean(axis=0)), "ignores-activation"),
    (noisy_activation, "noise-after-activation"),
    (infer(average=lambda u, a: a(u)), "shape"),
    (infer(average=lambda u, a: a(np.maximum(u, 0)).mean(axis=0)), "ignores-activation"),
    (infer(average=lambda u, a: a(u).sum(axis=0) / max(len(u) - 1, 1)), "not-averaged"),
    (infer(noise=stratified), "not-independent-samples"),
    (infer(average=lambda u, a: a(u).sum(axis=0)), "not-averaged"),
    (infer(average=lambda u, a: a(u)[0]), "one-draw"),
    (infer(average=lambda u, a: a(u)[: len(u) // 2 + 1].mean(axis=0)), "not-independent-samples"),
    (infer(average=lambda u, a: a(a(u)).mean(axis=0)), "activations-off"),
    (infer(average=lambda u, a: np.median(a(u), axis=0)), "not-independent-samples"),
    (infer(noise=lambda rng, T, n, o: rng.normal(size=(T, 1, o))), "shared-by-examples"),
    (infer(noise=lambda rng, T, n, o: rng.normal(size=(T, 1, 1))), "shared-by-examples"),
    (infer(noise=lambda rng, T, n, o: rng.normal(size=(T, n, 1))), "shared-by-outputs"),
    (infer(noise=lambda rng, T, n, o: np.tile(rng.normal(size=(n, o)), (T, 1, 1))), "one-draw"),
    (infer(noise=shared_by_halves), "alike-outputs"),
    (infer(noise=antithetic), "not-independent-samples"),
    (infer(noise=standardized(0)), "not-independent-samples"),
    (infer(noise=standardized(1)), "fixed-total-per-output"),
    (infer(noise=uniform), "not-gaussian"),
    (infer(noise=lambda rng, T, n, o: 2 * rng.random((T, n, 3, o)).sum(2) - 3), "not-gaussian"),
    (real_masks, "real-masks"),
    (infer(mean=lambda x, W, b, p: x @ W.T + b + 1), "moments-off"),
    (
        infer(mean=lambda x, W, b, p: p * (x @ W.T + b), factor=lambda p: p * (1 - p)),
        "mean-times-keep",
    ),
    (infer(factor=lambda p: 3.0), "other-factor"),
    (infer(base=lambda x, W, b: x @ W.T + b), "not-finite"),
    (infer(base=lambda x, W, b: x**2 @ W.T + b**2), "not-finite"),
    (lambda *a: infer()(*a[:5], 100, a[-1]), "one-draw"),
    (infer(rng=lambda rng: np.random.default_rng(0)), "shared-by-calls"),
    (infer(rng=lambda rng: np.random.default_rng()), "not-from-rng"),
    (infer(average=lambda u, a: a(u).mean(axis=0).tolist()), "no-array"),
    (infer(average=lambda u, a: a(u).mean(axis=1)), "shape"),
    (infer(average=lambda u, a: a(u).mean()), "shape|no-array|single-number"),
    (infer(average=lambda u, a: np.squeeze(a(u).mean(axis=0))), "shape"),
    (lambda x, W, b, p, a, T, rng: a(x @ W + b), "raises"),
]

# The moments of a rectified Gaussian


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


def by_integration(mean, variance):
    t, w = np.polynomial.legendre.leggauss(400)
    s = np.sqrt(variance)[..., None]
    low = np.maximum(0, mean[..., None] - 9 * s)
    high = np.maximum(low, mean[..., None] + 9 * s)
    z = (high - low) / 2 * t + (high + low) / 2
    at = np.exp(-(((z - mean[..., None]) / np.where(s > 0, s, 1)) ** 2) / 2)
    f = w * (high - low) / 2 * at / np.where(s > 0, s, 1) / np.sqrt(2 * np.pi)
    m = np.where(variance > 0, (f * z).sum(-1), np.maximum(mean, 0))
    return m, np.where(variance > 0, (f * z**2).sum(-1) - m**2, 0)


def masked_indices(mean, variance):
    m, v = np.maximum(mean, 0), np.zeros_like(mean)
    at = variance > 0
    m[at], v[at] = relu_moments(mean[at], variance[at])
    return m, v


def shifted_mean(mean, variance):
    m, v = relu_moments(mean, variance)
    return m + 1, v


RIGHT["fast_relu"] = [
    loop_rectified,
    small_added,
    relu_moments,
    by_integration,
    masked_indices,
    lambda m, v: list(relu_moments(m, v)),
    lambda m, v: tuple(np.float32(part) for part in relu_moments(m, v)),
    lambda m, v: np.array(relu_moments(m, v)),
]
UNLISTED["fast_relu"] = [
    (shifted_mean, "otherwise"),
    (lambda m, v: (relu_moments(m, v)[0], 2 * (relu_moments(m, v)[1] + 1)), "otherwise"),
    (lambda m, v: relu_moments(m, v)[0], "how-many"),
    (lambda m, v: (*relu_moments(m, v), 1), "how-many"),
    (lambda m, v: [part.tolist() for part in relu_moments(m, v)], "no-array"),
    (lambda m, v: [part[:1] for part in relu_moments(m, v)], "shape"),
    (lambda m, v: tuple(np.nan_to_num(part) for part in small_added(m, v + 0 * v / v)),
     "variance-0"),
]  # fmt: skip

# The loss of sparse variational dropout

K1, K2, K3 = MOLCHANOV


def loop_bound(log_likelihoods, log_alpha, n_train):
    loss = -sum(log_likelihoods.tolist()) / len(log_likelihoods)
    for a in log_alpha.ravel().tolist():
        soft = max(-a, 0) + math.log1p(math.exp(-abs(a)))
        z = K2 + K3 * a
        sigmoid = 1 / (1 + math.exp(-z)) if z > 0 else math.exp(z) / (1 + math.exp(z))
        loss += (K1 - K1 * sigmoid + soft / 2) / n_train
    return loss


def with_torch(log_likelihoods, log_alpha, n_train):
    import torch

    a = torch.tensor(log_alpha)
    kl = K1 - K1 * torch.sigmoid(K2 + K3 * a) + torch.nn.functional.softplus(-a) / 2
    return -torch.tensor(log_likelihoods).mean() + kl.sum() / n_train


def by_hand(log_likelihoods, log_alpha, n_train):
    minus = K1 / (1 + np.exp(-(K2 + K3 * log_alpha))) + log_expit(log_alpha) / 2 - K1
    return -np.average(log_likelihoods) - minus.sum(axis=0).sum() / n_train


RIGHT["negative_bound"] = [
    loop_bound,
    with_torch,
    by_hand,
    lambda ll, a, N: np.array([-ll.mean() + kl_molchanov(a).sum() / N]),
    lambda ll, a, N: np.float32(kl_molchanov(a).sum() / N - ll.mean()),
    lambda ll, a, N: np.mean([-each + kl_molchanov(a).sum() / N for each in ll]),
]
UNLISTED["negative_bound"] = [
    (lambda ll, a, N: kl_log_uniform(a).sum() / N - ll.mean(), "otherwise|nearly"),
    (lambda ll, a, N: -ll.mean() - kl_molchanov(a).sum(), "kl-sign"),
    (lambda ll, a, N: kl_molchanov(a).mean() - ll.mean(), "not-divided-by-n|kl-averaged"),
    (lambda ll, a, N: kl_molchanov(a).sum(axis=0) / N - ll.mean(), "no-number"),
    (lambda ll, a, N: kl_molchanov(a).sum() / N - ll, "no-number"),
    (lambda ll, a, N: str(kl_molchanov(a).sum() / N - ll.mean()), "no-number"),
    (lambda ll, a, N: ll.mean() - kl_molchanov(a).sum() / N, "likelihood-sign"),
    (lambda ll, a, N: N * (kl_molchanov(a).sum() / N - ll.mean()), "of-training-set"),
]

# A recurrent network whose mask lasts


def rnn(
    mask_shape=lambda n, h: (n, h),
    scale=lambda p: 1 / p,
    keep=lambda p: p,
    test_factor=lambda p: 1.0,
    each_step=False,
    returns=lambda h, masked: h,
    rng=lambda rng: rng,
    on=("train",),
    phases=("train", "test"),
    to=lambda states: np.stack(states, axis=1),
):
    """A right run_rnn but for one thing."""

    def run_rnn(x, W, U, b, keep_prob, phase, generator):
        if phase not in phases:
            raise ValueError(phase)
        r, n, h = rng(generator), len(x), np.zeros((len(x), len(U)))

        def draw():
            if phase not in on:
                return test_factor(keep_prob)
            return (r.random(mask_shape(n, len(U))) < keep(keep_prob)) * scale(keep_prob)

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


def masked_columns(x, W, U, b, keep_prob, phase, rng):
    """The columns of U masked, for each sequence: the same as its states."""
    match phase:
        case "train":
            m = rng.choice(
                [1 / keep_prob, 0], size=(len(x), 1, len(b)), p=[keep_prob, 1 - keep_prob]
            )
        case "test":
            m = np.ones((len(x), 1, len(b)))
        case _:
            raise ValueError(f"{phase}?")
    masked, all_h = U * m, [np.zeros((len(x), len(b)))]
    for x_t in x.transpose(1, 0, 2):
        all_h.append(np.tanh(np.einsum("hi,ni->nh", W, x_t)
                             + np.einsum("nhk,nk->nh", masked, all_h[-1]) + b))  # fmt: skip
    return np.array(all_h[1:]).swapaxes(0, 1)


def recursive(x, W, U, b, keep_prob, phase, rng):
    if phase not in ("train", "test"):
        raise ValueError
    m = (rng.random((len(b), len(x))) < keep_prob).T / keep_prob if phase == "train" else 1.0

    def states(t):
        before = states(t - 1) if t else []
        h = before[-1] if t else np.zeros((len(x), len(b)))
        return [*before, np.tanh(x[:, t] @ W.T + (m * h) @ U.T + b)]

    return np.stack(states(x.shape[1] - 1), 1)


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


def pre(x_t, h, W, U, b):
    return x_t @ W.T + h @ U.T + b


def after_u(x_t, h, W, U, b, m):
    return np.tanh(x_t @ W.T + m * (h @ U.T) + b)


def zoneout(x, W, U, b, keep_prob, phase, rng):
    if phase not in ("train", "test"):
        raise ValueError
    h, states = np.zeros((len(x), len(b))), []
    for x_t in np.swapaxes(x, 0, 1):
        kept = (rng.random(h.shape) < keep_prob) | (phase == "test")
        h = np.where(kept, np.tanh(pre(x_t, h, W, U, b)), h)
        states.append(h)
    return np.stack(states, axis=1)


def scaled_output(x_t, h, W, U, b, m):
    return np.tanh(pre(x_t, h, W, U, b)) * (1 if np.isscalar(m) else 1.25)


def by_share_of(axis):
    def run_rnn(x, W, U, b, keep_prob, phase, rng):
        if phase not in ("train", "test"):
            raise ValueError
        h, states, m = np.zeros((len(x), len(U))), [], 1.0
        if phase == "train":
            m = rng.random(h.shape) < keep_prob
            m = m / np.maximum(m.mean(axis=axis, keepdims=True), 1e-9)
        for t in range(x.shape[1]):
            h = np.tanh(x[:, t] @ W.T + (m * h) @ U.T + b)
            states.append(h)
        return np.stack(states, axis=1)

    return run_rnn


def any_phase(phases):
    return rnn(phases=phases, on=("train", "Train", "training", "rain", "t", ""))


RIGHT["run_rnn"] = [
    rnn(),
    masked_and_carried,
    by_sequence,
    masked_columns,
    recursive,
    placed(lambda x_t, h, W, U, b, m: np.tanh(pre(x_t, h * m, W, U, b)).astype(np.float32)),
]
UNLISTED["run_rnn"] = [
    (rnn(each_step=True), "new-each-step"),
    (rnn(each_step=True, mask_shape=lambda n, h: (1, h)), "new-each-step"),
    (rnn(lambda n, h: h), "shared-by-sequences"),
    (rnn(lambda n, h: (1, h)), "shared-by-sequences"),
    (rnn(lambda n, h: (n, 1)), "shared-by-units"),
    (rnn(scale=lambda p: 1), "not-scaled"),
    (rnn(scale=lambda p: 1, test_factor=lambda p: p), "factor-at-prediction"),
    (rnn(scale=lambda p: p), "multiplied"),
    (rnn(scale=lambda p: 1 / p**2), "divided-twice"),
    (rnn(scale=lambda p: 1 / (1 - p) if p < 1 else 1), "divided-by-drop"),
    (rnn(scale=lambda p: 1.5), "other-factor"),
    (rnn(keep=lambda p: 1 - p), "drop-for-keep"),
    (rnn(keep=lambda p: p**2), "two-masks"),
    (rnn(keep=lambda p: 0.5), "always-half"),
    (rnn(keep=lambda p: 2, scale=lambda p: 1), "no-mask"),
    (rnn(keep=lambda p: -1), "all-dropped"),
    (by_share_of(None), "by-share"),
    (by_share_of(1), "by-share"),
    (rnn(on=()), "no-mask"),
    (rnn(on=("train", "test")), "mask-at-prediction"),
    (rnn(on=("test",)), "phases-swapped"),
    (rnn(returns=lambda h, masked: masked), "outputs-masked"),
    (placed(lambda x_t, h, W, U, b, m: m * np.tanh(pre(x_t, h, W, U, b))), "outputs-masked"),
    (placed(lambda x_t, h, W, U, b, m: np.tanh(m * pre(x_t, h, W, U, b))), "outputs-masked"),
    (
        placed(
            lambda x_t, h, W, U, b, m: np.tanh(pre(m * x_t, h, W, U, b)), lambda n, i, h: (n, i)
        ),
        "first-step-masked",
    ),
    (
        placed(
            lambda x_t, h, W, U, b, m: np.tanh(pre(x_t, h, m * W, U, b)), lambda n, i, h: (h, i)
        ),
        "first-step-masked",
    ),
    (placed(scaled_output), "outputs-scaled"),
    (placed(after_u), "masked-after-u"),
    (zoneout, "zoneout"),
    (lambda *a: rnn()(*a[:5], {"train": "train", "test": "test"}[a[5]], a[6]), "other-phase"),
    (lambda *a: rnn()(*a[:5], a[5].lower(), a[6]), "other-phase"),
    (lambda *a: rnn()(*a) * (1 + 1e-3 * a[6].normal()), "first-step-random"),
    (
        placed(
            lambda x_t, h, W, U, b, m: np.tanh(pre(x_t, h, W, m * U, b)), lambda n, i, h: (h, h)
        ),
        "other-mask",
    ),
    (placed(lambda x_t, h, W, U, b, m: np.tanh(x_t @ W.T + 2 * m * h @ U.T + b)), "prediction-off"),
    (rnn(to=np.stack), "shape"),
    (rnn(to=lambda s: s[-1]), "shape"),
    (rnn(to=lambda s: s), "no-array"),
    (rnn(to=lambda s: np.stack(s[::-1], axis=1)), "backwards"),
    (rnn(to=lambda s: np.stack(s, axis=1).squeeze()), "shape"),
    (rnn(rng=lambda rng: np.random.default_rng(0)), "shared-by-calls"),
    (rnn(rng=lambda rng: np.random.default_rng()), "not-from-rng"),
    (any_phase(("train", "test", "predict")), "other-phase"),
    (any_phase("train test"), "other-phase"),
    (any_phase(("train", "test", "eval", "testing")), "other-phase"),
]
