"""What is public in `lib`."""

import importlib
import inspect

from repository import ROOT

# Helpers of the library itself, and scripts: nobody else calls them.
INTERNAL = {"lib.validation", "lib.progress", "lib.checks.common", "lib.experiments.__main__"}


def modules():
    """Names of all modules of the library."""
    for path in (ROOT / "lib").rglob("*.py"):
        parts = path.relative_to(ROOT).with_suffix("").parts
        yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def defined(module):
    """Public functions and classes that a module defines itself."""
    for name, value in vars(importlib.import_module(module)).items():
        of_module = getattr(value, "__module__", None) == module
        if of_module and not name.startswith("_") and callable(value):
            yield name


def public():
    """Every public function and class: module, name.

    A package says what is public in its `__all__`. In a module that stands for itself, everything
    is, but for the checks of arguments that modules share.
    """
    packages = {name: importlib.import_module(name) for name in modules()}
    packages = {name: package for name, package in packages.items() if hasattr(package, "__all__")}
    for name, package in packages.items():
        for exported in package.__all__:
            if inspect.isroutine(value := getattr(package, exported)) or inspect.isclass(value):
                yield name, exported
    for name in modules():
        parent = name.rpartition(".")[0]
        exported_by_parent = parent in packages and parent != "lib.checks"
        if name in packages or name in INTERNAL or exported_by_parent:
            continue
        for each in defined(name):
            if not each.startswith("check_"):
                yield name, each
