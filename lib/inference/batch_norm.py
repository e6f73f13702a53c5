"""Batch normalization behind dropout, its statistics measured anew."""

import copy
from collections.abc import Iterable
from itertools import chain

import torch
from torch import nn

from lib.layers.base import MODULE, TENSOR
from lib.validation import Kind, declared


class Batches(Kind):
    """Inputs one after the other, none of them kept."""

    allowed = "an iterable of tensors, or of tuples or lists that begin with one; not empty"
    types, other_types = Iterable, str
    bad = (None, 3, "text", [], [None], [3], [()], [("text", torch.ones(2))])

    @property
    def good(self):
        return [TENSOR.good]

    def check(self, value, name):
        inputs = self._inputs(super().check(value, name), name)
        for first in inputs:
            return chain([first], inputs)
        return self.refuse(value, name)

    def _inputs(self, batches, name):
        for batch in batches:
            x = batch[0] if isinstance(batch, tuple | list) and batch else batch
            if not isinstance(x, torch.Tensor):
                self.refuse(batch, name, TypeError)
            yield x


@declared(model=MODULE, batches=Batches())
@torch.no_grad()
def batch_norm_reestimated(model, batches):
    """Copy a trained model, its batch normalization measured anew with masks off.

    In training, batch normalization behind dropout stores the variance of units with masks, which
    is too large at prediction. In the deep copy, in eval mode, each such layer stores the average
    over the given batches, all of equal weight, of what it sees without masks.
    (``torch.optim.swa_utils.update_bn`` leaves the masks on.)

    Parameters
    ----------
    model : torch.nn.Module
    batches : iterable
        Of inputs, from the training set, one tensor each; or of tuples or lists of which the first
        is the input, as a ``DataLoader`` gives them. They are taken one by one.

    Raises
    ------
    ValueError
        If there is no batch normalization that stores statistics.

    References
    ----------
    Li et al. (2019), *Understanding the disharmony between dropout and batch normalization by
    variance shift*, CVPR.

    Examples
    --------
    >>> net = nn.Sequential(nn.Dropout(0.5), nn.BatchNorm1d(2))
    >>> batch = torch.tensor([[0.0, 4.0], [2.0, 8.0]])
    >>> batch_norm_reestimated(net, [batch])[1].running_mean
    tensor([1., 6.])
    """
    model = copy.deepcopy(model).eval()
    kind = nn.modules.batchnorm._BatchNorm
    norms = [m for m in model.modules() if isinstance(m, kind) and m.track_running_stats]
    if not norms:
        raise ValueError("model must have batch normalization that stores statistics, got none")
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the average over all batches since the reset
        norm.train()
    for batch in batches:
        model(batch)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    return model.eval()
