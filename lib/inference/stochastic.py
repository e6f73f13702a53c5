"""Which modules of a model drop at random."""

import inspect
import re

import torch
from torch import nn

from lib.layers import StochasticLayer
from lib.layers.base import MODULE
from lib.validation import Composed, Kind, Many, OneOf, declared

# Classes of other libraries that drop: torchvision's, timm's, transformers', and many a project's
# own have such a name, no parts, and one of these attributes, the probability to drop.
NAMES = re.compile(r"Drop(out|_?[Pp]ath|[Bb]lock|[Cc]onnect)|StochasticDepth")
RATES = ("p", "drop_prob", "prob", "drop_rate", "dropout_rate", "dropout_prob", "dropout")

# In training these use, or change, statistics of what they see.
NORMALIZATION = (nn.modules.batchnorm._NormBase, nn.utils.parametrizations._SpectralNorm)


class ModuleTypes(Kind):
    """A class of modules, or a tuple of some."""

    allowed = "a class of torch modules, or a tuple of them"
    good = ()
    bad = (None, 3, "text", int, [nn.Dropout], (int,), nn.Dropout(0.5))

    def check(self, value, name):
        types = value if isinstance(value, tuple) else (value,)
        if not all(inspect.isclass(each) and issubclass(each, nn.Module) for each in types):
            self.refuse(value, name, TypeError)
        return types


class Chosen(Composed):
    """A word for some of a model's modules, or a list of them."""

    def __init__(self, *words):
        self.words, modules = OneOf(*words), Many(MODULE)
        bad = [None, 3, [], "text", [3]]
        super().__init__(modules, f"{self.words.allowed}, or a list of modules", bad)

    good = "dropout"

    def check(self, value, name):
        if isinstance(value, str) and self.words.has(value):
            return value
        if isinstance(value, str):
            self.refuse(value, name)
        return super().check(value, name)

    def convert(self, value, name):
        return self.kind.check(value, name)


TYPES, CHOSEN = ModuleTypes(), Chosen("dropout", "last", "all")


@declared(model=MODULE, also=TYPES)
def stochastic_layers(model, *, also=()):
    """List the layers of a model that drop at random, ours (`lib.layers`), torch's and others'.

    Torch's are ``nn.Dropout`` and its kin, and dropout in recurrent layers and attention. Of other
    libraries, it is modules without parts that have a rate, and a name with "Dropout", "DropPath",
    "DropBlock" or "StochasticDepth" in it: those of torchvision, timm and transformers do. A layer
    with a rate of 0, or a keep probability of 1, is not listed.

    Parameters
    ----------
    model : torch.nn.Module
    also : type or tuple of type
        Further classes of modules that drop, by ``F.dropout`` say.

    Examples
    --------
    >>> stochastic_layers(nn.Sequential(nn.Dropout(0.5), nn.Linear(4, 2), nn.Dropout(0.0)))
    [Dropout(p=0.5, inplace=False)]
    """
    return [module for module in model.modules() if isinstance(module, also) or _drops(module)]


def _drops(module):
    if isinstance(module, StochasticLayer):
        names = (name for name in module.declared if name.endswith("_prob"))
        kept = [getattr(module, name, None) for name in names]
        return not kept or any(each is None or _any(each != 1) for each in kept)
    if isinstance(module, nn.RNNBase):
        return module.dropout > 0 and module.num_layers > 1  # it stands between layers
    if isinstance(module, nn.MultiheadAttention):
        return module.dropout > 0
    if isinstance(module, nn.modules.dropout._DropoutNd):
        return module.p > 0
    if module._modules or not NAMES.search(type(module).__name__):
        return False
    rates = [vars(module).get(name) for name in RATES]
    return any(isinstance(rate, int | float) and rate > 0 for rate in rates)


def _any(condition):
    return bool(condition.any()) if isinstance(condition, torch.Tensor) else condition


def choose(model, layers, also):
    """The modules that are to sample; there is one at the least."""
    if isinstance(layers, list):
        modules = set(model.modules())
        if strangers := [each for each in layers if each not in modules]:
            raise ValueError(f"layers must be modules of the model, got {strangers[0]!r}")
        return layers
    if layers == "all":
        return [module for module in model.modules() if not _is_normalization(module)]
    if found := stochastic_layers(model, also=also):
        return found[-1:] if layers == "last" else found
    off = [module for module in model.modules() if NAMES.search(type(module).__name__)]
    raise ValueError(
        "model must have a layer that drops at random (lib.layers or torch.nn.Dropout), "
        f"got {type(model).__name__} with none"
        + (f" but {len(off)} that drop nothing, {off[0]!r} say" if off else "")
        + ': all its samples would be equal. If a function drops, layers="all" switches everything '
        "but normalization."
    )


def _is_normalization(module):
    running = any(name.startswith("running_") for name, _ in module.named_buffers(recurse=False))
    return running or isinstance(module, NORMALIZATION)
