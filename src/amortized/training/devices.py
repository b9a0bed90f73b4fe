"""Devices, precision and processes, by Lightning Fabric."""

from typing import TYPE_CHECKING

import torch

from amortized.errors import InputError
from amortized.training.settings import Settings

if TYPE_CHECKING:
    from lightning_fabric import Fabric

PRECISIONS = {"32": "32-true", "64": "64-true", "bf16": "bf16-mixed"}


def launch(settings: Settings) -> "Fabric":
    """A Fabric with its processes started; the first call in every program that may run in several.

    Raises:
        InputError: This machine does not have what the settings ask for.
    """
    from lightning_fabric import Fabric
    from lightning_fabric.utilities.exceptions import MisconfigurationException

    try:
        fabric = Fabric(
            accelerator=settings.accelerator,
            devices=settings.devices,
            strategy=settings.strategy,
            precision=PRECISIONS[settings.precision],  # pyright: ignore[reportArgumentType]
        )
    except (MisconfigurationException, ValueError, RuntimeError) as error:
        wanted = f"{settings.devices} devices of kind '{settings.accelerator}' with strategy '{settings.strategy}'"
        raise InputError(f"cannot use {wanted}: {error} Try training.accelerator=cpu.") from error
    fabric.launch()
    return fabric


def describe(fabric: "Fabric") -> str:
    """The device in words."""
    device = fabric.device
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    threads = f" ({torch.get_num_threads()} threads)" if device.type == "cpu" else ""
    processes = f"{fabric.world_size} processes, each on " if fabric.world_size > 1 else ""
    return f"{processes}{name}{threads}"
