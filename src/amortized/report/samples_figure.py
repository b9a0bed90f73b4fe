"""What the model makes up: z drawn from the prior, with E[x | z] and an x drawn given the same z.

The two differ by the noise of p(x|z), which belongs to the model, and by nothing else. A model with classes as a condition has a
row of each.
"""

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from amortized import tasks
from amortized.errors import InputError
from amortized.report.entries import check_positive, is_image, plain, short
from amortized.report.style import style
from amortized.report.tiles import Block, fitting_columns, in_rows, tile_figure
from amortized.report.view import View

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from amortized.runs import Run

ROWS = 3
MOST_CLASSES = 20
"""Rows of classes, at most."""

NAMES = {True: "E[x | z]", False: "x ~ p(x | z)"}


def samples_figure(run: "Run | View", n: int | None = None, *, mean: bool | None = None) -> "Figure":
    """Draw images that the model makes up.

    Args:
        run: The run.
        n: How many; of a model with classes as its condition, for each of them. By default some rows.
        mean: Show E[x | z] alone, or x drawn given z alone; None shows both at the same latents, one above the other, and of
            classes E[x | z].

    Raises:
        InputError: The data are no images, or not there, n is not positive, or matplotlib is not installed.
    """
    view = View.of(run)
    check_positive(n)
    if not is_image(view.spec):
        raise InputError("these data are no images, and samples of them are shown by `marginals_figure`.")
    if not view.has_means:
        mean = False
    with style() as mpl:
        name = next((name for name, condition in view.spec.conditions.items() if condition.classes), None)
        if name is not None:
            return tile_figure(mpl, view, _class_blocks(view, name, n, mean is not False))
        columns = fitting_columns(view.spec.event_shape)
        kinds = [True, False] if mean is None else [mean]
        count = n or columns * (ROWS if mean is None else 2 * ROWS)
        made = [in_rows(draw(view, count, mean=kind), columns) for kind in kinds]
        names = [NAMES[kind] for kind in kinds] * len(made[0])
        images = np.stack(made, 1).reshape(-1, *made[0].shape[1:])
        below = ", and x drawn given the same z below" if len(kinds) > 1 else ""
        return tile_figure(mpl, view, [Block(images, names, title=f"Samples: z drawn from the prior{below}")])


def sample_block(view: View, columns: int) -> Block:
    """A row of E[x | z], where it is known, and one of x drawn given the same z, z drawn from the prior."""
    kinds = [True, False] if view.has_means else [False]
    images = np.stack([draw(view, columns, mean=kind) for kind in kinds])
    return Block(images, [NAMES[kind] for kind in kinds], title="Samples: z drawn from the prior")


def draw(view: View, n: int, *, mean: bool) -> NDArray[Any]:
    """(n, *event) samples, at conditions of data drawn at random; those with means and without have the same latents."""
    rows = np.random.default_rng(view.seed).integers(0, len(view.batch), n)
    context = {name: value.cpu()[torch.from_numpy(rows)] for name, value in view.batch.context.items()}
    return tasks.sample(view.model, n, context=context, mean=mean, seed=view.seed).numpy()


def _class_blocks(view: View, name: str, n: int | None, mean: bool) -> list[Block]:
    condition = view.spec.conditions[name]
    classes = min(condition.classes or 0, MOST_CLASSES)
    names = [condition.names[code] if code < len(condition.names) else str(code) for code in range(classes)]
    labels = [short(f"{name} {label}", 16) for label in names]
    columns = n or fitting_columns(view.spec.event_shape, most=10, name=max(map(len, labels)))
    codes = torch.arange(classes).repeat_interleave(columns)
    context = {
        other: value[:1].cpu().repeat(len(codes), *(1 for _ in value.shape[1:])) for other, value in view.batch.context.items()
    }
    context[name] = codes.to(view.batch.context[name].dtype)
    made = tasks.sample(view.model, len(codes), context=context, mean=mean, seed=view.seed).numpy()
    others = [other for other in context if other != name]
    said = f", {', '.join(others)} as of the first datum" if others else ""
    left = (condition.classes or 0) - classes
    said += f"; {left} more {'class is' if left == 1 else 'classes are'} left out" if left else ""
    title = f"Samples, {NAMES[mean]}, with a row for each {plain(name)}{plain(said)}"
    return [Block(made.reshape(classes, columns, *made.shape[1:]), labels, title=title)]
