"""What is public in `lib`."""

import importlib
import inspect

from repository import ROOT

# Helpers of the library itself, scripts, and checks, which are tables: nobody else calls them.
INTERNAL = ("lib.validation", "lib.progress", "lib.checks.", "lib.experiments.__main__")


def modules():
    """Every module of the library by its name."""
    for path in (ROOT / "lib").rglob("*.py"):
        parts = path.relative_to(ROOT).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        yield name, importlib.import_module(name)


def public():
    """Every public function and class: module, name.

    A package says what is public in its `__all__`. In a module that stands for itself, everything
    is, but for the checks of arguments that modules share.
    """
    loaded = dict(modules())
    for name, module in loaded.items():
        parent = name.rpartition(".")[0]
        exported_by_parent = hasattr(loaded.get(parent), "__all__")
        if hasattr(module, "__all__"):
            exported = module.__all__
        elif name.startswith(INTERNAL) or exported_by_parent:
            exported = []
        else:
            exported = [each for each in vars(module) if not each.startswith(("_", "check_"))]
        for each in exported:
            value = getattr(module, each)
            is_own = hasattr(module, "__all__") or getattr(value, "__module__", None) == name
            if is_own and (inspect.isroutine(value) or inspect.isclass(value)):
                yield name, each
