"""Runs: a fitted model with all that belongs to it, and what one does with it."""

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
from amortized.data import Data, Rows, arrange, is_same
from amortized.errors import InputError, nearest
from amortized.evaluation import Evidence, evaluate
from amortized.folder import Folder
from amortized.models import LatentModel, Model
from amortized.processes import is_first
from amortized.recipes import Recipe, Spec, known_transform, load_fitted, load_other, make_batches
from amortized.seeds import derive_seed
from amortized.tasks.running import check_count, pick
from amortized.terms import Batch
from amortized.training import Outcome
from amortized.training.checkpoints import state_tensors, write_tensors

SPLITS = ("train", "valid", "test", "all")


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
        self,
        data: Any = None,
        *,
        split: str = "test",
        samples: int = 1000,
        seed: int = 0,
        precision: Literal["32", "bf16"] = "32",
        progress: Any = None,
    ) -> Evidence:
        """Estimate the ELBO and log p(x), with their errors; the run's `metrics.json` gets the result.

        Args:
            data: Other data than those of the run: anything that `fit` takes; used whole, unless they bring splits.
            split: "train", "valid" or "test", of the run's own data or of data that bring splits.
            samples: Posterior samples per datum.
            seed: Of the posterior samples.
            precision: "bf16" computes the networks' products in it, which is faster where the device has units for that.
            progress: Called with the number of data done, after each chunk.

        Of several processes all must call it; each takes its share, and all get the result.

        Raises:
            InputError: The data are not there, or do not fit the model.
        """
        name, batches = self.batches(data, split)
        first = list(islice(batches := iter(batches), 1))
        is_discrete = any(tasks.is_discrete(self.model, batch) for batch in first)
        dimensions, batches = self.model.event_shape.numel() if is_discrete else None, chain(first, batches)
        how: dict[str, Any] = {"samples": samples, "seed": seed, "precision": precision, "progress": progress}
        evidence = evaluate(self.model, batches, split=name, dimensions=dimensions, **how)
        self.metrics[name] = {key: asdict(metric) for key, metric in evidence.metrics.items()}
        if self.folder is not None and is_first():
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
        count = sum(map(len, self.batches(data, split)[1]))
        if count < 2 * n:
            raise InputError(f"{n} pairs need {2 * n} data; there are {count}; ask for fewer with n.")
        order = torch.randperm(count, generator=torch.Generator().manual_seed(derive_seed(seed, "pairs")))[: 2 * n]
        batch = pick(self.batches(data, split)[1], order)
        begin, end = batch.rows(slice(n)), batch.rows(slice(n, 2 * n))
        return tasks.interpolate(self.model, begin, end, steps=steps, path=path, seed=seed).numpy()

    def traverse(
        self,
        data: Any = None,
        *,
        n: int = 1,
        dims: int | None = None,
        steps: int = 8,
        span: float = 3.0,
        start: Literal["data", "prior"] = "data",
        split: str = "test",
        seed: int = 0,
    ) -> tasks.Traversal:
        """Decode the latents of the first n data while one dimension at a time goes through the prior's range.

        Args:
            data: Other data than those of the run.
            n: How many data.
            dims: How many latent dimensions, those first that carry most of the data; all where None is given.
            steps: Values of each, both ends among them.
            span: How far from the prior's mean they go, in its standard deviations.
            start: Where the other dimensions stay: "data", at the latent of the datum, or "prior", at the prior's center.
            split: "train", "valid" or "test"; its data rank the dimensions.
            seed: Of draws, where a mean is not known.

        Returns:
            `x`, (n, dims, steps, *event) E[x | z], with the values `z` and the `ranking` of the dimensions.
        """
        ranking = tasks.rank_dimensions(self.model, self.batches(data, split)[1], seed=seed).first(dims)
        return tasks.traverse(self.model, self.rows(data, split, n), ranking, steps=steps, span=span, start=start, seed=seed)

    def impute(
        self,
        data: Any = None,
        *,
        n: int | None = None,
        hide: float | str | None = None,
        split: str | None = None,
        samples: int = 1000,
        draws: int | None = None,
        seed: int = 0,
    ) -> tasks.Imputation:
        """Fill in the missing entries (NaN) of data.

        Args:
            data: Other data than those of the run.
            n: How many data, from the first on; all where None is given.
            hide: Entries to hide first, to compare with what is imputed: the probability of each, or a half of an image, "left",
                "right", "top" or "bottom".
            split: "train", "valid" or "test"; "all" takes them together, in the order of their source where they have one. By
                default all, and the test split where entries are hidden to judge the model.
            samples: Posterior samples per datum.
            draws: The number M of draws of the missing entries given the observed ones; None gives their mean.
            seed: Of the choice of entries, of samples and draws.

        Returns:
            `x`, (N, *event) or (M, N, *event), with `observed`, `effective_samples` and, of hidden entries, the `truth`.
        """
        if n is not None:
            check_count("n", n, "leave it out for all data")
        batch = self.rows(data, split or ("all" if hide is None else "test"), n)
        seen = batch if hide is None else tasks.hide(batch, hide, seed=seed)
        made = tasks.impute(self.model, seen, samples=samples, draws=draws, seed=seed)
        return made if hide is None else replace(made, truth=batch.x.cpu().numpy())

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
        if split not in SPLITS:
            raise InputError(f"unknown split '{split}'; {nearest(split, SPLITS)}")
        own = self._own(data)
        whole = arrange(load_other(self.recipe, data), self.spec.columns) if own is None else own
        name = split if own is not None else f"{split} of {whole.name}"
        if own is None and not (len(whole.valid) or len(whole.test)):
            name, split = whole.name, "train"
        parts = whole.parts(split)
        if not parts:
            raise InputError(f"the {split} split of '{whole.name}' is empty; name another split.")
        if tuple(whole.event_shape) != self.spec.event_shape:
            raise InputError(
                f"data '{whole.name}' have shape {tuple(whole.event_shape)}; the model was fitted on {self.spec.event_shape};"
                " give data of that shape."
            )
        return name, chain.from_iterable(self._batches(rows, whole, check=data is not None) for rows in parts)

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
        if data is not None and not is_same(data, self.recipe.data.source):
            return None
        whole = load_fitted(self.recipe, self.source, judged=False)
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
                likelihood.check(batch.x, observed=batch.observed)
            yield batch
