"""Speed beside other libraries, in pairs within one run: every row of rows.py, as a table.

    python benchmarks/bench.py [--rounds 5] [--seconds 3] [--threads 2] [--only PATTERN] [--out DIR] [--rivals DIR]

Pythae, scvi-tools and JAX are measured in a virtual environment of their own, which is made on first use.
"""

import argparse
import json
import re
import signal
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import machine
import rivals
import torch
from pairs import FailedError, Job, Side, compare, take_turns
from report import markdown, record
from rows import Row, all_rows

HERE = Path(__file__).parent


def main() -> None:
    """Measure, print and write."""
    arguments = parse()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the workers are ended too
    pattern = re.compile(arguments.only, re.IGNORECASE)
    chosen = [row for row in all_rows(arguments.threads) if pattern.search(f"{row.name}, {row.against}")]
    versions, reason = prepare_rivals(chosen, arguments.rivals)
    table: dict[str, Any] = {
        "machine": machine.describe(arguments.threads),
        "rivals": versions,
        "rounds": arguments.rounds,
        "seconds": arguments.seconds,
        "rows": [],
    }
    for row in chosen:
        obstacle = row.obstacle or (f"no environment of the rivals: {reason}" if row.needs_rivals and reason else "")
        table["rows"].append(measure(row, arguments, obstacle))
        print(summary(table["rows"][-1]), flush=True)
        write(table, arguments.out)
    print(f"\n{markdown(table)}", end="")


def parse() -> argparse.Namespace:
    """The command's arguments."""
    parser = argparse.ArgumentParser(description="Speed beside other libraries, in pairs within one run.")
    parser.add_argument("--rounds", type=int, default=5, help="pairs of every row")
    parser.add_argument("--seconds", type=float, default=3.0, help="about how long each timing takes")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="of every side")
    parser.add_argument("--only", default="", metavar="PATTERN", help="a regular expression, to be found in the name of a row")
    parser.add_argument("--out", type=Path, help="a folder for bench.json and bench.md; without --only, benchmarks/results")
    parser.add_argument("--rivals", type=Path, default=HERE / ".rivals", help="the virtual environment of the other libraries")
    arguments = parser.parse_args()
    if arguments.out is None and not arguments.only:
        arguments.out = HERE / "results"
    return arguments


def prepare_rivals(chosen: list[Row], folder: Path) -> tuple[dict[str, str], str]:
    """The versions of the other libraries, and why there are none, if so."""
    if not any(row.needs_rivals and not row.obstacle for row in chosen):
        return {}, ""
    try:
        return rivals.prepare(folder), ""
    except rivals.UnavailableError as error:
        return {}, str(error)


def measure(row: Row, arguments: argparse.Namespace, obstacle: str) -> dict[str, Any]:
    """Measure a row; one that fails says why, and is not in the way of the others."""
    if obstacle:
        return record(row, None, note=obstacle)
    jobs = [job for job in (row.ours, row.theirs) if job is not None]
    with ExitStack() as stack:
        sides: list[Side] = []
        try:
            for job in jobs:
                sides.append(start(job, arguments.rivals, row.threads or arguments.threads, stack))
            result = compare(row.measure, take_turns(sides, arguments.rounds, arguments.seconds))
        except FailedError as error:
            return record(row, None, note=str(error))
    lacks_units = row.precision == "bf16" and not machine.has(machine.cpuinfo(), "bf16 units")
    return record(row, result, note="this processor has no bf16 units" if lacks_units else "")


def start(job: Job, rival_folder: Path, threads: int, stack: ExitStack) -> Side:
    """The side of a job, in a working directory that ends with it."""
    python = str(rivals.interpreter(rival_folder)) if job.is_rival else sys.executable
    folder = stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True))
    side = Side(job, python, threads, Path(folder))
    stack.callback(side.close)
    return side


def summary(row: dict[str, Any]) -> str:
    """One line about a row, as soon as it is there."""
    found = f"{row['value']:.2f}" if "value" in row else f"not measured: {row['note']}"
    return f"{row['name']}, against {row['against'] or 'the clock'}: {found}"


def write(table: dict[str, Any], folder: Path | None) -> None:
    """Write what there is of the table, so that a run that is stopped keeps its rows."""
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "bench.json").write_text(json.dumps(table, indent=2) + "\n")
        (folder / "bench.md").write_text(markdown(table))


if __name__ == "__main__":
    main()
