"""Models that drop at random, and what their samples are to be."""

import copy

import pytest
import torch
from formulas import every_mask
from torch import nn

from lib.layers import Dropout


class Called(nn.Module):
    """A layer of torch that takes or gives more than one tensor."""

    def __init__(self, layer, call):
        super().__init__()
        self.layer, self.call = layer, call

    def forward(self, x):
        return self.call(self.layer, x)


def recurrent(kind, dropout=0.5):
    layer = kind(8, 6, num_layers=2, dropout=dropout, batch_first=True)
    return Called(layer, lambda layer, x: layer(x)[0])


def attention(dropout=0.5, **settings):
    layer = nn.MultiheadAttention(8, 2, dropout=dropout, batch_first=True)
    return Called(layer, lambda layer, x: layer(x, x, x, **settings)[0])


def transformer(layers=1):
    layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.5, batch_first=True)
    return nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)


def decoder():
    layer = nn.TransformerDecoderLayer(8, 2, 16, dropout=0.5, batch_first=True)
    return Called(layer, lambda layer, x: layer(x, x))


# name: (model, shape of its input)
STOCHASTIC = {
    "ours": (Dropout(0.5), (3, 8)),
    "nn.Dropout": (nn.Dropout(0.5), (3, 8)),
    "nn.Dropout in place": (nn.Dropout(0.5, inplace=True), (3, 8)),
    "nn.Dropout1d": (nn.Dropout1d(0.5), (3, 8, 4)),
    "nn.Dropout2d": (nn.Dropout2d(0.5), (3, 8, 4, 4)),
    "nn.Dropout3d": (nn.Dropout3d(0.5), (3, 8, 2, 2, 2)),
    "nn.AlphaDropout": (nn.AlphaDropout(0.5), (3, 8)),
    "nn.FeatureAlphaDropout": (nn.FeatureAlphaDropout(0.5), (3, 8, 4)),
    **{f"nn.{kind.__name__}": (recurrent(kind), (3, 5, 8)) for kind in (nn.LSTM, nn.GRU, nn.RNN)},
    "dropout before an LSTM": (nn.Sequential(Dropout(0.5), recurrent(nn.LSTM, 0.0)), (3, 5, 8)),
    "attention": (attention(), (3, 5, 8)),
    "attention, fused": (attention(need_weights=False), (3, 5, 8)),
    "nn.TransformerEncoderLayer": (transformer().layers[0], (3, 5, 8)),
    "nn.TransformerEncoder": (transformer(2), (3, 5, 8)),
    "nn.TransformerDecoderLayer": (decoder(), (3, 5, 8)),
}
every_stochastic_model = pytest.mark.parametrize("name", STOCHASTIC)


def stochastic_model(name):
    model, shape = STOCHASTIC[name]
    return copy.deepcopy(model), torch.rand(shape) + 1


def mixed_modes(model):
    model.train()
    for module in list(model.modules())[::2]:
        module.training = False


def small_net(keep_prob=0.7, scaling="inverted", activation=None):
    dropout = Dropout(keep_prob, scaling)
    return nn.Sequential(nn.Linear(4, 6), activation or nn.ReLU(), dropout, nn.Linear(6, 3))


def by_enumeration(net, x, of=lambda y: y):
    """Mean and variance of the output of `small_net` over every mask of its hidden units."""
    dropout = net[2]
    masks, probabilities = map(torch.tensor, every_mask(6, dropout.keep_prob))
    masks = masks.to(x.dtype) / (dropout.keep_prob if dropout.scaling == "inverted" else 1)
    with torch.no_grad():
        hidden = net[1](net[0](x)) * masks[:, None]
        y = of(net[3](hidden)).double()  # (masks, batch, outputs)
    mean = torch.einsum("m,mbo->bo", probabilities, y)
    return mean, torch.einsum("m,mbo->bo", probabilities, (y - mean) ** 2)
