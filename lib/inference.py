"""What to do at prediction: sample masks, scale the weights once, measure batch norm anew."""

import copy
from contextlib import contextmanager

import torch
from torch import nn

from lib.layers import Dropout, GaussianDropout, MaxPoolDropout2d, SpatialDropout, StochasticLayer
from lib.layers.base import MODULE, TENSOR, modes_restored
from lib.progress import progress
from lib.validation import COUNT, Many, declared

# Dropout proper, and layers that hold a dropout rate of their own.
STOCHASTIC = (
    *(StochasticLayer, nn.modules.dropout._DropoutNd, nn.RNNBase, nn.MultiheadAttention),
    *(nn.TransformerEncoderLayer, nn.TransformerDecoderLayer),
)


@declared(model=MODULE)
def stochastic_layers(model):
    """List the layers of a model that drop at random, ours (`lib.layers`) and torch's.

    Torch's are ``nn.Dropout`` and its kin, and dropout in recurrent layers, attention and
    transformer layers.

    Parameters
    ----------
    model : torch.nn.Module
    """
    layers = [module for module in model.modules() if isinstance(module, STOCHASTIC)]
    # An LSTM without dropout does not sample.
    return [layer for layer in layers if getattr(layer, "dropout", None) != 0.0]


@declared(model=MODULE)
@contextmanager
def sampling(model):
    """Let the `stochastic_layers` of a model sample, with everything else in eval.

    ``model.train()`` would switch batch normalization to batch statistics too, and change the
    stored ones. On leaving, every module gets its former mode back, after an exception too.

    Parameters
    ----------
    model : torch.nn.Module
        It is also what the ``with`` statement gives.

    References
    ----------
    Gal and Ghahramani (2016), *Dropout as a Bayesian approximation*, ICML, section 4.

    Examples
    --------
    >>> model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), Dropout(0.5)).eval()
    >>> with sampling(model):
    ...     model[1].training, model[2].training
    (False, True)
    >>> model[2].training
    False
    """
    with modes_restored(model):
        model.eval()
        for layer in stochastic_layers(model):
            layer.training = True  # this layer alone, not what it contains
        yield model


@declared(model=MODULE, x=TENSOR, n_samples=COUNT, max_rows=COUNT)
@torch.no_grad()
def mc_samples(model, x, n_samples, *, max_rows=10_000):
    """Run a model many times on the same input, with fresh masks each time.

    Samples go through the model together, by `torch.vmap`: what comes before the first stochastic
    layer is computed once a chunk, in a ``Sequential`` once in all. A model for which vmap does not
    work, a recurrent one say, runs in a loop, with the same result in distribution.

    Parameters
    ----------
    model : torch.nn.Module
        With at least one stochastic layer. Its mode does not matter and is left as it was.
    x : torch.Tensor, shape (batch, ...)
    n_samples : int
    max_rows : int
        Rows of input in a chunk of samples, at most: it bounds the memory. A vector is a row; so is
        a step of a sequence, or a row of pixels.

    Returns
    -------
    torch.Tensor, shape (n_samples, batch, ...)
        Without gradient. The mean over the samples is the Monte Carlo average.

    Raises
    ------
    ValueError
        If `model` has no stochastic layer.

    References
    ----------
    Srivastava et al. (2014), section 7.5; Gal and Ghahramani (2016), section 4.

    Examples
    --------
    >>> _ = torch.manual_seed(0)
    >>> mc_samples(nn.Sequential(Dropout(0.5)), torch.ones(4), n_samples=3)
    tensor([[2., 0., 2., 0.],
            [2., 0., 2., 2.],
            [0., 2., 0., 0.]])
    """
    if not stochastic_layers(model):
        raise ValueError(
            "model must have a layer that drops at random (lib.layers or torch.nn.Dropout), "
            f"got {type(model).__name__} with none: all its samples would be equal"
        )
    chunk = max(1, max_rows // max(1, x.shape[:-1].numel()))
    sizes = [min(chunk, n_samples - done) for done in range(0, n_samples, chunk)]
    with sampling(model):
        model, x = _past_what_is_fixed(model, x)
        draw = _draw_together if _allows_vmap(model, x) else _draw_one_by_one
        return torch.cat([draw(model, x, size) for size in progress(sizes, "sampling")])


def _past_what_is_fixed(model, x):
    """Run what comes before the first stochastic part of a Sequential; return the rest."""
    if type(model) is not nn.Sequential or model._forward_hooks or model._forward_pre_hooks:
        return model, x  # only where calling the parts is the same as calling the whole
    first = next(i for i, part in enumerate(model) if stochastic_layers(part))
    return model[first:], model[:first](x.clone())  # a layer may work in place


def _draw_together(model, x, size):
    one = torch.vmap(lambda _: model(x), randomness="different")
    return one(torch.arange(size))


def _draw_one_by_one(model, x, size):
    return torch.stack([model(x.clone()) for _ in range(size)])  # a layer may work in place


def _allows_vmap(model, x):
    """Try one sample, and leave torch's generator as it was."""
    if any(isinstance(layer, nn.RNNBase) for layer in stochastic_layers(model)):
        return False  # vmap sees no masks inside a recurrent layer: the samples would share them
    with torch.random.fork_rng(devices=[]):
        try:
            _draw_together(model, x, 1)
        except RuntimeError:
            return False
    return True


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


@declared(model=MODULE, batches=Many(TENSOR))
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
    batches : iterable of torch.Tensor
        Inputs, from the training set.

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
    >>> net = nn.Sequential(Dropout(0.5), nn.BatchNorm1d(2))
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
