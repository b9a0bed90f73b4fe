"""What experiments have in common: runs that go on where they were interrupted, and how results are recorded."""

import hashlib
import json
import os
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from amortized import Run, fit
from amortized.recipes import Recipe, make_recipe

RESULTS = Path(__file__).resolve().parent / "results"


def is_done(path: Path, recipe: Recipe, samples: int) -> bool:
    """Whether a result is there, of this configuration and with so many samples; if so, say it."""
    if not path.exists():
        return False
    found = json.loads(path.read_text())
    done = is_asked(found["asked"], recipe) and found["samples"] == samples
    if done:
        print(f"{path.stem} of {path.parent.name}: done already, in {path}")
    return done


def is_asked(found: Mapping[str, Any], recipe: Recipe) -> bool:
    """Whether a result is of this configuration; options that came after it stand at their defaults."""
    return make_recipe([found]) == recipe


def fit_or_go_on(recipe: Recipe, out: Path, source: Any = None, *, quiet: bool = False) -> Run:
    """Fit, or go on with what was interrupted.

    Args:
        recipe: The configuration; it is part of the folder's name, so that no run goes on under another one than it began with.
        out: Where the run folder lies, such as `runs/published/NAME`.
        source: The data, where the recipe does not name them.
        quiet: Say nothing while training.
    """
    digest = hashlib.sha256(json.dumps(recipe.model_dump(mode="json"), sort_keys=True).encode()).hexdigest()[:8]
    folder = out / f"seed-{recipe.seed}-{digest}"
    print(f"Run folder {folder}", flush=True)
    is_begun = (folder / "config.yaml").exists()
    if is_begun:
        return fit(source, resume=folder, report=False, quiet=quiet)
    return fit(source, recipe=recipe, out=folder, report=False, quiet=quiet)


def circumstances(run: Run, recipe: Recipe, threads: int) -> dict[str, Any]:
    """Of which configuration a result is, at which commit it was had, and on what."""
    assert run.path is not None
    environment = json.loads((run.path / "environment.json").read_text())
    return {
        "steps": run.history[-1]["step"],
        "commit": environment["commit"],
        "machine": machine() | {"device": environment["device"], "threads": threads},
        "torch": torch.__version__,
        "config": run.recipe.model_dump(mode="json"),
        "asked": recipe.model_dump(mode="json"),
    }


def machine() -> dict[str, Any]:
    about = Path("/proc/cpuinfo")
    lines = about.read_text().splitlines() if about.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return {"processor": models[0] if models else platform.processor(), "cores": os.cpu_count(), "platform": platform.platform()}


def trained_for(run: Run) -> float:
    """The seconds that training took."""
    return round(run.history[-1]["seconds"], 1)


def write_result(path: Path, result: Mapping[str, Any]) -> None:
    """Write a result as JSON."""
    write(path, json.dumps(result, indent=2) + "\n")


def write(path: Path, text: str) -> None:
    """Write a file in one piece, so that a kill leaves the old one or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.part")
    temporary.write_text(text)
    temporary.replace(path)
