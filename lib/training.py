"""Training, in a loop short enough to read."""

import math
import random
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.parametrize import is_parametrized

from lib.datasets.splits import SPLIT
from lib.inference.weight_scaling import WEIGHTED
from lib.layers.base import MODULE, TENSOR, modes_restored
from lib.progress import progress
from lib.validation import (
    COUNT,
    NOT_NEGATIVE,
    POSITIVE,
    Function,
    Optional,
    Whole,
    check_shapes,
    declared,
)


@declared(seed=Whole(0, 2**32 - 1))
def seed_everything(seed):
    """Seed Python's, NumPy's and torch's global generators.

    Parameters
    ----------
    seed : int
    """
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - the generator that other libraries draw from
    torch.manual_seed(seed)


class History(NamedTuple):
    """What `fit` measured, a row an epoch; with networks side by side, a column a network.

    The first loss is the average over the epoch's minibatches as they were trained, masks on.
    The others are measured after the epoch, masks off. Losses are those of `fit`, errors are
    fractions of wrong answers; NaN where there are no examples to measure on, and for errors where
    the targets are no classes.
    """

    train_loss_masks_on: Tensor
    train_loss: Tensor
    val_loss: Tensor
    val_error: Tensor
    test_loss: Tensor
    test_error: Tensor


@declared(logits=TENSOR, y=TENSOR)
def classification_loss(logits, y):
    """Mean cross-entropy over a batch, in nats: a tensor of shape (...), one number a network.

    Parameters
    ----------
    logits : torch.Tensor, shape (..., batch, classes)
    y : torch.Tensor of int, shape (..., batch)
    """
    fits = logits.shape[:-1] == y.shape and y.numel() > 0
    check_shapes(fits, "(..., n, classes) and (..., n), with examples", logits=logits, y=y)
    # Not torch's cross_entropy, which takes a label of -100 for an example to leave out.
    losses = -logits.log_softmax(dim=-1).gather(-1, y[..., None])  # (..., batch, 1)
    return losses.mean(dim=(-2, -1))


@declared(output=TENSOR, y=TENSOR)
def error_rate(output, y):
    """Fraction of wrong answers, shape (...): one a network. NaN is no answer, and so wrong.

    Parameters
    ----------
    output : torch.Tensor, shape (..., n, classes)
    y : torch.Tensor of int, shape (..., n)
    """
    is_wrong = (output.argmax(dim=-1) != y) | output.isnan().any(dim=-1)
    return is_wrong.float().mean(dim=-1)


@declared(output=TENSOR, y=TENSOR)
def squared_loss(output, y):
    """Mean squared error over a batch and its outputs: shape (...), one number a network.

    Parameters
    ----------
    output, y : torch.Tensor, of one shape (..., batch, outputs), not empty
    """
    if output.shape != y.shape or y.dim() < 2 or y.numel() == 0:
        raise ValueError(
            "output and y must both have shape (..., batch, outputs), with examples, "
            f"got {tuple(output.shape)} and {tuple(y.shape)}"
        )
    return (output - y).square().mean(dim=(-2, -1))


@declared(
    model=MODULE, data=SPLIT, epochs=COUNT, batch_size=COUNT, learning_rate=POSITIVE,
    max_norm=Optional(POSITIVE), weight_decay=NOT_NEGATIVE, every=COUNT, loss=Function(),
    penalty=Optional(Function()), optimizer=Optional(Function()),
)  # fmt: skip
def fit(
    model, data, *, epochs, batch_size=32, learning_rate=1e-3, max_norm=None, weight_decay=0.0,
    every=1, loss=classification_loss, penalty=None, optimizer=None,
):  # fmt: skip
    """Train a network with Adam, or another optimizer, and leave it in training mode.

    Parameters
    ----------
    model : torch.nn.Module
        Maps inputs (batch, ...) to outputs (batch, outputs), logits for a classifier. One that
        holds several, as its attribute `n_nets` says (`lib.side_by_side`), maps (nets, batch, ...)
        to (nets, batch, outputs), each network on data of its own.
    data : lib.datasets.Split
        Training and test examples; with a first dimension of networks if there are several.
    epochs, batch_size : int
        Passes over the data, and examples a minibatch.
    learning_rate : float
        Adam's step size.
    max_norm : float, optional
        Upper bound for the norm of the weights into each unit: `constrain_norms` after every step.
    weight_decay : float
        Adds ``weight_decay * w`` to the gradient of every parameter w, as a penalty
        ``weight_decay / 2 * w**2`` in the loss does.
    every : int
        Measure after every so many epochs, at most `epochs`.
    loss : callable
        `classification_loss` for labels, `squared_loss` for targets (n, outputs), or one like them.
    penalty : callable, optional
        ``penalty(model, done)`` is added to the loss of each training step, and to nothing that is
        measured; `done` says which share of the steps lies behind, from 0 to below 1.
    optimizer : callable, optional
        Takes the parameters and the number of steps, returns an optimizer and a scheduler of its
        rate, which moves on after every step: `one_cycle` for instance. Without it: Adam with a
        constant `learning_rate`.

    Returns
    -------
    History

    Raises
    ------
    ValueError
        If `every` is more than `epochs`, the shapes of `data` don't fit, or `learning_rate` or
        `weight_decay` is given beside an optimizer.
    """
    Whole(1, epochs).check(every, "every")
    _check_data(data, nets=(model.n_nets,) if hasattr(model, "n_nets") else ())
    steps = epochs * math.ceil(_one_an_example(data.y_train)[-1] / batch_size)
    if optimizer is None:
        settings = {"lr": learning_rate, "weight_decay": weight_decay, "fused": True}
        optimizer, scheduler = torch.optim.Adam(model.parameters(), **settings), None
    elif (learning_rate, weight_decay) != (1e-3, 0.0):
        raise ValueError(
            "learning_rate and weight_decay must be left alone where an optimizer is given, "
            f"got {learning_rate!r} and {weight_decay!r}"
        )
    else:
        optimizer, scheduler = optimizer(model.parameters(), steps)
    rows, step = [], 0
    for epoch in progress(range(1, epochs + 1), "epochs"):
        model.train()
        losses_masks_on = []
        for x, y in minibatches(data.x_train, data.y_train, batch_size):
            batch_loss = loss(model(x), y)
            objective = batch_loss.sum()
            if penalty is not None:
                objective = objective + penalty(model, step / steps)
            optimizer.zero_grad()
            objective.backward()
            optimizer.step()
            step += 1
            if scheduler is not None:
                scheduler.step()
            if max_norm is not None:
                constrain_norms(model, max_norm)
            losses_masks_on.append(batch_loss.detach())
        if epoch % every == 0:
            masks_on = torch.stack(losses_masks_on).mean(dim=0)
            train_loss, _ = evaluate(model, data.x_train, data.y_train, loss)
            val = evaluate(model, data.x_val, data.y_val, loss)
            test = evaluate(model, data.x_test, data.y_test, loss)
            rows.append((masks_on, train_loss, *val, *test))
    return History(*(torch.stack(column) for column in zip(*rows, strict=True)))


@declared(rate=POSITIVE)
def one_cycle(rate):
    """An `optimizer` for `fit`: SGD with momentum 0.9, its rate rising to a peak, falling to zero.

    Parameters
    ----------
    rate : float
        The peak, reached after three tenths of the steps; the first rate is a 25th of it.

    References
    ----------
    Smith and Topin (2017), *Super-convergence: very fast training of neural networks using large
    learning rates*, arXiv:1708.07120.
    """

    def build(parameters, steps):
        parameters = list(parameters)
        optimizer = torch.optim.SGD(parameters, lr=rate, momentum=0.9, fused=True)
        for each in parameters:  # the fused step wants them all, from blocks that were skipped too
            optimizer.state[each]["momentum_buffer"] = torch.zeros_like(each)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, rate, total_steps=steps, cycle_momentum=False
        )
        return optimizer, schedule

    return build


def _check_data(data, nets):
    if data.y_train.numel() == 0:
        raise ValueError(f"data.y_train must hold examples, got shape {tuple(data.y_train.shape)}")
    for part, x, y in zip(("train", "val", "test"), data[::2], data[1::2], strict=True):
        _check_examples(x, y, f"data.x_{part} and data.y_{part}", nets)


def _check_examples(x, y, names="x and y", nets=None):
    """Each input has its answer, for the networks there are or for any number of them."""
    shape = _one_an_example(y)
    if len(shape) == 0 or x.shape[: len(shape)] != shape or nets not in (None, shape[:-1]):
        first = "..., " if nets is None else "".join(f"{n}, " for n in nets)
        outputs = ", outputs" if y.is_floating_point() else ""
        raise ValueError(
            f"{names} must have shapes ({first}n, ...) and ({first}n{outputs}), "
            f"got {tuple(x.shape)} and {tuple(y.shape)}"
        )


def _one_an_example(y):
    """(n,) or (nets, n): the shape of labels, or of real targets without their outputs."""
    return y.shape[:-1] if y.is_floating_point() else y.shape


@declared(x=TENSOR, y=TENSOR, batch_size=COUNT)
def minibatches(x, y, batch_size):
    """Go through the examples once, in random order, each network in an order of its own.

    Parameters
    ----------
    x : torch.Tensor, shape (n, ...) or (nets, n, ...)
    y : torch.Tensor, int of shape (n,) or (nets, n), or float of shape (..., n, outputs)
    batch_size : int

    Yields
    ------
    tuple of torch.Tensor
        `batch_size` examples and their answers; fewer at the end.
    """
    _check_examples(x, y)
    order = torch.rand(_one_an_example(y)).argsort(dim=-1)
    nets = [torch.arange(n)[:, None] for n in order.shape[:-1]]  # one, or none
    for rows in order.split(batch_size, dim=-1):
        yield x[*nets, rows], y[*nets, rows]


AT_ONCE = 2000  # examples: what `evaluate` sends through a network together, to bound the memory


class Evaluation(NamedTuple):
    """Mean loss and fraction of wrong answers, masks off; NaN for answers that are no classes."""

    loss: Tensor
    error: Tensor


@declared(model=MODULE, x=TENSOR, y=TENSOR, loss=Function())
@torch.no_grad()
def evaluate(model, x, y, loss=classification_loss):
    """Measure a network in eval mode, and leave its mode as it was.

    Parameters
    ----------
    model : torch.nn.Module
    x : torch.Tensor, shape (..., n, features)
    y : torch.Tensor, int of shape (..., n) or float of shape (..., n, outputs)
    loss : callable
        As for `fit`.

    Returns
    -------
    Evaluation
        Each of shape (...): numbers, or one a network side by side. NaN without examples.
    """
    _check_examples(x, y)
    *nets, n = _one_an_example(y)
    if n == 0:
        return Evaluation(*torch.full((2, *nets), torch.nan))
    with modes_restored(model):
        model.eval()
        parts = x.split(AT_ONCE, dim=len(nets))
        output = torch.cat([model(part) for part in parts], dim=len(nets))
    value = loss(output, y)
    if y.is_floating_point():
        return Evaluation(value, torch.full_like(value, torch.nan))
    return Evaluation(value, error_rate(output, y))


@declared(model=MODULE, max_norm=POSITIVE)
@torch.no_grad()
def constrain_norms(model, max_norm):
    """Shrink the weights into each unit to a norm of at most `max_norm`.

    Parameters
    ----------
    model : torch.nn.Module
        Its linear and convolutional weights are changed; biases are not. Of weights that are
        computed (``torch.nn.utils.parametrizations.weight_norm``) it changes what they come from.
    max_norm : float

    Raises
    ------
    ValueError
        If a weight is computed in a way that does not let it shrink: by pruning, for instance.

    References
    ----------
    Srivastava et al. (2014), section 5.1: ||w||_2 <= c for the weights w into a hidden unit.
    """
    for module in model.modules():
        if isinstance(module, WEIGHTED):
            weight = _shrunk(module, max_norm)
            if "weight" in module._parameters:
                module.weight.copy_(weight)
            else:
                _set_computed(module, weight, max_norm)


def _set_computed(module, weight, max_norm):
    """Set what the weights of a module are computed from."""
    if is_parametrized(module, "weight"):
        module.weight = weight
    elif hasattr(module, "weight_g"):  # torch.nn.utils.weight_norm, which came before
        norms, direction = module.weight_g.clamp_(-max_norm, max_norm), module.weight_v
        module.weight = torch._weight_norm(direction, norms, dim=0)
    if not torch.allclose(module.weight, _shrunk(module, max_norm), rtol=1e-3, atol=0):
        raise ValueError(
            "model must have weights that can be shrunk, got one that computes them from others: "
            f"{module}"
        )


def _shrunk(module, max_norm):
    own = 2 + len(getattr(module, "kernel_size", ()))  # units, inputs, kernel
    units = module.weight.flatten(0, -own)  # of several networks: (nets, units, ...)
    return torch.renorm(units, p=2, dim=0, maxnorm=max_norm).view_as(module.weight)
