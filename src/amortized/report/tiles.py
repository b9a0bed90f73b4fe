"""Figures of images: tiles in rows with names, each pixel of an image a whole number of the picture's.

Blocks of rows stand one below the other. Everything is placed in pixels of the picture, so that images are crisp at the
resolution of the figure itself; at another one they are as good as that allows.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from amortized.report.grid import as_pixels, limits
from amortized.report.view import View

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DPI = 110
WIDTH = 825
"""Of a figure, in pixels of the picture, as are all lengths here."""

TILE = 62
"""The edge of a square tile, about."""

LONGEST, SHORTEST = 260, 8
"""The edges of a tile that is not square."""

GAP, MARGIN = 3, 8
GROUND = 217
"""The grey between tiles, on which black ones and white ones are seen."""

TITLE, LINE, NAME = 24, 13, 6.2
"""The height of a block's title, that of a line of column names, and the width of a character of a row's name."""


@dataclass(frozen=True)
class Block:
    """Rows of tiles.

    Attributes:
        images: (R, C, *event); a tile of nothing but NaN is left empty.
        rows: The name of each row.
        columns: The name of each column, of one line or several; none where it is empty.
        title: Of the whole.
    """

    images: NDArray[Any]
    rows: Sequence[str] = ()
    columns: Sequence[str] = ()
    title: str = ""

    @property
    def lines(self) -> int:
        """Of the columns' names."""
        return max((name.count("\n") + 1 for name in self.columns), default=0)


@dataclass(frozen=True)
class Scale:
    """How images become tiles.

    Attributes:
        repeats: How often each pixel is repeated, down and across.
        tile: Height and width of a tile; those of the image times `repeats`, unless it had to shrink.
    """

    repeats: tuple[int, int]
    tile: tuple[int, int]

    @classmethod
    def of(cls, event: Sequence[int], columns: int = 1, room: int = WIDTH) -> "Scale":
        """The scale of images (H, W, ...) of which so many must find room side by side."""
        height, width = event[:2]
        most = min(LONGEST, room // columns - GAP)
        factor = min(math.sqrt(TILE**2 / (height * width)), most / width, LONGEST / height)
        if factor < 1:
            return cls((1, 1), (max(SHORTEST, round(height * factor)), max(SHORTEST, round(width * factor))))
        whole = round(factor) if round(factor) * max(height, width) <= most else int(factor)
        down, across = (max(whole, math.ceil(SHORTEST / edge)) for edge in (height, width))
        return cls((down, across), (height * down, width * across))


def fitting_columns(event: Sequence[int], *, most: int = 12, name: int = 12) -> int:
    """How many tiles of images (H, W, ...) stand in a row beside a name of so many characters."""
    return max(1, min(most, (WIDTH - 2 * MARGIN - int(NAME * name)) // (Scale.of(event).tile[1] + GAP)))


def tile_figure(mpl: Any, view: View, blocks: Sequence[Block], *, below: int = 0) -> "Figure":
    """Draw blocks of images.

    Args:
        mpl: Matplotlib, as `style` gives it.
        view: Whose images they are.
        blocks: From the top down.
        below: Height that is left free at the bottom.

    Raises:
        InputError: These are no images.
    """
    left = MARGIN + math.ceil(
        NAME * max(len(line) for block in blocks for name in (*block.rows, "") for line in name.split("\n"))
    )
    columns = max(block.images.shape[1] for block in blocks)
    scale = Scale.of(blocks[0].images.shape[2:], columns, WIDTH - left - MARGIN)
    heights = [_height(block, scale) for block in blocks]
    total = sum(heights) + below + MARGIN
    figure = mpl.figure.Figure(figsize=(WIDTH / DPI, total / DPI), dpi=DPI)
    ends, top = ends_of(view), total - MARGIN
    for block, height in zip(blocks, heights, strict=True):
        _draw(figure, block, scale, ends, left, top, total)
        top -= height
    return figure


def in_rows(images: NDArray[Any], columns: int) -> NDArray[Any]:
    """(R, C, *event) images (N, *event) in rows of so many, or of all where there are fewer; the last one filled with NaN."""
    columns = min(columns, len(images))
    missing = -len(images) % columns
    if missing:
        images = np.concatenate((images, np.full((missing, *images.shape[1:]), np.nan, np.float32)))
    return images.reshape(-1, columns, *images.shape[1:])


def place(figure: "Figure", left: float, bottom: float, width: float, height: float) -> Any:
    """Axes at a place in pixels."""
    wide, high = figure.get_size_inches() * DPI
    return figure.add_axes((left / wide, bottom / high, width / wide, height / high))


def ends_of(view: View) -> dict[str, float]:
    """What is black and what is white in all pictures of a run: the ends of the support, else those of the data."""
    known = limits(view.spec)
    x = view.shown_x[np.isfinite(view.shown_x)]
    return known or ({"low": float(x.min()), "high": float(x.max())} if x.size else {})


def _height(block: Block, scale: Scale) -> int:
    return (TITLE if block.title else 0) + LINE * block.lines + len(block.images) * (scale.tile[0] + GAP) + MARGIN


def _draw(figure: "Figure", block: Block, scale: Scale, ends: dict[str, float], left: int, top: int, total: int) -> None:
    if block.title:
        figure.text(MARGIN / WIDTH, 1 - (total - top) / total, block.title, va="top", fontsize=9)
        top -= TITLE
    top -= LINE * block.lines
    (rows, columns), (height, width) = block.images.shape[:2], scale.tile
    canvas = _canvas(block.images, scale, ends)
    size = rows * (height + GAP) - GAP, columns * (width + GAP) - GAP
    ax = place(figure, left, top - size[0], size[1], size[0])
    is_exact = canvas.shape[:2] == size
    extent = (0, size[1], size[0], 0)
    ax.imshow(canvas, extent=extent, aspect="auto", interpolation="nearest" if is_exact else "antialiased")
    ax.set_axis_off()
    for row, name in enumerate(block.rows):
        ax.text(-6, row * (height + GAP) + height / 2, name, ha="right", va="center", fontsize=7.5)
    for column, name in enumerate(block.columns):
        ax.text(column * (width + GAP) + width / 2, -3, name, ha="center", va="bottom", fontsize=7)


def _canvas(images: NDArray[Any], scale: Scale, ends: dict[str, float]) -> NDArray[np.uint8]:
    """All tiles of a block on a light ground, their pixels repeated; tiles that shrink are shrunk later."""
    rows, columns = images.shape[:2]
    pixels, is_empty = as_pixels(images.reshape(-1, *images.shape[2:]), **ends)
    pixels = np.repeat(pixels, 3, axis=-1) if pixels.shape[-1] == 1 else pixels[..., :3]
    pixels = pixels.repeat(scale.repeats[0], 1).repeat(scale.repeats[1], 2)
    _, height, width, _ = pixels.shape
    gap = round(GAP * height / scale.tile[0])
    canvas = np.full((rows * (height + gap) - gap, columns * (width + gap) - gap, 3), GROUND, np.uint8)
    for position, tile in enumerate(pixels):
        row, column = divmod(position, columns)
        top, left = row * (height + gap), column * (width + gap)
        canvas[top : top + height, left : left + width] = 255 if is_empty[position] else tile
    return canvas
