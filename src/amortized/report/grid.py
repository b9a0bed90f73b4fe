"""Images side by side in one picture."""

import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from amortized.errors import InputError
from amortized.files import write_atomically

if TYPE_CHECKING:
    from PIL import Image

    from amortized.recipes import Spec

WIDTH = 800  # of a picture, about: small images are enlarged by a whole factor up to here
MAX_PIXELS = 2**26
BACKGROUND = 128
HOLE = (70, 110, 160)
"""The color of a missing pixel."""


def image_grid(
    images: np.ndarray,
    *,
    columns: int | None = None,
    low: float | None = None,
    high: float | None = None,
    pad: int = 1,
) -> "Image.Image":
    """Lay images out in rows.

    Args:
        images: (N, H, W) or (N, H, W, C) with 1 (grey), 3 (RGB) or 4 (RGBA) channels, any numbers; channels come last. A pixel of
            NaN is a hole, shown in a color of its own; an image of nothing else leaves its place empty.
        columns: Images per row; by default as many as there are rows.
        low: The value shown as black, by default the least that occurs; values below are shown alike.
        high: The value shown as white, by default the greatest that occurs.
        pad: Pixels between images, before they are enlarged.

    Returns:
        The picture, small images enlarged by a whole factor without smoothing.

    Raises:
        InputError: They are no images, or too many for one picture.

    Example:
        >>> import numpy as np
        >>> image_grid(np.eye(8).reshape(1, 8, 8)).size
        (800, 800)
    """
    from PIL import Image

    n, height, width, _ = _with_channels(images).shape
    per_row = min(n, math.ceil(math.sqrt(n)) if columns is None else columns)
    if per_row < 1:
        raise InputError(f"a grid needs at least 1 column; columns is {columns}.")
    rows = math.ceil(n / per_row)
    size = (rows * (height + pad) - pad, per_row * (width + pad) - pad)
    if size[0] * size[1] > MAX_PIXELS:
        raise InputError(f"{n} images of {height} x {width} are too many for one picture; take fewer, or write an .npz file.")
    pixels, is_empty = as_pixels(images, low=low, high=high)
    channels = pixels.shape[-1]
    canvas = np.full((*size, channels), BACKGROUND, np.uint8)
    for position in np.flatnonzero(~is_empty):
        top, left = position // per_row * (height + pad), position % per_row * (width + pad)
        canvas[top : top + height, left : left + width] = pixels[position]
    enlarged = max(1, WIDTH // max(size))
    canvas = canvas.repeat(enlarged, axis=0).repeat(enlarged, axis=1)
    return Image.fromarray(canvas[:, :, 0] if channels == 1 else canvas)


def limits(spec: "Spec") -> dict[str, float]:
    """What is black and what is white, as `low` and `high`: the ends of the data's support; nothing where it has none."""
    if spec.support == "levels" and spec.levels is not None:
        return {"low": 0.0, "high": spec.levels - 1.0}
    return {"low": 0.0, "high": 1.0} if spec.support in ("binary", "unit") else {}


def as_pixels(images: np.ndarray, *, low: float | None = None, high: float | None = None) -> tuple[np.ndarray, np.ndarray]:
    """The colors of images.

    Args:
        images: As in `image_grid`.
        low: Likewise.
        high: Likewise.

    Returns:
        (N, H, W, C) bytes, grey images as RGB where one of them has holes; and (N,) whether an image is nothing but holes.

    Raises:
        InputError: They are no images.
    """
    images = _with_channels(images)
    holes = np.any(np.isnan(images), axis=-1)
    is_empty = np.all(holes, axis=(1, 2))
    if holes[~is_empty].any() and images.shape[-1] == 1:
        images = np.repeat(images, 3, axis=-1)
    pixels = _to_bytes(images, low, high)
    pixels[holes] = (*HOLE, 255)[: images.shape[-1]]
    return pixels, is_empty


def write_images(
    path: Path | str,
    images: np.ndarray,
    columns: int | None = None,
    *,
    low: float | None = None,
    high: float | None = None,
) -> None:
    """Write a grid of images as a PNG file; see `image_grid`.

    Raises:
        InputError: They are no images, or the file cannot be written.
    """
    buffer = io.BytesIO()
    image_grid(images, columns=columns, low=low, high=high).save(buffer, format="PNG")
    write_atomically(Path(path), buffer.getvalue())


def stacked(layers: Sequence[np.ndarray], columns: int) -> np.ndarray:
    """Order images and their counterparts so that a grid shows each below its own.

    Args:
        layers: Each (N, *event), from the top down.
        columns: Of the grid.

    Returns:
        (M, *event) for a grid of `columns` columns; a row that is not full is filled with NaN.
    """
    missing, event = -len(layers[0]) % columns, layers[0].shape[1:]
    whole = [np.concatenate((layer, np.full((missing, *event), np.nan))) if missing else layer for layer in layers]
    return np.concatenate([layer.reshape(-1, 1, columns, *event) for layer in whole], axis=1).reshape(-1, *event)


def _with_channels(images: np.ndarray) -> np.ndarray:
    images = images[..., None] if images.ndim == 3 else images
    if images.ndim != 4 or images.shape[-1] not in (1, 3, 4) or images.size == 0:
        raise InputError(
            f"a picture needs images (N, H, W) or (N, H, W, C) with 1, 3 or 4 channels; the shape is {images.shape}."
            " Fits: .npz, .npy or .csv."
        )
    return images


def _to_bytes(images: np.ndarray, low: float | None, high: float | None) -> np.ndarray:
    values = images.astype(np.float64)
    low = float(np.nanmin(values)) if low is None else low
    high = float(np.nanmax(values)) if high is None else high
    scaled = (values - low) / (high - low if high > low else 1.0)
    return np.rint(255 * np.nan_to_num(scaled, nan=0.0, posinf=1.0, neginf=0.0).clip(0, 1)).astype(np.uint8)
