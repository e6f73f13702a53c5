"""What holds for scaled weights."""

import copy
from functools import partial

import pytest
import torch
from layer_runs import every_scaling
from stochastic_models import by_enumeration, mixed_modes, small_net
from torch import nn
from training_runs import modes, states_equal

from lib.inference import stochastic_layers, weight_scaled
from lib.layers import Dropout, GaussianDropout, MaxPoolDropout2d, SpatialDropout


def on_the_input(*dropout):
    return nn.Sequential(Dropout(*dropout), nn.Linear(4, 3), nn.Tanh())


def two_in_a_row(*dropout):
    two = Dropout(*dropout), nn.Dropout(0.5), Dropout(*dropout)
    return nn.Sequential(GaussianDropout(0.5), *two, GaussianDropout(0.5), nn.Linear(4, 3))


def one_in_two_places(*dropout):
    layer = Dropout(*dropout)
    return nn.Sequential(layer, nn.Linear(4, 4), nn.ReLU(), layer, nn.Linear(4, 3))


def nested(*dropout):
    return nn.Sequential(
        nn.Sequential(nn.Linear(4, 6), nn.Sequential(nn.ReLU(), Dropout(*dropout))),
        nn.Sequential(nn.Identity(), nn.Sequential(), nn.Linear(6, 4)),
        small_net(*dropout),
    )


def convolutional(*dropout):
    return nn.Sequential(
        *(nn.Unflatten(-1, (1, 2, 2)), nn.Conv2d(1, 4, 2, padding=1), nn.ReLU()),
        *(Dropout(*dropout), nn.MaxPool2d(2), nn.Conv2d(4, 5, 2, padding=1)),
        *(nn.BatchNorm2d(5), nn.LeakyReLU(), Dropout(*dropout), nn.AvgPool2d(2)),
        *(nn.Flatten(), nn.Linear(5, 3)),
    )


SMALL = [small_net, partial(small_net, activation=nn.Sigmoid()), on_the_input, two_in_a_row]

every_scalable_model = pytest.mark.parametrize(
    "make", [*SMALL, one_in_two_places, nested, convolutional]
)


@every_scalable_model
@every_scaling
@pytest.mark.parametrize("keep_prob", [1, 0.7, 0.5])
def test_the_copy_computes_what_the_model_computes_in_eval(make, scaling, keep_prob):
    model, x = make(keep_prob, scaling).double(), torch.randn(7, 4).double()
    scaled = weight_scaled(model)
    assert not scaled.training
    torch.testing.assert_close(scaled(x), model.eval()(x), rtol=1e-12, atol=1e-12)


@every_scalable_model
@every_scaling
def test_the_copy_has_no_dropout_layer_and_draws_nothing_in_training_either(make, scaling):
    scaled, x = weight_scaled(make(0.5, scaling)), torch.randn(7, 4)
    assert stochastic_layers(scaled) == []
    before = torch.get_rng_state()
    scaled.train()(x)
    assert torch.equal(torch.get_rng_state(), before)


@every_scalable_model
@every_scaling
def test_the_model_stays_as_it_was_and_the_names_in_the_state_dict_too(make, scaling):
    model = make(0.5, scaling)
    mixed_modes(model)
    before, modes_before, printed = copy.deepcopy(model), modes(model), repr(model)
    scaled = weight_scaled(model)
    assert (modes(model), repr(model)) == (modes_before, printed)
    assert states_equal(model, before)
    assert list(scaled.state_dict()) == list(before.state_dict())
    for name, value in model.state_dict().items():
        assert value.data_ptr() != scaled.state_dict()[name].data_ptr()


OF_TORCH = [nn.Dropout(0.5), nn.Dropout1d(0.5), nn.Dropout2d(0.5), nn.AlphaDropout(0.5)]


@pytest.mark.parametrize("layer", [*OF_TORCH, GaussianDropout(0.5), SpatialDropout(0.5)])
def test_dropout_layers_without_a_factor_are_taken_out(layer):
    net = nn.Sequential(nn.Linear(4, 4), layer, nn.Sigmoid())
    scaled = weight_scaled(net)
    assert isinstance(scaled[1], nn.Identity)
    assert torch.equal(scaled[0].weight, net[0].weight)


LET_THROUGH = [
    *(nn.Identity(), nn.Unflatten(1, (1, 2)), nn.LeakyReLU(), nn.PReLU(), SpatialDropout(0.5)),
    *(nn.MaxPool1d(2), nn.MaxPool2d(2), nn.AvgPool1d(2), nn.AvgPool2d(2), MaxPoolDropout2d(2)),
    *(nn.AdaptiveAvgPool1d(2), nn.AdaptiveAvgPool2d(1)),
]


@pytest.mark.parametrize("between", LET_THROUGH)
def test_a_factor_goes_through_layers_whose_output_scales_with_their_input(between):
    layers = Dropout(0.5, "weight"), between, nn.Flatten(), nn.LazyLinear(3)
    net, x = nn.Sequential(*layers).double().eval(), torch.randn(4, 2, 6).double()
    expected = net(x)
    torch.testing.assert_close(weight_scaled(net)(x), expected, rtol=1e-12, atol=1e-12)


@every_scaling
def test_it_is_the_exact_average_over_all_masks_in_a_linear_network_and_not_behind_it(scaling):
    net, x = small_net(0.6, scaling, nn.Identity()).double(), torch.randn(5, 4).double()
    scaled = weight_scaled(net)(x)
    mean, _ = by_enumeration(net, x)
    torch.testing.assert_close(scaled, mean, rtol=1e-12, atol=1e-12)
    mean, _ = by_enumeration(net, x, of=torch.sigmoid)
    assert (scaled.sigmoid() - mean).abs().max() > 1e-3


def test_a_weight_that_does_not_stand_in_just_one_place_is_a_value_error():
    layer, sharing_its_weight = nn.Linear(4, 4), nn.Linear(4, 4)
    sharing_its_weight.weight = layer.weight
    computing_a_weight = nn.utils.parametrizations.weight_norm(nn.Linear(4, 4))
    for last in (layer, sharing_its_weight, computing_a_weight):
        with pytest.raises(ValueError, match="model must use the weights after .* in one place"):
            weight_scaled(nn.Sequential(layer, Dropout(0.5, "weight"), last))


class Residual(nn.Sequential):
    """A sequence whose layers are not all there is."""

    def forward(self, x):
        return x + super().forward(x)


NOT_HOMOGENEOUS = [nn.Sigmoid(), nn.Tanh(), nn.ELU(), nn.Softmax(dim=1), nn.BatchNorm1d(4)]


@pytest.mark.parametrize("between", [*NOT_HOMOGENEOUS, Residual(nn.Linear(4, 4))])
def test_a_layer_that_does_not_let_the_factor_through_is_a_value_error(between):
    model = nn.Sequential(Dropout(0.5, "weight"), between, nn.Linear(4, 2))
    name = type(between).__name__
    message = rf"model must let the factor of Dropout\(.*\) through .*, got {name}"
    with pytest.raises(ValueError, match=message):
        weight_scaled(model)
    for without_factor in (Dropout(0.5, "inverted"), Dropout(1, "weight")):
        model[0] = without_factor
        weight_scaled(model)


IN_A_MODULE = nn.ModuleList([Dropout(0.5, "weight"), nn.Linear(4, 4)])


@pytest.mark.parametrize(
    "model",
    [
        Dropout(0.5, "weight"),
        nn.Sequential(nn.Linear(4, 2), Dropout(0.5, "weight")),
        nn.Sequential(nn.Linear(4, 2), Dropout(0.5, "weight"), nn.ReLU()),
        nn.Sequential(IN_A_MODULE, nn.Linear(4, 2)),
        nn.Sequential(Residual(nn.Linear(4, 4), Dropout(0.5, "weight")), nn.Linear(4, 2)),
    ],
)
def test_no_weights_behind_is_a_value_error(model):
    with pytest.raises(ValueError, match=r"model must have weights after Dropout\(.*Sequential"):
        weight_scaled(model)
