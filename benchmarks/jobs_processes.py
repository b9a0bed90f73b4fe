"""Training of an MLP VAE by one process or by several, for the table of speeds.

Several processes are started once, when the job is made, and wait: what is timed is training alone, the setting up of data
parallelism included, which a call does once. One process has all cores as threads, and several have their share each.

As a program this is one of the processes: `python benchmarks/jobs_processes.py BATCH` reads amounts of steps, and answers each.
"""

import os
import socket
import subprocess
import sys
from collections.abc import Callable

import torch

from amortized import VAE, likelihoods, networks, posteriors, priors
from amortized.data import Batches, Split
from amortized.objectives import Objective, elbo
from amortized.training import Settings, launch, train
from amortized.training.progress import Silent

EVENT, HIDDEN, LATENT = 784, 400, 40
ROWS = 20_000
DONE = "done"


def train_mlp(batch: int, processes: int) -> Callable[[int], int]:
    """A function that trains for an amount of steps and returns the number of examples seen.

    Args:
        batch: Data per step, over all processes together.
        processes: How many; 1 trains in this very process.
    """
    if processes == 1:
        return _trainer(batch, processes)
    workers = _start(batch, processes)

    def run(steps: int) -> int:
        for worker in workers:
            assert worker.stdin is not None
            worker.stdin.write(f"{steps}\n")
            worker.stdin.flush()
        for worker in workers:
            assert worker.stdout is not None
            if worker.stdout.readline().strip() != DONE:
                raise RuntimeError(f"process {worker.args} ended with status {worker.wait()}; its message is above.")
        return steps * batch

    return run


def _start(batch: int, processes: int) -> list["subprocess.Popen[str]"]:
    """The processes, as a scheduler would start them; they end when this one does, which closes their input."""
    with socket.socket() as found:
        found.bind(("localhost", 0))
        port = found.getsockname()[1]
    # A number of threads that is set would be each process's own; without, each takes its share of the cores.
    given = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    common = given | {"MASTER_ADDR": "localhost", "MASTER_PORT": str(port), "WORLD_SIZE": str(processes), "NODE_RANK": "0"}
    command = [sys.executable, __file__, str(batch)]
    return [
        subprocess.Popen(
            command, env=common | {"LOCAL_RANK": str(rank)}, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for rank in range(processes)
    ]


def _trainer(batch: int, processes: int) -> Callable[[int], int]:
    x = (torch.rand(ROWS, EVENT, generator=torch.Generator().manual_seed(0)) < 0.13).float()
    batches = Batches(Split(x, torch.arange(len(x))), batch_size=batch)
    torch.manual_seed(0)
    model = VAE(
        prior=priors.StandardNormal(LATENT),
        posterior=posteriors.DiagonalGaussian(networks.MLP(EVENT, [HIDDEN, HIDDEN]), event=LATENT),
        likelihood=likelihoods.Bernoulli(networks.MLP(LATENT, [HIDDEN, HIDDEN]), event=EVENT),
    )
    settings = Settings(batch_size=batch, validate_every=1_000_000, accelerator="cpu", devices=processes)
    fabric = launch(settings)

    def run(steps: int) -> int:
        limited = Settings(**{**vars(settings), "steps": steps})
        train(model, Objective(elbo), batches, None, limited, reporter=Silent(), fabric=fabric)
        return steps * batch

    return run


def main() -> None:
    """Be one of the processes."""
    run = _trainer(int(sys.argv[1]), int(os.environ["WORLD_SIZE"]))
    for line in sys.stdin:
        run(int(line))
        print(DONE, flush=True)


if __name__ == "__main__":
    main()
