"""Sources: what a user may call data, and the one function that takes it.

A name, a path, arrays, a table, a folder of images, a torch `Dataset` or a `DataLoader`. All but the last two become a dict of
named arrays (`arrays.py`), and then a `Data` in memory (`assemble.py`); or, where memory does not hold them, a `Data` whose rows
stay on the disk (`shards.py`, `ondisk.py`).
"""

import gzip
import os
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from amortized.data.arrays import from_memory, read_npz
from amortized.data.assemble import assemble
from amortized.data.images import read_folder
from amortized.data.looking import Say
from amortized.data.ondisk import from_disk
from amortized.data.record import Data
from amortized.data.shards import Streaming, find_on_disk, stays
from amortized.data.streams import from_torch, is_torch_source
from amortized.data.tables import from_frame, is_frame, read_csv, read_parquet
from amortized.errors import InputError, nearest

VARIABLE = "AMORTIZED_DATA"
_READERS = {".npz": read_npz, ".npy": read_npz, ".csv": read_csv, ".parquet": read_parquet}
_FORMATS = (*_READERS, ".tar")


def load(
    source: Any,
    *,
    labels: Any = None,
    context: Sequence[str] | Mapping[str, Any] = (),
    name: str | None = None,
    splits: Sequence[float] = (0.8, 0.1, 0.1),
    seed: int = 0,
    least_rows: int = 2,
    stream: Streaming = "auto",
    window_mib: int | None = None,
    judged: bool = True,
    say: Say | None = None,
) -> Data:
    """Load data from anything that holds them.

    Args:
        source: The name `digits`, or that of a file or folder in the folder that the environment variable AMORTIZED_DATA
            names; a path to `.npz`, `.npy`, `.csv`, `.parquet`, `.tar`, or to a folder of images or of shards; an array, a memory
            map, a tensor, a pair (x, y), a dict of arrays named as in an `.npz`, a DataFrame; a `torch.utils.data.Dataset` or
            `DataLoader`, or a dict of those under `train`, `valid`, `test`.
        labels: One class per row: an array, or the name of a column or an array of the source (by default `y`).
        context: What to condition on: names of columns or arrays of the source (`label` is `y`), or a dict of arrays.
        name: What to call the data; by default the source's own name.
        splits: The fractions of train, valid and test, for splits that the source does not bring.
        seed: Which division into splits.
        least_rows: How many rows there must be to train on: two to learn a distribution, one to use it.
        stream: Whether data that lie on the disk stay there: `on`, `off`, or `auto`, where they would not fit into memory.
        window_mib: How many MiB of data that stream are shuffled together; None chooses by the memory that is free.
        judged: Whether all data that stream are looked through, as a fit needs.
        say: Is told in a sentence what takes long.

    Returns:
        The data set, with its splits.

    Raises:
        InputError: The source cannot be found, read or used; the message says why, and what would work.

    Example:
        >>> data = load("digits")
        >>> len(data.train), tuple(data.event_shape), data.support.kind
        (1437, (8, 8), 'levels')
    """
    if is_torch_source(source):
        if stream == "on":
            raise InputError(
                f"data.stream is 'on', but a {type(source).__name__} reads its rows by itself; leave data.stream out, or give the"
                " path of the data."
            )
        if labels is not None or context:
            raise InputError(
                "labels and context of a Dataset or DataLoader come with its items: give dicts with 'labels', 'context'."
            )
        return from_torch(source, name=name or "dataset", splits=splits, seed=seed, least_rows=least_rows)
    named = _named_columns(labels, context)
    given = _find(source) if isinstance(source, str | os.PathLike) and source != "digits" else source
    found = find_on_disk(given, named, stream)
    how: dict[str, Any] = {"labels": labels, "context": context, "splits": splits, "seed": seed, "least_rows": least_rows}
    if found is not None and stays(found, stream, given):
        own = name or _name_of(given)
        options = {"window_mib": window_mib, "judged": judged, "say": say}
        return from_disk(found.stores, name=own, shared=found.shared, is_image=found.is_image, **how, **options)
    if found is not None and found.is_only_so:
        return assemble(found.arrays(), name=name or _name_of(given), is_image=found.is_image, **how)
    arrays, is_image = _arrays(given, named)
    return assemble(arrays, name=name or _name_of(given), is_image=is_image, **how)


def is_same(source: Any, other: Any) -> bool:
    """Whether two sources are one name, or lead to one file or folder, however its path is spelled."""
    if not all(isinstance(each, str | os.PathLike) for each in (source, other)):
        return False
    if str(source) == str(other):
        return True
    try:
        return _located(source) == _located(other)
    except InputError:  # one of them is not there, and so is not the other
        return False


def read_array(source: Any, name: str, split: str) -> np.ndarray | None:
    """An array that lies beside x in an `.npz`: of a split where this brings its own, else that which all splits were cut from.

    Returns:
        The array, whose rows a batch's `index` counts; None where the source is no `.npz`, or has no such array.
    """
    if not isinstance(source, str | os.PathLike) or source == "digits":
        return None
    path = _find(source)
    if path.suffix.lower() != ".npz":
        return None
    arrays = read_npz(path)
    own = split if f"{split}_x" in arrays else "train" if "train_x" in arrays else ""
    return arrays.get(f"{own}_{name}" if own else name, arrays.get(name) if name.endswith("_names") else None)


def _located(source: str | os.PathLike) -> str | Path:
    return "digits" if source == "digits" else _find(source).resolve()


def _named_columns(labels: Any, context: Any) -> list[str]:
    """The columns that are asked for by name, and so are no part of x."""
    roles = context.values() if isinstance(context, Mapping) else [context] if isinstance(context, str) else context
    return [role for role in (labels, *roles) if isinstance(role, str)]


def _name_of(source: Any) -> str:
    if isinstance(source, Path):
        return source.name if source.is_dir() else source.stem
    return "digits" if isinstance(source, str) else "table" if is_frame(source) else "array"


def _arrays(source: Any, named: Sequence[str]) -> tuple[dict[str, np.ndarray], bool | None]:
    """The arrays of a source in memory, and whether they are known to be images."""
    if is_frame(source):
        return from_frame(source, named), None
    if isinstance(source, str):
        return _digits(), True
    if not isinstance(source, Path):
        return from_memory(source), None
    if source.is_dir():
        return read_folder(source), True
    reader = _READERS.get(source.suffix.lower())
    if reader is None:
        raise InputError(
            f"'{source}' ends in '{source.suffix}', which is no known format; give {', '.join(_FORMATS)} or a folder of images."
        )
    return (reader(source) if reader is read_npz else reader(source, named)), None


def _find(source: str | os.PathLike) -> Path:
    path = Path(source).expanduser()
    if path.exists() and not _is_run(path):
        return path
    if path.suffix or len(path.parts) != 1:
        raise InputError(f"'{path}' does not exist; check the path (the working folder is '{Path.cwd()}').")
    folder = os.environ.get(VARIABLE)
    files = _named(Path(folder)) if folder else {}
    if path.name in files:
        return files[path.name]
    where = f"{VARIABLE} is '{folder}'" if folder else f"set {VARIABLE} to the folder of your data files"
    raise InputError(f"there are no data named '{path}'; {nearest(path.name, ['digits', *files])} ({where}, or give a path)")


def _is_run(path: Path) -> bool:
    """Whether a bare name is that of a run's folder here, as of a fit of data whose name it has: it holds no data."""
    return len(path.parts) == 1 and (path / "config.json").is_file()


def _named(folder: Path) -> dict[str, Path]:
    if not folder.is_dir():
        raise InputError(f"{VARIABLE} names '{folder}', which is no folder; set it to the folder of your data files.")
    return {
        path.stem: path for path in sorted(folder.iterdir(), reverse=True) if path.is_dir() or path.suffix.lower() in _FORMATS
    }


def _digits() -> dict[str, np.ndarray]:
    """Scikit-learn's digits, from its file where that lies as ever: importing the package takes longer than fitting a model."""
    package = find_spec("sklearn")
    table = Path(package.origin or "").parent / "datasets" / "data" / "digits.csv.gz" if package is not None else Path()
    if table.is_file():
        with gzip.open(table, "rt") as file:
            rows = np.loadtxt(file, delimiter=",")
        return {"x": rows[:, :-1].reshape(-1, 8, 8), "y": rows[:, -1].astype(np.int64)}
    from sklearn.datasets import load_digits

    bunch: Any = load_digits()
    return {"x": bunch.images, "y": bunch.target}
