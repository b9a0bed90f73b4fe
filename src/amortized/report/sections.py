"""The pictures of a page: which there are, what each shows, and what is said where one cannot be made."""

import base64
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING

from amortized.errors import InputError
from amortized.report.calibration_figure import calibration_figure
from amortized.report.evidence_figure import evidence_figure
from amortized.report.gap_figure import gap_figure
from amortized.report.interpolation_figure import interpolation_figure
from amortized.report.kl_figure import kl_figure
from amortized.report.latent_figure import latent_figure
from amortized.report.learning_figure import learning_figure
from amortized.report.marginals_figure import marginals_figure
from amortized.report.neighbors_figure import neighbors_figure
from amortized.report.reconstruction_figure import reconstruction_figure
from amortized.report.samples_figure import samples_figure
from amortized.report.traversal_figure import traversal_figure
from amortized.report.view import View
from amortized.report.worst_figure import worst_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DPI, LARGEST = 110, 450_000
"""Of a picture, and the bytes from which on it is made again at the lower resolution."""

LOW_DPI = 90
INCH = 96
"""Of the screen, in pixels."""


@dataclass(frozen=True)
class Plate:
    """A picture, or why there is none.

    Attributes:
        alt: What is seen on it.
        source: The picture as a data address; empty where there is none.
        width: On the screen, pixels.
        height: Likewise.
        trouble: Why there is none.
    """

    alt: str
    source: str = ""
    width: int = 0
    height: int = 0
    trouble: str = ""


@dataclass(frozen=True)
class Section:
    """A part of a page that is made of pictures.

    Attributes:
        name: Its anchor.
        title: Its heading.
        lead: How to read it.
        plates: Its pictures, or one sentence in their place.
    """

    name: str
    title: str
    lead: str
    plates: Sequence[Plate]


@dataclass(frozen=True)
class Drawing:
    """How a picture is made.

    Attributes:
        draw: Makes the figure of a view.
        alt: What is seen on it, of the view and its numbers.
    """

    draw: Callable[[View], "Figure"]
    alt: Callable[[View, Mapping[str, float]], str]


def plate_of(drawing: Drawing, view: View, metrics: Mapping[str, float]) -> Plate:
    """The picture, or the sentence that stands in its place: nothing that goes wrong in one may cost the page."""
    try:
        alt = drawing.alt(view, metrics)
        figure = drawing.draw(view)
        content = _png(figure, DPI)
        if len(content) > LARGEST:
            content = _png(figure, LOW_DPI)
        width, height = (round(INCH * inches) for inches in figure.get_size_inches())
    except InputError as error:
        return Plate("", trouble=_sentence(str(error)))
    except Exception as error:  # of whatever a figure of unforeseen data may raise
        return Plate("", trouble=f"This picture could not be made ({type(error).__name__}: {' '.join(str(error).split())}).")
    return Plate(alt, "data:image/png;base64," + base64.b64encode(content).decode(), width, height)


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def _png(figure: "Figure", dpi: int) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi)
    return buffer.getvalue()


def section_of(name: str, view: View, metrics: Mapping[str, float]) -> Section:
    """A part of the page with its pictures; where one of several can be made, what keeps the others from it is no news."""
    title, lead, drawings = SECTIONS[name]
    plates = [plate_of(each, view, metrics) for each in drawings]
    made = [plate for plate in plates if plate.source]
    return Section(name, title, lead, made or plates[:1])


def _learning(view: View, metrics: Mapping[str, float]) -> str:
    history = view.run.history
    first, last = history[0], history[-1]
    ends = [
        f"{what} ELBO from {first[column]:,.1f} to {last[column]:,.1f} nats"
        for what, column in (("training", "train_elbo_nats"), ("validation", "valid_elbo_nats"))
        if column in first and column in last
    ]
    text = f"Curves over {last['step']:,} steps"
    return f"{text}: {', '.join(ends)}." if ends else f"{text}."


def _kl(view: View, metrics: Mapping[str, float]) -> str:
    order, carried = view.ranking.dimensions, view.ranking.carried
    rate = view.ranking.measure == "kl_nats"
    unit = "nats of KL" if rate else "of the prior's variance"
    return (
        f"Bars of what each of {view.latents} latent entries carries, sorted: the most in entry {order[0]}, {carried[0]:.2f}"
        f" {unit}, the least {carried[-1]:.2f}; {len(view.active)} of {view.latents} are active."
    )


def _what(view: View) -> str:
    return "images" if view.spec.is_image else "data"


def _reconstructions(view: View, metrics: Mapping[str, float]) -> str:
    how = "above their reconstructions" if view.spec.is_image else "against their reconstructions, column by column"
    return f"{_what(view).capitalize()} of the {view.split} split {how}."


def _of_each_class(view: View) -> "Figure":
    if not any(condition.classes for condition in view.spec.conditions.values()):
        raise InputError("samples stand below the reconstructions; without classes there are no others to show.")
    return samples_figure(view)


def _samples(view: View, metrics: Mapping[str, float]) -> str:
    return f"{_what(view).capitalize()} that the model draws, beside data of the {view.split} split."


def _marginals(view: View, metrics: Mapping[str, float]) -> str:
    return f"Histograms of columns: data of the {view.split} split and samples of the model."


def _traversals(view: View, metrics: Mapping[str, float]) -> str:
    rows = "a row each" if view.spec.is_image else "each by itself"
    return f"What is decoded as one latent entry at a time goes through the prior's range, {rows}, those first that carry most."


def _paths(view: View, metrics: Mapping[str, float]) -> str:
    return f"What is decoded between the latents of pairs of {_what(view)}, from left to right."


def _latent(view: View, metrics: Mapping[str, float]) -> str:
    colored = ", colored by label" if view.labels is not None else ""
    plane = {"pca": "in the plane of their first two principal components", "one": "on a line"}.get(
        view.plane.kind, "in the plane"
    )
    return f"The latents of {len(view.z):,} data of the {view.split} split {plane}{colored}, over the prior."


def _embedding(view: View) -> "Figure":
    """The same by UMAP, where that is installed and there is something to flatten."""
    if view.latents <= 2 or find_spec("umap") is None:
        raise InputError("an embedding by UMAP needs more than two latent entries, and the extra 'umap'.")
    return latent_figure(view, method="umap")


def _embedded(view: View, metrics: Mapping[str, float]) -> str:
    return f"The latents of {len(view.z):,} data of the {view.split} split and draws from the prior, embedded by UMAP."


def _neighbors(view: View, metrics: Mapping[str, float]) -> str:
    return f"Samples of the model, each with the training {_what(view)} that are nearest to it."


def _worst(view: View, metrics: Mapping[str, float]) -> str:
    return f"The {_what(view)} of the {view.split} split to which the model gives the lowest probability, with their scores."


def _evidence(view: View, metrics: Mapping[str, float]) -> str:
    value = metrics.get("nll_nats")
    return "log p(x) of the model beside that of simpler models" + (
        "." if value is None else f"; the model's is {-value:,.1f} nats."
    )


def _gaps(view: View, metrics: Mapping[str, float]) -> str:
    parts = [
        f"the {part} gap is {metrics[f'{part}_gap_nats']:.2f} nats"
        for part in ("approximation", "amortization")
        if f"{part}_gap_nats" in metrics
    ]
    return f"Bars of what is lost between log p(x) and the ELBO: {' and '.join(parts)}."


def _calibration(view: View, metrics: Mapping[str, float]) -> str:
    held = metrics.get("coverage_90")
    seen = "" if held is None else f": intervals of 90% hold {held:.0%} of the latents"
    return f"The coverage of the posterior's intervals against their level, and histograms of ranks{seen}."


LEARNING = (
    "The bound on log p(x) and its two parts. Where training goes on to a higher bound and validation does not, the model learns"
    " its training data by heart. Training values are means over the steps since the last validation, and lag behind at first."
)
LATENTS = (
    "What each entry of the latent carries: its share of the rate, in nats, or, where the rate has no shares, how much the mean"
    " of q(z|x) varies beside the prior. An entry is active where that mean varies over the data; one that is not says nothing."
)
DATA = "What goes in, what comes back, and what the model makes up by itself."
TRAVERSALS = (
    "One entry of the latent at a time goes through the prior's range, while the others stay; of several layers, those below the"
    " one that moves follow it."
)
PATHS = "What lies between two data: on a good path each step is a datum in its own right."
AGGREGATE = (
    "Where the data are encoded, over what the prior expects. Holes of the prior that no datum fills give samples unlike data;"
    " data outside of it are never sampled."
)
NEIGHBORS = "Samples beside the training data that are nearest to them: is the model copying?"
WORST = "The data that surprise the model most: outliers, errors of the data, or kinds that it has not learned."
GAPS = (
    "What the ELBO loses against log p(x): to the encoder (amortization gap), and to the family of the posterior (approximation"
    " gap)."
)
CALIBRATION = (
    "Of data that the model makes, the latents are known. Where q(z|x) is the posterior, its intervals hold as many of them as"
    " they say, and ranks among its draws are uniform, within the band."
)

SECTIONS: Mapping[str, tuple[str, str, Sequence[Drawing]]] = {
    "learning": ("Learning curves", LEARNING, [Drawing(learning_figure, _learning)]),
    "latents": ("What the latents carry", LATENTS, [Drawing(kl_figure, _kl)]),
    "data": (
        "Data, reconstructions, samples",
        DATA,
        [
            Drawing(reconstruction_figure, _reconstructions),
            Drawing(_of_each_class, _samples),
            Drawing(marginals_figure, _marginals),
        ],
    ),
    "traversals": ("Traversals", TRAVERSALS, [Drawing(traversal_figure, _traversals)]),
    "paths": ("Interpolations", PATHS, [Drawing(interpolation_figure, _paths)]),
    "aggregate": ("The aggregate posterior", AGGREGATE, [Drawing(latent_figure, _latent), Drawing(_embedding, _embedded)]),
    "neighbors": ("Nearest training data", NEIGHBORS, [Drawing(neighbors_figure, _neighbors)]),
    "worst": ("Lowest scores", WORST, [Drawing(worst_figure, _worst)]),
    "gaps": ("Where the nats go", GAPS, [Drawing(gap_figure, _gaps)]),
    "calibration": ("Is q(z|x) the posterior?", CALIBRATION, [Drawing(calibration_figure, _calibration)]),
}
"""By name, in the order of the page."""

EVIDENCE = Drawing(evidence_figure, _evidence)
