"""A fitted model and what one does with it: draw, reconstruct, encode, interpolate, traverse, impute; numpy in, numpy out."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import torch
from numpy.typing import NDArray

from amortized import tasks
from amortized.errors import InputError
from amortized.folder import Folder
from amortized.models import Model
from amortized.reading import read
from amortized.recipes import Recipe, Spec
from amortized.seeds import derive_seed
from amortized.tasks.running import check_count, pick
from amortized.terms import Batch


@dataclass(eq=False)
class Fitted:
    """A fitted model with what is known of its data, and what one does with it.

    Attributes:
        model: The model, with the weights that were kept, in evaluation mode.
        spec: What it knows of its data.
        recipe: The complete description; its `model` is None for one composed by hand.
        folder: Where it lies; None for a run that was not written.
        source: The data that it was fitted on, where they are in memory.
    """

    model: Model
    spec: Spec
    recipe: Recipe = field(default_factory=Recipe)
    folder: Folder | None = None
    source: Any = None

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
