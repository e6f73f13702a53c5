"""Weighted pooling of windows of two by two that do not overlap: an optimisation.

`lib.layers.pooling` sorts each window, whatever its size. Four numbers are in order after five
comparisons, and each of them is a vectorised minimum and maximum of whole maps. Many maps are
taken in parts, so that what lies between input and output stays in the processor's cache.
"""

import torch
from torch.nn.functional import relu

AT_ONCE = 2**17  # activations


def mean_pool(x, keep_prob):
    """The rule of `MaxPoolDropout2d` in eval, for x of shape (..., height, width)."""
    traced = torch.compiler.is_compiling() or torch.jit.is_tracing()
    if traced or x.device.type != "cpu" or x.numel() <= AT_ONCE:
        return _mean_pool(x, keep_prob)
    rows = max(1, AT_ONCE * len(x) // x.numel())
    return torch.cat([_mean_pool(part, keep_prob) for part in x.split(rows)])


def _mean_pool(x, keep_prob):
    p, q = keep_prob, 1 - keep_prob
    first, second, third, fourth = _largest_first(x)
    of_positive = torch.add(relu(third), relu(fourth), alpha=q)
    of_positive = torch.add(relu(second), of_positive, alpha=q)
    of_positive = torch.add(relu(first), of_positive, alpha=q)
    return torch.add(p * of_positive, relu(-first), alpha=-(p**4))


def _largest_first(x):
    """The numbers of each window by their rank, each (..., height // 2, width // 2)."""
    upper, lower = _neighbours(x, dim=-2)
    larger = _neighbours(torch.maximum(upper, lower), dim=-1)
    smaller = _neighbours(torch.minimum(upper, lower), dim=-1)
    first, loser = torch.maximum(*larger), torch.minimum(*larger)
    winner, fourth = torch.maximum(*smaller), torch.minimum(*smaller)
    return first, torch.maximum(loser, winner), torch.minimum(loser, winner), fourth


def _neighbours(x, dim):
    """The entries at even and at odd places; a last one that is alone is left out."""
    pairs = x.shape[dim] // 2
    return x.narrow(dim, 0, 2 * pairs).unflatten(dim, (pairs, 2)).unbind(dim)
