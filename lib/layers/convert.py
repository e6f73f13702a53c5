"""From a layer of torch to one that drops: the same weights, and the same outputs in eval."""

import torch
from torch import nn

from ..validation import Kind, declared
from .base import MODULE
from .dropconnect import DropConnectLinear
from .dropconnect_conv import DropConnectConv2d
from .fast import FastDropoutLinear
from .gru import RecurrentDropoutGRU
from .recurrent import RecurrentDropoutLSTM
from .variational import VariationalLinear

OF_LINEAR = ("in_features", "out_features")
OF_CONVOLUTION = ("in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation")
OF_CONVOLUTION += ("groups", "padding_mode")
OF_RECURRENT = ("input_size", "hidden_size", "num_layers", "batch_first", "bidirectional")
# ours: the layer of torch in whose place it stands, and the settings that it takes over
PLACES = {
    DropConnectLinear: (nn.Linear, OF_LINEAR),
    DropConnectConv2d: (nn.Conv2d, OF_CONVOLUTION),
    FastDropoutLinear: (nn.Linear, OF_LINEAR),
    RecurrentDropoutGRU: (nn.GRU, OF_RECURRENT),
    RecurrentDropoutLSTM: (nn.LSTM, OF_RECURRENT),
    VariationalLinear: (nn.Linear, OF_LINEAR),
}


class LayerClass(Kind):
    """A class of the table."""

    allowed = f"one of {', '.join(each.__name__ for each in PLACES)}"
    good = DropConnectLinear
    bad = (None, "DropConnectLinear", nn.Linear, nn.Linear(1, 1))
    types = type

    def has(self, value):
        return value in PLACES


@declared(layer=MODULE, kind=LayerClass())
def from_torch(layer, kind, **settings):
    """Make a layer with masks from one of torch: its weights are kept, and so is what eval gives.

    The layer is a new one: it has copies of the weights, with their device, dtype and need of a
    gradient, and the mode of `layer`, which stays as it was.

    Parameters
    ----------
    layer : torch.nn.Linear, torch.nn.Conv2d, torch.nn.LSTM or torch.nn.GRU
        The class itself: what a subclass adds would be lost.
    kind : type
        `DropConnectLinear`, `VariationalLinear` or `FastDropoutLinear` for a ``Linear``,
        `DropConnectConv2d` for a ``Conv2d``, `RecurrentDropoutLSTM` and `RecurrentDropoutGRU` for
        the recurrent layers.
    **settings
        What `layer` does not say: `keep_prob` and the like. `FastDropoutLinear` has no activation
        if none is given. The dropout of a recurrent layer of torch becomes `between_keep_prob`.

    Raises
    ------
    TypeError
        If `layer` is not of the class that `kind` stands for, or a setting is one of its own.
    ValueError
        If eval would not be the same: `layer` has hooks, or weights that are computed from others
        (weight norm, pruning), or complex ones, or a projection (`proj_size`); or `settings` have
        ``scaling="weight"``, or a `threshold` that prunes every weight.

    Notes
    -----
    `VariationalLinear` leaves small weights out in eval. So where the variance would prune a
    weight, it is made so small that it does not.

    Examples
    --------
    >>> plain = nn.Linear(4, 3)
    >>> layer = from_torch(plain, DropConnectLinear, keep_prob=0.8)
    >>> x = torch.ones(2, 4)
    >>> bool(torch.equal(layer.eval()(x), plain(x)))
    True
    """
    torchs, taken_over = PLACES[kind]
    _check(layer, torchs, kind, settings.keys() & {*taken_over, "bias", "device", "dtype"})
    if settings.get("scaling") == "weight":
        raise ValueError('scaling must be "inverted", as "weight" scales eval, got "weight"')
    if kind is FastDropoutLinear:
        settings.setdefault("activation", None)
    if getattr(layer, "dropout", 0) > 0 and layer.num_layers > 1:
        settings.setdefault("between_keep_prob", 1 - layer.dropout)
    settings |= {name: getattr(layer, name) for name in taken_over}
    weights = dict(layer.named_parameters())
    first = next(iter(weights.values()))
    with torch.random.fork_rng(devices=[first.device] if first.is_cuda else []):
        new = kind(**settings, bias=_has_bias(layer), device=first.device, dtype=first.dtype)
    if weights.keys() != dict(new.named_parameters()).keys() - {"log_sigma2"}:
        raise ValueError(
            f"layer must have weights that are not computed from others, got {', '.join(weights)}"
        )
    with torch.no_grad():
        for name, weight in weights.items():
            new.get_parameter(name).copy_(weight).requires_grad_(weight.requires_grad)
        if kind is VariationalLinear:
            _keep_every_weight(new)
    return new.train(layer.training)


def _has_bias(layer):
    return layer.bias if isinstance(layer.bias, bool) else layer.bias is not None


def _check(layer, torchs, kind, own):
    if type(layer) is not torchs:
        raise TypeError(
            f"layer must be a torch.nn.{torchs.__name__}, and none of its subclasses, to become a "
            f"{kind.__name__}, got a {type(layer).__name__}"
        )
    if own:
        raise TypeError(f"settings must leave to layer what it says, got {', '.join(sorted(own))}")
    if layer._forward_hooks or layer._forward_pre_hooks:
        raise ValueError("layer must have no hooks, which would be lost, got some")
    if any(weight.is_complex() for weight in layer.parameters()):
        raise ValueError("layer must have real weights, got complex ones")
    if getattr(layer, "proj_size", 0) > 0:
        raise ValueError(f"layer must have proj_size 0, got {layer.proj_size}")


def _keep_every_weight(layer):
    """Lower the variances of a `VariationalLinear` by which it would prune in eval."""
    log_alpha = layer.threshold - 1
    if log_alpha == -torch.inf:
        raise ValueError("threshold must be above -inf, which prunes every weight, got -inf")
    largest = log_alpha + 2 * layer.weight.abs().log()
    small = layer.pruned & (layer.weight != 0)
    layer.log_sigma2.copy_(torch.where(small, largest, layer.log_sigma2))
