"""The command line: ``python -m lib.experiments list | run | status | table``."""

import argparse
import sys
from pathlib import Path

from lib.experiments import RESULTS, read_results, summary
from lib.experiments.registry import EXPERIMENTS
from lib.experiments.runner import run
from lib.experiments.table import ResultsTable


def main(arguments=None):
    """Run the command line: 0 if all went well, 1 if a trial failed or nothing could be done."""
    options = _parser().parse_args(arguments)
    try:
        return options.command(options)
    except (ImportError, OSError, RuntimeError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
    except KeyboardInterrupt:
        print("stopped; the finished trials are stored", file=sys.stderr)
    return 1


def _parser():
    parser = argparse.ArgumentParser(
        prog="python -m lib.experiments", description="The papers' experiments on real data."
    )
    parser.add_argument(
        "--results", type=Path, default=RESULTS, metavar="FOLDER", help="where the tables are"
    )
    commands = parser.add_subparsers(required=True)
    for name, command, about in (
        ("list", _list, "all experiments, and how many trials are done"),
        ("run", _run, "run the trials that are missing"),
        ("status", _status, "what is done, and how long the rest will take"),
        ("table", _table, "means with their 95 %% intervals, as Markdown"),
    ):
        each = commands.add_parser(name, help=about)
        each.set_defaults(command=command)
        if command is not _list:
            names = ", ".join(EXPERIMENTS)
            each.add_argument("name", choices=EXPERIMENTS, metavar="NAME", help=names)
        if command in (_run, _status):
            each.add_argument("--seeds", type=_count, metavar="N", help="seeds a configuration")
            each.add_argument(
                "--jobs", type=_count, default=2, metavar="N", help="trials at a time"
            )
        if command is _run:
            each.add_argument("--dask", metavar="ADDRESS", help="a scheduler, tcp://host:port")
    return parser


def _count(text):
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {number}")
    return number


def _list(options):
    damaged = 0
    for name, experiment in EXPERIMENTS.items():
        try:
            table = ResultsTable(experiment, options.results)
            n_trials = len(experiment.trials(None, table.rows()))
            done = f"{n_trials - len(table.missing()):3} of {n_trials:3}"
        except (OSError, ValueError) as error:
            damaged, done = 1, f"error: {error}"
        print(f"{name:26} {done}  {experiment.title}")
    return damaged


def _run(options):
    failed = run(
        EXPERIMENTS[options.name],
        folder=options.results,
        n_seeds=options.seeds,
        n_jobs=options.jobs,
        dask=options.dask,
    )
    _table(options)
    _print_strangers(ResultsTable(EXPERIMENTS[options.name], options.results))
    for trial, error in failed.items():
        print(f"failed: {trial}: {error}", file=sys.stderr)
    return 1 if failed else 0


def _status(options):
    table = ResultsTable(EXPERIMENTS[options.name], options.results)
    rows, missing = table.rows(), table.missing(options.seeds)
    n_trials = len(table.experiment.trials(options.seeds, rows))
    print(f"{n_trials - len(missing)} of {n_trials} trials are done")
    _print_strangers(table)
    if missing and rows:
        left = len(missing) * sum(row["seconds"] for row in rows) / len(rows) / options.jobs / 60
        print(f"the rest takes about {left:.0f} minutes with {options.jobs} at a time")
    return 0


def _table(options):
    try:
        print(summary(read_results(options.name, options.results)))
    except FileNotFoundError:
        print(f"{options.name} has no results yet")
    return 0


def _print_strangers(table):
    """Say how many rows the present code would not have made."""
    rows, code = table.rows(), table.experiment.code
    present = {trial.key[:-1] for trial in table.experiment.trials(1, rows)}
    for what, found in (
        ("do not say which code made them", [row["code"] == "unknown" for row in rows]),
        ("were made by other code", [row["code"] not in ("unknown", code) for row in rows]),
        ("are of other configurations", [table.key(row)[:-1] not in present for row in rows]),
    ):
        if any(found):
            print(f"{sum(found)} rows {what}")


if __name__ == "__main__":
    sys.stdout.reconfigure(errors="replace")  # an interval's dash, where the terminal has none
    sys.exit(main())
