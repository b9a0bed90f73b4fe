"""The run folder on disk: what lies in it, and how it is written and read.

    config.yaml         the recipe, with every choice made
    config.json         what is needed to build the model without its data
    model.safetensors   the weights that were kept
    checkpoints/        all that is needed to go on with training
    history.csv         one row per validation
    metrics.json        the evidence, by split
    environment.json    versions, seed, data and machine
    report.html         what all of this says, as a page

Every file is written atomically; no pickle is written or read.
"""

import csv
import io
import json
import os
import platform
import subprocess
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from pydantic import TypeAdapter, ValidationError

from amortized.data import Data
from amortized.errors import InputError
from amortized.files import write_atomically
from amortized.recipes import Recipe, Spec, make_recipe, read_yaml

FORMAT = 1
"""Version of the folder's layout; a newer one is refused."""


class Folder:
    """The folder of one run.

    Args:
        path: Where it is.
    """

    def __init__(self, path: str | os.PathLike[str]):
        self.path = Path(path)
        self.config = self.path / "config.yaml"
        self.model = self.path / "config.json"
        self.weights = self.path / "model.safetensors"
        self.checkpoint = self.path / "checkpoints" / "last.safetensors"
        self.history = self.path / "history.csv"
        self.metrics = self.path / "metrics.json"
        self.environment = self.path / "environment.json"

    def create(self) -> None:
        """Make the folder.

        Raises:
            InputError: It holds something already, or cannot be written to.
        """
        try:
            if self.path.is_dir() and not self._is_empty():
                what = "already holds a run" if self.config.exists() else "is not empty"
                way_out = f", or go on with --resume {self.path}" if self.config.exists() else ""
                raise InputError(f"'{self.path}' {what}; give another --out{way_out}.")
            self.checkpoint.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"cannot write '{self.path}': {error.strerror}; give an --out that you may write to.") from error

    def create_for_model(self) -> None:
        """Make the folder of a model alone, or take one that is there.

        Raises:
            InputError: It holds a run, or is a file, or cannot be written to.
        """
        if self.config.exists():
            raise InputError(f"'{self.path}' holds a run, which is a model's folder too; give another path.")
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"cannot make the folder '{self.path}': {error.strerror}; give another path.") from error

    def _is_empty(self) -> bool:
        """Whether nothing of use lies in it: a fit that was killed at once leaves an empty folder for checkpoints."""
        left = [path for path in self.path.iterdir() if path != self.checkpoint.parent]
        return not left and not any(self.path.glob(f"{self.checkpoint.parent.name}/*"))

    def sweep(self) -> None:
        """Remove the temporary files of writes that were killed."""
        report = self.path / "report.html"
        for path in (
            self.config,
            self.model,
            self.weights,
            self.checkpoint,
            self.history,
            self.metrics,
            self.environment,
            report,
        ):
            for temporary in path.parent.glob(f".{path.name}.*"):
                temporary.unlink(missing_ok=True)

    def check_resumable(self) -> None:
        """Refuse a folder that no fit has begun in."""
        if not self.config.is_file():
            raise InputError(f"there is no run to go on with in '{self.path}': it has no config.yaml; give the --out of a fit.")

    def check(self) -> None:
        """Refuse a folder that is not there, or is no run."""
        if not self.path.is_dir():
            raise InputError(f"there is no run folder '{self.path}'; give the --out of a fit.")
        if not self.model.exists():
            raise InputError(f"'{self.path}' is no run folder: it has no config.json; give the --out of a fit.")

    def write_model_description(self, recipe: Recipe, spec: Spec) -> None:
        """Write `config.json`."""
        described = recipe.model_dump(mode="json", include={"seed", "model", "data"})
        record = {"format": FORMAT, "library": "amortized", "version": version("amortized"), **described, "spec": asdict(spec)}
        write_json(self.model, record)

    def read_model_description(self) -> tuple[Recipe, Spec]:
        """Read `config.json`: a recipe with its model (None for one composed by hand) and data, and the spec of those.

        Raises:
            InputError: It was written by a newer version, or is damaged.
        """
        record = read_json(self.model)
        if isinstance(record.get("format"), int) and record["format"] > FORMAT:
            raise InputError(
                f"'{self.model}' has format {record['format']}, written by amortized {record.get('version')}; this is"
                f" {version('amortized')}, which reads up to format {FORMAT}; upgrade amortized."
            )
        try:
            spec = TypeAdapter(Spec).validate_python(record["spec"])
            return make_recipe([{name: record[name] for name in ("seed", "model", "data")}]), spec
        except (KeyError, ValidationError, InputError) as error:
            reason = " ".join(str(error).split())
            raise InputError(f"'{self.model}' is damaged ({reason}); restore it, or fit the run again.") from error

    def write_recipe(self, recipe: Recipe) -> None:
        """Write `config.yaml`."""
        write_atomically(self.config, recipe.to_yaml())

    def read_recipe(self) -> Recipe:
        """Read `config.yaml`."""
        return make_recipe([read_yaml(str(self.config))])

    def write_history(self, history: list[dict[str, Any]]) -> None:
        """Write `history.csv`; numbers are written so that reading gives the same bits."""
        text = io.StringIO()
        names = list(dict.fromkeys(name for row in history for name in row))
        writer = csv.DictWriter(text, names, lineterminator="\n")
        writer.writeheader()
        writer.writerows(history)
        write_atomically(self.history, text.getvalue())

    def read_history(self) -> list[dict[str, Any]]:
        """Read `history.csv`; no rows where there is none yet."""
        if not self.history.exists():
            return []
        with self.history.open(newline="") as file:
            return [{name: _number(value) for name, value in row.items()} for row in csv.DictReader(file)]

    def write_environment(self, **record: Any) -> None:
        """Write `environment.json`: versions and machine, and what is given; those of a resumption go into a list beside them."""
        own = {
            "amortized": version("amortized"),
            "commit": commit(),
            "python": platform.python_version(),
            "torch": torch.__version__,
            "fabric": _version("lightning-fabric"),
            "platform": platform.platform(),
            "threads": torch.get_num_threads(),
            "started": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        entry = own | record
        if self.environment.exists():
            first = read_json(self.environment)
            entry = first | {"resumed": [*first.get("resumed", []), entry]}
        write_json(self.environment, entry)

    def has_other_data(self, data: Data) -> bool:
        """Whether data are not those that the run was fitted on; of a `Dataset` only the first rows are known, so never.

        Of data on the disk that were not looked through, only a sample is known, and compared.
        """
        if data.rows_seen is not None or not self.environment.exists():
            return False
        known = read_json(self.environment).get("fingerprint", data.fingerprint)
        return any(ours != theirs for ours, theirs in zip(known.split(":"), data.fingerprint.split(":"), strict=False))

    def write_metrics(self, metrics: Mapping[str, Any]) -> None:
        """Write the metrics of one or more splits beside those of the others."""
        write_json(self.metrics, self.read_metrics() | dict(metrics))

    def read_metrics(self) -> dict[str, Any]:
        """Read `metrics.json`; nothing where there is none yet."""
        return read_json(self.metrics) if self.metrics.exists() else {}


def write_json(path: Path, record: Mapping[str, Any]) -> None:
    """Write a JSON file atomically."""
    write_atomically(path, json.dumps(record, indent=2, ensure_ascii=False) + "\n")


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        InputError: It cannot be read, or is no JSON object.
    """
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"'{path}' cannot be read as JSON ({error}); restore it, or fit the run again.") from error
    if not isinstance(record, dict):
        raise InputError(f"'{path}' holds a {type(record).__name__}, not an object; restore it, or fit the run again.")
    return record


def _number(text: str) -> Any:
    try:
        return int(text)
    except ValueError:
        try:
            return float(text)
        except ValueError:
            return text


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def commit() -> str | None:
    """The commit of the library's own checkout, where it runs from one, with a mark where files differ from it."""
    here = Path(__file__).resolve().parent
    command = ["git", "-C", str(here), "describe", "--always", "--abbrev=40", "--exclude=*", "--dirty=+changes"]
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=5, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return result.stdout.strip() or None
