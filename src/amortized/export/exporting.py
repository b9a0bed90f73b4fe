"""Exporting a run: which parts there are, what is said about them, and where they are written."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from amortized.errors import InputError, nearest
from amortized.export.exported import Exported
from amortized.export.graphs import onnx_of, torch_of
from amortized.export.parts import Part, decoder_of, encoder_of
from amortized.export.taking import UNSEEN_BY_DECODER, UNSEEN_BY_ENCODER, describe, latents_of, plain, rows_of
from amortized.export.tracing import BATCHES
from amortized.files import write_atomically
from amortized.models.model import evaluating
from amortized.report.view import View

if TYPE_CHECKING:
    from amortized.runs import Run

Format = Literal["onnx", "torch", "html"]
SUFFIXES = {"onnx": ".onnx", "torch": ".pt2"}


def export(run: "Run", to: str = "onnx", out: str | os.PathLike[str] | None = None) -> Exported:
    """Write a run's model in a form that works without this library.

    Args:
        run: The run.
        to: "onnx", a folder with `encoder.onnx` and `decoder.onnx`; "torch", one with `encoder.pt2` and `decoder.pt2`, programs
            of `torch.export`; or "html", a page that explores the model by itself.
        out: The folder, or the file of the page; by default `onnx`, `torch` or `explorer.html` in the run folder.

    Each graph takes any number of rows and was held against torch on several; data are given in the units that the model scores,
    NaN where an entry is missing, and conditions as integer codes of classes (B,) or as numbers (B, width). What a graph is
    about, its inputs and outputs, is in its metadata, as JSON under "amortized".

    Returns:
        The files, how far they are from torch, and what was left out for what reason.

    Raises:
        InputError: Nothing of the model can be exported, a package is not installed, or `out` cannot be written to.
    """
    if to not in get_args(Format):
        raise InputError(f"cannot export to '{to}'; {nearest(to, get_args(Format))}")
    if out is not None:
        target = Path(out)
    elif run.path is not None:
        target = run.path / ("explorer.html" if to == "html" else to)
    else:
        raise InputError("this run has no folder to export into; give out, a folder, or a file .html for a page.")
    if to == "html":
        from amortized.export.page import export_page

        return export_page(run, target)
    return _export_graphs(run, onnx_of if to == "onnx" else torch_of, target, SUFFIXES[to])


def _export_graphs(run: "Run", write: Callable[..., tuple[bytes, float]], folder: Path, suffix: str) -> Exported:
    view = View(run, most=max(BATCHES))
    model, batch = plain(run.model), rows_of(view)
    made: dict[str, bytes] = {}
    differences: dict[str, float] = {}
    left_out: dict[str, str] = {}
    with evaluating(model, view.seed, "export"):
        z = latents_of(model, batch.context)
        makers: dict[str, Callable[[], Part]] = {
            "encoder": lambda: encoder_of(plain(model, without=UNSEEN_BY_ENCODER), batch),
            "decoder": lambda: decoder_of(plain(model, without=UNSEEN_BY_DECODER), z, batch.context),
        }
        for name, make in makers.items():
            try:
                part = make()
                made[name], differences[name] = write(part, describe(run, part))
            except InputError as error:
                left_out[name] = str(error)
    if not made:
        raise InputError(" ".join(left_out.values()))
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot write to '{folder}': {error.strerror}; give the path of a folder.") from error
    files = []
    for name, content in made.items():
        files.append(folder / f"{name}{suffix}")
        write_atomically(files[-1], content)
    return Exported(tuple(files), differences, left_out)
