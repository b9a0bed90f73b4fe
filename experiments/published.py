"""Published results beside our own: fit each row, evaluate it on the test split, and write a table of each data set.

    AMORTIZED_DATA=DATA python experiments/published.py [NAME ...] [--full] [--seeds 0 1] [--samples 5000]

Without NAME all rows are done; a NAME is a row's, or that of a table for all its rows. A row that has a result for the same
configuration is skipped, and one that was interrupted goes on from its run folder. `--full` takes the paper's own schedule, the
named recipe, in the place of the short one in `NAME.yaml`. Per row and seed `results/NAME/seed-S.json` is written, and per data
set one table from all of them, such as `results/published.md`.
"""

import argparse
import json
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from record import add_common, carry_out, circumstances, fit_or_go_on, is_done, trained_for, write, write_result
from tables import TABLES, Row, Table

from amortized import InputError, Run
from amortized.evaluation import Evidence, evaluate
from amortized.recipes import Recipe, file_layer, make_recipe, named, read_yaml

HERE = Path(__file__).resolve().parent
ROWS = tuple(row for table in TABLES for row in table.rows)
WORDS = {"nll_nats": "NLL", "elbo_nats": "negative ELBO"}
IMAGES_SEED = 0


def main() -> int:
    return carry_out(parse(), work, write_tables)


def work(arguments: argparse.Namespace) -> Iterator[bool]:
    for row in chosen(arguments.names, full=arguments.full):
        for seed in arguments.seeds:
            yield produce(row, seed, arguments)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Published results beside our own.")
    parser.add_argument("names", nargs="*", metavar="NAME", help="rows or tables; all where none is named")
    parser.add_argument("--full", action="store_true", help="the paper's own schedule")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--samples", type=int, default=5000, help="posterior samples per datum in the evaluation")
    parser.add_argument("--set", action="append", default=[], metavar="OPTION=VALUE", help="such as training.steps=20")
    add_common(parser, "runs/published")
    return parser.parse_args()


def chosen(names: list[str], *, full: bool) -> list[Row]:
    rows = [row for row in ROWS if full or not row.is_full_only]
    known = [*(table.name for table in TABLES), *(row.name for row in rows)]
    for name in names:
        if name not in known:
            raise InputError(f"unknown row '{name}'; choose from {', '.join(known)}.")
    return [row for row in rows if not names or {row.name, table_of(row).name} & set(names)]


def table_of(row: Row) -> Table:
    return next(table for table in TABLES if row in table.rows)


def configure(row: Row, seed: int, *, full: bool, changes: Iterable[str]) -> Recipe:
    """The complete recipe of a row."""
    if full:
        layers: list[Mapping[str, Any]] = [named(row.recipe), {"data": table_of(row).data}]
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
    name = f"{row.name}-full" if arguments.full else row.name
    path = arguments.results / name / f"seed-{seed}.json"
    if is_done(path, recipe, arguments.samples):
        return True
    run = fit_or_go_on(recipe, arguments.out / name)
    if not run.finished:
        return False
    began = time.perf_counter()
    evidence = judge(run, None if arguments.full else table_of(row).images, arguments.samples)
    seconds = time.perf_counter() - began
    result = {
        "name": name,
        "seed": seed,
        "samples": arguments.samples,
        "images": len(evidence.distortion),
        "metrics": {key: metric.value for key, metric in evidence.metrics.items()},
        "paper": {"measure": row.measure, "nats": row.paper, "citation": row.citation},
        "seconds": {"training": trained_for(run), "evaluation": round(seconds, 1)},
        **circumstances(run, recipe, arguments.threads),
    }
    write_result(path, result)
    return True


def judge(run: Run, images: int | None, samples: int) -> Evidence:
    """The evidence of the test split, or of some of its images, which are the same for all runs."""
    if images is None:
        return run.evidence(samples=samples)
    rows = run.rows(split="test")
    some = torch.randperm(len(rows), generator=torch.Generator().manual_seed(IMAGES_SEED))[:images].sort().values
    return evaluate(run.model, [rows.rows(some)], samples=samples, dimensions=run.model.event_shape.numel())


def write_tables(results: Path) -> str:
    """Write all tables."""
    return "\n".join(write_table(table, results) for table in TABLES)


def write_table(table: Table, results: Path) -> str:
    """Write a table from all results that there are."""
    found = {full: read_results(table, results, full=full) for full in (False, True)}
    text = "\n".join([table.head, *(section(table, full, rows) for full, rows in found.items() if rows)])
    write(results / table.file, text)
    return text


def read_results(table: Table, results: Path, *, full: bool) -> list[dict[str, Any]]:
    folders = [results / (f"{row.name}-full" if full else row.name) for row in table.rows]
    return [json.loads(path.read_text()) for folder in folders for path in sorted(folder.glob("seed-*.json"))]


def section(table: Table, full: bool, results: list[dict[str, Any]]) -> str:
    title = "The papers' schedules (`--full`)" if full else "Short schedules"
    lines = [
        f"## {title}\n",
        "| row | seed | NLL | paper | negative ELBO | paper | samples | steps | training | evaluation | commit |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
        *map(line, results),
        "",
        *(f"* {sentence}" for sentence in orders(table, full, results)),
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


def orders(table: Table, full: bool, results: list[dict[str, Any]]) -> list[str]:
    """For each seed that has all rows of a published order: whether it came out."""
    values = {(result["name"].removesuffix("-full"), result["seed"]): result["metrics"] for result in results}
    sentences = []
    measures = [measure for measure, _ in table.orders[full]]
    for measure, names in table.orders[full]:
        what = WORDS[measure] if measures.count(measure) == 1 else f"{WORDS[measure]} of {', '.join(names)}"
        sign = -1 if measure == "elbo_nats" else 1
        for seed in sorted({seed for _, seed in values}):
            if not all((name, seed) in values for name in names):
                continue
            nats = [sign * values[name, seed][measure] for name in names]
            wrong = [f"{b} is not below {a}" for (a, x), (b, y) in pairs(zip(names, nats, strict=True)) if y >= x]
            outcome = "the published order came out" if not wrong else f"not the published order: {'; '.join(wrong)}"
            sentences.append(f"{what}, seed {seed}: {outcome}.")
    return sentences


def pairs(items: Iterable[tuple[str, float]]) -> list[tuple[tuple[str, float], tuple[str, float]]]:
    listed = list(items)
    return list(zip(listed, listed[1:], strict=False))


if __name__ == "__main__":
    sys.exit(main())
