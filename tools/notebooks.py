"""Run notebooks and store their text outputs, as they are committed.

    python tools/notebooks.py book/idea/dropout-layer.ipynb ...

Figures are redrawn whenever the book is built: their image data is not stored, only the line of
text that stands for them. Whatever differs between two runs is left out.
"""

import argparse
import os
from pathlib import Path

import nbformat
from nbclient import NotebookClient

QUIET = {"TQDM_DISABLE": "1", "OMP_NUM_THREADS": "1"}
KERNEL = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


def run(path):
    """Execute a notebook in its own folder and write it back with its text outputs."""
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(
        notebook,
        timeout=300,
        kernel_name="python3",
        resources={"metadata": {"path": str(path.parent)}},
        record_timing=False,
    )
    client.execute()
    clean(notebook)
    nbformat.validate(notebook)
    nbformat.write(notebook, path)


def clean(notebook):
    """Remove image data and run-dependent metadata, in place."""
    notebook.metadata = nbformat.from_dict(KERNEL)
    for cell in notebook.cells:
        if cell.cell_type != "code":
            continue
        for output in cell.outputs:
            for mime in [mime for mime in output.get("data", {}) if mime.startswith("image/")]:
                del output.data[mime]
            output.pop("execution_count", None)
            if output.output_type == "execute_result":
                output.execution_count = None
            if "metadata" in output:
                output.metadata = {}
        cell.execution_count = None


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("notebooks", nargs="+", type=Path)
    os.environ.update(QUIET)
    for path in parser.parse_args().notebooks:
        run(path)
        print(f"stored the outputs of {path}")
