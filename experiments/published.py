"""Published results on static MNIST beside our own: fit each row, evaluate it on the whole test split, and write a table.

    AMORTIZED_DATA=DATA python experiments/published.py [NAME ...] [--full] [--seeds 0 1] [--samples 5000]

Without NAME all rows are done. A row that has a result for the same configuration is skipped, and one that was interrupted goes
on from its run folder. `--full` takes the paper's own schedule, the named recipe, in the place of the short one in
`static-mnist-*.yaml`. Per row and seed `results/NAME/seed-S.json` is written, and `results/published.md` from all of them.
"""

import argparse
import hashlib
import json
import os
import platform
import sys
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from amortized import InputError, Run, fit
from amortized.recipes import Recipe, file_layer, make_recipe, named, read_yaml

HERE = Path(__file__).resolve().parent
SOURCE = "mnist_static_binarized"
VAMP = "Tomczak and Welling 2018 (arXiv 1705.07120), table 1, static MNIST"
FLOWS = "van den Berg et al. 2018 (arXiv 1803.05649), table 1, static MNIST"


@dataclass(frozen=True)
class Row:
    """One row of a published table.

    Attributes:
        name: Of the row, and of its YAML file with the short schedule.
        recipe: The named recipe with the paper's own schedule.
        measure: The metric that the paper gives.
        paper: Its value there, in nats, lower is better.
        citation: Where it stands.
        is_full_only: Whether the row has no short schedule, because another's is the same.
    """

    name: str
    recipe: str
    measure: str
    paper: float
    citation: str
    is_full_only: bool = False


ROWS = (
    Row("static-mnist-vae", "vampprior-vae", "nll_nats", 88.6, f"{VAMP}, VAE (L = 1), standard prior"),
    Row("static-mnist-vamp", "vampprior", "nll_nats", 85.57, f"{VAMP}, VAE (L = 1), VampPrior"),
    Row("static-mnist-hvae-vamp", "hvae-vampprior", "nll_nats", 83.19, f"{VAMP}, HVAE (L = 2), VampPrior"),
    Row("static-mnist-gaussian", "sylvester-vae", "elbo_nats", 86.55, f"{FLOWS}, VAE", is_full_only=True),
    Row("static-mnist-planar", "planar", "elbo_nats", 86.06, f"{FLOWS}, planar"),
    Row("static-mnist-iaf", "iaf", "elbo_nats", 84.20, f"{FLOWS}, IAF"),
    Row("static-mnist-sylvester", "sylvester", "elbo_nats", 83.32, f"{FLOWS}, O-SNF"),
)
ORDERS = {
    False: (
        ("nll_nats", ("static-mnist-vae", "static-mnist-vamp", "static-mnist-hvae-vamp")),
        ("elbo_nats", ("static-mnist-vae", "static-mnist-planar", "static-mnist-iaf", "static-mnist-sylvester")),
    ),
    True: (
        ("nll_nats", ("static-mnist-vae", "static-mnist-vamp", "static-mnist-hvae-vamp")),
        ("elbo_nats", ("static-mnist-gaussian", "static-mnist-planar", "static-mnist-iaf", "static-mnist-sylvester")),
    ),
}
"""By whether the schedule is full, the rows that are published from worst to best."""
WORDS = {"nll_nats": "NLL", "elbo_nats": "negative ELBO"}


def main() -> int:
    arguments = parse()
    torch.set_num_threads(arguments.threads)
    try:
        for row in chosen(arguments.names, full=arguments.full):
            for seed in arguments.seeds:
                if not produce(row, seed, arguments):
                    print("Interrupted; the same command goes on with it.")
                    return 1
                write_table(arguments.results)
    except InputError as error:
        print(f"published.py: {error}", file=sys.stderr)
        return 2
    print(write_table(arguments.results), end="")
    return 0


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Published results on static MNIST beside our own.")
    parser.add_argument("names", nargs="*", metavar="NAME", help="rows; all where none is named")
    parser.add_argument("--full", action="store_true", help="the paper's own schedule")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--samples", type=int, default=5000, help="posterior samples per datum in the evaluation")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--out", type=Path, default=Path("runs/published"), help="the folder of the run folders")
    parser.add_argument("--results", type=Path, default=HERE / "results", help="the folder of the results")
    parser.add_argument("--set", action="append", default=[], metavar="OPTION=VALUE", help="such as training.steps=20")
    return parser.parse_args()


def chosen(names: list[str], *, full: bool) -> list[Row]:
    rows = [row for row in ROWS if full or not row.is_full_only]
    known = [row.name for row in rows]
    for name in names:
        if name not in known:
            raise InputError(f"unknown row '{name}'; choose from {', '.join(known)}.")
    return [row for row in rows if not names or row.name in names]


def configure(row: Row, seed: int, *, full: bool, changes: Iterable[str]) -> Recipe:
    """The complete recipe of a row."""
    if full:
        layers: list[Mapping[str, Any]] = [named(row.recipe), {"data": {"source": SOURCE}}]
    else:
        content = read_yaml(str(HERE / f"{row.name}.yaml"))
        layers = [named(content.pop("recipe")), file_layer(content)]
    return make_recipe(layers, dict(split(change) for change in changes) | {"seed": seed})


def split(change: str) -> tuple[str, str]:
    name, separator, value = change.partition("=")
    if not separator:
        raise InputError(f"--set takes OPTION=VALUE; it is '{change}'.")
    return name, value


def produce(row: Row, seed: int, arguments: argparse.Namespace) -> bool:
    """Fit and evaluate a row where that is not done yet; whether it is done."""
    recipe = configure(row, seed, full=arguments.full, changes=arguments.set)
    wanted = recipe.model_dump(mode="json")
    name = f"{row.name}-full" if arguments.full else row.name
    path = arguments.results / name / f"seed-{seed}.json"
    if path.exists():
        found = json.loads(path.read_text())
        if found["asked"] == wanted and found["samples"] == arguments.samples:
            print(f"{name}, seed {seed}: done already, in {path}")
            return True
    # The configuration is part of the folder's name, so that no run goes on under another one than it began with.
    digest = hashlib.sha256(json.dumps(wanted, sort_keys=True).encode()).hexdigest()[:8]
    folder = arguments.out / name / f"seed-{seed}-{digest}"
    print(f"{name}, seed {seed}: run folder {folder}", flush=True)
    run = fit(resume=folder) if (folder / "config.yaml").exists() else fit(recipe=recipe, out=folder)
    if not run.finished:
        return False
    began = time.perf_counter()
    evidence = run.evaluate(samples=arguments.samples)
    seconds = time.perf_counter() - began
    environment = json.loads((folder / "environment.json").read_text())
    result = {
        "name": name,
        "seed": seed,
        "samples": arguments.samples,
        "metrics": {key: metric.value for key, metric in evidence.metrics.items()},
        "paper": {"measure": row.measure, "nats": row.paper, "citation": row.citation},
        "seconds": {"training": trained_for(run), "evaluation": round(seconds, 1)},
        "steps": run.history[-1]["step"],
        "commit": environment["commit"],
        "machine": machine() | {"device": environment["device"], "threads": arguments.threads},
        "torch": torch.__version__,
        "config": run.recipe.model_dump(mode="json"),
        "asked": wanted,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    write(path, json.dumps(result, indent=2) + "\n")
    return True


def trained_for(run: Run) -> float:
    return round(run.history[-1]["seconds"], 1)


def machine() -> dict[str, Any]:
    about = Path("/proc/cpuinfo")
    lines = about.read_text().splitlines() if about.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return {"processor": models[0] if models else platform.processor(), "cores": os.cpu_count(), "platform": platform.platform()}


def write_table(results: Path) -> str:
    """Write `published.md` from all results that there are."""
    found = {full: read_results(results, full=full) for full in (False, True)}
    text = "\n".join([HEAD, *(section(full, rows) for full, rows in found.items() if rows)])
    results.mkdir(parents=True, exist_ok=True)
    write(results / "published.md", text)
    return text


def read_results(results: Path, *, full: bool) -> list[dict[str, Any]]:
    paths = [path for row in ROWS for path in sorted((results / (f"{row.name}-full" if full else row.name)).glob("seed-*.json"))]
    return [json.loads(path.read_text()) for path in paths]


HEAD = """# Published results on static MNIST, beside ours

Made by `python experiments/published.py`, from the JSON files of this folder. All numbers are nats on the 10,000 test images,
lower is better; the first error is over data, the second over samples. A paper's number stands in the column of what it measures;
the flows' were had with convolutional networks and 64 latents. A + marks a commit with changes that were not in it.
"""


def section(full: bool, results: list[dict[str, Any]]) -> str:
    title = "The papers' schedules (`--full`)" if full else "Short schedules"
    lines = [
        f"## {title}\n",
        "| row | seed | NLL | paper | negative ELBO | paper | samples | steps | training | evaluation | commit |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
        *map(line, results),
        "",
        *(f"* {sentence}" for sentence in orders(full, results)),
    ]
    return "\n".join(lines) + "\n"


def line(result: dict[str, Any]) -> str:
    metrics, paper, seconds = result["metrics"], result["paper"], result["seconds"]
    published = {paper["measure"]: f"{paper['nats']:g}"}
    errors = f"{metrics['nll_stderr_nats']:.2f} ± {metrics['nll_mc_stderr_nats']:.3f}"
    cells = (
        result["name"],
        result["seed"],
        f"{metrics['nll_nats']:.2f} ± {errors}",
        published.get("nll_nats", ""),
        f"{-metrics['elbo_nats']:.2f} ± {metrics['elbo_stderr_nats']:.2f}",
        published.get("elbo_nats", ""),
        f"{result['samples']:,}",
        f"{result['steps']:,}",
        f"{seconds['training'] / 60:.1f} min, {result['machine']['device']}",
        f"{seconds['evaluation'] / 60:.1f} min",
        (result["commit"] or "")[:7] + "+" * (result["commit"] or "").endswith("+changes"),
    )
    return f"| {' | '.join(map(str, cells))} |"


def orders(full: bool, results: list[dict[str, Any]]) -> list[str]:
    """For each seed that has all rows of a published order: whether it came out."""
    values = {(result["name"].removesuffix("-full"), result["seed"]): result["metrics"] for result in results}
    sentences = []
    for measure, names in ORDERS[full]:
        sign = -1 if measure == "elbo_nats" else 1
        for seed in sorted({seed for _, seed in values}):
            if not all((name, seed) in values for name in names):
                continue
            nats = [sign * values[name, seed][measure] for name in names]
            wrong = [f"{b} is not below {a}" for (a, x), (b, y) in pairs(zip(names, nats, strict=True)) if y >= x]
            outcome = "the published order came out" if not wrong else f"not the published order: {'; '.join(wrong)}"
            sentences.append(f"{WORDS[measure]}, seed {seed}: {outcome}.")
    return sentences


def pairs(items: Iterable[tuple[str, float]]) -> list[tuple[tuple[str, float], tuple[str, float]]]:
    listed = list(items)
    return list(zip(listed, listed[1:], strict=False))


def write(path: Path, text: str) -> None:
    """Write a file in one piece, so that a kill leaves the old one or the new one."""
    temporary = path.with_name(f".{path.name}.part")
    temporary.write_text(text)
    temporary.replace(path)


if __name__ == "__main__":
    sys.exit(main())
