"""One side of a pair: builds a job in an interpreter of its own, and times it whenever it is told to.

    python worker.py MODULE JOB THREADS '{"option": value}'

A job is a function of `MODULE` that returns another, which takes an amount of work and returns the units that it did (examples,
say), or the units and the seconds that count where these are not all that went by. On every line of standard input, an amount,
the work is done and a line of JSON is written: the units, and the seconds that they took. The first line says that the job is
ready, an amount of 1 having been done to warm up, and a line with an `error` is the last one.
"""

import importlib
import json
import os
import sys
import time
import traceback
from collections.abc import Callable
from typing import Any

Run = Callable[[int], "float | tuple[float, float]"]


def main() -> int:
    """Serve one job until standard input ends."""
    module, job, threads, options = sys.argv[1:]
    orders, answers = os.fdopen(os.dup(0)), os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print goes to the error stream, apart from the answers
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)  # and what a job starts cannot read the orders

    def answer(**fields: Any) -> None:
        print(json.dumps(fields), file=answers, flush=True)

    try:
        limit(int(threads))
        run: Run = getattr(importlib.import_module(module), job)(**json.loads(options))
        run(1)
        answer(ready=True)
        for line in orders:
            units, seconds = timed(run, int(line))
            answer(units=units, seconds=seconds)
    except Exception as error:
        traceback.print_exc()
        answer(error=f"{type(error).__name__}: {error}")
        return 1
    return 0


def limit(threads: int) -> None:
    """Keep this process to so many processors: called before numerical libraries are loaded, whose pools take what they find."""
    os.environ["OMP_NUM_THREADS"] = str(threads)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])


def timed(run: Run, amount: int) -> tuple[float, float]:
    """The units that were done, and the seconds that they took."""
    start = time.perf_counter()
    done = run(amount)
    return done if isinstance(done, tuple) else (done, time.perf_counter() - start)


if __name__ == "__main__":
    sys.exit(main())
