"""Runs: a fitted model with all that belongs to it, and how one is read from its folder."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from itertools import chain, islice
from pathlib import Path
from typing import Any, Literal

import torch
from numpy.typing import NDArray
from torch import nn

from amortized import tasks
from amortized.data import Data, Rows
from amortized.errors import InputError, nearest
from amortized.evaluation import Evidence, evaluate
from amortized.folder import Folder
from amortized.models import LatentModel, Model
from amortized.recipes import (
    Recipe,
    Spec,
    build,
    known_transform,
    load_data,
    load_other,
    make_batches,
)
from amortized.seeds import derive_seed
from amortized.terms import Batch
from amortized.training import Outcome
from amortized.training.checkpoints import load_state_tensors, read_tensors, state_tensors, write_tensors


@dataclass(eq=False)
class Run:
    """A fitted model, and what one does with it.

    Attributes:
        model: The model, with the weights that were kept, in evaluation mode.
        spec: What it knows of its data.
        recipe: The complete description; its `model` is None for one composed by hand.
        folder: Where it lies; None for a run that was not written.
        source: The data that it was fitted on, where they are in memory.
        history: One row per validation.
        metrics: The evidence by split, as in `metrics.json`.
        outcome: How training ended; None for a run that was loaded.
    """

    model: Model
    spec: Spec
    recipe: Recipe = field(default_factory=Recipe)
    folder: Folder | None = None
    source: Any = None
    history: list[dict[str, Any]] = field(default_factory=list)
    metrics: dict[str, Any] = field(default_factory=dict)
    outcome: Outcome | None = None

    @property
    def finished(self) -> bool:
        """Whether training came to its end; False where a signal stopped it."""
        return self.outcome is None or self.outcome.finished

    @property
    def path(self) -> Path | None:
        """The run folder."""
        return None if self.folder is None else self.folder.path

    def evaluate(
        self, data: Any = None, *, split: str = "test", samples: int = 1000, seed: int = 0, progress: Any = None
    ) -> Evidence:
        """Estimate the ELBO and log p(x), with their errors; the run's `metrics.json` gets the result.

        Args:
            data: Other data than those of the run: anything that `fit` takes; used whole, unless they bring splits.
            split: "train", "valid" or "test", of the run's own data or of data that bring splits.
            samples: Posterior samples per datum.
            seed: Of the posterior samples.
            progress: Called with the number of data done, after each chunk.

        Raises:
            InputError: The data are not there, or do not fit the model.
        """
        name, batches = self.batches(data, split)
        first = list(islice(batches := iter(batches), 1))
        is_discrete = any(tasks.is_discrete(self.model, batch) for batch in first)
        dimensions = self.model.event_shape.numel() if is_discrete else None
        batches = chain(first, batches)
        evidence = evaluate(self.model, batches, samples=samples, seed=seed, split=name, dimensions=dimensions, progress=progress)
        self.metrics[name] = {key: asdict(metric) for key, metric in evidence.metrics.items()}
        if self.folder is not None:
            self.folder.write_metrics({name: self.metrics[name]})
        return evidence

    def sample(
        self,
        n: int = 16,
        *,
        context: Mapping[str, Any] | None = None,
        temperature: float = 1.0,
        mean: bool = False,
        seed: int = 0,
    ) -> NDArray[Any]:
        """Draw n data, (n, *event).

        Args:
            n: How many.
            context: For a model with conditions, the value of each: one for all, or one per sample; classes by name (by
                code where they have none).
                A condition that is left out is drawn anew for each sample, evenly over its classes.
            temperature: Of the prior.
            mean: Return E[x | z], in place of x drawn given z.
            seed: Of the draws.
        """
        noise = torch.Generator().manual_seed(derive_seed(seed, "conditions"))
        conditions = self.spec.draw_conditions(n, context or {}, noise)
        return tasks.sample(self.model, n, context=conditions, temperature=temperature, mean=mean, seed=seed).numpy()

    def reconstruct(self, data: Any = None, *, split: str = "test", mean: bool = True, seed: int = 0) -> NDArray[Any]:
        """Encode data and decode them again, (N, *event); `mean` gives E[x | z], otherwise x is drawn."""
        return tasks.reconstruct(self.model, self.batches(data, split)[1], mean=mean, seed=seed).numpy()

    def encode(self, data: Any = None, *, split: str = "test", sample: bool = False, seed: int = 0) -> NDArray[Any]:
        """The posterior means of data, (N, *event of z), or one draw each."""
        return tasks.encode(self.model, self.batches(data, split)[1], sample=sample, seed=seed).numpy()

    def interpolate(
        self,
        data: Any = None,
        *,
        n: int = 8,
        steps: int = 8,
        path: Literal["linear", "spherical"] = "linear",
        split: str = "test",
        seed: int = 0,
    ) -> NDArray[Any]:
        """Decode `steps` points on the paths between the latents of n pairs of data, (n, steps, *event).

        The pairs are drawn by `seed`, without replacement.
        """
        batch = self.rows(data, split)
        if len(batch) < 2 * n:
            raise InputError(f"{n} pairs need {2 * n} data; there are {len(batch)}; ask for fewer with n.")
        order = torch.randperm(len(batch), generator=torch.Generator().manual_seed(derive_seed(seed, "pairs")))
        begin, end = order[:n], order[n : 2 * n]
        return tasks.interpolate(self.model, batch.rows(begin), batch.rows(end), steps=steps, path=path, seed=seed).numpy()

    def rows(self, data: Any = None, split: str = "test", n: int | None = None) -> Batch:
        """The first n data (all by default) of a split, or of data handed over, as the model sees them in evaluation."""
        taken: list[Batch] = []
        for batch in self.batches(data, split)[1]:
            taken.append(batch)
            if n is not None and sum(map(len, taken)) >= n:
                break
        return Batch.join(taken).rows(slice(n))

    def batches(self, data: Any = None, split: str = "test") -> tuple[str, list[Batch] | Any]:
        """The name of a split, or "given data", and its batches as the model sees them in evaluation.

        Raises:
            InputError: There is no such split, or it is empty, or the data do not fit the model.
        """
        if split not in ("train", "valid", "test"):
            raise InputError(f"unknown split '{split}'; {nearest(split, ('train', 'valid', 'test'))}")
        whole = self._own(data)
        if whole is not None:
            name, rows = split, whole.splits[split]
        else:
            whole = load_other(self.recipe, data)
            brings_splits = bool(len(whole.valid) or len(whole.test))
            name, rows = (f"{split} of {whole.name}", whole.splits[split]) if brings_splits else (whole.name, whole.train)
        if not len(rows):
            raise InputError(f"the {split} split of '{whole.name}' is empty; name another split.")
        if tuple(whole.event_shape) != self.spec.event_shape:
            raise InputError(
                f"data '{whole.name}' have shape {tuple(whole.event_shape)}; the model was fitted on {self.spec.event_shape};"
                " give data of that shape."
            )
        return name, self._batches(rows, whole, check=data is not None)

    def save_pretrained(self, path: str | os.PathLike[str]) -> None:
        """Write the model alone, `config.json` and `model.safetensors`, in the conventions of the Hugging Face Hub.

        Raises:
            InputError: There is a run or a file at the path, or it cannot be written to.
        """
        folder = Folder(path)
        folder.create_for_model()
        assert isinstance(self.model, nn.Module)
        folder.write_model_description(self.recipe, self.spec)
        write_tensors(folder.weights, state_tensors(self.model), {"format": "pt"})

    def __repr__(self) -> str:
        """What it is, on what, and where."""
        parts = [type(self.model).__name__, f"event {tuple(self.spec.event_shape)}"]
        if self.history:
            parts.append(f"{self.history[-1]['step']} steps")
        if self.path is not None:
            parts.append(f"in '{self.path}'")
        return f"Run({', '.join(parts)})"

    def _own(self, data: Any) -> Data | None:
        """The data that the run was fitted on, where they are asked for; None for others, or for a source that changed since."""
        if data is not None and not (isinstance(data, str | os.PathLike) and str(data) == self.recipe.data.source):
            return None
        whole = load_data(self.recipe, self.source)
        if self.folder is None or not self.folder.has_other_data(whole):
            return whole
        if data is None:
            raise InputError(
                f"the data '{whole.name}' changed since this run was fitted, and its splits with them; restore them, or give"
                " the data explicitly, as DATA, to use them whole."
            )
        return None

    def _batches(self, rows: Rows, whole: Data, *, check: bool) -> Iterator[Batch]:
        """The batches of a split, on the model's device and in its precision."""
        assert isinstance(self.model, nn.Module)
        weight = next(self.model.parameters(), torch.zeros(()))
        likelihood: Any = self.model.parts["likelihood"] if isinstance(self.model, LatentModel) else None
        for fields in make_batches(rows, self.recipe, known_transform(self.recipe, self.spec)).epoch(0):
            context = {
                name: self.spec.condition(name).known(name, values, whole.context_names.get(name, ()))
                for name, values in fields.get("context", {}).items()
            }
            batch = Batch(**{**fields, "context": context}).to(weight.device, weight.dtype)
            if check and hasattr(likelihood, "check"):
                likelihood.check(batch.x)
            yield batch


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
