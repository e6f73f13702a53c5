"""What holds at prediction: sampled masks, Monte Carlo averages, scaled weights."""

import copy
import warnings
from functools import partial

import pytest
import torch
from chance import is_near
from formulas import every_mask
from layer_runs import every_scaling, under_seed
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from training_runs import modes, states_equal

from lib.inference import (
    batch_norm_reestimated,
    mc_samples,
    sampling,
    stochastic_layers,
    weight_scaled,
)
from lib.layers import Dropout, GaussianDropout, MaxPoolDropout2d, SpatialDropout
from lib.side_by_side import SideBySide


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


# sampling


@every_stochastic_model
def test_samples_one_by_one_and_together_are_distributed_as_in_training(name):
    model, x = stochastic_model(name)
    n = 400
    with torch.no_grad():
        training = torch.stack([model.train()(x.clone()) for _ in range(n)])
        with sampling(model.eval()):
            one_by_one = torch.stack([model(x.clone()) for _ in range(n)])
        assert torch.equal(model(x.clone()), model(x.clone()))  # outside no longer
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        together = mc_samples(model, x, n)
    expected = training.double().var(dim=0)
    for samples in (one_by_one, together):
        assert samples.shape == training.shape
        assert len(samples.flatten(1).unique(dim=0)) > n / 4
        variance = samples.double().var(dim=0)
        std = (variance + expected).sqrt()
        assert is_near(samples.mean(dim=0) - training.mean(dim=0), 0, std, n)
        assert variance.mean() == pytest.approx(expected.mean(), rel=0.25)


@pytest.mark.parametrize(
    "layer", [nn.BatchNorm1d(8), nn.BatchNorm1d(8, momentum=None), nn.SyncBatchNorm(8)]
)
@pytest.mark.parametrize("training", [True, False])
def test_batch_normalization_keeps_its_statistics_bit_for_bit_and_uses_them(layer, training):
    model = nn.Sequential(nn.Linear(8, 8), copy.deepcopy(layer), Dropout(1))
    model[1].running_mean.uniform_(-1, 1)
    model[1].running_var.uniform_(0.5, 2)
    x = torch.randn(5, 8)
    expected = model.eval()(x)
    before = copy.deepcopy(model)
    with sampling(model.train(training)):
        assert torch.equal(model(x), expected)
    assert states_equal(model, before)


@pytest.mark.parametrize(
    "set_mode", [nn.Module.train, nn.Module.eval, mixed_modes], ids=["train", "eval", "mixed"]
)
def test_every_module_gets_its_mode_back_after_an_exception_too(set_mode):
    model = nn.Sequential(small_net(), nn.BatchNorm1d(3), nn.Sequential(nn.Dropout(0.5)))
    set_mode(model)
    before = modes(model)
    with sampling(model):
        assert modes(model) != before
    assert modes(model) == before
    with pytest.raises(RuntimeError, match="shapes"), sampling(model):
        model.train()(torch.randn(1, 1))
    assert modes(model) == before


def test_a_block_inside_another_changes_nothing_for_the_outer_one():
    model = small_net().eval()
    before = modes(model)
    with sampling(model):
        outer = modes(model)
        with sampling(model[2]), sampling(model):
            assert modes(model) == outer
        assert modes(model) == outer
    assert modes(model) == before


def test_only_stochastic_layers_switch_to_training():
    model = nn.Sequential(small_net(), transformer(), nn.BatchNorm1d(3)).eval()
    with sampling(model) as inside:
        assert inside is model
        for module in model.modules():
            assert module.training == (module in stochastic_layers(model))
    assert not any(modes(model))


def test_stochastic_layers_are_listed_once_each_and_only_if_they_drop():
    dropout = Dropout(0.5)
    model = nn.Sequential(dropout, nn.LSTM(2, 2, dropout=0.0), nn.Linear(2, 2), dropout)
    assert stochastic_layers(model) == [dropout]
    assert stochastic_layers(attention(dropout=0.0)) == []
    assert stochastic_layers(nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2), nn.ReLU())) == []


# mc_samples


@every_scaling
@pytest.mark.parametrize("keep_prob", [0.5, 0.8, 1])
def test_mean_and_variance_of_the_samples_are_the_exact_ones(scaling, keep_prob):
    net, x, n = small_net(keep_prob, scaling), torch.randn(5, 4), 20_000
    softmax = nn.Softmax(dim=-1)
    samples = softmax(mc_samples(net, x, n).double())
    mean, variance = by_enumeration(net, x, of=softmax)
    assert is_near(samples.mean(dim=0), mean, variance.sqrt(), n)
    squares = (samples - mean) ** 2
    assert is_near(squares.mean(dim=0), variance, squares.std(dim=0), n)


@every_stochastic_model
def test_sampling_leaves_input_modes_and_statistics_as_they_were(name):
    layer, x = stochastic_model(name)
    in_place = nn.Hardtanh(inplace=True)
    model = nn.Sequential(in_place, layer, nn.Flatten(), nn.LazyBatchNorm1d())
    model.train()(x.clone())  # so that there are statistics
    mixed_modes(model)
    before, modes_before, input_before = copy.deepcopy(model), modes(model), x.clone()
    mc_samples(model, x, 7, max_rows=8)
    assert modes(model) == modes_before
    assert states_equal(model, before)
    assert torch.equal(x, input_before)


@pytest.mark.parametrize("batch", [0, 1, 5])
@pytest.mark.parametrize("n_samples", [1, 2, 7])
def test_samples_come_first_then_the_batch(n_samples, batch):
    samples = mc_samples(small_net(), torch.randn(batch, 4), n_samples)
    assert samples.shape == (n_samples, batch, 3)
    assert not samples.requires_grad


@pytest.mark.parametrize("max_rows", [1, 5, 12, 10_000])
def test_chunks_together_hold_every_sample_and_no_two_are_equal(max_rows):
    net = nn.Sequential(Dropout(0.5), nn.Linear(30, 2))
    samples = mc_samples(net, torch.randn(4, 30), 23, max_rows=max_rows)
    assert samples.shape == (23, 4, 2)
    assert len(samples.flatten(1).unique(dim=0)) == 23


def calls_of(**modules):
    """List that grows by a module's name whenever it is called."""
    calls = []
    for name, module in modules.items():
        module.register_forward_hook(lambda *_, name=name: calls.append(name))
    return calls


@pytest.mark.parametrize(("shape", "chunks"), [((10, 4), 20), ((10, 2, 2), 50)])
def test_chunks_bound_the_rows_that_are_computed_together(shape, chunks):
    net = nn.Sequential(nn.Flatten(), nn.Linear(4, 8), Dropout(0.5))
    calls = calls_of(net=net)
    mc_samples(net, torch.randn(shape), 100, max_rows=50)  # an image has two rows of pixels
    trial = 1
    assert len(calls) == trial + chunks


class Results(TorchDispatchMode):
    """Notes down how many bytes each result of an operation has, below `torch.vmap`."""

    def __init__(self):
        super().__init__()
        self.sizes = []

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        result = operation(*args, **(kwargs or {}))
        self.sizes += [value.nbytes for value in tree_leaves(result) if torch.is_tensor(value)]
        return result


@pytest.mark.parametrize("layer", [Dropout(0.5), GaussianDropout(0.5), nn.Dropout(0.5)])
def test_however_many_samples_nothing_but_their_outputs_has_more_than_max_rows(layer):
    hidden = nn.Linear(8, 8), nn.ReLU(), nn.BatchNorm1d(8)
    net = nn.Sequential(layer, *hidden, layer, nn.Linear(8, 2))
    x, n, bytes_of_a_row = torch.randn(10, 8), 2000, 8 * 4
    with Results() as results:
        samples = mc_samples(net, x, n, max_rows=1000)
    *within, last = results.sizes
    assert last == samples.nbytes
    bytes_to_spare = 100 * 8  # each of 100 samples draws its mask with a word more
    assert 0 <= max(within) - 1000 * bytes_of_a_row <= bytes_to_spare


def test_what_comes_before_the_first_stochastic_layer_is_computed_once_for_all_samples():
    net = nn.Sequential(nn.Linear(4, 6), Dropout(0.5), nn.Linear(6, 3))
    calls = calls_of(before=net[0], after=net[2])
    mc_samples(net, torch.randn(5, 4), 100)
    assert calls == ["before", "after", "after"]  # a trial, and all samples together


@every_stochastic_model
def test_samples_repeat_under_the_seed_and_one_alone_is_what_a_pass_draws(name):
    model, x = stochastic_model(name)
    four, one = (partial(mc_samples, model, n_samples=n) for n in (4, 1))
    first, same, other = (under_seed(four, x, seed) for seed in (1, 1, 2))
    assert torch.equal(first, same)
    assert not torch.equal(first, other)
    assert not torch.equal(other, four(x))  # without a seed they go on
    with torch.no_grad(), sampling(model):
        torch.testing.assert_close(under_seed(one, x)[0], under_seed(model, x.clone()))


def test_networks_side_by_side_are_sampled_side_by_side():
    nets = [small_net() for _ in range(3)]
    x, n = torch.randn(3, 5, 4), 5000
    samples = mc_samples(SideBySide(nets), x, n)
    assert samples.shape == (n, 3, 5, 3)
    for i, net in enumerate(nets):
        mean, variance = by_enumeration(net, x[i])
        assert is_near(samples[:, i].mean(dim=0), mean, variance.sqrt(), n)


@pytest.mark.parametrize("model", [nn.Linear(4, 2), recurrent(nn.LSTM, 0.0), attention(0.0)])
def test_a_model_without_stochastic_layers_is_a_value_error(model):
    message = f"model must have a layer that drops at random .*, got {type(model).__name__}"
    with pytest.raises(ValueError, match=message):
        mc_samples(model, torch.randn(5, 4), 10)


class Failing(nn.Module):
    """Raises an error from one call on."""

    def __init__(self, error, from_call):
        super().__init__()
        self.error, self.calls_left = error, from_call - 1

    def forward(self, x):
        if self.calls_left == 0:
            raise self.error
        self.calls_left -= 1
        return x


@pytest.mark.parametrize("error", [RuntimeError, ValueError, KeyboardInterrupt])
@pytest.mark.parametrize("from_call", [1, 2, 4])
def test_an_error_at_any_time_comes_through_and_every_mode_comes_back(error, from_call):
    net = nn.Sequential(nn.BatchNorm1d(4), small_net(), nn.Dropout(0.5), Failing(error, from_call))
    mixed_modes(net)
    before, modes_before = copy.deepcopy(net), modes(net)
    with pytest.raises(error):
        mc_samples(net, torch.randn(5, 4), 10, max_rows=10)  # a trial, and five chunks
    assert modes(net) == modes_before
    assert states_equal(net, before)


# weight_scaled


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


def behind_dropout(momentum):
    """Dropout on the inputs of a layer, then batch norm and dropout again."""
    first = Dropout(0.5), nn.Linear(4, 3), nn.BatchNorm1d(3, momentum=momentum)
    return nn.Sequential(*first, nn.ReLU(), Dropout(0.5), nn.Linear(3, 3), nn.BatchNorm1d(3))


@pytest.mark.parametrize("momentum", [0.1, 1.0, None])
def test_reestimated_statistics_are_the_mean_over_batches_without_masks(momentum):
    model = behind_dropout(momentum)
    batches = torch.randn(5, 20, 4) + 1
    for batch in batches:
        model(batch)  # in training: masks on
    before = copy.deepcopy(model)
    found = batch_norm_reestimated(model, batches)
    sums = [model[1](batch) for batch in batches]
    mean, var = (sum(of(s, dim=0) for s in sums) / 5 for of in (torch.mean, torch.var))
    torch.testing.assert_close(found[2].running_mean, mean)
    torch.testing.assert_close(found[2].running_var, var)
    assert found[2].momentum == momentum
    assert not any(modes(found))
    assert states_equal(model, before)
    assert all(modes(model))


def test_reestimating_needs_something_to_estimate():
    forgetful = nn.BatchNorm1d(2, track_running_stats=False)
    for model in (nn.Linear(4, 2), nn.Sequential(nn.Linear(4, 2), forgetful)):
        with pytest.raises(ValueError, match="model must have batch normalization"):
            batch_norm_reestimated(model, [torch.randn(8, 4)])
