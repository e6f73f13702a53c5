"""Running a layer: under a seed, with its gradient, under vmap."""

import warnings

import pytest
import torch

DTYPES = [torch.float16, torch.bfloat16, torch.float32, torch.float64]
every_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=str)
every_gate = pytest.mark.parametrize("gate", ["batch", "example"])
every_scaling = pytest.mark.parametrize("scaling", ["inverted", "weight"])


def under_seed(layer, x, seed=0):
    torch.manual_seed(seed)
    return layer(x)


def output_and_gradient(layer, x):
    x = x.clone().requires_grad_()
    y = layer(x)
    (gradient,) = torch.autograd.grad(y.sum(), x)
    return y.detach(), gradient


def in_vmap(layer, x, randomness):
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # vmap warns where it can only loop
        return torch.vmap(layer, randomness=randomness)(x)
