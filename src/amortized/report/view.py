"""A run as a page looks at it: a part of its data, where they lie in the latent space, and what the model makes of them.

All pictures of a report, and the explorer, are made of one `View`, so that nothing is computed twice and a datum is the same
datum in each of them. A picture refuses what its model or data do not allow by an `InputError`, whose sentence takes its place.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from amortized import tasks
from amortized.distributions import center, has_center, representative
from amortized.errors import InputError
from amortized.evaluation import Evidence
from amortized.evaluation.activity import ACTIVE
from amortized.models.model import Model, device_of, evaluating
from amortized.reading import read
from amortized.studies.budget import Done
from amortized.studies.evaluation import kept_of
from amortized.studies.material import Material
from amortized.tasks.running import chunks
from amortized.terms import Batch

if TYPE_CHECKING:
    from amortized.report.neighbors import Neighbors
    from amortized.runs import Run

DATA = 2000
"""Of a split, at most, that a page is made of."""

SAMPLES = 10
"""Posterior samples of a datum's score."""

PRIOR_DRAWS = 2000
DRAWN_ENTRIES = 2**23
"""Entries of x that are drawn from the model, at most."""

FEW_DRAWS = 64
"""Draws of a likelihood that draws entry by entry."""


@dataclass(frozen=True, eq=False)
class Plane:
    """Two directions through the latent space, in which a map is drawn.

    Attributes:
        origin: (D,) the point that lies at (0, 0).
        axes: (2, D) the directions, of length 1 and at right angles.
        kind: "latent", where the latent has two entries and these are the axes, "one", where it has one, or "pca".
    """

    origin: NDArray[np.float32]
    axes: NDArray[np.float32]
    kind: str

    def project(self, z: NDArray[Any]) -> NDArray[np.float32]:
        """(..., 2) where points z (..., D) lie on the map."""
        return ((z - self.origin) @ self.axes.T).astype(np.float32)

    def lift(self, place: NDArray[Any]) -> NDArray[np.float32]:
        """(..., D) the points of the plane at places (..., 2) of the map."""
        return (self.origin + place @ self.axes).astype(np.float32)


class View:
    """A run as a page looks at it, each part computed once, when it is asked for.

    Args:
        run: The run.
        split: The part of its data; None takes the first that there is of test, valid and train.
        most: How many of them at most; drawn at random, in their order.
        seed: Of all that is random.

    Arrays are numpy's, latents flattened to (N, D); batches are as the model sees them, on its device.
    """

    def __init__(self, run: "Run", *, split: str | None = None, most: int = DATA, seed: int = 0):
        self.run, self.seed, self.most, self._split = run, seed, most, split
        self.model: Model = run.model
        self.spec = run.spec

    @classmethod
    def of(cls, run: "Run | View") -> "View":
        """The view of a run; a view is its own."""
        return run if isinstance(run, View) else cls(run)

    @cached_property
    def split(self) -> str:
        """The name of the part of the data.

        Raises:
            InputError: The data are not there, or changed.
        """
        if self._split is not None:
            return self._split
        for split in ("test", "valid"):
            try:
                read(self.run, None, split)
            except InputError as error:
                if "is empty" not in str(error):
                    raise
            else:
                return split
        return "train"

    @cached_property
    def material(self) -> Material:
        """What an evaluation is made of."""
        return Material(self.run, None, self.split, read(self.run, None, self.split), seed=self.seed)

    @cached_property
    def count(self) -> int:
        """How many data the split has, shown or not."""
        return self.material.count

    @cached_property
    def batch(self) -> Batch:
        """The N data that are shown."""
        return Batch.join(self.material.part(self.most))

    def train(self, count: int | None = None) -> Batch:
        """So many of the training data, drawn at random; all where None is given."""
        return Batch.join(self.material.train(count))

    @cached_property
    def x(self) -> NDArray[Any]:
        """(N, *event) the data."""
        return self.batch.x.cpu().numpy()

    @cached_property
    def labels(self) -> NDArray[np.int64] | None:
        """(N,) the code of each datum's label; None where the data bring none."""
        return None if self.batch.labels is None else self.batch.labels.cpu().numpy().astype(np.int64)

    def label_name(self, code: int) -> str:
        """What a label is called."""
        names = self.spec.label_names
        return names[code] if 0 <= code < len(names) else str(code)

    @cached_property
    def _encoded(self) -> tuple[Tensor, Tensor | None, Tensor]:
        places, spreads, values = [], [], []
        with evaluating(self.model, self.seed, "encode"):
            for piece in chunks(self.batch, self.model):
                q = self.model.posterior(piece)
                places.append(center(q).flatten(1).cpu())
                values.append(representative(q).flatten(1).cpu())
                try:
                    spread = q.stddev
                except (NotImplementedError, AttributeError):
                    spread = None
                if spread is not None and not spread.isnan().any():
                    spreads.append(spread.flatten(1).cpu())
        known = torch.cat(spreads) if len(spreads) == len(places) else None
        return torch.cat(places), known, torch.cat(values)

    @property
    def z(self) -> NDArray[np.float32]:
        """(N, D) the center of each posterior: its mean, where it has one."""
        return self._encoded[0].numpy()

    @property
    def values(self) -> NDArray[np.float32]:
        """(N, D) a value that each latent can have: its center, or its mode where that is none (classes, a sphere)."""
        return self._encoded[2].numpy()

    @property
    def spread(self) -> NDArray[np.float32] | None:
        """(N, D) the standard deviation of each posterior, entry by entry; None where the family does not tell it."""
        return None if self._encoded[1] is None else self._encoded[1].numpy()

    @property
    def latents(self) -> int:
        """The number D of entries of the latent."""
        return self.z.shape[1]

    @cached_property
    def latent_shape(self) -> tuple[int, ...]:
        """The shape of one latent, as `model.decode` takes it."""
        with evaluating(self.model, self.seed, "encode"):
            return tuple(self.model.posterior(self.batch.rows(slice(1))).event_shape)

    @cached_property
    def ranking(self) -> tasks.Ranking:
        """The entries of the latent by what they carry."""
        return tasks.rank_dimensions(self.model, self.batch, seed=self.seed)

    @cached_property
    def is_active(self) -> NDArray[np.bool_]:
        """(D,) whether the posterior's mean of an entry varies over the data, by the threshold of Burda et al. 2016."""
        return self.z.var(0) > ACTIVE

    @cached_property
    def active(self) -> list[int]:
        """The entries that are active, the one that carries most first."""
        return [int(entry) for entry in self.ranking.dimensions if self.is_active[entry]]

    @cached_property
    def prior_draws(self) -> NDArray[np.float32]:
        """(M, D) draws from the prior, at the conditions of the first data where it has any."""
        rows = self.batch.rows(torch.arange(PRIOR_DRAWS, device=self.batch.x.device) % len(self.batch))
        with evaluating(self.model, self.seed, "prior"):
            p = self.model.prior(rows.context)
            z = p.sample() if p.batch_shape == (PRIOR_DRAWS,) else p.sample(torch.Size((PRIOR_DRAWS,)))
        return z.reshape(PRIOR_DRAWS, -1).cpu().numpy()

    @cached_property
    def plane(self) -> Plane:
        """The plane of the map: the latent's own where it has two entries, else that of the principal components of z."""
        z, d = self.z, self.latents
        if d <= 2:
            return Plane(np.zeros(d, np.float32), np.eye(2, d, dtype=np.float32), "latent" if d == 2 else "one")
        origin = z.mean(0)
        axes = np.linalg.svd(z - origin, full_matrices=len(z) < 2)[2][:2]
        axes *= np.sign(axes[np.arange(len(axes)), np.abs(axes).argmax(1)])[:, None]  # of two signs, the same every time
        return Plane(origin, np.ascontiguousarray(axes, dtype=np.float32), "pca")

    @cached_property
    def evidence(self) -> Evidence:
        """The ELBO and log p(x) of each of the N data, by a few samples."""
        return self.material.evidence_of([self.batch], SAMPLES, None)

    @cached_property
    def kept(self) -> Mapping[str, Done]:
        """What evaluations of the split left in the run folder, by the name of the analysis."""
        return kept_of(self.run, self.material)

    @cached_property
    def shown_x(self) -> NDArray[Any]:
        """(N, *event) the data as they are shown: NaN where an entry is missing, floating-point then."""
        if self.batch.observed is None:
            return self.x
        return np.where(self.batch.observed.cpu().numpy(), self.x, np.nan)

    @cached_property
    def has_means(self) -> bool:
        """Whether E[x | z] is known, as it is not of a chain of conditionals; x is drawn where a mean is asked for then."""
        with evaluating(self.model, self.seed, "decode"):
            row = self.batch.rows(slice(1))
            return has_center(self.model.decode(representative(self.model.posterior(row)), row.context))

    @cached_property
    def draws(self) -> NDArray[Any]:
        """(M, *event) draws from the model, at the conditions of the first data; fewer than data where they are costly."""
        count = min(len(self.batch), DRAWN_ENTRIES // max(1, self.model.event_shape.numel()) if self.has_means else FEW_DRAWS)
        context = {name: value[:count].cpu() for name, value in self.batch.context.items()}
        return tasks.sample(self.model, max(1, count), context=context, seed=self.seed).numpy()

    @cached_property
    def neighbors(self) -> "Neighbors":
        """The nearest training data of samples and of new data, by which it is seen whether the model is copying."""
        from amortized.report.neighbors import find_neighbors  # which needs views

        return find_neighbors(self)

    def decode(self, z: NDArray[Any], context: Mapping[str, Tensor] | None = None, *, mean: bool = True) -> NDArray[Any]:
        """What the model makes of latents.

        Args:
            z: (B, D) values of the latent, flattened.
            context: Conditions of B rows, for a model that has them.
            mean: Return E[x | z]; otherwise x drawn given z.

        Returns:
            (B, *event), in the data's units.
        """
        device, dtype = device_of(self.model), self.batch.x.dtype
        with evaluating(self.model, self.seed, "decode"):
            given = {name: value.to(device) for name, value in (context or {}).items()}
            latents = torch.as_tensor(np.asarray(z), dtype=dtype, device=device).reshape(-1, *self.latent_shape)
            px = self.model.decode(latents, given)
            return (center(px) if mean else px.sample()).cpu().numpy()

    def add(self, done: Mapping[str, Done]) -> None:
        """Take in what an evaluation of the split has just done, beside what is kept."""
        kept = kept_of(self.run, self.material)
        self.__dict__["kept"] = {**self.kept, **done, **kept}
