"""Training on data that stay on the disk, beside the same training on data in memory.

An MLP VAE 784-400-400-40 with a Bernoulli likelihood and Adam, at batches of 128 rows of bytes, fitted through `Batches` by the
loop of `amortized fit`. Each job returns a function that takes so many steps and returns the number of examples.

    python benchmarks/jobs_streaming.py [--rounds 7] [--steps 300] [--threads 2] [--data big.npy]
"""

import argparse
import atexit
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from amortized import VAE, likelihoods, networks, posteriors, priors
from amortized.data import Rows, load, to_batches
from amortized.objectives import Objective, elbo
from amortized.training import Settings, train
from amortized.training.progress import Silent

EVENT, HIDDEN, LATENT, BATCH = 784, 400, 40, 128
ROWS = 5_120_000
HELD = 40_000
"""Rows of the same data in memory."""

WINDOW_MIB = 32
"""What is chosen where one GB of memory may be used."""

LIMIT = 10**9
"""Bytes of memory that the process may use, the system's copies of the file's pages included."""


def train_streaming(threads: int, path: Path | None = None) -> Callable[[int], int]:
    """Train on rows of a file, by default of 4.0 GB, in memory of 1 GB."""
    path = path or _written()
    _limit_memory()
    return _job(load(path, stream="on", window_mib=WINDOW_MIB, splits=(1, 0, 0), judged=False).train, threads)


def train_in_memory(threads: int) -> Callable[[int], int]:
    """Train on rows in memory, as they always were."""
    return _job(load(_rows(HELD), splits=(1, 0, 0)).train, threads)


def _rows(count: int) -> np.ndarray:
    return (np.random.default_rng(0).integers(0, 256, (count, EVENT), dtype=np.uint8) < 33).astype(np.uint8)


def _written() -> Path:
    """A file that is removed when the process ends."""
    folder = Path(_FOLDER.name)
    part, path = _rows(HELD), folder / "rows.npy"
    file = np.lib.format.open_memmap(path, "w+", np.uint8, (ROWS, EVENT))
    for start in range(0, ROWS, len(part)):
        file[start : start + len(part)] = part
    file.flush()
    return path


_FOLDER = tempfile.TemporaryDirectory()


def _limit_memory() -> None:
    """Put this process into a control group of its own, which it leaves, and removes, at its end."""
    roots = [root for root in map(Path, ("/sys/fs/cgroup/memory", "/sys/fs/cgroup")) if (root / "cgroup.procs").exists()]
    if not roots:
        raise RuntimeError("a limit of memory needs control groups, which this system does not show")
    root = roots[0]
    group = root / f"amortized-{os.getpid()}"
    try:
        group.mkdir()
        names = ("memory.limit_in_bytes", "memory.max")
        next(path for path in map(group.joinpath, names) if path.exists()).write_text(str(LIMIT))
        (group / "cgroup.procs").write_text(str(os.getpid()))
    except (OSError, StopIteration) as error:
        raise RuntimeError(f"a limit of memory needs a control group, and '{group}' cannot be made ({error})") from error

    def leave() -> None:
        (root / "cgroup.procs").write_text(str(os.getpid()))
        group.rmdir()

    atexit.register(leave)


def _job(rows: Rows, threads: int) -> Callable[[int], int]:
    torch.manual_seed(0)
    model = VAE(
        prior=priors.StandardNormal(LATENT),
        posterior=posteriors.DiagonalGaussian(networks.MLP(EVENT, [HIDDEN, HIDDEN]), event=LATENT),
        likelihood=likelihoods.Bernoulli(networks.MLP(LATENT, [HIDDEN, HIDDEN]), event=EVENT),
    )
    batches = to_batches(rows, batch_size=BATCH, training=True)

    def run(steps: int) -> int:
        torch.set_num_threads(threads)
        settings = Settings(steps=steps, batch_size=BATCH, validate_every=1_000_000, accelerator="cpu")
        train(model, Objective(elbo), batches, None, settings, reporter=Silent())
        return steps * BATCH

    return run


def main() -> None:
    parser = argparse.ArgumentParser(description="Training on data that stay on the disk, beside training on data in memory.")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--data", type=Path, help="an .npy of bytes with 784 columns, in the place of one that is made")
    arguments = parser.parse_args()
    jobs = train_streaming(arguments.threads, arguments.data), train_in_memory(arguments.threads)
    rates: tuple[list[float], list[float]] = ([], [])
    for _ in range(arguments.rounds + 1):
        for job, found in zip(jobs, rates, strict=True):
            start = time.perf_counter()
            examples = job(arguments.steps)
            found.append(examples / (time.perf_counter() - start))
    ratios = [streamed / held for streamed, held in zip(*rates, strict=True)][1:]  # the first round warms up
    streamed, held = (statistics.median(found[1:]) for found in rates)
    print(f"streamed {streamed:,.0f} examples/s, in memory {held:,.0f}; ratio {statistics.median(ratios):.3f}", end=" ")
    print(f"({min(ratios):.3f} to {max(ratios):.3f}) over {arguments.rounds} pairs of {arguments.steps} steps")


if __name__ == "__main__":
    main()
