"""A folder of images as a dict of named arrays.

`train/`, `valid/` and `test/` inside are splits; other subfolders are classes, and their names the labels. Files are read in
sorted order; grey images are (H, W), colored ones and those with a palette (H, W, 3). Transparency is dropped, and of an
animation the first frame is taken.
"""

from pathlib import Path
from typing import BinaryIO

import numpy as np

from amortized.data.arrays import SPLITS
from amortized.errors import InputError

EXTENSIONS = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif")


def read_folder(folder: Path) -> dict[str, np.ndarray]:
    """The arrays of a folder of images: `x` or one per split, and `y` with `class_names` where subfolders are classes.

    Raises:
        InputError: No images, something that is no image, or images of more than one size or mode.
    """
    parts, classes = find(folder)
    reference, arrays = next(found for found in parts.values() if found)[0][0], {}
    first = _read(reference)
    for split, found in parts.items():
        prefix = f"{split}_" if split else ""
        arrays[f"{prefix}x"] = np.stack([_same(path, _read(path), reference, first) for path, _ in found])
        if classes:
            arrays[f"{prefix}y"] = np.asarray([classes.index(label) for _, label in found if label is not None])
    return {**arrays, "class_names": np.asarray(classes)} if classes else arrays


def find(folder: Path) -> tuple[dict[str, list[tuple[Path, str | None]]], list[str]]:
    """The images of a folder by split ("" where it has none), each with its class or None; and the names of all classes.

    Raises:
        InputError: There are none, or something that is none.
    """
    parts = {split: folder / split for split in SPLITS if (folder / split).is_dir()} or {"": folder}
    if "" not in parts:
        _refuse_strangers(folder, set(SPLITS))
    files = {split: _files(part) for split, part in parts.items()}
    found = [path for paths in files.values() for path in paths]
    if not found:
        raise InputError(f"folder '{folder}' holds no images; give files that end in {', '.join(EXTENSIONS)}.")
    return files, sorted({label for _, label in found if label is not None})


def _files(folder: Path) -> list[tuple[Path, str | None]]:
    entries = [entry for entry in sorted(folder.iterdir()) if not entry.name.startswith(".")]
    classes = [entry for entry in entries if entry.is_dir()]
    if not classes:
        return [(_image(entry), None) for entry in entries]
    _refuse_strangers(folder, {entry.name for entry in classes})
    found: list[tuple[Path, str | None]] = []
    for inner in classes:
        for entry in sorted(inner.iterdir()):
            if not entry.name.startswith("."):
                found.append((_image(entry), inner.name))
    return found


def _refuse_strangers(folder: Path, expected: set[str]) -> None:
    for entry in sorted(folder.iterdir()):
        if entry.name not in expected and not entry.name.startswith("."):
            raise InputError(f"'{entry}' lies beside the folders {sorted(expected)}; move it into one of them.")


def _image(path: Path) -> Path:
    if path.is_dir():
        raise InputError(f"'{path}' is a folder within a class; give one folder per class, with images only.")
    if path.suffix.lower() not in EXTENSIONS:
        raise InputError(f"'{path}' is no image (known: {', '.join(EXTENSIONS)}); move it out of the folder.")
    return path


def _read(path: Path) -> np.ndarray:
    return decode(path, f"'{path}'")


def decode(source: Path | BinaryIO, name: str) -> np.ndarray:
    """The pixels of an image: (H, W) uint8 of a grey one, int32 of one with 16 bits, else (H, W, 3) uint8.

    Raises:
        InputError: It is none; the message calls it `name`.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(source) as image:
            grey = image.mode in ("1", "L", "LA", "I;16", "I")
            if image.mode in ("I;16", "I"):
                return np.asarray(image).astype(np.int32)
            return np.asarray(image.convert("L" if grey else "RGB"))
    except (OSError, SyntaxError, ValueError) as error:
        reason = "it has no format that is known" if isinstance(error, UnidentifiedImageError) else error
        raise InputError(f"{name} cannot be read as an image ({reason}); save it again or move it out of the folder.") from None


def _same(path: Path, image: np.ndarray, first: Path, reference: np.ndarray) -> np.ndarray:
    if image.shape != reference.shape:
        raise InputError(
            f"'{path}' is {described(image)}, but '{first}' is {described(reference)}; bring all images to one size and mode."
        )
    return image


def described(image: np.ndarray) -> str:
    """The size and mode of an image in words."""
    return f"{image.shape[1]} x {image.shape[0]} {'grey' if image.ndim == 2 else 'color'}"
