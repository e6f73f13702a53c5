"""What holds for samples of models of any kind: they are right, or there is an error."""

import copy
import random
import re
import threading
import warnings
from collections import namedtuple
from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from chance import is_near
from layer_runs import under_seed
from stochastic_models import Called, attention, mixed_modes, recurrent, transformer
from torch import nn
from torch.nn.utils import parametrize
from training_runs import modes, states_equal

from lib.inference import mc_samples, sampling, stochastic_layers
from lib.layers import Dropout, SpatialDropout, StochasticDepth, VariationalLinear


def of(forward, *parts):
    """A model of the user's own: `forward` takes the model, and then its input."""

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.parts = nn.ModuleList(parts)

        def forward(self, *args, **kwargs):
            return forward(self, *args, **kwargs)

    return Model()


def of_a_function(net, x):
    return F.dropout(x, 0.5, net.training)


def of_fused_attention(net, x):
    rate = 0.5 if net.training else 0.0
    return F.scaled_dot_product_attention(x, x, x, dropout_p=rate)


def of_a_path(net, x):
    """As timm's drop_path, and torchvision's stochastic_depth."""
    return x * x.new_empty(len(x), 1, 1).bernoulli_(0.5) if net.training else x


def of_numpy(net, x):
    return x * np.random.binomial(1, 0.5) if net.training else x  # noqa: NPY002


def of_python(net, x):
    return x * (random.random() < 0.5) if net.training else x


def of_a_cached_mask(net, x):
    if not hasattr(net, "mask"):
        net.mask = torch.bernoulli(torch.full_like(x, 0.5))
    return x * net.mask if net.training else x


OF_FUNCTIONS = [of_a_function, of_fused_attention, of_a_path, of_a_cached_mask]
BY_FUNCTIONS = pytest.mark.parametrize("forward", OF_FUNCTIONS)


# What is stochastic


class DropPath(nn.Module):
    """As those of timm and transformers."""

    def __init__(self, drop_prob=0.5):
        super().__init__()
        self.drop_prob = drop_prob

    def forward(self, x):
        if self.drop_prob == 0 or not self.training:
            return x
        kept = 1 - self.drop_prob
        return x * x.new_empty(len(x), *(1 for _ in x.shape[1:])).bernoulli_(kept) / kept


class StochasticDepthOfRows(nn.Module):
    """As torchvision's."""

    def __init__(self, p=0.5):
        super().__init__()
        self.p = p

    def forward(self, x):
        if not self.training or self.p == 0:
            return x
        return x * torch.empty(len(x), *(1 for _ in x.shape[1:])).bernoulli_(1 - self.p)


NEVER = [
    *(nn.Dropout(0.0), nn.Dropout2d(0), nn.AlphaDropout(0.0), Dropout(1), SpatialDropout(1)),
    *(StochasticDepth(nn.Linear(8, 8), 1), Dropout(torch.ones(8)), DropPath(0.0)),
    *(StochasticDepthOfRows(0), nn.LSTM(8, 8, 2), attention(0.0)),
]


@pytest.mark.parametrize("layer", NEVER, ids=str)
def test_a_layer_that_drops_nothing_is_not_stochastic(layer):
    model = nn.Sequential(nn.Linear(8, 8), layer)
    assert stochastic_layers(model) == []
    for call in (partial(mc_samples, x=torch.randn(3, 8, 8), n_samples=2), enter):
        with pytest.raises(ValueError, match="model must have a layer that drops at random"):
            call(model)


def enter(model, **settings):
    with sampling(model, **settings):
        pass


def test_the_error_says_which_layers_are_there_and_drop_nothing():
    model = nn.Sequential(nn.Dropout(0.0), nn.Dropout(0.0))
    with pytest.raises(ValueError, match=r"2 that drop nothing, Dropout\(p=0.0"):
        mc_samples(model, torch.randn(3, 4), 2)


@pytest.mark.parametrize("layer", [DropPath(), StochasticDepthOfRows()])
def test_drop_path_of_other_libraries_is_found_by_its_name_and_rate(layer):
    model = nn.Sequential(nn.Linear(4, 4), layer)
    assert stochastic_layers(model) == [layer]
    samples = mc_samples(model, torch.randn(8, 4), 200)
    assert len(samples.flatten(1).unique(dim=0)) > 50


# What a type does not show


@BY_FUNCTIONS
def test_a_model_that_drops_by_a_function_alone_is_an_error(forward):
    model, x = of(forward), torch.randn(2, 3, 4)
    for call in (partial(mc_samples, x=x, n_samples=2), enter):
        with pytest.raises(ValueError, match=r"got Model with none.*layers=\"all\""):
            call(model)


@BY_FUNCTIONS
def test_a_function_beside_a_layer_is_an_error_that_names_its_module(forward):
    model = nn.Sequential(of(forward), nn.Dropout(0.5))
    x = torch.randn(2, 3, 4)
    message = r"would not here: 0 \(Model\)\. .*also=\(Model,\)"
    with pytest.raises(ValueError, match=message):
        mc_samples(model, x, 2)
    with pytest.raises(ValueError, match=message), sampling(model):
        model(x)
    assert all(modes(model))
    assert not model._forward_pre_hooks


@BY_FUNCTIONS
@pytest.mark.parametrize("how", ["all", "also", "list"])
def test_what_a_function_drops_is_reached_where_it_is_asked_for(forward, how):
    model, x, n = of(forward, nn.BatchNorm1d(3)), torch.rand(2, 3, 4) + 1, 400
    which = {"all": {"layers": "all"}, "also": {"also": type(model)}, "list": {"layers": [model]}}
    with torch.no_grad():
        training = []
        for _ in range(n):
            vars(model).pop("mask", None)
            training.append(model.train()(x))
        training = torch.stack(training)
    vars(model).pop("mask", None)
    samples = mc_samples(model, x, n, **which[how])
    std = (samples.var(dim=0) + training.var(dim=0)).sqrt()
    assert len(samples.flatten(1).unique(dim=0)) > 2
    assert is_near(samples.mean(dim=0) - training.mean(dim=0), 0, std, n)
    with sampling(model, **which[how]):
        assert model.training
        assert model.parts[0].training is False
    assert "mask" not in vars(model)


@pytest.mark.parametrize("forward", [of_numpy, of_python])
def test_random_numbers_of_numpy_and_python_are_seen(forward):
    model, x = nn.Sequential(of(forward), nn.Dropout(0.1)), torch.ones(1, 1, 4)
    samples = mc_samples(model, x, 200, also=type(model[0]))
    zero = (samples == 0).flatten(1).all(dim=1).double().mean()
    assert 0.3 < zero < 0.7  # together, all samples of a chunk would share one number


def test_who_knows_what_else_draws_can_leave_it_off():
    model, x = nn.Sequential(of(of_a_function), nn.Dropout(0.5)), torch.ones(3, 4)
    layers = stochastic_layers(model)
    samples = mc_samples(model, x, 50, layers=layers)
    assert set(samples.unique().tolist()) == {0, 2}  # and not 4
    with sampling(model, layers=layers):
        assert set(model(x).unique().tolist()) <= {0, 2}


def test_to_look_for_what_draws_moves_no_generator_and_no_statistics():
    model = nn.Sequential(of(lambda net, x: x), nn.BatchNorm1d(4), nn.Dropout(0.5))
    before, x = copy.deepcopy(model), torch.randn(5, 4)
    for call in (partial(mc_samples, n_samples=3), sampled):
        unknown, known = (under_seed(partial(call, net), x) for net in (model, model[1:]))
        assert torch.equal(unknown, known)
    assert states_equal(model, before)


def sampled(model, x):
    with torch.no_grad(), sampling(model):
        return model(x)


def test_a_model_that_fails_in_training_mode_is_sampled_with_a_warning():
    def forward(net, x):
        if net.training:
            raise ValueError("targets are needed in training")
        return net.parts[0](x)

    model, x = of(forward, nn.Dropout(0.5)), torch.ones(2, 10)
    with pytest.warns(UserWarning, match="could not be checked.*targets are needed"):
        samples = mc_samples(model, x, 5)
    assert len(samples.flatten(1).unique(dim=0)) > 1


def test_the_last_layer_alone_is_sampled_where_that_is_asked_for():
    net = nn.Sequential(nn.Dropout(0.5), nn.Linear(4, 30), Dropout(0.5), nn.Linear(30, 2))
    x = torch.randn(3, 4)
    samples = under_seed(partial(mc_samples, net, n_samples=20, layers="last"), x)
    expected = under_seed(partial(mc_samples, net[2:], n_samples=20), net[1](x))
    assert torch.equal(samples, expected)
    with sampling(net, layers="last"):
        assert modes(net) == [False, False, False, True, False]


def test_a_module_of_another_model_is_a_value_error():
    stranger = nn.Dropout(0.5)
    with pytest.raises(ValueError, match="layers must be modules of the model, got Dropout"):
        mc_samples(nn.Sequential(nn.Dropout(0.5)), torch.ones(2, 2), 3, layers=[stranger])


# Samples that come out equal


def unheard(net, x):
    net.parts[0](x)
    return x


def uncalled(net, x):
    return x + 0


@pytest.mark.parametrize(
    ("forward", "why"),
    [(unheard, "100 more samples are equal too"), (uncalled, "no random number was drawn")],
)
def test_equal_samples_are_an_error_that_says_what_was_switched(forward, why):
    model = of(forward, nn.Dropout(0.5))
    message = rf"got equal ones with parts.0 \(Dropout\) switched to training: .*{why}"
    for max_rows in (1, 10_000):
        with pytest.raises(ValueError, match=message):
            mc_samples(model, torch.ones(3, 4), 5, max_rows=max_rows)


def test_samples_that_are_equal_by_chance_are_none():
    model, x = StochasticDepth(nn.Linear(4, 4), 0.9, gate="batch"), torch.ones(3, 4)
    for _ in range(50):
        assert mc_samples(model, x, 2).shape == (2, 3, 4)


# The model stays as it was


class Remembering(nn.Module):
    """Keeps what it saw in every way that there is, and works in place."""

    def __init__(self):
        super().__init__()
        self.drop, self.lin = nn.Dropout(0.5), nn.Linear(4, 4)
        self.register_buffer("calls", torch.zeros(()))
        self.register_buffer("seen", torch.zeros(4))
        self.cache, self.list, self.nested = {}, [], {"a": [torch.zeros(4)]}
        self.lin.register_forward_hook(self.remember)
        self.lock = threading.Lock()

    def remember(self, module, args, output):
        self.hooked = output

    def forward(self, x):
        self.calls += 1
        self.seen = x.mean(dim=0)
        x.mul_(2)
        y = self.lin(self.drop(x))
        self.last, self.cache["y"], self.list[:] = y, y, [y]
        self.nested["a"][0] = y
        return y


@pytest.mark.parametrize("max_rows", [1, 10_000])
def test_what_a_forward_pass_leaves_behind_is_not_left_in_the_model(max_rows):
    model, x = Remembering(), torch.randn(3, 4)
    model(x.clone()).sum().backward()  # what it has kept now belongs to a graph
    kept = {name: value for name, value in vars(model).items() if name[0] != "_"}
    before, x_before = copy.deepcopy(model.state_dict()), x.clone()
    last, cached, listed, hooked = model.last, model.cache["y"], model.list[0], model.hooked
    samples = mc_samples(model, x, 20, max_rows=max_rows)
    assert len(samples.flatten(1).unique(dim=0)) == 20
    assert torch.equal(x, x_before)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert {name: value for name, value in vars(model).items() if name[0] != "_"} == kept
    assert model.last is last
    assert model.cache["y"] is cached
    assert model.list == [listed]
    assert model.hooked is hooked
    assert model.nested["a"][0] is last
    model.lin._forward_hooks.clear()
    alone = nn.Sequential(nn.Dropout(0.5), model.lin)
    settings = {"n_samples": 20, "max_rows": max_rows}
    drawn, expected = (
        under_seed(partial(mc_samples, net, **settings), each)
        for net, each in ((model, x), (alone, 2 * x))
    )
    torch.testing.assert_close(drawn, expected)


def test_a_copy_and_a_file_can_be_made_of_a_model_after_sampling():
    model = of(lambda net, x: vars(net).setdefault("kept", net.parts[0](x)), nn.Dropout(0.5))
    mc_samples(model, torch.ones(3, 4), 5)
    copy.deepcopy(model)
    model(torch.ones(2, 4))


def test_each_sample_starts_from_the_state_that_the_model_has():
    def forward(net, x):
        net.total = net.parts[0](x) + getattr(net, "total", 0)
        return net.total

    model, x = of(forward, nn.Dropout(0.5)), torch.ones(1, 8)
    for max_rows in (1, 4, 10_000):
        samples = mc_samples(model, x, 50, max_rows=max_rows)
        assert set(samples.unique().tolist()) == {0, 2}


def test_a_state_that_is_shared_by_two_names_stays_shared():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.drop, self.first = nn.Dropout(0.5), nn.Linear(4, 4)
            self.second, self.others = self.first, [self.first]

        def forward(self, x):
            assert self.second is self.first is self.others[0]
            return self.drop(self.first(x))

    mc_samples(Twice(), torch.ones(2, 4), 5)


def test_parametrized_weights_and_compiled_models_are_sampled():
    x, layer = torch.randn(3, 4), nn.Linear(4, 30)
    for wrapped in (
        nn.utils.parametrizations.weight_norm(nn.Linear(4, 30)),
        nn.utils.parametrizations.spectral_norm(nn.Linear(4, 30)),
        torch.compile(layer, backend="eager"),
        nn.DataParallel(layer),
    ):
        model = nn.Sequential(nn.Dropout(0.5), wrapped).eval()
        before = copy.deepcopy(model.state_dict())
        for which in ({}, {"layers": "all"}):
            samples = mc_samples(model, x, 200, **which)
            mean, std = samples.mean(dim=0), samples.std(dim=0)
            assert is_near(mean, model(x).detach(), std, 200)
        after = model.state_dict()
        assert all(torch.equal(value, before[name]) for name, value in after.items())
    whole = torch.compile(nn.Sequential(nn.Dropout(0.5), layer), backend="eager")
    assert mc_samples(whole, x, 5).shape == (5, 3, 30)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_scripted_and_traced_modules_are_sampled():
    scripted = torch.jit.script(nn.Sequential(nn.Linear(4, 30), nn.Dropout(0.5)))
    traced = torch.fx.symbolic_trace(nn.Sequential(nn.Linear(4, 30), nn.Dropout(0.5)))
    x = torch.randn(3, 4)
    for model, which in ((scripted, {"layers": "all"}), (traced, {})):
        model.eval()
        samples = mc_samples(model, x, 50, **which)
        assert len(samples.flatten(1).unique(dim=0)) == 50
        assert torch.equal(model(x), model(x))
    beside = nn.Sequential(scripted, nn.Dropout(0.5))
    with pytest.raises(ValueError, match=r"would not here: the model itself \(Sequential\)"):
        mc_samples(beside, x, 5)


def test_weights_that_a_parametrization_drops_are_sampled():
    lstm = nn.LSTM(3, 4)
    parametrize.register_parametrization(lstm, "weight_hh_l0", Dropout(0.5))
    output, (h, c) = mc_samples(lstm, torch.randn(5, 2, 3), 50)
    assert (output.shape, h.shape, c.shape) == ((50, 5, 2, 4), (50, 1, 2, 4), (50, 1, 2, 4))
    assert len(output.flatten(1).unique(dim=0)) > 40


def test_a_lazy_model_is_an_error():
    with pytest.raises(ValueError, match="run it once before"):
        mc_samples(nn.Sequential(nn.LazyLinear(3), nn.Dropout(0.5)), torch.ones(2, 4), 3)


def test_threads_leave_the_model_as_it_was_and_eval_passes_deterministic():
    model = nn.Sequential(nn.Linear(8, 64), nn.Dropout(0.5), nn.BatchNorm1d(64), nn.Linear(64, 2))
    x, start, errors = torch.randn(16, 8), threading.Barrier(4), []
    expected = model.eval()(x)

    def run(work):
        start.wait()
        try:
            for _ in range(30):
                work()
        except Exception as error:
            errors.append(error)

    def predict():
        assert torch.equal(model(x), expected)

    def sample():
        assert len(mc_samples(model, x, 4).flatten(1).unique(dim=0)) == 4

    threads = [threading.Thread(target=run, args=[work]) for work in [predict, *[sample] * 3]]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert not any(modes(model))


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 0, 2), (1, 2, 0)])
def test_blocks_that_overlap_give_every_mode_back_and_switch_no_other_off(order):
    model = nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5), nn.BatchNorm1d(4))
    mixed_modes(model)
    before, blocks = modes(model), [sampling(model) for _ in range(3)]
    for block in blocks:
        block.__enter__()
    for i, which in enumerate(order):
        assert model[1].training
        assert not model[2].training
        blocks[which].__exit__(None, None, None)
        assert (modes(model) == before) == (i == 2)


# Inputs and outputs of any kind

Pair = namedtuple("Pair", "mean, rest")


def of_many(net, x, others, *, scale, shift=None, note="text"):
    y = net.parts[0](x + others["a"][0] * scale)
    return {"y": y, "pair": Pair(y.mean(dim=1), [None, (2 * y, note)]), "n": 3}


@pytest.mark.parametrize("max_rows", [1, 10_000])
@pytest.mark.parametrize("same_masks", [False, True])
def test_inputs_and_outputs_are_nests_of_any_kind(max_rows, same_masks):
    model, x = of(of_many, nn.Dropout(0.5)), torch.ones(3, 8)
    others, kwargs = {"a": [torch.ones(3, 1)]}, {"scale": torch.tensor(2.0), "note": "other"}
    settings = {"max_rows": max_rows, "same_masks": same_masks}
    found = mc_samples(model, (x, others), 5, kwargs=kwargs, **settings)
    assert list(found) == ["y", "pair", "n"]
    y, (mean, (nothing, (double, note))), n = found.values()
    assert isinstance(found["pair"], Pair)
    assert (nothing, note, n) == (None, "other", 3)
    assert y.shape == (5, 3, 8)
    assert set(y.unique().tolist()) == {0, 6}
    assert torch.equal(double, 2 * y)
    assert torch.equal(mean, y.mean(dim=-1))
    by_name = mc_samples(model, (), 5, kwargs={"x": x, "others": others, **kwargs}, **settings)
    assert by_name["y"].shape == (5, 3, 8)


def test_a_number_that_differs_between_samples_is_an_error():
    model = of(lambda net, x: (net.parts[0](x), net.parts[0](x).sum().item()), nn.Dropout(0.5))
    with pytest.raises(ValueError, match="outputs of the same structure, and tensors for all"):
        mc_samples(model, torch.ones(3, 8), 20)


@pytest.mark.parametrize(
    ("output", "message"), [(object(), "got a object"), (None, "at least one tensor")]
)
def test_an_output_without_tensors_is_a_type_error(output, message):
    model = of(lambda net, x: output, nn.Dropout(0.5))
    with pytest.raises(TypeError, match=message):
        mc_samples(model, torch.ones(3, 8), 20)


# The same masks for every example


SAME = {
    "ours": Dropout(0.5),
    "nn.Dropout": nn.Dropout(0.5),
    "weights": VariationalLinear(8, 8, log_sigma2=-2.0),
    "a path": DropPath(),
    "attention": attention(),
    "recurrent": recurrent(nn.LSTM),
    "a gate": StochasticDepth(nn.Tanh(), 0.5, "example"),
}


@pytest.mark.parametrize("name", SAME)
@pytest.mark.parametrize("max_rows", [1, 10_000])
def test_with_the_same_masks_equal_examples_have_equal_outputs(name, max_rows):
    model, x = copy.deepcopy(SAME[name]), torch.randn(1, 3, 8)
    samples = mc_samples(model, x.repeat(4, 1, 1), 40, same_masks=True, max_rows=max_rows)
    torch.testing.assert_close(samples, samples[:, :1].expand_as(samples))
    own = mc_samples(model, x, 2000)[:, 0]
    std = own.std(dim=0) * (1 + 40 / 2000) ** 0.5
    assert len(samples[:, 0].flatten(1).unique(dim=0)) > (1 if name in ("a path", "a gate") else 20)
    assert is_near(samples[:, 0].mean(dim=0), own.mean(dim=0), std, 40)


# Real errors


def test_an_error_that_is_not_of_vmap_is_said():
    calls = []

    def forward(net, x):
        calls.append(None)
        if len(calls) == 2:  # the first is the look at what draws
            raise RuntimeError("out of luck")
        return net.parts[0](x)

    with pytest.warns(UserWarning, match="one by one: .*RuntimeError: out of luck"):
        mc_samples(of(forward, nn.Dropout(0.5)), torch.ones(3, 4), 5)


def test_a_wrong_shape_is_the_models_own_error():
    net = nn.Sequential(nn.Dropout(0.5), nn.Linear(4, 2))
    with pytest.raises(RuntimeError, match=re.escape("shapes cannot be multiplied (3x5 and 4x2)")):
        mc_samples(net, torch.ones(3, 5), 5)


# A fast path


@pytest.mark.parametrize("layers", [1, 2])
def test_layers_of_ours_in_a_transformer_are_not_skipped(layers):
    model, x = transformer(layers).eval(), torch.randn(3, 5, 8)
    for module in model.modules():
        if isinstance(module, nn.TransformerEncoderLayer):
            module.self_attn.dropout = 0.0
            module.dropout1 = module.dropout2 = nn.Dropout(0.0)
            module.dropout = Dropout(0.5, "weight")
            module.linear1 = VariationalLinear(8, 16, log_sigma2=-2.0)
    n, last = 300, model.layers[-1]
    layers_of_ours = [last.linear1, last.dropout]
    assert [each for each in stochastic_layers(model) if each in layers_of_ours] == layers_of_ours
    with torch.no_grad():
        training = torch.stack([model.train()(x) for _ in range(n)])
        with sampling(model.eval()):
            one_by_one = torch.stack([model(x) for _ in range(n)])
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # of vmap, which has no rule for the fast paths of attention
        together = mc_samples(model, x, n)
    expected = training.var(dim=0).mean().item()
    for samples in (one_by_one, together):
        assert samples.var(dim=0).mean() == pytest.approx(expected, rel=0.2)


def test_called_layers_of_torch_are_sampled_through_a_model_of_ones_own():
    model = Called(nn.Dropout(0.5), lambda layer, x: layer(x))
    assert mc_samples(model, torch.ones(3, 4), 5).shape == (5, 3, 4)


def test_the_same_masks_need_examples_along_the_first_dimension():
    steps_first = of(lambda net, x: net.parts[0](x).transpose(0, 1), nn.Dropout(0.5))
    with pytest.raises(ValueError, match=r"model must give outputs with .* got shape \(5, 1, 4\)"):
        mc_samples(steps_first, torch.ones(3, 5, 4), 2, same_masks=True)
    model = of(lambda net, x: net.parts[0](x.data), nn.Dropout(0.5))
    packed = nn.utils.rnn.pack_sequence([torch.ones(3, 4), torch.ones(2, 4)])
    assert mc_samples(model, packed, 2).shape == (2, 5, 4)
    with pytest.raises(ValueError, match="x must have a tensor with a first dimension of examples"):
        mc_samples(model, packed, 2, same_masks=True)
