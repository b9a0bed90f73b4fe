"""Tensors in files: weights, and all that is needed to go on with a training run.

A checkpoint is one safetensors file, written atomically: the weights, their average, the best ones so far, the optimizer's state
and, in the header, the numbers and the history as JSON. No pickle is written or read.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from amortized.errors import InputError
from amortized.files import write_atomically


def state_tensors(module: nn.Module) -> dict[str, Tensor]:
    """The parameters and buffers of a module by name, one that is held under several names once, under the first."""
    tensors: dict[str, Tensor] = {}
    seen: set[tuple] = set()
    for name, value in module.state_dict().items():
        place = (value.data_ptr(), value.shape, value.stride())
        if value.numel() and place in seen:
            continue
        seen.add(place)
        tensors[name] = value
    return tensors


def load_state_tensors(module: nn.Module, tensors: Mapping[str, Tensor], source: Path) -> None:
    """Copy tensors into a module, which must have exactly these names and shapes.

    Raises:
        InputError: A name is missing or unknown, or a shape differs; the message names it and the file.
    """
    own = state_tensors(module)
    for name in own.keys() ^ tensors.keys():
        where = "lacks" if name in own else "holds an unknown"
        raise InputError(
            f"'{source}' {where} tensor '{name}': it was written by another model; load it with the one that wrote it."
        )
    for name, value in own.items():
        if value.shape != tensors[name].shape:
            raise InputError(
                f"tensor '{name}' in '{source}' has shape {tuple(tensors[name].shape)} where the model has {tuple(value.shape)};"
                " load it with the model that wrote it."
            )
    with torch.no_grad():
        for name, value in own.items():
            value.copy_(tensors[name])


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Write a safetensors file atomically."""
    contiguous = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    write_atomically(path, save(contiguous, metadata=dict(metadata or {})))


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read a safetensors file: its tensors and its metadata.

    Raises:
        InputError: There is no such file, or it is not a whole safetensors file.
    """
    if not path.is_file():
        raise InputError(f"there is no file '{path}': the run has no weights yet; finish it with `amortized fit --resume`.")
    try:
        data = path.read_bytes()  # in one piece: safe_open opens the file twice, and a run may replace it in between
        tensors = load(data)
    except (SafetensorError, OSError) as error:
        raise InputError(f"'{path}' is not a whole safetensors file ({error}); restore it, or fit the run again.") from error
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    return tensors, header.get("__metadata__", {})


@dataclass
class Progress:
    """How far a training run has come: the part of a checkpoint that is not tensors.

    Attributes:
        step: Optimizer steps done.
        history: One row per validation.
        best_value: The best validation bound so far, in nats.
        best_step: The step it was reached at.
        stale: Validations since then.
        seconds: Time spent training, over all sessions.
        summed: Steps summed into the running means of the training terms.
        compiled: Whether its steps are compiled; None while that is undecided.
    """

    step: int = 0
    history: list[dict[str, Any]] = field(default_factory=list)
    best_value: float | None = None
    best_step: int = 0
    stale: int = 0
    seconds: float = 0.0
    summed: int = 0
    compiled: bool | None = None


def write_checkpoint(
    path: Path, progress: Progress, groups: Mapping[str, Mapping[str, Tensor]], optimizer: Mapping[str, Any]
) -> None:
    """Write all that is needed to go on.

    Args:
        path: The file.
        progress: How far the run has come.
        groups: Tensors by group ("model", "best", ...) and name.
        optimizer: What its `state_dict` gives; the state is added as a group of its own.
    """
    tensors = {f"{group}/{name}": value for group, members in groups.items() for name, value in members.items()}
    for index, state in optimizer["state"].items():
        tensors.update({f"optimizer/{index}/{key}": torch.as_tensor(value) for key, value in state.items()})
    write_tensors(path, tensors, {"progress": json.dumps(vars(progress))})


def read_checkpoint(path: Path) -> tuple[Progress, dict[str, dict[str, Tensor]]]:
    """Read what `write_checkpoint` wrote: the progress, and the tensors by group and name."""
    tensors, metadata = read_tensors(path)
    if "progress" not in metadata:
        raise InputError(f"'{path}' is no checkpoint of a training run; give the run's folder to --resume.")
    groups: dict[str, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        group, _, member = name.partition("/")
        groups.setdefault(group, {})[member] = value
    return Progress(**json.loads(metadata["progress"])), groups


def load_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Give an optimizer the state that `write_checkpoint` stored."""
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        index, _, key = name.partition("/")
        state.setdefault(int(index), {})[key] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
