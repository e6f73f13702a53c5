"""What holds for training."""

import copy
import random

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils import prune
from training_runs import conv_net, dense_net, modes, states_equal

from lib.datasets import Split, load_digits
from lib.layers import Dropout
from lib.side_by_side import SideBySide, stack_splits
from lib.training import (
    AT_ONCE,
    classification_loss,
    constrain_norms,
    evaluate,
    fit,
    minibatches,
    one_cycle,
    seed_everything,
    squared_loss,
)


@pytest.fixture(scope="module")
def digits():
    return load_digits(n_train=200, n_val=50, n_test=100)


def affine_problem():
    """Inputs, and two targets that an affine map gives without noise."""
    generator = torch.Generator().manual_seed(0)
    weight, bias = torch.randn(3, 2, generator=generator), torch.tensor([0.5, -1.0])
    parts = []
    for n in (120, 20, 40):
        x = torch.randn(n, 3, generator=generator)
        parts += [x, x @ weight + bias]
    return Split(*parts)


def regression_net():
    return nn.Sequential(nn.Linear(3, 8), nn.Tanh(), Dropout(0.5), nn.Linear(8, 2))


def absolute_loss(output, y):
    return (output - y).abs().mean(dim=(-2, -1))


def assert_same_weights(one, other):
    torch.testing.assert_close(one.state_dict(), other.state_dict())


# Seeds


def test_one_seed_decides_on_the_numbers_of_all_generators():
    def numbers(seed):
        seed_everything(seed)
        return random.random(), np.random.random(), torch.rand(1).item()  # noqa: NPY002

    assert numbers(3) == numbers(3)
    assert all(a != b for a, b in zip(numbers(3), numbers(4), strict=True))


# Minibatches


@pytest.mark.parametrize(
    "answers_of", [lambda x: x[..., 0].long(), lambda x: torch.cat([x, -x], dim=-1)]
)
@pytest.mark.parametrize("batch_size", [1, 7, 20, 50])
@pytest.mark.parametrize("nets", [(), (3,)])
def test_minibatches_go_through_every_example_once_with_its_answer(nets, batch_size, answers_of):
    x = torch.arange(20.0)[:, None]
    if nets:  # each with data of its own
        x = x + 100 * torch.arange(3.0)[:, None, None]
    batches = list(minibatches(x, answers_of(x), batch_size))
    sizes = [inputs.shape[-2] for inputs, _ in batches]
    assert all(size == batch_size for size in sizes[:-1])
    assert 0 < sizes[-1] <= batch_size
    assert all(torch.equal(answers, answers_of(inputs)) for inputs, answers in batches)
    orders = torch.cat([inputs for inputs, _ in batches], dim=-2)
    assert torch.equal(orders.sort(dim=-2).values, x)
    assert not nets or len((orders % 100).unique(dim=0)) == 3


def test_minibatches_are_in_another_order_each_time():
    x, y = torch.arange(20.0), torch.arange(20)
    orders = [torch.cat([labels for _, labels in minibatches(x, y, 6)]) for _ in range(2)]
    assert not torch.equal(*orders)


def evaluated(x, y):
    """By a loss that takes any shapes."""
    return evaluate(nn.Identity(), x, y, lambda output, y: output.sum())


@pytest.mark.parametrize("use", [lambda x, y: next(minibatches(x, y, batch_size=5)), evaluated])
@pytest.mark.parametrize("labels", [(10,), (0,), (30,), (20, 1), (1, 20), ()])
@pytest.mark.parametrize("targets", [(), (3,)])
def test_answers_to_other_inputs_are_a_value_error(use, labels, targets):
    y = torch.zeros(labels + targets, dtype=torch.float if targets else torch.long)
    message = r"x and y must have shapes \(\.\.\., n, \.\.\.\) and .*, got \(20, 3\) and "
    with pytest.raises(ValueError, match=message):
        use(torch.zeros(20, 3), y)


# Loss and error


def test_the_loss_is_minus_the_mean_log_probability_of_the_labels():
    logits, y = torch.randn(3, 5, 4), torch.randint(4, (3, 5))
    probabilities = logits.exp() / logits.exp().sum(dim=-1, keepdim=True)
    of_the_labels = probabilities.gather(-1, y[..., None]).squeeze(-1)
    expected = -of_the_labels.log().mean(dim=1)
    torch.testing.assert_close(classification_loss(logits, y), expected)
    torch.testing.assert_close(classification_loss(logits[0], y[0]), expected[0])


def test_the_squared_loss_is_the_mean_over_examples_and_outputs_of_each_network():
    output, y = torch.randn(3, 5, 4), torch.randn(3, 5, 4)
    expected = ((output - y) ** 2).flatten(1).sum(dim=1) / 20
    torch.testing.assert_close(squared_loss(output, y), expected)
    torch.testing.assert_close(squared_loss(output[0], y[0]), expected[0])


@pytest.mark.parametrize("label", [-100, -1, 4])
def test_a_label_that_is_no_class_is_an_error(label):
    with pytest.raises(RuntimeError, match=f"index {label} is out of bounds"):
        classification_loss(torch.zeros(3, 4), torch.tensor([0, 1, label]))


# shapes of outputs and answers
LABELS = [((5, 3), (5, 1)), ((5, 3), (1, 5)), ((5, 3), (4,)), ((2, 5, 3), (5,)), ((0, 3), (0,))]
TARGETS = [((5, 1), (5, 3)), ((5, 1), (1, 1)), ((5, 1), (5,)), ((5,), (5,)), ((0, 3), (0, 3))]


@pytest.mark.parametrize(
    ("loss", "output", "y"),
    [(classification_loss, *shapes) for shapes in LABELS]
    + [(squared_loss, *shapes) for shapes in TARGETS],
)
def test_a_loss_of_shapes_that_differ_or_of_nothing_is_a_value_error(loss, output, y):
    answers = torch.zeros(y, dtype=torch.long if loss is classification_loss else torch.float)
    with pytest.raises(ValueError, match=r"and y must .*have shapes? .*, got \(") as error:
        loss(torch.ones(output), answers)
    assert str(error.value).endswith(f"got {output} and {y}")


def test_the_error_is_the_fraction_of_answers_that_are_wrong_or_nan():
    logits = torch.tensor([[2.0, 1, 1], [0, 0, 3], [3, 1, 1], [torch.nan] * 3])
    assert evaluate(nn.Identity(), logits, torch.tensor([0, 2, 1, 0])).error == 0.5


def test_evaluation_with_real_targets_has_the_loss_asked_for_and_no_error():
    output, y = torch.randn(3, 5, 2), torch.randn(3, 5, 2)
    side_by_side = evaluate(nn.Identity(), output, y, squared_loss)
    alone = evaluate(nn.Identity(), output[0], y[0], squared_loss)
    assert torch.equal(side_by_side.loss, squared_loss(output, y))
    assert side_by_side.loss[0] == alone.loss
    assert (side_by_side.error.shape, alone.error.shape) == ((3,), ())
    assert side_by_side.error.isnan().all()
    assert alone.error.isnan()


@pytest.mark.parametrize("mode", ["train", "eval", "mixed"])
def test_evaluation_has_the_masks_off_and_leaves_mode_state_and_generator_as_they_were(
    mode, digits
):
    net = nn.Sequential(dense_net(), nn.BatchNorm1d(10)).train(mode != "eval")
    if mode == "mixed":
        net[1].eval()
    before, modes_before, generator = copy.deepcopy(net), modes(net), torch.get_rng_state()
    first = evaluate(net, digits.x_test, digits.y_test)
    assert first == evaluate(net, digits.x_test, digits.y_test)
    assert modes(net) == modes_before
    assert states_equal(net, before)
    assert torch.equal(torch.get_rng_state(), generator)
    assert not first.loss.requires_grad
    assert first.loss == classification_loss(net.eval()(digits.x_test), digits.y_test)


@pytest.mark.parametrize("nets", [(), (3,)])
@pytest.mark.parametrize("parts", [[AT_ONCE], [AT_ONCE, 1], [AT_ONCE, AT_ONCE, 5]])
def test_evaluation_in_parts_of_bounded_size_is_that_of_all_examples_together(nets, parts):
    output, y = torch.randn(*nets, sum(parts), 4), torch.randint(4, (*nets, sum(parts)))
    net, sizes = nn.Identity(), []
    net.register_forward_hook(lambda net, inputs, output: sizes.append(output.shape[-2]))
    found = evaluate(net, output, y)
    assert sizes == parts
    torch.testing.assert_close(found.loss, classification_loss(output, y))
    torch.testing.assert_close(found.error, (output.argmax(-1) != y).float().mean(-1))


# fit


@pytest.mark.parametrize("make", [dense_net, conv_net])
def test_training_on_the_digits_lowers_loss_and_error(make, digits):
    net = make()
    before = evaluate(net, digits.x_test, digits.y_test)
    history = fit(net, digits, epochs=15, learning_rate=0.01)
    assert history.train_loss[-1] < history.train_loss[0] / 2
    assert history.test_loss[-1] < before.loss / 2
    assert history.test_error[-1] < before.error / 2


@pytest.mark.parametrize(("epochs", "every"), [(1, 1), (4, 1), (5, 2), (3, 3)])
def test_the_history_has_a_row_for_each_measurement(epochs, every, digits):
    history = fit(dense_net(), digits, epochs=epochs, every=every)
    assert all(column.shape == (epochs // every,) for column in history)
    assert all(column.isfinite().all() for column in history)


@pytest.mark.parametrize("loss", [classification_loss, squared_loss, absolute_loss])
def test_the_last_row_of_the_history_is_the_evaluation_of_the_trained_network(loss, digits):
    of_digits = loss is classification_loss
    net, data = (dense_net(), digits) if of_digits else (regression_net(), affine_problem())
    history = fit(net, data, epochs=2, loss=loss)
    train, val, test = (evaluate(net, x, y, loss) for x, y in (data[:2], data[2:4], data[4:]))
    last, expected = [column[-1] for column in history[1:]], [train.loss, *val, *test]
    torch.testing.assert_close(last, expected, rtol=0, atol=0, equal_nan=True)


def test_without_validation_data_only_its_columns_are_nan(digits):
    nothing = digits._replace(x_val=digits.x_val[:0], y_val=digits.y_val[:0])
    history = fit(dense_net(), nothing, epochs=1)
    for name, column in history._asdict().items():
        assert column.isnan().all() == name.startswith("val")


@pytest.mark.parametrize("mode", [True, False])
def test_training_has_the_masks_on_and_leaves_the_network_in_training_mode(mode, digits):
    net = dense_net(keep_prob=0.3).train(mode)
    history = fit(net, digits, epochs=10)
    assert (history.train_loss_masks_on > history.train_loss).all()
    assert all(modes(net))


def test_the_loss_with_masks_on_is_the_mean_over_the_minibatches_before_each_step(digits):
    net = dense_net(keep_prob=1)
    before = evaluate(net, digits.x_train, digits.y_train).loss
    one_step = fit(copy.deepcopy(net), digits, epochs=1, batch_size=200)
    hardly_any = fit(net, digits, epochs=1, batch_size=50, learning_rate=1e-9)
    for history in (one_step, hardly_any):
        torch.testing.assert_close(history.train_loss_masks_on[0], before)


def adam(parameters, steps):
    return torch.optim.Adam(parameters, lr=0.01), None


def halving(parameters, steps):
    optimizer = torch.optim.SGD(parameters, lr=0.1)
    return optimizer, torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)


@pytest.mark.parametrize(
    ("build", "settings"), [(adam, {"learning_rate": 0.01}), (halving, {"optimizer": halving})]
)
def test_steps_are_those_of_the_optimizer_and_its_rate_moves_after_each(build, settings, digits):
    net = dense_net(keep_prob=1)
    by_hand = copy.deepcopy(net)
    fit(net, digits, epochs=3, batch_size=200, **settings)
    optimizer, schedule = build(by_hand.parameters(), 3)
    for _ in range(3):
        optimizer.zero_grad()
        nn.functional.cross_entropy(by_hand(digits.x_train), digits.y_train).backward()
        optimizer.step()
        if schedule is not None:
            schedule.step()
    assert_same_weights(net, by_hand)


@pytest.mark.parametrize(("batch_size", "steps"), [(200, 2), (199, 4), (7, 58)])
def test_an_optimizer_is_told_the_number_of_steps(batch_size, steps, digits):
    seen = []

    def counting(parameters, steps):
        seen.append(steps)
        return torch.optim.SGD(parameters, lr=0.1), None

    fit(dense_net(), digits, epochs=2, batch_size=batch_size, optimizer=counting)
    assert seen == [steps]


@pytest.mark.parametrize("wrong", [{"learning_rate": 0.1}, {"weight_decay": 0.1}])
def test_settings_of_adam_beside_another_optimizer_are_a_value_error(wrong, digits):
    with pytest.raises(ValueError, match="learning_rate and weight_decay must be left alone"):
        fit(dense_net(), digits, epochs=1, optimizer=one_cycle(0.1), **wrong)


def test_the_rate_of_one_cycle_starts_at_a_25th_peaks_after_three_tenths_and_ends_near_zero():
    optimizer, schedule = one_cycle(0.5)([nn.Parameter(torch.zeros(1))], 1000)
    rates = []
    for _ in range(1000):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert rates[0] == pytest.approx(0.5 / 25)
    assert max(rates) == pytest.approx(0.5)
    assert np.argmax(rates) == 299
    assert rates[-1] < 1e-5


def test_momentum_adds_up_past_gradients_also_of_blocks_that_were_skipped():
    skipped, used = (nn.Parameter(torch.zeros(1)) for _ in range(2))
    optimizer, _ = one_cycle(1.0)([skipped, used], 10)
    for grads in ((None, 1.0), (1.0, 1.0)):
        for parameter, grad in zip((skipped, used), grads, strict=True):
            parameter.grad = None if grad is None else torch.tensor([grad])
        optimizer.step()
    rate = optimizer.param_groups[0]["lr"]
    assert used.item() == pytest.approx(-rate * (1 + 1.9))
    assert skipped.item() == pytest.approx(-rate)


def test_weight_decay_is_a_quadratic_penalty_in_the_loss(digits):
    net = dense_net(keep_prob=1)
    penalized = copy.deepcopy(net)
    settings = {"epochs": 1, "batch_size": 200, "learning_rate": 0.01}

    def penalty(model, done):
        return 0.3 / 2 * sum(weights.square().sum() for weights in model.parameters())

    fit(net, digits, weight_decay=0.3, **settings)
    fit(penalized, digits, penalty=penalty, **settings)
    assert_same_weights(net, penalized)


def test_training_repeats_under_the_seed_however_often_it_is_measured(digits):
    def train(seed, every=1):
        seed_everything(seed)
        net = dense_net()
        return fit(net, digits, epochs=2, every=every), net

    (first, net), (same, same_net), (other, _) = train(1), train(1), train(2)
    assert all(torch.equal(a, b) for a, b in zip(first, same, strict=True))
    assert states_equal(net, same_net)
    assert states_equal(net, train(1, every=2)[1])
    assert not torch.equal(first.train_loss, other.train_loss)


def test_another_loss_of_the_same_form_is_trained_just_as_well():
    net, settings = nn.Linear(3, 2), {"epochs": 60, "learning_rate": 0.03}
    history = fit(net, affine_problem(), loss=absolute_loss, **settings)
    assert history.test_loss[-1] < history.test_loss[0] / 10


def test_a_penalty_is_added_to_what_is_minimised_and_to_nothing_that_is_measured(digits):
    seen = []

    def penalty(model, done):
        seen.append(done)
        return 1e3 * sum(parameter.square().sum() for parameter in model.parameters())

    net, plain = dense_net(), dense_net()
    history = fit(net, digits, epochs=4, batch_size=50, learning_rate=1e-2, penalty=penalty)
    fit(plain, digits, epochs=4, batch_size=50, learning_rate=1e-2)
    assert seen == [step / 16 for step in range(16)]
    assert net[0].weight.norm() < 0.5 * plain[0].weight.norm()
    assert history.train_loss_masks_on.max() < 5  # of the order of log 10, not of the penalty


# What fit refuses


def test_measuring_less_than_once_is_a_value_error(digits):
    with pytest.raises(ValueError, match="every must be a whole number from 1 to 2, got 3"):
        fit(dense_net(), digits, epochs=2, every=3)


def test_nothing_to_train_on_is_a_value_error(digits):
    nothing = digits._replace(x_train=digits.x_train[:0], y_train=digits.y_train[:0])
    with pytest.raises(ValueError, match=r"data\.y_train must hold examples, got shape \(0,\)"):
        fit(dense_net(), nothing, epochs=1)


def twice(split):
    return stack_splits([split, split])


def with_y(change, part="train"):
    """Split: one whose answers are changed."""
    return lambda split: split._replace(**{f"y_{part}": change(getattr(split, f"y_{part}"))})


def of_another_form(y):
    return y[:, 0] if y.is_floating_point() else nn.functional.one_hot(y)


SPOILED = {
    "fewer answers": with_y(lambda y: y[:-1]),
    "fewer inputs in the test": lambda split: split._replace(x_test=split.x_test[:-1]),
    "another dimension": with_y(lambda y: y[None]),
    "a single answer": with_y(lambda y: y.flatten()[0]),
    "another form": with_y(of_another_form),
    "another form in the test": with_y(of_another_form, "test"),
    "two networks": twice,
}


@pytest.mark.parametrize("spoil", SPOILED.values(), ids=SPOILED)
@pytest.mark.parametrize("real", [True, False])
def test_data_of_another_shape_are_a_value_error_before_training(spoil, real, digits):
    data, net = (affine_problem(), regression_net()) if real else (digits, dense_net())
    before, loss = copy.deepcopy(net), squared_loss if real else classification_loss
    shapes = r"\(n, \.\.\.\) and \(n" + (", outputs" if real else "")
    message = rf"data\.x_(train|test) and data\.y_\1 must have shapes {shapes}\), got \("
    with pytest.raises(ValueError, match=message):
        fit(net, spoil(data), epochs=1, loss=loss)
    assert states_equal(net, before)
    if spoil is not twice:
        with pytest.raises(ValueError, match=r"must have shapes \(2, n, \.\.\.\) and \(2, n"):
            fit(SideBySide([net, net]), spoil(data), epochs=1, loss=loss)


# Max-norm


@pytest.mark.parametrize("make", [dense_net, conv_net])
def test_norms_above_the_bound_shrink_to_it_and_all_else_stays(make):
    net = make()
    before = copy.deepcopy(net.state_dict())
    weights = {name: w for name, w in net.named_parameters() if w.dim() > 1}
    norms = torch.cat([w.detach().flatten(1).norm(dim=1) for w in weights.values()])
    bound = norms.median().item()
    constrain_norms(net, bound)
    for name, value in net.state_dict().items():
        old = before[name]
        if name in weights:
            norms = old.flatten(1).norm(dim=1).view(-1, *[1] * (old.dim() - 1))  # one a unit
            torch.testing.assert_close(value, old / norms * norms.clamp(max=bound))
            stays = norms.flatten() < bound
            value, old = value[stays], old[stays]
        assert torch.equal(value, old)


@pytest.mark.filterwarnings("ignore:.*weight_norm:FutureWarning")
@pytest.mark.parametrize(
    "weight_norm", [nn.utils.parametrizations.weight_norm, nn.utils.weight_norm]
)
@pytest.mark.parametrize("layer", [nn.Linear(5, 4), nn.Conv2d(2, 4, 3)], ids=str)
def test_weights_that_are_computed_from_their_norms_are_constrained_too(layer, weight_norm):
    layer, x = weight_norm(copy.deepcopy(layer)), torch.ones(2, 5)
    x = torch.ones(2, 2, 3, 3) if hasattr(layer, "kernel_size") else x
    layer(x)
    before = layer.weight.detach()
    bound = before.flatten(1).norm(dim=1).median()
    constrain_norms(layer, bound.item())
    layer(x)
    norms = before.flatten(1).norm(dim=1).view(-1, *[1] * (before.dim() - 1))
    torch.testing.assert_close(layer.weight, before * (norms.clamp(max=bound) / norms))


def pruned(layer):
    return prune.l1_unstructured(layer, "weight", amount=1)


@pytest.mark.parametrize("compute", [nn.utils.parametrizations.spectral_norm, pruned])
def test_weights_that_cannot_be_shrunk_are_an_error_where_they_are_too_long(compute):
    net = nn.Sequential(compute(nn.Linear(5, 4)))
    constrain_norms(net, 10.0)
    with pytest.raises(ValueError, match="must have weights that can be shrunk, got one"):
        constrain_norms(net, 0.1)


@pytest.mark.parametrize("make", [dense_net, conv_net])
def test_side_by_side_each_network_is_constrained_as_it_would_be_alone(make):
    nets = [make() for _ in range(3)]
    for scale, net in enumerate(nets, start=1):
        for parameter in net.parameters():
            parameter.data *= scale
    side_by_side = SideBySide(nets)
    constrain_norms(side_by_side, 0.8)
    for net, other in zip(nets, side_by_side.unstack(), strict=True):
        constrain_norms(net, 0.8)
        assert_same_weights(net, other)


def test_in_training_norms_stay_below_the_bound(digits):
    net = dense_net()
    fit(net, digits, epochs=3, max_norm=0.5)
    for layer in (net[0], net[3]):
        assert layer.weight.norm(dim=1).max() <= 0.5 + 1e-6
