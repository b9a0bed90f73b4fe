"""What an exported page carries: the model's graphs, its description, and some of the data with their posteriors."""

import base64
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.distributions import Distribution, Independent, Normal

from amortized.distributions import Chain
from amortized.errors import InputError
from amortized.explore import Explorer
from amortized.explore.held import Held, drawn
from amortized.explore.scoring import ellipse
from amortized.export.graphs import onnx_of
from amortized.export.parts import Part, decoder_of, encoder_of, follower_of, input_name
from amortized.export.taking import (
    UNSEEN_BY_DECODER,
    UNSEEN_BY_ENCODER,
    UNSEEN_BY_FOLLOWER,
    describe,
    latents_of,
    plain,
    rows_of,
)
from amortized.models.model import evaluating
from amortized.report.view import Plane, View

if TYPE_CHECKING:
    from amortized.runs import Run

MOST_DATA, LEAST_DATA, MOST_BYTES = 1000, 100, 600_000
"""Data that a page carries: between these numbers, so that they take no more than these bytes."""

PRIOR_DRAWS = 500
"""Draws that a page carries from a prior that it cannot draw from by itself."""

BYTE = 255


def carried_by(run: "Run") -> tuple[dict[str, Any], dict[str, float], dict[str, str]]:
    """What the page of a run carries, as JSON; how far its graphs are from torch; and why a part is not among them.

    Raises:
        InputError: The decoder cannot be exported.
    """
    entries, width = int(np.prod(run.spec.event_shape)), 1 if (run.spec.levels or BYTE + 2) <= BYTE + 1 else 4
    view = View(run, most=min(MOST_DATA, max(LEAST_DATA, MOST_BYTES // (entries * width))))
    graphs, differences, left_out, encoder = _graphs(run, view)
    held = Held(view)
    with held.working("export"):
        prior = held.prior(1)
        is_conditioned = _is_conditioned(run.model)
        is_normal = _is_normal(prior) and not is_conditioned
        arrays = {} if is_normal or is_conditioned else {"prior": drawn(prior, PRIOR_DRAWS).flatten(1).float().cpu().numpy()}
    can = {"decode": True, "encode": encoder is not None, "score": False, "sample": not is_conditioned, "temperature": is_normal}
    description = _description(view, can, follows="follower" in graphs)
    if held.missing is None:
        arrays |= _data(view, description["plane"])
    outputs = () if encoder is None else encoder.outputs
    carried = {
        "description": description,
        "latentShape": list(held.latent_shape),
        "conditions": {name: input_name(name) for name in run.spec.conditions},
        "graphs": graphs,
        "arrays": {name: packed(value) for name, value in arrays.items()},
        "center": outputs[0] if outputs else None,
        "takesNoise": "draw" in outputs,
        "isGaussian": outputs == ("mean", "stddev"),
        "isNormalPrior": is_normal,
    }
    return carried, differences, left_out


def packed(values: NDArray[Any]) -> dict[str, Any]:
    """An array as JSON: bytes where all its values are, else float32, in base64."""
    small = bool(np.all((values >= 0) & (values <= BYTE) & (values == np.round(values))))
    stored = np.ascontiguousarray(values, dtype=np.uint8 if small else "<f4")
    content = base64.b64encode(stored.tobytes()).decode()
    return {"type": "uint8" if small else "float32", "shape": list(values.shape), "data": content}


def _graphs(run: "Run", view: View) -> tuple[dict[str, str], dict[str, float], dict[str, str], Part | None]:
    """The model's graphs in base64, their differences from torch, why one is not among them, and the encoder."""
    batch = rows_of(view).to(torch.device("cpu"), torch.float32)
    unseen = (UNSEEN_BY_ENCODER, UNSEEN_BY_DECODER, UNSEEN_BY_FOLLOWER)
    encoding, decoding, following = (plain(run.model, without=parts).float() for parts in unseen)
    graphs: dict[str, str] = {}
    differences: dict[str, float] = {}
    left_out: dict[str, str] = {}
    encoder = None

    def add(part: Part) -> Part:
        content, differences[part.name] = onnx_of(part, describe(run, part))
        graphs[part.name] = base64.b64encode(content).decode()
        return part

    with evaluating(run.model, view.seed, "export"), torch.no_grad():
        z = latents_of(following, batch.context)
        add(decoder_of(decoding, z, batch.context, bare=True))
        try:
            encoder = add(encoder_of(encoding, batch))
        except InputError as error:
            left_out["encoder"] = str(error)
        if isinstance(following.prior(batch.context), Chain):
            try:
                add(follower_of(following, z, batch.context))
            except InputError as error:
                left_out["follower"] = str(error)
    return graphs, differences, left_out, encoder


def _description(view: View, can: dict[str, bool], *, follows: bool) -> dict[str, Any]:
    """The explorer's, without what belongs to this machine and what a page cannot do by itself."""
    found = Explorer(view).description()
    here = found["data"] is not None
    own = {
        "name": "model" if view.run.path is None else view.run.path.name,
        "missing": None if here else "this page carries none.",
        "can": can | {"datum": here},
        "latent": found["latent"] | {"follows": follows},
    }
    return found | own


def _data(view: View, plane: dict[str, Any]) -> dict[str, NDArray[Any]]:
    """The data, NaN where missing, with the latent and the ellipse of each."""
    observed = view.batch.observed
    x = view.x if observed is None else np.where(observed.cpu().numpy(), view.x, np.nan)
    on = Plane(np.array(plane["origin"], np.float32), np.array(plane["axes"], np.float32), plane["kind"])
    ellipses = np.full((len(x), 6), np.nan, np.float32)
    with evaluating(view.model, view.seed, "export"):
        for n in range(len(x)):
            found = ellipse(view.model.posterior(view.batch.rows(slice(n, n + 1))), on)
            if found is not None:
                ellipses[n] = [*found["center"], *found["axes"][0], *found["axes"][1]]
    spread = {} if view.spread is None else {"spread": view.spread}
    return {"x": x.reshape(len(x), -1), "z": view.values, "ellipses": ellipses} | spread


def _is_normal(p: Distribution) -> bool:
    while isinstance(p, Independent):
        p = p.base_dist
    return type(p) is Normal


def _is_conditioned(model: Any) -> bool:
    """Whether the prior changes with the conditions, so that no draw of it fits all of them."""
    return getattr(model, "context", None) is not None and "prior" in getattr(model, "condition", ())
