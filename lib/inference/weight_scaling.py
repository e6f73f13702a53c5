"""Weight scaling: one pass with all units on, the factors of dropout moved into the weights."""

import copy

import torch
from torch import nn

from lib.layers import Dropout, GaussianDropout, MaxPoolDropout2d, SpatialDropout
from lib.layers.base import MODULE
from lib.validation import declared

WEIGHTED = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)

# Layers that pass their input on in eval, times their factor if they follow the original rule.
UNIT_DROPOUT = (Dropout, GaussianDropout, SpatialDropout, nn.modules.dropout._DropoutNd)

# What lets a factor through to the weights behind it: f(c x) = c f(x) for c > 0.
HOMOGENEOUS = (
    *(nn.Identity, nn.Flatten, nn.Unflatten, nn.ReLU, nn.LeakyReLU, nn.PReLU),
    *(nn.MaxPool1d, nn.MaxPool2d, nn.AvgPool1d, nn.AvgPool2d, MaxPoolDropout2d),
    *(nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, *UNIT_DROPOUT),
)


@declared(model=MODULE)
def weight_scaled(model):
    r"""Copy a trained model without its dropout layers, their factor moved into the weights.

    The deep copy, in eval mode, computes what the model computes in eval. For the original rule the
    weights that come next are multiplied by the keep probability, :math:`W_\text{test} = p W`;
    inverted and Gaussian dropout leave no factor. ``Identity`` stands in place of each dropout
    layer, so that the names in the state dict stay. Layers that drop something else, weights say,
    or do more than dropping, stay as they are: in training mode they would draw again.

    Parameters
    ----------
    model : torch.nn.Module
        Dropout with ``scaling="weight"`` must stand in a ``Sequential``, where the order of the
        layers is known.

    Raises
    ------
    ValueError
        If a factor has no weights to go to: nothing follows, or a nonlinearity does that does not
        let a factor through, or the weights are used in several places.

    References
    ----------
    Srivastava et al. (2014), section 4 and figure 2.

    Examples
    --------
    >>> net = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), Dropout(0.5, "weight"), nn.Linear(3, 1))
    >>> bool(torch.equal(weight_scaled(net)[3].weight, net[3].weight * 0.5))
    True
    """
    model = copy.deepcopy(model).eval()
    with torch.no_grad():
        for dropout, following in _original_rule_dropouts(model):
            _receiver(model, dropout, following).weight.mul_(dropout.keep_prob)
    return _without_dropout(model)


def _original_rule_dropouts(module, following=()):
    """Pair each such dropout, wherever it stands, with the layers after it in its Sequential."""
    layers = _in_order(module)
    if layers != [module]:
        for i, layer in enumerate(layers):
            yield from _original_rule_dropouts(layer, layers[i + 1 :])
    elif isinstance(module, Dropout) and module.scaling == "weight" and module.keep_prob < 1:
        yield module, following
    else:
        for child in module.children():
            yield from _original_rule_dropouts(child)


def _in_order(module):
    """The layers of a Sequential, nested ones unrolled; of any other module, itself."""
    if type(module).forward is not nn.Sequential.forward:
        return [module]  # also where it has a forward of its own: a residual block, say
    return [layer for child in module for layer in _in_order(child)]


def _receiver(model, dropout, following):
    """The layer that takes the factor: the next with weights."""
    layer = next((each for each in following if not isinstance(each, HOMOGENEOUS)), None)
    if layer is None:
        raise ValueError(
            f"model must have weights after {dropout}, in the same Sequential, to take its factor"
        )
    if not isinstance(layer, WEIGHTED):
        raise ValueError(
            f"model must let the factor of {dropout} through to the next weights, "
            f"got {layer} between them"
        )
    everywhere = model.named_parameters(remove_duplicate=False)
    places = [name for name, parameter in everywhere if parameter is layer.weight]
    if len(places) != 1:
        raise ValueError(
            f"model must use the weights after {dropout} in one place to take its factor, "
            f"got {places}"
        )
    return layer


def _without_dropout(module):
    if isinstance(module, UNIT_DROPOUT):
        return nn.Identity()
    for name, child in module._modules.items():  # unlike named_children, a shared layer each time
        if child is not None:
            setattr(module, name, _without_dropout(child))
    return module
