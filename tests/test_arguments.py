"""Every public function refuses a bad argument, by its name, its value and its range."""

import importlib
import inspect
import re

import pytest
from public_names import public

OF_TORCH = {"device", "dtype"}  # torch says what they may be
# Arguments that say nothing of themselves.
UNDECLARED = {
    "lib.plotting.moving.MovingFigure": {
        "values": "whatever `draw` draws",
        "start": "its range is the number of values",
    },
    "lib.plotting.network.draw_network": {
        "kept": "a mask for some of the layers: its lengths are their sizes",
        "names": "a string, or a list of strings",
    },
}
# Public functions that the API page lists one by one.
SINGLE = {
    *(("lib.layers.moments", name) for name in ("relu_moments", "sigmoid_moments")),
    ("lib.layers.expected_loss", "expected_cross_entropy"),
}
TARGETS = {
    f"{module}.{name}": getattr(importlib.import_module(module), name)
    for module, name in sorted({*public(), *SINGLE})
    if not module.startswith("lib.checks.")
}
CASES = [
    pytest.param(target, argument, kind, id=f"{name}-{argument}")
    for name, target in TARGETS.items()
    for argument, kind in getattr(target, "declared", {}).items()
]


def parameters(target):
    signature = inspect.signature(target)
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return [name for name, each in signature.parameters.items() if each.kind in named]


@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)
def test_every_argument_is_declared(target):
    """Or it stands in the table above, with the reason."""
    if isinstance(target, type) and "__init__" not in vars(target):
        pytest.skip("takes what its base class takes")
    name = f"{target.__module__}.{target.__qualname__}"
    missing = set(parameters(target)) - set(getattr(target, "declared", ())) - OF_TORCH
    assert missing == set(UNDECLARED.get(name, ()))


@pytest.mark.parametrize(("target", "argument", "kind"), CASES)
def test_bad_values_are_refused_by_name_value_and_range(target, argument, kind):
    others = {name: each.good for name, each in target.declared.items() if name != argument}
    others |= {name: object() for name in parameters(target) if name not in target.declared}
    message = re.escape(f"{argument} must be {kind.allowed}, got ")
    for value in kind.bad:
        with pytest.raises((TypeError, ValueError), match=message):
            target(**others, **{argument: value})
