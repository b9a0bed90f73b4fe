"""Runs: a fitted model with all that belongs to it, and what one does with it."""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from numpy.typing import NDArray
from torch import nn

from amortized import tasks
from amortized.errors import InputError
from amortized.evaluation import Evidence, evaluate
from amortized.evaluation.evidence import METRICS
from amortized.folder import Folder
from amortized.models import Model
from amortized.processes import is_first
from amortized.reading import read
from amortized.recipes import Recipe, Spec
from amortized.seeds import derive_seed
from amortized.tasks.running import check_count, pick
from amortized.terms import Batch
from amortized.training import Outcome
from amortized.training.checkpoints import state_tensors, write_tensors

if TYPE_CHECKING:
    from amortized.studies import Evaluation, Show


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
        target_stderr: float | None = None,
        budget: str | float | None = None,
        only: Sequence[str] | str | None = None,
        seed: int = 0,
        precision: Literal["32", "bf16"] = "32",
        factors: Any = None,
        show: "Show | None" = None,
    ) -> "Evaluation":
        """Say how good the model and its inference are, from all sides, the most informative first.

        What was done before with the same weights, data and seed is taken from the run folder: what was interrupted goes on.

        Args:
            data: Other data than those of the run: anything that `fit` takes; used whole, unless they bring splits.
            split: "train", "valid" or "test", of the run's own data or of data that bring splits.
            samples: Posterior samples per datum of the evidence.
            target_stderr: The Monte Carlo standard error that each log p(x) is to have, nats: samples double as it takes.
            budget: The time for it, such as "2m" or a number of seconds; None for all in the usual sizes.
            only: The names of some of the analyses (`amortized.studies.ANALYSES`); None for all that the model and data allow.
            seed: Of all that is random.
            precision: "bf16" computes the networks' products of the evidence in it.
            factors: The true factors of the data, for disentanglement: an array (N, F) with a row for each of the data's source,
                or the name of such an array in its file; None takes `factors` where it is there.
            show: Is told of each step as it is done.

        Raises:
            InputError: The data are not there or do not fit, a named analysis cannot be done, or the budget is too small.
        """
        from amortized.studies import evaluate_run

        how: dict[str, Any] = {"samples": samples, "target_stderr": target_stderr, "seed": seed, "precision": precision}
        return evaluate_run(self, data, split=split, budget=budget, only=only, factors=factors, show=show, **how)

    def evidence(
        self,
        data: Any = None,
        *,
        split: str = "test",
        samples: int = 1000,
        target_stderr: float | None = None,
        seed: int = 0,
        precision: Literal["32", "bf16"] = "32",
        progress: Any = None,
    ) -> Evidence:
        """Estimate the ELBO and log p(x) alone, with their errors; the run's `metrics.json` gets the result.

        Args:
            data: As in `evaluate`.
            split: As in `evaluate`.
            samples: Posterior samples per datum.
            target_stderr: As in `evaluate`.
            seed: Of the posterior samples.
            precision: As in `evaluate`.
            progress: Called with the number of data done, after each chunk.

        Of several processes all must call it.

        Raises:
            InputError: The data are not there, or do not fit the model.
        """
        name, batches = self.batches(data, split)
        first = list(islice(batches, 1))
        is_discrete = any(tasks.is_discrete(self.model, batch) for batch in first)
        dimensions, batches = self.model.event_shape.numel() if is_discrete else None, chain(first, batches)
        how: dict[str, Any] = {"samples": samples, "target_stderr": target_stderr, "seed": seed, "precision": precision}
        evidence = evaluate(self.model, batches, split=name, dimensions=dimensions, progress=progress, **how)
        self.metrics[name] = {key: metric for key, metric in self.metrics.get(name, {}).items() if key not in METRICS}
        self.metrics[name] |= {key: asdict(metric) for key, metric in evidence.metrics.items()}
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
            split: Whose data rank the dimensions.
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

    def batches(self, data: Any = None, split: str = "test") -> tuple[str, Iterator[Batch]]:
        """The name of a split, or of data handed over, and its batches as the model sees them in evaluation.

        Raises:
            InputError: There is no such split, or it is empty, or the data do not fit the model.
        """
        found = read(self, data, split)
        return found.name, found.batches

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
