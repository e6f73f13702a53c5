"""Run notebooks and store their text outputs, as they are committed.

    python tools/notebooks.py book/idea/dropout-layer.ipynb ...

Figures are redrawn whenever the book is built: their image data is not stored, only the line of
text that stands for them. Whatever differs between two runs is left out.
"""

import argparse
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import kernels
import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

MOVING = 'class="moving-figure"'  # its frames are image data too
KERNEL = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


def run(path):
    """Execute a notebook in its own folder and write it back with its text outputs."""
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(
        notebook,
        timeout=1200,  # seconds a cell: a busy machine never needs as many
        kernel_name="python3",
        resources={"metadata": {"path": str(path.parent)}},
        record_timing=False,
    )
    client.execute()
    clean(notebook)
    nbformat.validate(notebook)
    nbformat.write(notebook, path)


def clean(notebook):
    """Remove image data and run-dependent metadata, and join what was printed, in place."""
    notebook.metadata = nbformat.from_dict(KERNEL)
    for cell in notebook.cells:
        if cell.cell_type != "code":
            continue
        cell.outputs = joined(cell.outputs)
        for output in cell.outputs:
            for mime in [mime for mime in output.get("data", {}) if mime.startswith("image/")]:
                del output.data[mime]
            if MOVING in output.get("data", {}).get("text/html", ""):
                del output.data["text/html"]
            if "metadata" in output:
                output.metadata = {}


def joined(outputs):
    """Join neighbouring pieces of one stream: a busy machine sends what is printed in several."""
    whole = []
    for output in outputs:
        last = whole[-1] if whole else {}
        if output.output_type == "stream" and last.get("name") == output.name:
            last.text += output.text
        else:
            whole.append(output)
    return whole


def main():
    """Run the notebooks named on the command line, two at once; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("notebooks", nargs="+", type=Path)
    paths = parser.parse_args().notebooks
    kernels.set_up()
    kernels.start_warm()
    failed = False
    with ThreadPoolExecutor(2) as pool:
        jobs = [(path, pool.submit(run, path)) for path in paths]
        for path, job in jobs:
            try:
                job.result()
                print(f"stored the outputs of {path}")
            except CellExecutionError as error:
                failed = True
                print(f"{path} failed, and was left as it was:\n{error}", file=sys.stderr)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
