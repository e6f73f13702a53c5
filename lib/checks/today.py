"""Checks of the exercises on dropout today: transformers, adapters, two masks."""

import math
import numbers
import zlib
from collections import Counter
from functools import cache, partial

import numpy as np
from scipy.special import softmax

from lib.checks.engine import Array, Number, brief, call, exercise, refuse, summary_of, varied
from lib.checks.traits import coins, factor, first, fresh, scaled, torch_seeded

summary = summary_of("today")


# A table reads best with one idea in one block.
# fmt: off

# The shapes of the masks


class Shape:
    """A shape: as many whole numbers as its place has axes."""

    what = short = "The shape"

    def read(self, result, case):
        is_row = isinstance(result, tuple | list) or getattr(result, "ndim", 0) == 1
        is_shape = is_row and all(isinstance(n, numbers.Integral) for n in result)
        refuse(not is_shape, "no-shape", f"For place={case['place']!r} return a shape, a "
               f"tuple of whole numbers such as (6, 1, 9); yours is {brief(result)}.")
        axes = 4 if case["place"] == "attention" else 3
        refuse(len(result) != axes, "axes", f"What is multiplied for place={case['place']!r} has "
               f"{axes} axes, and so has its mask; yours has {len(result)}. An axis that shares "
               "one draw has the length 1.")
        return np.array(result, float)


def shape_cases(data):
    sizes = ("batch", "n", "width", "heads", "hidden"), ((2, 5, 12, 3, 48), (7, 3, 20, 4, 30))
    return [[{"place": place} | dict(zip(sizes[0], each, strict=True)) for each in sizes[1]]
            for place in ("embeddings", "attention", "inside", "branch", "block")]


SHAPES = dict.fromkeys(("embeddings", "inside", "branch"), lambda b, n, h, units: (b, n, units)) | {
    "attention": lambda b, n, h, units: (b, h, n, n), "block": lambda b, n, h, units: (b, 1, 1)}


@exercise(
    returns=Shape(),
    cases=shape_cases,
    otherwise="A mask has the shape of what it multiplies, with 1 where a draw is shared.",
    done="in each of the five places, as many draws as there should be.")
def mask_shape(place, batch, n, width, heads, hidden, **others):
    """Shape of a transformer's mask in one of five places."""
    return (SHAPES | others)[place](batch, n, heads, hidden if place == "inside" else width)


def in_places(*shapes):
    """Other shapes where there is a draw for each unit of each position."""
    return [{place: shape} for place in ("embeddings", "inside", "branch") for shape in shapes]


wrong = mask_shape.wrong
wrong("shared-by-sequences", "For place={place} all sequences of the batch share one mask. Each "
      "draws its own: the first axis is batch.",
      *in_places(lambda b, n, h, units: (1, n, units), lambda b, n, h, units: (n, units)),
      *varied("attention", lambda b, n, h, units: (1, h, n, n), lambda b, n, h, units: (h, n, n)),
      *varied("block", *(lambda *sizes, shape=shape: shape for shape in ((1, 1, 1), (1,), ()))))
wrong("shared-by-positions", "For place={place} all positions of a sequence share their draws. "
      "There each entry has a draw of its own: (batch, n, units).",
      *in_places(lambda b, n, h, units: (b, 1, units)))
wrong("whole-positions", "For place={place} each of the n positions loses all of its units, or "
      "none. There each unit has a draw of its own: (batch, n, units).",
      *in_places(lambda b, n, h, units: (b, n, 1)))
wrong("shared-by-heads", "All heads share one mask. Each head has weights of its own, and masks of "
      "its own: (batch, heads, n, n).",
      *varied("attention", lambda b, n, h, units: (b, 1, n, n), lambda b, n, h, units: (b, n, n),
              lambda b, n, h, units: (1, 1, n, n), lambda b, n, h, units: (n, n)))
wrong("whole-heads", "A head loses all of its weights, or none. Each pair of positions has a draw "
      "of its own: (batch, heads, n, n).",
      *varied("attention", lambda b, n, h, units: (b, h, 1, 1), lambda b, n, h, units: (b, h)))
wrong("whole-rows", "Whole positions are dropped from the weights, as a query or as a key. Each "
      "pair of positions has a draw of its own: (batch, heads, n, n).",
      *varied("attention", lambda b, n, h, units: (b, h, n, 1),
              lambda b, n, h, units: (b, h, 1, n), lambda b, n, h, units: (b, h, n),
              lambda b, n, h, units: (b, 1, 1, n), lambda b, n, h, units: (b, 1, n, 1)))
wrong("not-on-weights", "This mask counts units, as the values and the output of attention have "
      "them. Attention WEIGHTS are one for each pair of positions: (batch, heads, n, n).",
      *varied("attention", lambda b, n, h, units: (b, h, n, units // h),
              lambda b, n, h, units: (b, h, n, units), lambda b, n, h, units: (b, n, units),
              lambda b, n, h, units: (b, h, units, units),
              lambda b, n, h, units: (b, h, units // h, units // h)))
wrong("other-order", "For place={place} the lengths are right, in another order. It is sequence, "
      "head, the position that looks, the position that is looked at for attention weights, else "
      "sequence, position, unit.",
      *in_places(lambda b, n, h, units: (n, b, units), lambda b, n, h, units: (b, units, n)),
      *varied("attention", lambda b, n, h, units: (h, b, n, n),
              lambda b, n, h, units: (b, n, h, n), lambda b, n, h, units: (b, n, n, h)),
      *varied("block", lambda b, n, h, units: (1, b, 1), lambda b, n, h, units: (1, 1, b)))
wrong("width-for-hidden", "Inside the feed-forward layer there are `hidden` units, whatever the "
      "width: hidden = 4 width is usual, and no law.",
      *(lambda place, b, n, width, h, hidden, times=times:
        mask_shape.right(place, b, n, width, h, times * width) for times in (1, 4)))
wrong("hidden-for-width", "For place={place} each position has `width` units. There are `hidden` "
      "only inside the feed-forward layer: what leaves it has the width again.",
      *(lambda place, b, n, width, h, hidden, those=those:
        mask_shape.right(place, b, n, hidden if place in those else width, h, hidden)
        for those in (("embeddings",), ("branch",), ("embeddings", "branch"))))
wrong("on-the-matrix", "This is the shape of the layer's weights. The mask falls on its units: "
      "(batch, n, hidden).",
      *(lambda place, b, n, width, h, hidden, shape=shape: mask_shape.right(
          place, b, n, width, h, hidden, inside=lambda *_: shape(b, width, hidden))
        for shape in (lambda b, w, u: (w, u), lambda b, w, u: (u, w), lambda b, w, u: (b, w, u))))
wrong("one-gate", "For place={place} each sequence has one gate, which keeps or drops all of it. "
      "There each entry has a draw of its own: (batch, n, units).",
      *in_places(lambda b, n, h, units: (b, 1, 1)))
wrong("entries-of-a-block", "The block is dropped entry by entry, or position by position. Here a "
      "sequence loses the whole of it or nothing: one gate for each, (batch, 1, 1).",
      *varied("block", lambda b, n, h, units: (b, n, units), lambda b, n, h, units: (b, n, 1),
              lambda b, n, h, units: (b, 1, units), lambda b, n, h, units: (1, n, 1)))
wrong("does-not-broadcast", "One gate for each sequence is right. But (batch,) would be spread "
      "over the LAST axis of (batch, n, width): write (batch, 1, 1).",
      *varied("block", lambda b, n, h, units: (b,), lambda b, n, h, units: (b, 1)))


# A mask on the attention weights

FIXED = ("After the mask all rows have the same sum. Were scores set to -inf before the softmax, "
         "or rows divided by their sum? Then what is kept takes over the share of what is dropped. "
         "Mask the weights AFTER the softmax, and divide by keep_prob alone.")
SAY = {
    "shared-by-rows": "All queries share one mask: a key is dropped for each of them. Each weight "
    "has its own draw: (heads, n, m).",
    "shared-by-columns": "A query loses all of its weights, or none. Each weight has its own draw: "
    "(heads, n, m).",
    "shared-by-heads": "All heads share one mask. Each weight has its own draw: (heads, n, m).",
    "opposite-columns": "The draws of one query know of each other: does each query keep the same "
    "number of weights? Each weight has its own draw.",
}


def normal(data, *shapes):
    return [data.normal(0, 0.7, shape) for shape in shapes]


def by_plain(outputs, q, k, v):
    """Weights by those without a mask; or say that the outputs come from no weights."""
    weights = outputs @ np.linalg.pinv(v)
    refuse(not np.allclose(weights @ v, outputs, 1e-3, 1e-4), "not-on-weights", "What comes out is "
           "no weighted sum of the rows of v: the mask falls on the values or on the output. It "
           "belongs on the weights, (heads, n, m).")
    return weights / plain(q, k)


def plain(q, k):
    return softmax(q @ k.swapaxes(1, 2) / math.sqrt(q.shape[2]), axis=2)


def attention_cases(data):
    return [dict(zip("qkv", normal(data, (h, n, d), (h, m, d), (h, m, e)), strict=True))
            | {"keep_prob": 1.0} for h, n, m, d, e in ((2, 3, 5, 4, 6), (3, 4, 2, 7, 5))]


def on_weights(ratio, without, keep_prob, **sentences):
    """List what is off in masked weights, by those without: (calls, heads, queries, keys)."""
    kept, sums = np.abs(ratio) > 1e-3, (ratio * without).sum(axis=-1)
    lost, expected = ~kept.any(axis=-1), sums.size * (1 - keep_prob) ** kept.shape[-1]
    masked, axes = kept.any() and not kept.all(), ("call", "head", "row", "column")
    return first(
        (masked and np.allclose(sums, sums.flat[0], 1e-3), "fixed-sum", FIXED),
        (kept.all() and np.ptp(ratio) > 0.01, "scores-multiplied", "No weight is 0: were the "
         "SCORES multiplied by the mask, or q or k? A score of 0 is no weight of 0. Take the "
         "softmax first, then multiply."),
        (masked and not lost.any() and expected > 30, "no-row-lost", "No query ever loses "
         "all of its weights, and with draws that are independent some do. Their output is 0: no "
         "weight is brought back."),
        coins(kept, keep_prob, axes, "weights", sentences=SAY | sentences),
        scaled(factor(ratio[kept], np.ones(kept.sum())), keep_prob, "The weights"))


def attention_traits(run, data):
    for keep_prob, (h, n, m) in ((0.65, (4, 5, 9)), (0.4, (3, 6, 4))):
        q, k, v = normal(data, (h, n, 6), (h, m, 6), (h, m, 2 * m))
        draw = partial(run, q=q, k=k, v=v, keep_prob=keep_prob)
        rng = np.random.default_rng(1)
        ratio = by_plain(np.array([draw(rng=rng) for _ in range(40)]), q, k, v)
        if off := on_weights(ratio, plain(q, k), keep_prob):
            return off
    return fresh(lambda rng: draw(rng=rng))


@exercise(
    returns=Array("The output", lambda q, v: (*q.shape[:2], v.shape[2]),
                  "It has a row for each query, and the columns of v.",
                  infinite="Was something divided by 0: by 1 - keep_prob, or by the sum of a row "
                  "that has lost all of its weights?"),
    cases=attention_cases,
    traits=attention_traits,
    otherwise="With keep_prob=1 nothing is dropped, and it is plain attention: softmax of "
    "q k^T / sqrt(d) over the keys, times v.",
    chance="With keep_prob=1 nothing is dropped, and two calls must give the same.",
    at_once=True,
    done="each weight has a draw of its own, and keeps its mean.")
def masked_attention(
    q, k, v, keep_prob, rng, *, scale=lambda h, n, d, m, e: d**-0.5, axis=2, keep=lambda p: p,
    of=lambda *shape: shape, masked=lambda scores, kept, p, weights: weights(scores) * kept / p):
    """Attention with an inverted mask on its weights."""
    scores = q @ k.swapaxes(1, 2) * scale(*q.shape, *v.shape[1:])
    kept = rng.random(of(*scores.shape)) < keep(keep_prob)
    return masked(scores, kept, keep_prob, partial(softmax, axis=axis)) @ v


def renormalised(scores, kept, p, weights):
    masked = weights(scores) * kept
    return masked / masked.sum(axis=2, keepdims=True)


wrong = masked_attention.wrong
wrong("fixed-sum", FIXED, {"masked": renormalised},
      *({"masked": lambda s, kept, p, weights, by=by: weights(np.where(kept, s, -np.inf)) / by(p)}
        for by in (lambda p: 1, lambda p: p)))
wrong("other-scale", "With keep_prob=1 the weights are not those of attention: the scores are "
      "divided by sqrt(d), the root of the number of columns of q and k.",
      *varied("scale", lambda h, n, d, m, e: 1, lambda h, n, d, m, e: 1 / d,
              lambda h, n, d, m, e: d**0.5, *(lambda *sizes, i=i: sizes[i] ** -0.5
                                              for i in (0, 1, 3, 4))),
      lambda q, *given: masked_attention.right(q * q.shape[2] ** 0.5, *given) / q.shape[2] ** 0.5)
wrong("other-axis", "The softmax runs over another axis, or over several. For each query the "
      "weights of the KEYS sum to 1: the last axis of the scores.",
      *varied("axis", 0, 1, (1, 2), None))
wrong("no-softmax", "The weights are no softmax: for each query they must sum to 1. Divide exp of "
      "the scores by its sum over the keys.", *varied(
          "masked", lambda s, kept, p, _: s * kept / p, lambda s, kept, p, _: np.exp(s) * kept / p))
wrong("drop-for-keep", "keep_prob is taken for the probability to drop: with keep_prob=1 nothing "
      "is left.", {"keep": lambda p: 1 - p}, {
          "keep": lambda p: 1 - p, "masked": lambda s, kept, p, of: of(s) * kept / (1 - p)})


# Masks that eval switches off


def attend_off(run, data, keep_prob):
    """List what is off in a module: in eval, in training, and in eval again."""
    import torch  # here, so that the other checks do without it

    net = run(keep_prob=keep_prob, raw=True)
    refuse(not isinstance(net, torch.nn.Module), "no-module",
           f"Attend(keep_prob) must make an nn.Module; it makes {brief(net)}.")
    refuse(not hasattr(net, "_modules"), "no-init", "__init__ does not call super().__init__(), "
           "which makes a module of it. It comes first.")
    refuse(type(net).forward is torch.nn.Module.forward, "no-forward", "Attend has no method "
           "forward(self, q, k, v), which runs when the module is called. Is its name misspelt?")
    arrays = dict(zip("qkv", normal(data, (3, 5, 6), (3, 8, 6), (3, 8, 16)), strict=True))
    given = {name: torch.tensor(each) for name, each in arrays.items()}

    def output(result):
        refuse(not isinstance(result, torch.Tensor), "no-tensor", "forward must return a tensor, "
               f"as F.scaled_dot_product_attention does; yours is of type {type(result).__name__}.")
        return attend.returns.read(result, given)

    def ratios(mode):
        net.train(mode)
        outputs = [output(call(net.forward, **given)) for _ in range(40)]
        refuse(net.training != mode, "changes-mode", "forward changes the mode of the module. "
               "Whoever calls train() or eval() decides on it: forward only asks self.training.")
        return by_plain(np.array(outputs), **arrays)

    evaluated, trained, again = ratios(False), ratios(True), ratios(False)
    drops, whole = np.ptp(evaluated, axis=0).max() > 1e-3, np.allclose(trained, 1, 1e-3)
    return first(
        (drops and whole, "modes-swapped", "The modes are swapped: weights are dropped in "
         "eval, and none in training."),
        (drops, "always-active", "In eval weights are dropped: the function gets its rate in both "
         "modes. Ask self.training in EACH call of forward. In __init__ it is always True, and a "
         "rate chosen there stays for good. self.train and self.eval are methods, no modes."),
        (not np.allclose([evaluated, again], 1, 1e-3), "other-attention", "In eval the output is "
         "not plain attention, softmax of q k^T / sqrt(d), times v. "
         "F.scaled_dot_product_attention gives it with dropout_p=0.0."),
        (whole, "never-active", "In training no weight is dropped, at least once the module was in "
         "eval. Ask self.training in EACH call of forward, give the function its rate if it is "
         "True, and leave the rate as it was."),
        on_weights(trained, plain(arrays["q"], arrays["k"]), keep_prob, **{
            "shared-by-calls": "Two calls of forward drew the same mask. Each draws a new one: no "
            "mask is stored, and no seed is set.",
            "drop-for-keep": "The weights are kept with 1 - keep_prob. torch asks for the "
            "probability to DROP: dropout_p = 1 - keep_prob."}))


def attend_traits(run, data):
    with torch_seeded(int(data.integers(1000))):
        return attend_off(run, data, 0.65) or attend_off(run, data, 0.3)


@exercise(
    returns=Array("The output", lambda q, v: (*q.shape[:2], v.shape[2])),
    traits=attend_traits,
    done="right in training, right in eval, and back again.")
def attend(keep_prob):
    """A module that attends, with masks on its weights in training."""
    import torch

    class Attend(torch.nn.Module):
        def forward(self, q, k, v):
            attention = torch.nn.functional.scaled_dot_product_attention
            return attention(q, k, v, dropout_p=1 - keep_prob if self.training else 0.0)

    return Attend()


# An adapter is merged


def merge_cases(data):
    sizes = [(5, 3, 2, 4.0, 0.9), (5, 3, 2, 4.0, 0.5), (5, 3, 2, 1.0, 0.5), (2, 6, 3, 8.0, 0.8),
             (4, 3, 1, 2.0, 0.9), (3, 3, 3, 2.0, 0.7)]  # the last is square: any product runs
    return [{"W": data.normal(size=(o, i)), "A": data.normal(size=(r, i)),
             "B": data.normal(size=(o, r)), "alpha": alpha, "keep_prob": p}
            for o, i, r, alpha, p in sizes]


@exercise(
    returns=Array("The matrix", lambda W: W.shape, "It takes the place of W, and has its shape."),
    cases=merge_cases,
    otherwise="The entries of m/p have the mean 1, so the mean over the masks is W + alpha/r B A.",
    done="the mean over the masks, and W left as it was.")
def merge(W, A, B, alpha, keep_prob, *, factor=lambda alpha, r: alpha / r, base=lambda W, p: W,
          of_mask=lambda p: 1, product=lambda A, B: B @ A):
    """The weights of a plain layer that does what the adapted one does at prediction."""
    return base(W, keep_prob) + factor(alpha, len(A)) * of_mask(keep_prob) * product(A, B)


wrong = merge.wrong
wrong("factor-of-the-mask", "keep_prob is in it. In training the mask was divided by keep_prob, so "
      "its mean is 1: at prediction the change has no factor but alpha/r.",
      *varied("of_mask", lambda p: p, lambda p: 1 / p, lambda p: 1 - p, lambda p: 1 / (1 - p),
              lambda p: p * p, lambda p: p**0.5),
      *varied("base", lambda W, p: W * p, lambda W, p: W / p))
wrong("no-alpha-r", "The factor of the change is another one. It is alpha/r, as in training, and r "
      "is the number of rows of A.", *varied("factor", lambda a, r: 1, lambda a, r: a,
      lambda a, r: 1 / r, lambda a, r: r / a, lambda a, r: a * r, lambda a, r: a / r**0.5,
      lambda a, r: 1 / (a * r)),
      *(lambda W, A, B, a, p, n=n: W + a / W.shape[n] * B @ A for n in (0, 1)))
wrong("transposed", "A and B are in the wrong order, or transposed. x meets A first: B (A x) = "
      "(B A) x, of shape (out, in), as W.", *varied("product", lambda A, B: A @ B,
      lambda A, B: (B @ A).T, lambda A, B: A.T @ B.T), lambda *given: merge.right(*given).T)
wrong("elementwise", "B * A multiplies entry by entry. The product of matrices is B @ A.",
      {"product": lambda A, B: B * A})
wrong("merged-twice", "The change is in it twice. Add alpha/r B A once.",
      {"factor": lambda a, r: 2 * a / r})
wrong("no-change", "This is W alone: the adapter, and all that it has learned, is lost.",
      {"factor": lambda a, r: 0})
wrong("change-alone", "This is the change alone. It stands BESIDE the frozen layer: add W.",
      {"base": lambda W, p: 0 * W})
wrong("all-scaled", "W is multiplied by alpha/r, too. It is frozen: the factor belongs to the "
      "change alone.", lambda W, A, B, a, p: a / len(A) * (W + B @ A))
wrong("subtracted", "The change is subtracted. Merging adds it; this would take it out again.",
      {"factor": lambda a, r: -a / r})


# Two masks should agree


class Masked:
    """A layer that answers rows under a mask: another one each time that a row comes."""

    def __init__(self, weights):
        self.weights, self.seen = weights, Counter()

    def __eq__(self, other):
        return isinstance(other, Masked)

    __hash__ = None

    def __call__(self, x):
        import torch

        x, masks = torch.as_tensor(x).detach().double(), []
        for row in x.reshape(-1, x.shape[-1]).numpy():
            key = row.tobytes()
            self.seen[key] += 1
            masks.append(mask_of(key, self.seen[key]))
        masks = torch.tensor(np.array(masks)).reshape(x.shape)
        return 2 * x * masks @ torch.as_tensor(self.weights)


@cache  # the same ones for each answer of the table
def mask_of(row, time):
    rng = np.random.default_rng([time, zlib.crc32(row)])
    return rng.random(len(row) // 8) < 0.5


def agreement_cases(data):
    import torch

    def case(n, d, classes, scale):
        return {"forward": Masked(scale * data.normal(size=(d, classes))),
                "x": torch.tensor(data.integers(-128, 128, (n, d)) / 64)}

    return [[case(5, 6, 3, 1), case(4, 8, 7, 0.5), case(1, 5, 2, 1)], [case(6, 9, 4, 3000)]]


SMALL = 1.1920929e-07, 2.220446e-16, *(10.0**-k for k in (6, 7, 8, 9, 10, 12, 15, 16, 20, 30))
LOGS = ("Answers far apart have probabilities that are rounded to 0, with the logarithm -inf. Take "
        "log_softmax of the logits, no logarithm of a softmax.")
NO_GRADIENT = ("The value is right, but it carries no gradient, so no network can be trained with "
               "it. Stay with tensors: no .item(), no NumPy, no .detach(), no torch.no_grad().")


def kl(p, q):
    """The terms of KL(p || q), from logarithms."""
    return p.exp() * (p - q)


def agreement_traits(run, data):
    """Refuse a loss whose gradient, by the weights that are trained, is another one."""
    import torch

    def gradient(answer):
        layer = Masked(weights)
        loss = answer(forward=lambda x: layer(x), x=case["x"])
        refuse(not loss.requires_grad, "no-gradient", NO_GRADIENT)
        if loss.is_leaf:  # from another process: the judge's, where there is no way back
            return None
        try:
            return torch.autograd.grad(loss, weights, materialize_grads=True)[0].numpy()
        except RuntimeError as error:
            refuse(True, "no-backward", f"loss.backward() raises an error: {error}"[:390])

    case = agreement_cases(data)[0][0]
    refuse(not isinstance(run(**case, raw=True), torch.Tensor), "no-gradient", NO_GRADIENT)
    weights = torch.tensor(case["forward"].weights, requires_grad=True)
    yours, right = gradient(partial(run, raw=True)), gradient(agreement.right)
    refuse(yours is not None and not np.allclose(yours, right, 1e-3, 1e-4), "other-gradient",
           "The value is right, its gradient is not. It must reach both answers, in both "
           "directions: is one of them detached, or computed under torch.no_grad()?")
    return []


@exercise(
    returns=Number("The loss", infinite=LOGS),
    cases=agreement_cases,
    traits=agreement_traits,
    otherwise="Half of KL(q || q') + KL(q' || q), summed over the classes, averaged over the "
    "examples.",
    chance="Two calls with the same arguments gave different results. All masks come from forward: "
    "draw none besides.",
    rtol=1e-4,
    done="each example has two masks, and the loss a gradient in both answers.")
def agreement(
    forward, x, *, passes=lambda f, x: (f(x), f(x)), log=lambda z: z.log_softmax(dim=-1), terms=kl,
    both=lambda there, back: (there + back) / 2, over=lambda each: each.sum(dim=-1).mean()):
    """Mean symmetric divergence of two answers to each example, with a mask each."""
    p, q = map(log, passes(forward, x))
    return over(both(terms(p, q), terms(q, p)))


def distances(compare):
    """Losses of the two answers, or of their logits, with a sum over the classes or a mean."""
    return [lambda f, x, of=of, over=over: over(compare(of(f(x)), of(f(x))), -1).mean()
            for of in (lambda z: z.softmax(dim=-1), lambda z: z)
            for over in (lambda each, dim: each.sum(dim), lambda each, dim: each.mean(dim))]


def target(p, q):
    """The terms of F.kl_div(p, q), which wants the logarithm of the one and the other itself."""
    return q.xlogy(q) - q * p


wrong = agreement.wrong
wrong("one-mask", "The loss is 0: both answers come from one mask. Call forward twice; each call "
      "draws masks of its own.", {"passes": lambda f, x: [f(x)] * 2})
wrong("one-sided", "Only one direction is there. KL(q || q') differs from KL(q' || q): take the "
      "mean of both, so that no mask is the teacher of the other.",
      *varied("both", lambda there, back: there, lambda there, back: back,
              lambda there, back: there / 2, lambda there, back: back / 2))
wrong("not-halved", "The two directions are added. Here the loss is their MEAN: divide by 2.",
      {"both": lambda there, back: there + back})
wrong("mean-over-classes", "The divergence is averaged over the classes. It is a SUM over the "
      "classes and a mean over the examples: in F.kl_div not 'mean', but 'batchmean'.",
      {"over": lambda each: each.mean()},
      {"over": lambda each: each.sum(dim=0).mean()})
wrong("summed-over-examples", "The divergences are summed over the examples. Take their mean: "
      "else the weight of the loss grows with the batch.", {"over": lambda each: each.sum()})
wrong("of-logits", "Logits stand where probabilities or their logarithms are due. Take log_softmax "
      "over the classes first.", {"log": lambda z: z}, {"terms": lambda p, q: p * (p - q)},
      {"log": lambda z: z, "terms": lambda p, q: target(p, q.softmax(dim=-1))},
      {"log": lambda z: z, "terms": lambda p, q: kl(q, p.log_softmax(dim=-1))})
wrong("no-probability", "A logarithm or a logit stands where a probability is due: the target of "
      "F.kl_div, unless you say log_target=True.", {"terms": target},
      {"log": lambda z: z, "terms": target})
wrong("no-logarithm", "Probabilities stand where logarithms are due: the input of F.kl_div is the "
      "LOGARITHM of a distribution. Take log_softmax.",
      {"terms": lambda p, q: p.exp() * (p - q.exp())})
wrong("other-axis", "The softmax runs over the examples. What sums to 1 are the probabilities of "
      "one example: the last axis.", {"log": lambda z: z.log_softmax(dim=0)})
wrong("no-entropy", "This is a cross-entropy, -sum q log q'. It is not 0 where both agree: "
      "take -sum q log q off it.", *({"terms": lambda p, q: -p.exp() * q} | {"both": both}
      for both in (lambda a, b: (a + b) / 2, lambda a, b: a, lambda a, b: b)))
wrong("other-distance", "This is another distance of the two answers, such as a squared one, or "
      "the divergence from their mean. Asked for is KL, in both directions.",
      *distances(lambda p, q: (p - q) ** 2), *distances(lambda p, q: (p - q).abs()),
      {"terms": lambda p, q: kl(p, ((p.exp() + q.exp()) / 2).log())})
wrong("more-passes", "forward is called more than twice, and each call draws new masks. Call it "
      "twice, keep both answers, and use them for all else.",
      *(lambda f, x, n=n, those=those: agreement.right(f, x, passes=lambda f, x: [
          f(x) for _ in range(n)][those])
        for n, those in ((3, slice(1, 3)), (3, slice(0, 3, 2)), (4, slice(2, 4)),
                         (4, slice(0, 4, 2)), (4, slice(1, 4, 2)))))
wrong("four-passes", "Four masks are drawn: each direction has two of its own. Call forward twice, "
      "and use these two answers in both directions.", *(
          lambda f, x, one=one: sum(agreement.right(f, x, both=one) for _ in range(2)) / 2
          for one in (lambda there, back: there, lambda there, back: back)))
wrong("naive", LOGS, {"log": lambda z: z.softmax(dim=-1).log()},
      *({"log": lambda z, e=e: (z.softmax(dim=-1) + e).log()} for e in SMALL))
