"""Answers to the exercises on variants: right ones in other styles, wrong ones not in the table."""

import math

import numpy as np
from scipy import stats
from scipy.special import expit, log_expit

from lib.theory.moments import relu_moments
from lib.theory.variational import MOLCHANOV, kl_log_uniform, kl_molchanov

K1, K2, K3 = MOLCHANOV
RIGHT, UNLISTED = {}, {}

# fmt: off
# The moments of a rectified Gaussian


def loop_rectified(mean, variance):
    moments = np.zeros((2, *mean.shape))
    for i in np.ndindex(mean.shape):
        mu, s = mean[i], math.sqrt(variance[i])
        Phi, phi = (stats.norm.cdf(mu / s), stats.norm.pdf(mu / s)) if s else (mu > 0, 0)
        moments[0][i] = mu * Phi + s * phi
        moments[1][i] = (mu**2 + s**2) * Phi + mu * s * phi - moments[0][i] ** 2
    return moments


RIGHT["fast_relu"] = [loop_rectified, lambda m, v: list(map(np.float32, relu_moments(m, v))),
                      lambda m, v: np.array(relu_moments(m, v + 1e-30))]
UNLISTED["fast_relu"] = [
    (lambda m, v: relu_moments(m, np.where(v < 0.01, 0, v)), "otherwise"),
    (lambda m, v: (relu_moments(m, v)[0], 2 * relu_moments(m, v)[1] + 1), "otherwise"),
    (lambda m, v: [part / (v > 0) for part in relu_moments(m, v)], "variance-0")]

# The loss of sparse variational dropout


def loop_bound(log_likelihoods, log_alpha, n_train):
    loss = -sum(log_likelihoods.tolist()) / len(log_likelihoods)
    for a in log_alpha.ravel().tolist():
        soft, z = max(-a, 0) + math.log1p(math.exp(-abs(a))), K2 + K3 * a
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
    return np.float32([-np.average(log_likelihoods) - minus.sum(axis=0).sum() / n_train])


RIGHT["negative_bound"] = [loop_bound, with_torch, by_hand]
UNLISTED["negative_bound"] = [
    (lambda ll, a, N: kl_log_uniform(a).sum() / N - ll.mean(), "otherwise|nearly"),
    (lambda ll, a, N: kl_molchanov(np.maximum(a, -1)).sum() / N - ll.mean(), "otherwise"),
    (lambda ll, a, N: np.log(1 + np.exp(-a)).sum() / N / 2 - ll.mean()
     + (K1 - K1 * expit(K2 + K3 * a)).sum() / N, "not-finite")]

# A recurrent network whose mask lasts


def rnn(step=lambda x, h, W, U, b, m: np.tanh(x @ W.T + (m * h) @ U.T + b), *, anew=False,
        shape=lambda n, i, h: (n, h), on=("train",), to=lambda h, m: h,
        scale=lambda m, p: m / p, phases=("train", "test")):
    """A right run_rnn but for one thing."""

    def run_rnn(x, W, U, b, keep_prob, phase, rng):
        if phase not in phases:
            raise ValueError
        h, states = np.zeros((len(x), len(b))), []
        for t in range(x.shape[1]):
            if t == 0 or anew:
                m = scale(rng.random(shape(*x.shape[::2], len(b))) < keep_prob, keep_prob)
                m = m if phase in on else 1.0
            h = step(x[:, t], h, W, U, b, m)
            states.append(to(h, m))
        return np.stack(states, axis=1)

    return run_rnn


def masked_and_carried(x, W, U, b, keep_prob, phase, rng):
    """The mask on the new state, before it is carried on; a copy without it is returned."""
    if phase not in {"train", "test"}:
        raise ValueError("phase?")
    m = rng.binomial(1, keep_prob, (len(x), len(b))) / keep_prob if phase == "train" else 1
    out, carried = np.zeros((*x.shape[:2], len(b)), dtype=np.float32), np.zeros((len(x), len(b)))
    for t in range(x.shape[1]):
        out[:, t] = np.tanh(x[:, t] @ W.T + carried @ U.T + b)
        carried = out[:, t] * m
    return out


def masked_columns(x, W, U, b, keep_prob, phase, rng):
    """The columns of U masked, a sequence at a time: the same as its states."""
    chance, result = {"train": keep_prob, "test": 1.0}.get(phase), []
    if chance is None:
        raise ValueError(f"{phase}?")
    for sequence in x:
        masked, h = U * rng.choice([1 / chance, 0], size=len(b), p=[chance, 1 - chance]), 0 * b
        result.append([h := np.tanh(W @ x_t + masked @ h + b) for x_t in sequence])
    return np.array(result)


RIGHT["run_rnn"] = [rnn(), masked_and_carried, masked_columns]
UNLISTED["run_rnn"] = [
    (rnn(anew=True), "new-each-step"),
    (rnn(scale=lambda m, p: m / np.maximum(m.mean(axis=1, keepdims=True), 1e-9)), "other-mask"),
    (rnn(on=("train", "test")), "mask-at-prediction"),
    (rnn(on=("test",)), "phases-swapped"),
    (rnn(to=lambda h, m: m * h), "outputs-masked"),
    (rnn(lambda x, h, W, U, b, m: np.tanh((m * x) @ W.T + h @ U.T + b),
         shape=lambda n, i, h: (n, i)), "first-step-masked"),
    (rnn(lambda x, h, W, U, b, m: np.tanh(x @ W.T + m * (h @ U.T) + b)), "masked-after-u"),
    (rnn(lambda x, h, W, U, b, m: np.tanh(x @ W.T + h @ (m * U).T + b),
         shape=lambda n, i, h: (h, h)), "other-mask"),
    (rnn(lambda x, h, W, U, b, m: np.tanh(x @ W.T + 2 * m * h @ U.T + b)), "prediction-off"),
    (rnn(phases="train test"), "other-phase")]

# DropConnect


def drop(coins=lambda rng, size, p: (rng.random(size) < p) / p, bias=None, after=lambda y: y):
    """A right dropconnect but for one thing."""

    def dropconnect(x, W, b, keep_prob, rng):
        M, m = coins(rng, (len(x), *W.shape), keep_prob), bias or coins
        return after((M * W * x[:, None]).sum(axis=2) + m(rng, (len(x), len(b)), keep_prob) * b)

    return dropconnect


def loop_dropconnect(x, W, b, keep_prob, rng):
    rows = []
    for example in x:
        kept = W * rng.binomial(1, keep_prob, W.shape)
        rows.append((kept @ example + b * rng.binomial(1, keep_prob, b.shape)) / keep_prob)
    return np.array(rows)


def einsum_dropconnect(x, W, b, keep_prob, rng):
    """Bias as one more column, single precision."""
    x = np.column_stack([x, np.ones(len(x))]).astype(np.float32)
    W = np.column_stack([W, b]).astype(np.float32)
    M = rng.choice([0, 1 / keep_prob], size=(len(x), *W.shape), p=[1 - keep_prob, keep_prob])
    return np.einsum("noi,oi,ni->no", M.astype(np.float32), W, x)


def with_torch_masks(x, W, b, keep_prob, rng):
    import torch

    torch.manual_seed(int(rng.integers(2**31)))
    terms = torch.tensor(np.concatenate([W * x[:, None], np.tile(b[:, None], (len(x), 1, 1))], 2))
    return torch.nn.functional.dropout(terms, 1 - keep_prob).sum(dim=2).numpy()


def tied(x, W, b, keep_prob, rng):
    M = (rng.random((len(x), *W.shape)) < keep_prob) / keep_prob
    return np.einsum("noi,oi,ni->no", M, W, x) + M[..., -1] * b


def same_number(rng, size, p):
    flat = rng.permuted(np.tile(np.arange(math.prod(size[1:])), (size[0], 1)), axis=1)
    return (flat < round(p * flat.shape[1])).reshape(size) / p


RIGHT["dropconnect"] = [loop_dropconnect, einsum_dropconnect, with_torch_masks]
UNLISTED["dropconnect"] = [
    (lambda x, W, b, p, rng: ((rng.random(x.shape) < p) * x / p) @ W.T + b, "shared-by-outputs"),
    (drop(lambda rng, size, p: rng.random(size) < p), "not-scaled"),
    (drop(lambda rng, size, p: np.where(rng.random(size) < p, 1, -1)), "not-a-sum"),
    (drop(lambda rng, size, p: rng.normal(1, (1 / p - 1) ** 0.5, size)), "no-coins"),
    (drop(same_number), "fixed-number"),
    (drop(bias=lambda rng, size, p: 1), "bias-no-mask"),
    (drop(bias=lambda rng, size, p: (rng.random(size) < p) / -p), "bias-sign"),
    (tied, "bias-tied-to-weight"),
    (drop(after=lambda y: np.maximum(y, 0)), "activation"),
    (lambda x, *rest: drop()(np.abs(x), *rest), "no-possible-sum")]

# DropConnect at prediction


def infer(noise=lambda rng, T, n, o: rng.normal(size=(T, n, o)), average=lambda u, a: a(u).mean(0),
          moments=lambda x, W, b, p: (x @ W.T + b, (1 - p) / p * (x**2 @ (W**2).T + b**2))):
    """A right gaussian_inference but for one thing."""

    def gaussian_inference(x, W, b, keep_prob, activation, n_samples, rng):
        mean, variance = moments(x, W, b, keep_prob)
        drawn = noise(rng, n_samples, len(x), len(W))
        return average(mean + np.sqrt(variance) * drawn, activation)

    return gaussian_inference


def by_example(x, W, b, keep_prob, activation, n_samples, rng):
    rows = []
    for example in x:
        terms = np.column_stack([W * example, b])  # outputs, inputs + 1
        std = np.sqrt((1 - keep_prob) / keep_prob * (terms**2).sum(axis=1))
        samples = (activation(rng.normal(terms.sum(axis=1), std)) for _ in range(n_samples))
        rows.append(sum(samples) / n_samples)
    return np.float32(rows)


def box_muller(rng, T, n, o):
    size, angle = rng.random((2, T, n, o))
    return np.sqrt(-2 * np.log(1 - size)) * np.cos(2 * np.pi * angle)


RIGHT["gaussian_inference"] = [by_example, infer(box_muller), infer(
    lambda rng, T, n, o: stats.norm.ppf(rng.random((o, n, T))).T)]
UNLISTED["gaussian_inference"] = [
    (lambda x, W, b, p, a, T, rng: a(x @ W.T + b), "activation-of-mean"),
    (infer(average=lambda u, a: np.tanh(u).mean(axis=0)), "ignores-activation"),
    (infer(average=lambda u, a: a(u.mean(axis=0))), "averaged-first"),
    (infer(average=lambda u, a: a(u).sum(axis=0)), "not-averaged"),
    (infer(average=lambda u, a: a(u)[0]), "one-draw"),
    (infer(lambda rng, T, *size: stats.norm.ppf((np.arange(T)[:, None, None]
                                                 + rng.random((T, *size))) / T)),
     "not-independent-samples"),
    (infer(lambda rng, T, n, o: rng.normal(size=(T, n, 1))), "shared-by-outputs"),
    (infer(lambda rng, T, n, o: (rng.normal(size=(T, n, 1)) + rng.normal(size=(T, n, o))) / 2**0.5),
     "alike-outputs"),
    (infer(lambda rng, T, n, o: rng.uniform(-(3**0.5), 3**0.5, (T, n, o))), "not-gaussian"),
    (lambda x, W, b, p, a, T, rng: sum(a(loop_dropconnect(x, W, b, p, rng)) for _ in range(T)) / T,
     "real-masks"),
    (infer(moments=lambda x, W, b, p: (x @ W.T + b, 3 * (x**2 @ (W**2).T + b**2))), "moments-off"),
    (infer(lambda rng, *size: np.random.default_rng(0).normal(size=size)), "shared-by-calls")]
# fmt: on
