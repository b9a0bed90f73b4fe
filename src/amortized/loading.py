"""How a run, or a model alone, is read from its folder."""

import os
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from amortized.errors import InputError
from amortized.folder import Folder
from amortized.models import Model
from amortized.recipes import build
from amortized.runs import Run
from amortized.training.checkpoints import load_state_tensors, read_tensors


def load_run(path: str | os.PathLike[str], *, model: Model | None = None, device: torch.device | str | None = None) -> Run:
    """Read a run from its folder.

    Args:
        path: The run folder.
        model: For a model composed by hand: one composed in the same way, whose weights are replaced.
        device: Where the model is put; None leaves it where it is, on the CPU for one that is built here.

    Raises:
        InputError: It is no run, has no weights, or its weights do not fit; or it was written by a newer version.
    """
    folder = Folder(path)
    run = _load(folder, model)
    if device is not None:
        assert isinstance(run.model, nn.Module)
        try:
            run.model.to(device)
        except (TypeError, RuntimeError) as error:  # a device that is not there, or has no float64
            reason = str(error).splitlines()[0].rstrip(".")
            raise InputError(f"the model cannot be put on device '{device}' ({reason}); use the CPU.") from error
    return replace(run, recipe=folder.read_recipe(), folder=folder, history=folder.read_history(), metrics=folder.read_metrics())


def from_pretrained(path: str | os.PathLike[str], *, model: Model | None = None) -> Run:
    """Read a model that `save_pretrained` wrote: a folder, or the name of a repository of the Hugging Face Hub.

    A folder is read without any access to the network. A name that is no folder is fetched from the hub, which needs the extra
    `amortized[hub]`.

    Raises:
        InputError: There is no such folder, and the name cannot be fetched.
    """
    folder = Path(path)
    if not folder.is_dir():
        folder = _fetch(str(path))
    return _load(Folder(folder), model)


def _load(folder: Folder, model: Model | None) -> Run:
    folder.check()
    recipe, spec = folder.read_model_description()
    if model is None:
        if recipe.model is None:
            raise InputError(f"the model of '{folder.path}' was composed by hand; compose it again and give it as model=.")
        model = build(recipe.model, spec, recipe.data)
    assert isinstance(model, nn.Module)
    tensors, _ = read_tensors(folder.weights)
    if any(value.dtype == torch.float64 for value in tensors.values()):
        model.double()
    load_state_tensors(model, tensors, folder.weights)
    model.eval()
    return Run(model, spec, recipe)


def _fetch(name: str) -> Path:
    missing = f"there is no folder '{name}'"
    if name.count("/") != 1 or name.startswith((".", "/")):
        raise InputError(f"{missing}; give one that `save_pretrained` wrote, or a hub name such as 'owner/model'.")
    try:
        from huggingface_hub import snapshot_download
    except ImportError as error:
        raise InputError(f"{missing}; to fetch it from the hub, install the extra 'amortized[hub]'.") from error
    try:
        return Path(snapshot_download(name, allow_patterns=["config.json", "model.safetensors"]))
    except Exception as error:  # whatever the hub's client raises: no such repository, no network, no permission
        reason = str(error).splitlines()[0]
        raise InputError(f"{missing}, and the hub gives no model of that name ({reason}); check the name.") from error
