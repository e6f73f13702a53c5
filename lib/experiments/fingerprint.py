"""Which code made a row: a hash of all that its trial reaches in this library."""

import ast
import hashlib
import sys
from collections import defaultdict
from functools import cache
from pathlib import Path

LIBRARY = Path(__file__).parents[1]
# They refuse arguments, show bars, find files and verify them: no result depends on them.
BESIDE = ("validation.py", "progress.py", "files.py")


def fingerprint(*functions):
    """Hash functions with everything in the library that they name, and that this names in turn.

    Functions, classes, constants and imports count as they are written, but for comments,
    docstrings, and declarations of arguments. So a new default of a layer changes the fingerprint
    of the trials with that layer, and of no other.

    It has twelve digits, or is "unknown" if the source of a function is in no file.
    """
    places = []
    for function in functions:
        file = getattr(sys.modules[function.__module__], "__file__", None)
        name = getattr(function, "__qualname__", "").partition(".")[0]
        if not file or not name or name not in _statements(Path(file).read_bytes()):
            return "unknown"
        places.append((Path(file), name))
    return _digest(*places)


@cache
def _digest(*places, library=LIBRARY):
    """Hash the sources of names of modules, and of all that they reach in the library."""
    sources = {}
    for file, name in places:
        _reach(file, name, library, sources)
    text = "\n".join(sorted(set(sources.values())))
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _reach(file, name, library, sources):
    """Add the source of what a name of a module is bound to, and of all that this names."""
    if (file, name) in sources:
        return
    statements = _statements(file.read_bytes())
    bound = statements.get(name, []) + statements.get("", [])
    sources[file, name] = "\n".join(map(ast.unparse, bound))
    for node in (node for statement in bound for node in ast.walk(statement)):
        if isinstance(node, ast.Name) and node.id in statements:
            _reach(file, node.id, library, sources)
        elif isinstance(node, ast.ImportFrom):
            start = file.parents[node.level - 1] if node.level else library.parent
            for alias in node.names:
                _reach_import(start, f"{node.module or ''}.{alias.name}", library, sources)
        elif isinstance(node, ast.Import):
            for alias in node.names:
                _reach_import(library.parent, alias.name, library, sources)


def _reach_import(start, path, library, sources):
    """Add a name of a module, or a module's every name; nothing of other libraries."""
    parts = path.strip(".").split(".")
    for whole, module in ((False, start.joinpath(*parts[:-1])), (True, start.joinpath(*parts))):
        for file in (module.with_suffix(".py"), module / "__init__.py"):
            if not file.is_relative_to(library) or not file.is_file() or file.name in BESIDE:
                continue
            names = _statements(file.read_bytes())
            for name in names if whole else {parts[-1]} & names.keys():
                _reach(file, name, library, sources)


@cache
def _statements(source):
    """The statements of a module that bind each of its names; under "" those that bind none."""
    documented = (ast.Module, ast.FunctionDef, ast.ClassDef)
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, documented) and ast.get_docstring(node):
            node.body[0] = ast.Pass()
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found = node.decorator_list
            found[:] = [each for each in found if not ast.unparse(each).startswith("declared(")]
    statements = defaultdict(list)
    for statement in tree.body:
        if isinstance(statement, ast.Import | ast.ImportFrom):
            for alias in statement.names:
                name = alias.asname or alias.name.partition(".")[0]
                single = type(statement)(**vars(statement) | {"names": [alias]})
                statements[name].append(single)
            continue
        targets = getattr(statement, "targets", [getattr(statement, "target", statement)])
        names = {getattr(statement, "name", "")} - {""} or {
            node.id
            for target in targets
            for node in ast.walk(target)
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
        }
        for name in names or {""}:
            statements[name].append(statement)
    return statements
