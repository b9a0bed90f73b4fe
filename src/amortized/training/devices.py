"""Devices, precision and processes, by Lightning Fabric."""

import atexit
import logging
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from amortized.errors import InputError
from amortized.processes import working_together
from amortized.training.settings import Settings

if TYPE_CHECKING:
    from lightning_fabric import Fabric
    from lightning_fabric.loggers.logger import Logger
    from lightning_fabric.strategies import Strategy

PRECISIONS = {"32": "32-true", "64": "64-true", "bf16": "bf16-mixed"}


def launch(settings: Settings) -> "Fabric":
    """A Fabric with its processes started.

    Raises:
        InputError: This machine does not have what the settings ask for, or the processes cannot be started from here.
    """
    fabric = prepare(settings)
    start(fabric)
    return fabric


def start(fabric: "Fabric") -> None:
    """Start the processes of a Fabric."""
    with _no_chatter(), _unchanged_threads():
        fabric.launch()
    if fabric.world_size > 1:
        atexit.register(_leave)


@contextmanager
def training_together() -> Iterator[None]:
    """As `working_together`, and say in plain words that torch's processes cannot share a gradient that is not there."""
    try:
        with working_together():
            yield
    except RuntimeError as error:
        if "find_unused_parameters" not in str(error):
            raise
        raise InputError(
            "a parameter of the model gets no gradient from this objective, which strategy 'ddp' does not allow;"
            " set training.strategy to 'ddp_find_unused_parameters_true' or 'fsdp'."
        ) from error


def _leave() -> None:
    """Leave the other processes in order: a process group that is torn down at exit may abort the interpreter."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def prepare(settings: Settings, loggers: "Sequence[Logger]" = ()) -> "Fabric":
    """A Fabric that knows its device and its rank, its other processes not yet started: they run the whole program again.

    Args:
        settings: Where and in which precision it computes.
        loggers: What it is to log to.

    Raises:
        InputError: This machine does not have what the settings ask for, or the processes cannot be started from here.
    """
    from lightning_fabric import Fabric
    from lightning_fabric.utilities.exceptions import MisconfigurationException

    devices, machines = _processes(settings)
    try:
        with _no_chatter():
            fabric = Fabric(
                accelerator=settings.accelerator,
                devices=devices,
                num_nodes=machines,
                strategy=_strategy(settings, devices, machines),
                precision=PRECISIONS[settings.precision],  # pyright: ignore[reportArgumentType]
                loggers=list(loggers),
            )
    except (MisconfigurationException, ValueError, RuntimeError) as error:
        wanted = f"{devices} devices of kind '{settings.accelerator}' with strategy '{settings.strategy}'"
        reason = " ".join(str(error).split()).rstrip(".")
        raise InputError(f"cannot use {wanted} ({reason}); try training.accelerator=cpu with strategy 'auto'.") from error
    _check_processes(fabric)
    return fabric


def pick_device(accelerator: str = "auto") -> torch.device:
    """The device of a kind for one process, as `prepare` takes it, without the second that the import of Fabric takes.

    Args:
        accelerator: "cpu", "cuda" or "mps"; "auto" takes the best that there is.

    Raises:
        InputError: This machine has none of that kind.
    """
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    kind = next(kind for kind, is_there in there.items() if is_there) if accelerator == "auto" else accelerator
    if not there.get(kind, False):
        raise InputError(f"this machine has no device of kind '{kind}'; leave the accelerator out, or take 'cpu'.")
    return torch.device(kind) if kind == "cpu" else torch.device(kind, 0)


def _processes(settings: Settings) -> tuple[int, int]:
    """How many processes each machine has, and how many machines: as torchrun started them, else as the settings say."""
    started = int(os.environ.get("WORLD_SIZE", "1")) if "TORCHELASTIC_RUN_ID" in os.environ else 1
    if started == 1 or settings.devices not in (1, started):
        return settings.devices, 1
    here = int(os.environ.get("LOCAL_WORLD_SIZE", started))
    return here, started // here


def _strategy(settings: Settings, devices: int, machines: int) -> "str | Strategy":
    """How the processes work together; "auto" goes through shared memory where they are on the processors of one machine."""
    on_processors = settings.accelerator == "cpu" or not (torch.cuda.is_available() or torch.backends.mps.is_available())
    if settings.strategy == "auto" and on_processors and machines == 1 and devices > 1:
        from amortized.training.shared_memory import SharedMemoryStrategy, is_offered

        return SharedMemoryStrategy() if is_offered() else "ddp"
    if settings.strategy == "fsdp":
        from amortized.training.sharding import ShardedStrategy

        return ShardedStrategy()
    return settings.strategy


@contextmanager
def _unchanged_threads() -> Iterator[None]:
    """Fabric sets the number of threads for good as it starts processes; `working_together` sets it where there is work."""
    threads, variable = torch.get_num_threads(), os.environ.get("OMP_NUM_THREADS")
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        if variable is None:
            os.environ.pop("OMP_NUM_THREADS", None)


@contextmanager
def _no_chatter() -> Iterator[None]:
    """Fabric announces precision and processes on stderr; the loop says in its own words what a user should know."""
    logger = logging.getLogger("lightning_fabric")
    before = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(before)


def _check_processes(fabric: "Fabric") -> None:
    """Refuse to start processes from where that cannot be done, and to run beside others that know nothing of each other."""
    running = int(os.environ.get("WORLD_SIZE", "1")) if "LOCAL_RANK" in os.environ else 1
    if running > 1 and fabric.world_size != running:
        raise InputError(
            f"this program runs in {running} processes, and training.devices is {fabric.world_size}; set it to {running}."
        )
    launcher, environment = fabric.strategy.launcher, getattr(fabric.strategy, "cluster_environment", None)
    if launcher is None or getattr(environment, "creates_processes_externally", False):
        return
    is_program = sys.modules["__main__"].__spec__ is not None or Path(sys.argv[0]).is_file()
    if launcher.is_interactive_compatible or not is_program:
        raise InputError(
            f"training.devices is {fabric.world_size}, and every process runs the program's file again, but a session"
            " without one has nothing to run; put the call into a script, or set training.devices=1."
        )


def clip_norm(fabric: "Fabric", optimizer: torch.optim.Optimizer, largest: float | None) -> None:
    """Scale the gradients of the model, an optimizer's first group, so that their norm is at most `largest`; None leaves them."""
    if largest is None:
        return
    clip = getattr(fabric.strategy, "clip_norm", None)
    if clip is not None:  # each process has a share of them
        clip(largest)
    else:
        torch.nn.utils.clip_grad_norm_(optimizer.param_groups[0]["params"], largest)


def describe(fabric: "Fabric") -> str:
    """The device in words."""
    device = fabric.device
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    count = torch.get_num_threads()
    threads = f" ({count} thread{'' if count == 1 else 's'})" if device.type == "cpu" else ""
    processes = f"{fabric.world_size} processes, each on " if fabric.world_size > 1 else ""
    return f"{processes}{name}{threads}"
