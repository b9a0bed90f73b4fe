"""A user's own `torch.utils.data.Dataset` or `DataLoader`, behind the interface of the splits in memory.

A map-style `Dataset` is split by row number and read row by row; a `DataLoader` is a split as it is. Items are `x`, `(x, labels)`
or a dict with the keys `x`, `labels`, `context`, `observed`; what is missing of `x` is NaN, or not `observed`. A `__getitem__`
that draws random numbers from torch's global generator draws them from a stream seeded by (seed, epoch, step), so that a resumed
run sees the same rows.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset, default_collate

from amortized.data.arrays import SPLITS, compact
from amortized.data.assemble import assemble
from amortized.data.batches import Batches, check_batch_size, check_world, finish, share
from amortized.data.missing import has_missing, mark, missing_note, with_holes
from amortized.data.notes import channels_first_note
from amortized.data.randomness import Stream
from amortized.data.record import Data, Rows, Split
from amortized.data.splits import check_fractions, divide
from amortized.data.support import is_image_shape
from amortized.data.transforms import Transform
from amortized.errors import InputError
from amortized.seeds import derive_seed

PEEK = 1024  # rows by which shape and support are judged


@dataclass(frozen=True)
class DatasetSplit:
    """Rows of a map-style dataset, by their positions in it."""

    dataset: Any
    positions: Tensor
    event_shape: torch.Size
    has_missing: bool = False

    def __len__(self) -> int:
        """The number of rows."""
        return len(self.positions)

    def fetch(self, rows: Tensor) -> dict[str, Any]:
        """The rows of these numbers, read one by one."""
        positions = self.positions[rows.cpu()]
        return as_batch(_collated([self.dataset[int(position)] for position in positions]), positions)

    def merged(self, others: Sequence[Rows]) -> "DatasetSplit | None":
        """The rows of all in the order of their dataset; None where that is not one, or has a row twice."""
        same = [self, *(other for other in others if isinstance(other, DatasetSplit) and other.dataset is self.dataset)]
        positions = torch.cat([split.positions for split in same])
        if len(same) <= len(others) or len(positions.unique()) < len(positions):
            return None
        return replace(self, positions=positions.sort().values)


@dataclass(frozen=True)
class LoaderSplit:
    """What a `DataLoader` yields."""

    loader: DataLoader
    event_shape: torch.Size
    has_missing: bool = False

    def __len__(self) -> int:
        """The number of rows of the dataset behind the loader."""
        return len(self.loader.dataset)  # pyright: ignore[reportArgumentType]

    def fetch(self, rows: Tensor) -> dict[str, Any]:
        """The rows of these numbers of the dataset behind the loader, whatever the loader's sampler."""
        if isinstance(self.loader.dataset, IterableDataset):
            raise InputError(
                "a DataLoader of an IterableDataset cannot be read by row number; give a map-style Dataset for this."
            )
        items = [self.loader.dataset[int(row)] for row in rows]
        return as_batch(_collated(items), rows.cpu())


class LoaderBatches:
    """Batches as a user's `DataLoader` makes them, behind the interface of `Batches`."""

    def __init__(
        self,
        split: LoaderSplit,
        *,
        transform: Transform | None = None,
        seed: int = 0,
        device: torch.device | str | None = None,
        frozen: bool = False,
    ):
        self.split, self.transform, self.seed, self.device, self.frozen = split, transform, seed, device, frozen

    def __len__(self) -> int:
        """Steps per epoch."""
        return len(self.split.loader)

    def epoch(self, number: int, *, start: int = 0, rank: int = 0, world: int = 1) -> Iterator[dict[str, Any]]:
        """The batches of one epoch; see `Batches.epoch`. The `start` batches that are skipped are read all the same."""
        if self.split.loader.batch_size is not None:
            check_world(self.split.loader.batch_size, world)
        place = 0
        for step, item in enumerate(self._items(number)):
            batch = as_batch(item, None, place)
            place += len(batch["x"])
            batch = mark(batch) if self.split.has_missing or has_missing(batch["x"]) else batch
            rows = share(torch.arange(len(batch["x"])), rank, world, equal=not self.frozen)
            if step >= start and len(rows):
                seed = None if self.frozen else derive_seed(self.seed, "noise", number, step, rank)
                yield finish(batch if world == 1 else _rows_of(batch, rows), self.transform, seed, self.device)

    def _items(self, number: int) -> Iterator[Any]:
        loader, seed = self.split.loader, derive_seed(self.seed, "loader", 0 if self.frozen else number)
        for own in (loader.generator, getattr(loader.sampler, "generator", None)):
            if own is not None:
                own.manual_seed(seed)
        if hasattr(loader.sampler, "set_epoch"):
            loader.sampler.set_epoch(0 if self.frozen else number)  # pyright: ignore[reportAttributeAccessIssue]
        stream = Stream(seed)
        with stream.active():
            items = iter(loader)
        while True:
            with stream.active():
                try:
                    item = next(items)
                except StopIteration:
                    return
            yield item


def to_batches(
    split: Rows,
    *,
    batch_size: int,
    training: bool,
    transform: Transform | None = None,
    seed: int = 0,
    device: torch.device | str | None = None,
) -> Batches | LoaderBatches:
    """The batches of any split: shuffled, with fresh noise and no ragged end for training; in order, frozen and whole if not.

    Args:
        split: Of a `Data`; that of a `DataLoader` keeps the loader's batch size and order.
        batch_size: Rows per step over all processes.
        training: Which of the two.
        transform: What is done to each batch.
        seed: Of order and noise.
        device: Where batches are made.
    """
    check_batch_size(batch_size)
    if isinstance(split, LoaderSplit):
        return LoaderBatches(split, transform=transform, seed=seed, device=device, frozen=not training)
    return Batches(
        split, batch_size=batch_size, transform=transform, seed=seed, shuffle=training, drop_last=training, device=device
    )


def is_torch_source(source: Any) -> bool:
    """Whether `source` is a torch dataset or loader, or a mapping with one."""
    members = source.values() if isinstance(source, Mapping) else (source,)
    return any(isinstance(member, (Dataset, DataLoader)) for member in members)


def from_torch(source: Any, *, name: str, splits: Sequence[float], seed: int, least_rows: int = 2) -> Data:
    """The data set of a `Dataset`, a `DataLoader`, or a dict of those under `train`, `valid`, `test`.

    Raises:
        InputError: No `train`, rows of different shapes, items without data, or a dataset without length.
    """
    if isinstance(source, TensorDataset) and len(source.tensors) <= 2:
        keys = ("x", "y")
        return assemble(
            {key: tensor.detach().cpu().numpy() for key, tensor in zip(keys, source.tensors, strict=False)},
            name=name,
            splits=splits,
            seed=seed,
            least_rows=least_rows,
        )
    given = dict(source) if isinstance(source, Mapping) else {"train": source}
    if "train" not in given or not set(given) <= set(SPLITS):
        raise InputError(f"a dict of datasets needs the keys 'train' and, by choice, 'valid' and 'test'; it has {sorted(given)}.")
    for split, member in given.items():
        _check_member(split, member, least_rows)
    seen = {split: _first_rows(split, member, seed) for split, member in given.items()}
    shape = seen["train"].shape[1:]
    for split, rows in seen.items():
        if rows.shape[1:] != shape:
            raise InputError(f"the rows of '{split}' have shape {tuple(rows.shape[1:])}, but those of 'train' {tuple(shape)}.")
    rows_seen = torch.cat([rows.to(torch.float32) for rows in seen.values()])
    missing = has_missing(rows_seen)
    parts = _parts(given, shape, check_fractions(splits), seed, missing)
    notes = [missing_note(float(rows_seen.isnan().float().mean()), "the entries of the first rows")] if missing else []
    notes += [note for note in (channels_first_note(tuple(shape)),) if note]
    notes += [f"the {split} split is empty: give {{'train': ..., '{split}': ...}}." for split in SPLITS if len(parts[split]) == 0]
    return Data(
        name,
        parts["train"],
        parts["valid"],
        parts["test"],
        is_image_shape(tuple(shape)),
        columns=tuple(map(str, range(shape[0]))) if len(shape) == 1 else (),
        label_names=tuple(map(str, getattr(getattr(given["train"], "dataset", given["train"]), "classes", ()))),
        notes=tuple(notes),
        fingerprint=hashlib.sha256(seen["train"].numpy().tobytes() + str(len(parts["train"])).encode()).hexdigest()[:16],
        rows_seen=rows_seen,
    )


def as_batch(item: Any, index: Tensor | None, place: int = 0) -> dict[str, Any]:
    """The batch of one collated item: `x`, `(x, labels)` or a dict; `index` counts on from `place` where none is known.

    Raises:
        InputError: There is no tensor to be `x`.
    """
    if isinstance(item, (tuple, list)) and 1 <= len(item) <= 2:
        item = dict(zip(("x", "labels"), item, strict=False))
    fields = dict(item) if isinstance(item, Mapping) else {"x": item}
    x = fields.get("x")
    if not isinstance(x, Tensor):
        raise InputError(
            f"an item of the dataset needs to be x, (x, label) or a dict with 'x', x a tensor;"
            f" it has {list(fields)}, and x is {type(x).__name__}."
        )
    if not isinstance(fields.get("labels", x), Tensor):
        raise InputError(f"the labels of the dataset are {type(fields['labels']).__name__}, not a tensor; give integer codes.")
    if (observed := fields.get("observed")) is not None:
        x = with_holes(x, torch.as_tensor(observed))
    batch: dict[str, Any] = {"x": x, "index": fields.get("index", index)}
    if batch["index"] is None:
        batch["index"] = torch.arange(place, place + len(x))
    batch.update({key: fields[key] for key in ("labels", "context") if key in fields})
    return batch if observed is None else mark(batch)


def _collated(items: list[Any]) -> Any:
    try:
        return default_collate(items)
    except (TypeError, RuntimeError) as error:
        message = str(error).splitlines()[0].rstrip(".")
        raise InputError(f"the dataset's items cannot be stacked into a batch ({message}); give tensors of one shape.") from None


def _check_member(split: str, member: Any, least_rows: int) -> None:
    if isinstance(member, IterableDataset) or not isinstance(member, (Dataset, DataLoader)):
        raise InputError(f"'{split}' is {type(member).__name__}; give a map-style Dataset, or a DataLoader of it.")
    try:
        count = len(member)  # pyright: ignore[reportArgumentType]
    except TypeError:
        raise InputError(f"the {type(member).__name__} given as '{split}' has no length; define __len__.") from None
    needed = least_rows if split == "train" and isinstance(member, Dataset) else 1
    if count < needed:
        raise InputError(f"the {type(member).__name__} given as '{split}' has length {count}; it needs at least {needed} rows.")


def _first_rows(split: str, member: Any, seed: int) -> Tensor:
    with Stream(derive_seed(seed, "first rows")).active():
        if isinstance(member, DataLoader):
            parts, count = [], 0
            for item in member:
                parts.append(as_batch(item, None)["x"])
                count += len(parts[-1])
                if count >= PEEK:
                    break
            x = torch.cat(parts)
        else:
            x = as_batch(_collated([member[row] for row in range(min(PEEK, len(member)))]), None)["x"]
    if x.ndim < 2:
        raise InputError(f"the x of '{split}' are single numbers; give each row a shape, such as (1,).")
    return compact(x.detach().cpu().float().numpy(), f"{split} x", missing=True)


def _parts(
    given: dict[str, Any], shape: torch.Size, fractions: tuple[float, float, float], seed: int, missing: bool
) -> dict[str, Rows]:
    nothing = Split(torch.empty(0, *shape), torch.empty(0, dtype=torch.int64))
    parts: dict[str, Rows] = dict.fromkeys(SPLITS, nothing)
    for split, member in given.items():
        if isinstance(member, DataLoader):
            parts[split] = LoaderSplit(member, shape, missing)
        else:
            parts[split] = DatasetSplit(member, torch.arange(len(member)), shape, missing)
    if isinstance(given["train"], Dataset):
        cut = [0.0 if split in given else fraction for split, fraction in zip(SPLITS, fractions, strict=True)]
        cut[0] = 1.0 - cut[1] - cut[2]
        for split, rows in zip(SPLITS, divide(len(given["train"]), cut, seed), strict=True):  # pyright: ignore[reportArgumentType]
            if split == "train" or split not in given:
                parts[split] = DatasetSplit(given["train"], torch.from_numpy(rows), shape, missing)
    return parts


def _rows_of(batch: dict[str, Any], rows: Tensor) -> dict[str, Any]:
    return {
        key: {name: item[rows] for name, item in value.items()} if isinstance(value, dict) else value[rows]
        for key, value in batch.items()
    }
