"""Images that stay on the disk: a folder of them, or `.tar` shards in the convention of WebDataset.

In a shard the files of one sample follow each other and share the name up to the first dot: `0001.png` and, with its label,
`0001.cls`. Other files of a sample are passed over. What is kept in memory is where each image lies, and its label.
"""

import io
import tarfile
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from amortized.data.images import EXTENSIONS, decode, described, find
from amortized.data.stores import RUN_BYTES, no_longer_readable
from amortized.errors import InputError


class _Pictures(ABC):
    """Images of one size and mode, decoded when they are read.

    Args:
        files: Where they lie.
        cuts: Where the images of each shard begin.
        run: How many neighbors are best read together.
        arrays: Labels.
    """

    files: Sequence[Path]
    event_shape: tuple[int, ...]
    arrays: Mapping[str, np.ndarray]
    is_whole: bool = False
    columns: tuple[str, ...] = ()

    def __init__(self, files: Sequence[Path], cuts: Sequence[int], run: int, arrays: dict[str, np.ndarray]):
        self.files, self.cuts, self.run, self.arrays = files, np.asarray(cuts, np.int64), run, arrays
        first = self._decoded(0)
        self.event_shape, self._first = first.shape, described(first)
        self.dtype = np.dtype(np.uint8 if first.dtype == np.uint8 else np.int32)

    def __len__(self) -> int:
        """The number of images."""
        return int(self.cuts[-1])

    def read(self, begin: int, end: int) -> np.ndarray:
        """The images of these numbers."""
        rows = np.empty((end - begin, *self.event_shape), self.dtype)
        for position in range(begin, end):
            image = self._decoded(position)
            if image.shape != self.event_shape or (image.dtype == np.uint8) != (self.dtype == np.uint8):
                raise InputError(
                    f"{self._name(position)} is {described(image)}, but {self._name(0)} is {self._first}; bring all images to"
                    " one size and mode."
                )
            rows[position - begin] = image
        return rows

    def _decoded(self, position: int) -> np.ndarray:
        return decode(io.BytesIO(self._content(position)), self._name(position))

    @abstractmethod
    def _content(self, position: int) -> bytes:
        """The file of an image."""

    @abstractmethod
    def _name(self, position: int) -> str:
        """What to call an image."""


class FolderStore(_Pictures):
    """A folder of images, or one of its splits; subfolders are classes.

    Args:
        found: The images with the class of each, or None.
        classes: The names of all classes.
    """

    def __init__(self, found: Sequence[tuple[Path, str | None]], classes: Sequence[str]):
        codes = {label: code for code, label in enumerate(classes)}
        arrays = {"y": np.asarray([codes[label] for _, label in found if label is not None])} if classes else {}
        # Each image is a file of its own: neighbors are read no faster than others.
        super().__init__([path for path, _ in found], [0, len(found)], 1, arrays)

    def _content(self, position: int) -> bytes:
        path = self.files[position]
        try:
            return path.read_bytes()
        except OSError as error:
            raise no_longer_readable(path, error) from None

    def _name(self, position: int) -> str:
        return f"'{self.files[position]}'"


class TarStore(_Pictures):
    """The images of `.tar` shards.

    Args:
        paths: The shards.

    Raises:
        InputError: A shard is truncated, compressed or no archive, has no images, or only some of its images have labels.
    """

    def __init__(self, paths: Sequence[Path]):
        starts: list[np.ndarray] = []
        labels: list[str] = []
        cuts = [0]
        bare: str | None = None
        for path in paths:
            where, found, without = _index(path)
            starts.append(where)
            labels += found
            if bare is None and without is not None:
                bare = f"'{without}' of '{path}'"
            cuts.append(cuts[-1] + len(where))
        self._where = np.concatenate(starts)
        mean = max(1.0, float(self._where[:, 1].mean()))
        if labels and bare:
            raise InputError(f"image {bare} has no label, but others have; give all of them a .cls file, or none.")
        super().__init__(paths, cuts, max(1, int(RUN_BYTES / mean)), {"y": _classes(labels)} if labels else {})

    def _content(self, position: int) -> bytes:
        path, (offset, size) = self._shard(position), self._where[position].tolist()
        try:
            with path.open("rb") as file:
                file.seek(offset)
                content = file.read(size)
        except OSError as error:
            raise no_longer_readable(path, error) from None
        if len(content) < size:
            raise InputError(f"'{path}' was cut while it was read; restore it.")
        return content

    def _name(self, position: int) -> str:
        shard = self._shard(position)
        return f"image {position - int(self.cuts[self.files.index(shard)])} of '{shard}'"

    def _shard(self, position: int) -> Path:
        return self.files[int(np.searchsorted(self.cuts, position, side="right")) - 1]


def open_folder(folder: Path) -> tuple[dict[str, FolderStore], dict[str, np.ndarray]]:
    """The stores of a folder of images by split ("" where it has none), and the arrays they share: the names of classes."""
    parts, classes = find(folder)
    stores = {split: FolderStore(found, classes) for split, found in parts.items()}
    return stores, {"class_names": np.asarray(classes)} if classes else {}


def _index(path: Path) -> tuple[np.ndarray, list[str], str | None]:
    """Where each image of a shard begins and how long it is, (n, 2), the labels in their order, and the first without one."""
    where: list[tuple[int, int]] = []
    labels: dict[str, str] = {}
    keys: list[str] = []
    try:
        with tarfile.open(path, "r:") as archive:
            while (member := archive.next()) is not None:
                archive.members = []  # pyright: ignore[reportAttributeAccessIssue]  # which would keep all of them
                key, kind = _key(member.name)
                if member.isfile() and kind.endswith(EXTENSIONS):
                    where.append((member.offset_data, member.size))
                    keys.append(key)
                elif member.isfile() and kind == ".cls":
                    labels[key] = _text(archive, member, path)
            end = archive.offset
    except (tarfile.TarError, OSError, EOFError) as error:
        raise InputError(
            f"'{path}' cannot be read: it is truncated, compressed or no .tar file ({error}); write it again, uncompressed."
        ) from None
    if not _has_end(path, end):
        raise InputError(f"'{path}' is truncated: its end mark is missing; write it again.")
    if not where:
        raise InputError(f"'{path}' holds no images; give samples with one of {', '.join(EXTENSIONS)}, or remove it.")
    if len(set(keys)) < len(keys):
        ((repeated, _),) = Counter(keys).most_common(1)
        raise InputError(f"sample '{repeated}' of '{path}' has more than one image; give one image per sample.")
    unlabeled = next((key for key in keys if key not in labels), None)
    return np.asarray(where, np.int64), [labels[key] for key in keys if key in labels], unlabeled


def _has_end(path: Path, end: int) -> bool:
    """Whether an archive ends there as it should, by a block of zeros; what was cut between two files reads like a whole one."""
    with path.open("rb") as file:
        file.seek(end)
        return file.read(tarfile.BLOCKSIZE) == bytes(tarfile.BLOCKSIZE)


def _key(name: str) -> tuple[str, str]:
    """The name of the sample that a file belongs to, and what it is of it."""
    folder, _, base = name.rpartition("/")
    key, dot, kind = base.partition(".")
    return f"{folder}/{key}".lstrip("/"), dot + kind.lower()


def _text(archive: Any, member: Any, path: Path) -> str:
    try:
        text = archive.extractfile(member).read().decode().strip()
    except UnicodeDecodeError:
        raise InputError(f"'{member.name}' of '{path}' is no text; write a class's number or name into it.") from None
    if not text:
        raise InputError(f"'{member.name}' of '{path}' is empty; write a class's number or name into it.")
    return text


def _classes(labels: list[str]) -> np.ndarray:
    return np.asarray([int(label) for label in labels] if all(label.isdigit() for label in labels) else labels)
