"""What experiments have in common: their commands, runs that go on where they were interrupted, and how results are recorded."""

import argparse
import hashlib
import json
import os
import platform
import sys
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from amortized import InputError, Run, fit
from amortized.recipes import Recipe, make_recipe

RESULTS = Path(__file__).resolve().parent / "results"


def parsed(parser: argparse.ArgumentParser, known: Collection[str], out: str, what: str = "name") -> argparse.Namespace:
    """Read the command line: the script's own options, and those that all have.

    Args:
        parser: Has the script's own options.
        known: The names of what can be asked for.
        out: The folder of the run folders, where none is given.
        what: What the names are of.
    """
    listed = ", ".join(known)
    parser.add_argument("names", nargs="*", metavar=what.upper(), help=f"of {listed}; all where none is named")
    add_common(parser, out)
    arguments = parser.parse_args()
    unknown = set(arguments.names) - set(known)
    if unknown:
        parser.error(f"unknown {what} '{unknown.pop()}'; choose from {listed}")
    return arguments


def add_common(parser: argparse.ArgumentParser, out: str) -> None:
    """Add the options for threads and folders."""
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--out", type=Path, default=Path(out), help="the folder of the run folders")
    parser.add_argument("--results", type=Path, default=RESULTS, help="the folder of the results")


def carry_out(
    arguments: argparse.Namespace, work: Callable[[argparse.Namespace], Iterator[bool]], write_page: Callable[[Path], str]
) -> int:
    """Do all that is asked for; the exit status of the script.

    Args:
        arguments: Those of the command line.
        work: Does one part after the other, and says of each whether it came to its end.
        write_page: Writes into the folder of the results what is known after each part, and returns it.
    """
    torch.set_num_threads(arguments.threads)
    try:
        for is_finished in work(arguments):
            if not is_finished:
                print("Interrupted; the same command goes on with it.")
                return 1
            write_page(arguments.results)
    except InputError as error:
        print(f"{Path(sys.argv[0]).name}: {error}", file=sys.stderr)
        return 2
    print(write_page(arguments.results), end="")
    return 0


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
