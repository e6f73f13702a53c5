"""The API page has every public name of `lib`, and each of them is used in the book."""

import ast
import importlib
import inspect
import re

import pytest
from public_names import public
from repository import NOTEBOOKS, ROOT, code_cells, text_of

PAGE = text_of("book/api.md")
MEMBERS = re.compile(r"automodule:: ([\w.]+)\n   :members:(\n   :imported-members:)?")
DOCUMENTED = {module: bool(imported) for module, imported in MEMBERS.findall(PAGE)}
FUNCTIONS = set(re.findall(r"autofunction:: ([\w.]+)", PAGE))


@pytest.mark.parametrize(("module", "name"), sorted(public()))
def test_is_on_the_page_and_documented(module, name):
    assert module in DOCUMENTED, f"add automodule:: {module} to book/api.md"
    value = getattr(importlib.import_module(module), name)
    if value.__module__ != module:
        assert DOCUMENTED[module], f"{module} exports {name}: it needs :imported-members:"
    assert inspect.getdoc(value), f"{module}.{name} has no docstring"


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
def test_single_functions_exist(name):
    module, _, function = name.rpartition(".")
    assert inspect.getdoc(getattr(importlib.import_module(module), function))


def words():
    """Every name in the code of the notebooks, and of the experiments whose tables they show."""
    for path in NOTEBOOKS:
        for cell in code_cells(path):
            yield from re.findall(r"\w+", cell.source)
    for path in (ROOT / "lib" / "experiments").glob("*.py"):
        for node in ast.walk(ast.parse(text_of(path))):
            if isinstance(node, ast.Name):
                yield node.id
            elif isinstance(node, ast.Attribute):
                yield node.attr


THROUGH = {  # what readers get or use by way of a function that the book calls
    "CausalAttention": "transformer",
    "Comparison": "paired_difference",
    "Decomposition": "bias_variance",
    "Embedding": "transformer",
    "Evaluation": "evaluate",
    "History": "fit",
    "Role": "ROLES",
    "SpokenDigits": "load_spoken_digits",
    "StochasticLayer": "Dropout",
    "Text": "load_reuters_text",
    "UciSettings": "uci_settings",
    "constrain_norms": "fit",
    "reuters_topics": "load_reuters",
    "use_style": "plotting",
}


def test_every_public_name_is_used():
    used = set(words())
    unused = {name for _, name in public() if name not in used and THROUGH.get(name) not in used}
    assert unused == set()
