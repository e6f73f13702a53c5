"""What a module of `lib` needs: files of the library, and packages that are installed."""

import ast
import importlib.metadata
import sys
from functools import cache

from repository import ROOT

LIBRARY = ROOT / "lib"


def files_for(path):
    """The files of the library that a file imports, and those that they import, with itself."""
    return _follow(path)[0]


def packages_for(path):
    """The installed packages that a file needs to be imported, as pip names them."""
    modules = _follow(path)[1] - set(sys.stdlib_module_names)
    return {_names()[module][0].lower() for module in modules}


_names = cache(importlib.metadata.packages_distributions)


def _follow(path):
    """Files of the library, and other modules, that are reached by imports at the top of files."""
    files, others, waiting = set(), set(), [path]
    while waiting:
        path = waiting.pop()
        if path in files:
            continue
        files.add(path)
        found, missing = _imported(path)
        waiting += found
        others |= missing
    return files, others


@cache
def _imported(path):
    """Files of the library, and other modules, that a file imports itself."""
    files, others = [], set()
    for folder, parts in _imports(path):
        found = _files(folder, parts)
        files += found
        if not found:
            others.add(parts[0])
    return files, others


def _imports(path):
    """Each import: the folder from which it is found, and the parts of its name."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield ROOT, alias.name.split(".")
        elif isinstance(node, ast.ImportFrom):
            folder = path.parents[node.level - 1] if node.level else ROOT
            module = node.module.split(".") if node.module else []
            for alias in node.names:
                yield folder, [*module, alias.name]


def _files(folder, parts):
    """The files that are run for a name: of packages on the way, and of the module."""
    if not folder.is_relative_to(LIBRARY) and parts[0] != "lib":
        return []
    steps = [folder.joinpath(*parts[:n]) for n in range(1, len(parts) + 1)]
    places = [file for step in steps for file in (step.with_suffix(".py"), step / "__init__.py")]
    return [place for place in places if place.is_file()]
