"""What an evaluation leaves in the run folder, so that one that was interrupted goes on.

    evaluation/SPLIT.json            of which weights and data; by step its settings, size, seconds, metrics and notes
    evaluation/SPLIT/STEP.npz        the values of each datum, where the step has any
    evaluation/SPLIT/parts.npz       the evidence of some chunks of the data, until that of all is there
    evaluation/SPLIT/STEP.png        its picture, where it has one

What was kept of other weights or data, or by another version, counts as not there. A step that was done by other settings (seed,
precision, factors) is another step, beside the one by the usual settings: its key is STEP-DIGEST.
"""

import dataclasses
import hashlib
import io
import json
import re
import time
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from amortized.evaluation import Calibration, Evidence, Finding, Metric
from amortized.evaluation.records import Found
from amortized.files import write_atomically
from amortized.folder import write_json
from amortized.processes import world
from amortized.studies.budget import Done, Size
from amortized.studies.findings import Together

REBUILT: Mapping[str, type[Evidence | Calibration]] = {"evidence": Evidence, "calibration": Calibration}
"""The findings that are read as what they were: others need the evidence of each datum, and a picture the ranks."""

EVERY = 10.0
"""Seconds between two writes of what is kept of a step that is not done."""


@dataclass(frozen=True, eq=False)
class Kept(Found):
    """A finding as it is read from the run folder.

    Attributes:
        metrics: Its numbers by name.
        notes: What a reader must know.
        values: Its tensors by name.
    """

    metrics: dict[str, Metric]
    notes: list[str]
    values: Mapping[str, Tensor] = field(default_factory=dict)


class Keeper:
    """Keeps the steps of the evaluation of one split in a run folder.

    Args:
        folder: The run folder; None keeps nothing.
        split: The name of the data.
        identity: Of the weights and the data.
        settings: By the name of a step, what it depends on besides its size, where that is not the usual.
    """

    def __init__(self, folder: Path | None, split: str, identity: str, settings: Callable[[str], Mapping[str, Any]]):
        self.identity, self.settings = identity, settings
        slug = re.sub(r"[^A-Za-z0-9.-]+", "-", split).strip("-.") or "data"
        self.file = None if folder is None else folder / "evaluation" / f"{slug}.json"
        self.folder = None if self.file is None else self.file.with_suffix("")
        self.record: dict[str, Any] = {"identity": identity, "steps": {}}

    def read(self) -> dict[str, Done]:
        """What was kept, by the name of the step; nothing where it cannot be read."""
        if self.file is None or not self.file.exists():
            return {}
        try:
            record = json.loads(self.file.read_text(encoding="utf-8"))
            if record["identity"] != self.identity:
                return {}
            names = {key: step["name"] for key, step in record["steps"].items()}
            done = {name: self._done(name, record["steps"][key]) for key, name in names.items() if key == self._key(name)}
        except (OSError, ValueError, KeyError, TypeError, AttributeError, EOFError, zipfile.BadZipFile):
            return {}
        self.record = record
        return done

    def write(self, name: str, done: Done) -> None:
        """Keep a step."""
        if self.file is None or done.is_kept:
            return
        values = _values(done.finding)
        self._values_file(name).parent.mkdir(parents=True, exist_ok=True)
        if values:
            buffer = io.BytesIO()
            np.savez_compressed(buffer, **{key: value.cpu().numpy() for key, value in values.items()})  # pyright: ignore
            write_atomically(self._values_file(name), buffer.getvalue())
        self.record["steps"][self._key(name)] = {
            "name": name,
            "settings": dict(self.settings(name)),
            "work": done.size.work,
            "options": dict(done.size.options),
            "seconds": round(done.seconds, 3),
            "metrics": {key: asdict(metric) for key, metric in done.finding.metrics.items()},
            "notes": list(done.finding.notes),
            "values": sorted(values),
            "fields": _plain(done.finding),
        }
        write_json(self.file, self.record)

    def names(self, name: str) -> set[str]:
        """The metrics that a step is known to have, by whatever settings."""
        steps = [step for step in self.record["steps"].values() if step["name"] == name]
        return {metric for step in steps for metric in step["metrics"]}

    def picture(self, name: str) -> Path | None:
        """Where the picture of a step goes."""
        return None if self.folder is None else self.folder / f"{self._key(name)}.png"

    def parts(self, samples: int) -> "KeptParts | None":
        """What is kept of the evidence of all data by so many samples; several processes keep none."""
        if self.folder is None or world() > 1:
            return None
        return KeptParts(self.folder / "parts.npz", f"{self.identity} {self._key('evidence')} {samples}")

    def _done(self, name: str, step: Mapping[str, Any]) -> Done:
        values: dict[str, Tensor] = {}
        if step["values"]:
            with np.load(self._values_file(name), allow_pickle=False) as arrays:
                values = {key: torch.from_numpy(arrays[key]) for key in step["values"]}
        metrics = {key: Metric(**metric) for key, metric in step["metrics"].items()}
        finding: Finding = Kept(metrics, list(step["notes"]), values)
        if name in REBUILT:
            names = {each.name for each in dataclasses.fields(REBUILT[name])}
            finding = REBUILT[name](**{**dict.fromkeys(names), **step["fields"], **values})
        return Done(finding, Size(step["work"], step["options"]), step["seconds"], is_kept=True)

    def _values_file(self, name: str) -> Path:
        assert self.folder is not None
        return self.folder / f"{self._key(name)}.npz"

    def _key(self, name: str) -> str:
        settings = self.settings(name)
        return f"{name}-{identify(settings)[:8]}" if settings else name


class KeptParts:
    """What was found of the chunks of the evidence, written now and then.

    Args:
        file: Where they are kept.
        identity: Of what they depend on; those of something else count as not there.
    """

    def __init__(self, file: Path, identity: str):
        self.file, self.identity = file, identity
        self.found, self.written = self._read(), time.monotonic()

    def get(self, number: int) -> Tensor | None:
        """The columns of a chunk; None where it was not kept."""
        return self.found.get(number)

    def put(self, number: int, columns: Tensor) -> None:
        """Keep the columns of a chunk."""
        self.found[number] = columns
        if time.monotonic() - self.written > EVERY:
            numbers, values = list(self.found), list(self.found.values())
            arrays = {"numbers": numbers, "sizes": [value.shape[1] for value in values], "columns": torch.cat(values, 1).numpy()}
            buffer = io.BytesIO()
            np.savez(buffer, identity=self.identity, **arrays)
            self.file.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(self.file, buffer.getvalue())
            self.written = time.monotonic()

    def discard(self) -> None:
        """Remove the file."""
        self.file.unlink(missing_ok=True)

    def _read(self) -> dict[int, Tensor]:
        try:
            with np.load(self.file, allow_pickle=False) as arrays:
                if str(arrays["identity"]) != self.identity:
                    return {}
                columns = torch.from_numpy(arrays["columns"]).split(arrays["sizes"].tolist(), 1)
                return dict(zip(arrays["numbers"].tolist(), columns, strict=True))
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            return {}


def identify(*parts: Any) -> str:
    """A digest of what an evaluation depends on; a path stands for the content of its file."""
    digest = hashlib.sha256(version("amortized").encode())
    for part in parts:
        if isinstance(part, Path):
            with part.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
        else:
            digest.update(json.dumps(part, sort_keys=True).encode())
    return digest.hexdigest()[:16]


def _values(finding: Finding) -> dict[str, Tensor]:
    return {name: value for name, value in _fields(finding).items() if isinstance(value, Tensor)}


def _plain(finding: Finding) -> dict[str, Any]:
    return {name: value for name, value in _fields(finding).items() if isinstance(value, str | int | float | bool | None)}


def _fields(finding: Finding) -> dict[str, Any]:
    if isinstance(finding, Together):
        return {name: value for part in finding.parts for name, value in _fields(part).items()}
    if not dataclasses.is_dataclass(finding):
        return {}
    return {each.name: getattr(finding, each.name) for each in dataclasses.fields(finding)}
