"""Answers to the exercises on dropout today: right ones in other styles, and wrong ones."""

import math
from functools import partial

import numpy as np
import torch
from scipy.special import log_softmax, rel_entr
from torch import nn
from torch.nn import functional as F

from lib.checks import today
from lib.networks import AdaptedLinear
from lib.two_masks import disagreement

attention = today.masked_attention.right
RIGHT, UNLISTED = {}, {}

# fmt: off
# The shapes of the masks


def looked_up(place, batch, n, width, heads, hidden):
    shapes = {"embeddings": (n, width), "attention": (heads, n, n), "inside": (n, hidden),
              "branch": (n, width), "block": (1, 1)}
    return torch.Size((batch, *shapes[place]))


def by_arrays(place, batch, n, width, heads, hidden):
    x = np.zeros((batch, n, width))
    match place:
        case "attention":
            return np.zeros((batch, heads, n, n)).shape
        case "block":
            return x.max(axis=(1, 2), keepdims=True).shape
        case "inside":
            return (x @ np.zeros((width, hidden))).shape
    return x.shape


def but(place, shape):
    """Right but for one place."""
    return lambda *given: shape(*given[1:]) if given[0] == place else looked_up(*given)


RIGHT["mask_shape"] = [
    looked_up, by_arrays, lambda *given: [*looked_up(*given)],
    lambda *given: np.array(looked_up(*given))]
UNLISTED["mask_shape"] = [
    (but("attention", lambda b, n, w, h, u: (b, n, n, 1)), "otherwise"),
    (but("inside", lambda b, n, w, h, u: (b, n, 2 * u)), "otherwise"),
    (but("inside", lambda b, n, w, h, u: (b, 1, u)), "shared-by-positions"),
    (but("attention", lambda b, n, w, h, u: (b, h * n, n)), "axes"),
    (but("block", lambda b, n, w, h, u: b), "no-shape"),
    (lambda *given: {"embeddings": given[1:4]}[given[0]], "raises"),
    (lambda place, b, n, w, h, u: (b, n, w), "not-on-weights")]

# A mask on the attention weights


def looped(q, k, v, keep_prob, rng):
    out = np.zeros((*q.shape[:2], v.shape[2]))
    for h, i in np.ndindex(q.shape[:2]):
        e = np.exp([q[h, i] @ each / math.sqrt(len(each)) for each in k[h]])
        for weight, value in zip(e / e.sum(), v[h], strict=True):
            if rng.uniform() < keep_prob:
                out[h, i] += weight * value / keep_prob
    return out


def in_torch(q, k, v, keep_prob, rng):
    torch.manual_seed(int(rng.integers(2**31)))
    given = (torch.tensor(each, dtype=torch.float32) for each in (q, k, v))
    return F.scaled_dot_product_attention(*given, dropout_p=1 - keep_prob)


def summed(q, k, v, keep_prob, rng):
    e = np.exp(np.einsum("hnd,hmd->hnm", q, k) * q.shape[-1] ** -0.5)
    e *= rng.binomial(1, keep_prob, e.shape) / (keep_prob * e.sum(axis=-1, keepdims=True))
    return np.einsum("hnm,hme->hne", e, v)


def summed_wrong(q, k, v, keep_prob, rng):
    """Divided by the sum of what is left, and by keep_prob."""
    e = np.exp(np.einsum("hnd,hmd->hnm", q, k) * q.shape[-1] ** -0.5)
    e = e * rng.binomial(1, keep_prob, e.shape)
    return np.einsum("hnm,hme->hne", e / e.sum(axis=-1, keepdims=True), v) / keep_prob


def with_(**settings):
    return partial(attention, **settings)


def on_values(q, k, v, keep_prob, rng):
    return attention(q, k, v * (rng.random(v.shape) < keep_prob) / keep_prob, 1.0, rng)


def on_output(q, k, v, keep_prob, rng):
    out = attention(q, k, v, 1.0, rng)
    return out * (rng.random(out.shape) < keep_prob) / keep_prob


def same_number(q, k, v, keep_prob, rng):
    """Each query keeps the same number of weights, others each time."""
    ranks = rng.random((*q.shape[:2], k.shape[1])).argsort(axis=2).argsort(axis=2)
    kept = ranks < round(keep_prob * k.shape[1])
    return with_(masked=lambda s, b, p, weights: weights(s) * kept / p)(q, k, v, keep_prob, rng)


RIGHT["masked_attention"] = [looped, in_torch, summed]
UNLISTED["masked_attention"] = [
    (with_(masked=lambda s, b, p, weights: weights(s) * b), "not-scaled"),
    (with_(masked=lambda s, b, p, weights: weights(s) * b * p), "multiplied"),
    (with_(masked=lambda s, b, p, weights: weights(s) * b / p**2), "divided-twice"),
    (with_(masked=lambda s, b, p, weights: weights(s * b)), "scores-multiplied"),
    (with_(masked=lambda s, b, p, weights: weights(s * b / p)), "scores-multiplied"),
    (with_(masked=lambda s, b, p, weights: weights(s * b) / p), "scores-multiplied"),
    (with_(masked=lambda s, b, p, weights: weights(s) * b / b.mean()), "by-share"),
    (with_(masked=lambda s, b, p, weights: weights(np.where(b, s, -1e9))), "fixed-sum"),
    (summed_wrong, "fixed-sum"), (on_values, "not-on-weights"), (on_output, "not-on-weights"),
    (lambda q, k, v, p, rng: attention(q * (rng.random(q.shape) < p) / p, k, v, 1.0, rng),
     "scores-multiplied"),
    (with_(masked=lambda s, b, p, weights: weights(s) * b / (1 - p)), "not-finite"),
    (with_(of=lambda h, n, m: (1, n, m)), "shared-by-heads"),
    (with_(of=lambda h, n, m: (h, 1, m)), "shared-by-rows"),
    (with_(of=lambda h, n, m: (h, n, 1)), "shared-by-columns"),
    (lambda q, k, v, p, rng: attention(q, k, v, p, np.random.default_rng(0)), "shared-by-calls"),
    (lambda q, k, v, p, rng: attention(q, k, v, p, np.random.default_rng()), "not-from-rng"),
    (lambda q, k, v, p, rng: attention(q, k, v, 1.0, rng), "no-mask"),
    (lambda q, k, v, p, rng: attention(k, q, v, p, rng), "shape|raises"),
    (lambda q, k, v, p, rng: attention(q, k, v, 0.5 if p < 1 else p, rng), "always-half"),
    (with_(masked=lambda s, b, p, weights: weights(s) * (b | ~b.any(2, keepdims=True)) / p),
     "no-row-lost"),
    (with_(masked=lambda s, b, p, weights: 0 * s if p < 1 else weights(s)), "all-dropped"),
    (same_number, "opposite-columns")]

# Masks that eval switches off


def attends(rate=lambda net: net.p if net.training else 0.0, p=lambda keep: 1 - keep,
            of=F.scaled_dot_product_attention):
    """A class like the student's, right but for one thing."""
    class Attend(nn.Module):
        def __init__(self, keep_prob):
            super().__init__()
            self.p = p(keep_prob)
            self.at_start = self.p if self.training else 0.0

        def forward(self, q, k, v):
            return of(q, k, v, dropout_p=rate(self))

    return Attend


class WithLayer(nn.Module):
    def __init__(self, keep_prob):
        super().__init__()
        self.drop = nn.Dropout(1 - keep_prob)

    def forward(self, q, k, v):
        return self.drop((q @ k.mT / q.shape[-1] ** 0.5).softmax(dim=-1)) @ v


class InTwoBranches(nn.Module):
    def __init__(self, keep_prob):
        super().__init__()
        self.register_buffer("keep_prob", torch.tensor(keep_prob))

    def forward(self, q, k, v):
        if not self.training:
            return F.scaled_dot_product_attention(q, k, v)
        return F.scaled_dot_product_attention(q, k, v, dropout_p=1 - self.keep_prob.item())


def behind(q, k, v, dropout_p):
    return F.dropout(F.scaled_dot_product_attention(q, k, v), dropout_p)


def renormalised(q, k, v, dropout_p):
    weights = F.dropout((q @ k.mT / q.shape[-1] ** 0.5).softmax(dim=-1), dropout_p)
    return weights / weights.sum(dim=-1, keepdim=True) @ v


def seeded(*given, dropout_p):
    torch.manual_seed(0)
    return F.scaled_dot_product_attention(*given, dropout_p=dropout_p)


def switching(net):
    net.eval()
    return net.p


class WithoutInit(nn.Module):
    def __init__(self, keep_prob):
        self.p = 1 - keep_prob

    forward = attends().forward


RIGHT["attend"] = [attends(), WithLayer, InTwoBranches, lambda keep: WithLayer(keep).eval()]
UNLISTED["attend"] = [
    (attends(lambda net: net.p), "always-active"), (attends(lambda net: 0.0), "never-active"),
    (attends(lambda net: net.at_start), "always-active"),
    (attends(lambda net: net.p, lambda keep: 0.0), "never-active"),
    (attends(lambda net: 0.0 if net.training else net.p), "modes-swapped"),
    (attends(p=float), "drop-for-keep"), (attends(p=lambda keep: 0.5), "always-half"),
    (attends(p=lambda keep: 0.1), "share"), (attends(switching), "changes-mode"),
    (attends(of=partial(F.scaled_dot_product_attention, scale=1.0)), "other-attention"),
    (attends(of=behind), "not-on-weights"), (attends(of=seeded), "shared-by-calls"),
    (attends(of=renormalised), "fixed-sum"),
    (attends(of=lambda q, k, v, dropout_p: F.dropout(q @ k.mT @ v)), "not-on-weights"),
    (attends(lambda net: float(net.training)), "all-dropped"),
    (attends(of=lambda *given, dropout_p: seeded(*given, dropout_p=dropout_p).tolist()),
     "no-tensor"), (WithoutInit, "no-init"), (lambda keep: nn.Module(), "no-forward"),
    (lambda keep: nn.Dropout(1 - keep), "raises"), (lambda keep: attends(), "no-module")]

# An adapter is merged


def by_layer(W, A, B, alpha, keep_prob):
    linear = nn.Linear(W.shape[1], W.shape[0], dtype=torch.float64)
    layer = AdaptedLinear(linear, len(A), alpha, keep_prob)
    for parameter, value in ((linear.weight, W), (layer.A, A), (layer.B, B)):
        parameter.data = torch.tensor(value)
    return layer.merged().weight


def column_by_column(W, A, B, alpha, keep_prob):
    units = np.eye(W.shape[1])
    return np.stack([W @ x + alpha / B.shape[1] * (B @ (A @ x)) for x in units], axis=1)


def in_place(W, A, B, alpha, keep_prob):
    W += alpha / len(A) * B @ A
    return W


def by_plain_layer(W, A, B, alpha, keep_prob):
    """A layer whose weights can be trained further."""
    layer = nn.Linear(*W.shape[::-1], bias=False, dtype=torch.float64)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor(W + alpha / len(A) * B @ A))
    return layer.weight


RIGHT["merge"] = [
    by_layer, by_plain_layer, column_by_column,
    lambda W, A, B, alpha, p: np.float32(W + np.einsum("or,ri->oi", B, A) * alpha / len(A))]
UNLISTED["merge"] = [
    (in_place, "changes-argument"), (lambda W, A, B, alpha, p: p * W, "factor-of-the-mask"),
    (lambda *given: given[-1] * by_layer(*given), "factor-of-the-mask"),
    (lambda W, A, B, alpha, p: W * (alpha / len(A) * B @ A), "otherwise")]

# Two masks should agree


def by_kl_div(forward, x):
    p, q = (forward(x).log_softmax(dim=1) for _ in range(2))
    one, other = (F.kl_div(*each, reduction="batchmean", log_target=True)
                  for each in ((p, q), (q, p)))
    return (one + other) / 2


def doubled(forward, x):
    p, q = forward(torch.cat([x, x])).log_softmax(dim=-1).chunk(2)
    return (F.kl_div(p, q, reduction="sum", log_target=True)
            + F.kl_div(q, p, reduction="sum", log_target=True)) / (2 * len(x))


def repeated(forward, x):
    z = forward(x.repeat_interleave(2, dim=0)).unflatten(0, (-1, 2))
    return disagreement(z[:, 0], z[:, 1]).mean()


def in_numpy(forward, x):
    p, q = (log_softmax(forward(x).numpy(), axis=1) for _ in range(2))
    return sum((np.exp(a) * (a - b)).sum() for a, b in ((p, q), (q, p))) / 2 / len(x)


def by_scipy(forward, x):
    p, q = (forward(x).softmax(dim=-1).numpy() for _ in range(2))
    return (rel_entr(p, q) + rel_entr(q, p)).sum() / (2 * len(x))


def by_distributions(forward, x):
    p, q = (torch.distributions.Categorical(logits=forward(x)) for _ in range(2))
    one, other = (torch.distributions.kl_divergence(*pair) for pair in ((p, q), (q, p)))
    return 0.5 * (one + other).mean()


def kl_div(of=lambda z: z.log_softmax(-1), to=lambda z: z.softmax(-1), **how):
    def loss(forward, x):
        z, w = forward(x), forward(x)
        return (F.kl_div(of(z), to(w), **how) + F.kl_div(of(w), to(z), **how)) / 2

    return loss


def without_gradient(which):
    """The answers that `which` names come without a gradient."""
    def loss(forward, x):
        calls = iter(range(2))

        def answer(x):
            with torch.set_grad_enabled(next(calls) not in which):
                return forward(x)

        return by_kl_div(answer, x)

    return loss


def against_targets(forward, x):
    """Each answer learns from the other, which is detached."""
    p, q = (forward(x).log_softmax(dim=-1) for _ in range(2))
    return (today.kl(p.detach(), q) + today.kl(q.detach(), p)).sum(dim=-1).mean() / 2


def overwritten(forward, x):
    p, q = (forward(x).log_softmax(dim=-1) for _ in range(2))
    apart = p - q
    return (apart * p.exp_().sub(q.exp_())).sum(dim=-1).mean() / 2


RIGHT["agreement"] = [
    by_kl_div, doubled, repeated,
    kl_div(to=lambda z: z.log_softmax(-1), reduction="batchmean", log_target=True),
    lambda f, x: by_kl_div(lambda x: f(x).float(), x).double()]
UNLISTED["agreement"] = [
    (kl_div(reduction="mean"), "mean-over-classes"), (kl_div(), "mean-over-classes"),
    (kl_div(reduction="sum"), "summed-over-examples"),
    (kl_div(reduction="none"), "no-number"),
    (kl_div(lambda z: z, reduction="batchmean"), "of-logits"),
    (kl_div(lambda z: z.softmax(-1), reduction="batchmean"), "no-logarithm"),
    (kl_div(lambda z: z, lambda z: z, reduction="batchmean"), "no-probability"),
    (kl_div(to=lambda z: z.log_softmax(-1), reduction="batchmean"), "no-probability"),
    (lambda f, x: F.mse_loss(f(x), f(x)), "other-distance"),
    (lambda f, x: F.cross_entropy(f(x), f(x).softmax(-1)), "no-entropy"),
    (lambda f, x: by_kl_div(lambda x: (f(x).softmax(-1) + 1e-9).log(), x), "naive"),
    (lambda f, x: -by_kl_div(f, x), "sign"), (by_scipy, "naive"), (by_distributions, "naive"),
    (lambda f, x: 0.0, "one-mask"), (lambda f, x: f(x).shape and by_kl_div(f, x), "more-passes"),
    (lambda f, x: by_kl_div(lambda x: F.dropout(f(x)), x), "not-repeatable"),
    (lambda f, x: by_kl_div({0: f(x)}.get, 0), "one-mask"),
    (lambda f, x: 3 * by_kl_div(f, x), "otherwise"),
    *((lambda f, x, to=to: to(doubled(f, x)), "no-gradient")
      for to in (float, torch.Tensor.detach, lambda loss: loss.detach().numpy())),
    (without_gradient([0, 1]), "no-gradient"), (without_gradient([0]), "other-gradient"),
    (without_gradient([1]), "other-gradient"), (against_targets, "other-gradient"),
    (overwritten, "no-backward"), (in_numpy, "no-gradient"),
    (lambda f, x: torch.tensor(in_numpy(lambda x: f(x).detach(), x)), "no-gradient")]
