"""The cells of an exercise notebook, told apart by what grading says of them."""

import nbformat


def read(path):
    return nbformat.read(path, as_version=4)


def grading(cell):
    return cell.metadata.get("nbgrader", {"grade": False, "solution": False, "locked": False})


def is_function(cell):
    """Where a student writes a function."""
    return cell.cell_type == "code" and grading(cell)["solution"] and not grading(cell)["grade"]
