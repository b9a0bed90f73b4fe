"""How good the MNIST networks and their inference are, from both sides.

    AMORTIZED_DATA=DATA python experiments/evidence.py [NAME ...] [--data 1000] [--fitted 100] [--chains 8] [--steps 250]

A NAME is a `static-mnist-*.yaml` of this folder. Each network is fitted with its short schedule (or taken from the run folder of
`published.py`), and judged on test digits drawn at random by the seed of `Material`: the ELBO and log p(x) by 5,000 importance
samples, annealed importance sampling, the gap between both bounds on as many digits that the model draws, and on a part of
the digits what the encoder and its family lose. Per network `results/evidence/NAME.json` is written, and `results/evidence.md`
from all of them. Results that are there are kept.
"""

import argparse
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from published import HERE
from record import carry_out, circumstances, fit_or_go_on, is_done, parsed, trained_for, write, write_result

from amortized import Run
from amortized.evaluation import Finding, annealed, bidirectional, evaluate, gaps
from amortized.folder import commit
from amortized.reading import read
from amortized.recipes import Recipe, file_layer, make_recipe, named, read_yaml
from amortized.studies.findings import Agreement
from amortized.studies.material import Material

KINDS = ("vae-10", "vae", "vamp", "hvae-vamp", "planar", "iaf", "sylvester")
NAMES = tuple(f"static-mnist-{kind}" for kind in KINDS)
SAMPLES = 5000


def main() -> int:
    return carry_out(parse(), work, write_page)


def work(arguments: argparse.Namespace) -> Iterator[bool]:
    for name in arguments.names or NAMES:
        yield produce(name, arguments)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="The MNIST networks and their inference, from both sides.")
    parser.add_argument("--data", type=int, default=1000, help="digits that are judged, and that the model draws")
    parser.add_argument("--fitted", type=int, default=100, help="digits that a posterior is fitted to")
    parser.add_argument("--chains", type=int, default=8)
    parser.add_argument("--steps", type=int, default=250, help="of annealing, between the posterior and the joint density")
    return parsed(parser, NAMES, "runs/published")


def configure(name: str) -> Recipe:
    """The complete recipe of a network, that of `published.py`."""
    content = read_yaml(str(HERE / f"{name}.yaml"))
    return make_recipe([named(content.pop("recipe")), file_layer(content)], {"seed": 0})


def produce(name: str, arguments: argparse.Namespace) -> bool:
    """Fit a network and judge it where that is not done yet; whether it is done."""
    recipe = configure(name)
    path = arguments.results / "evidence" / f"{name}.json"
    if is_done(path, recipe, SAMPLES):
        return True
    run = fit_or_go_on(recipe, arguments.out / name)
    if not run.finished:
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    findings, seconds = judge(run, arguments)
    result = {
        "name": name,
        "seed": recipe.seed,
        "samples": SAMPLES,
        "settings": {key: getattr(arguments, key) for key in ("data", "fitted", "chains", "steps")},
        "metrics": {key: metric.value for finding in findings for key, metric in finding.metrics.items()},
        "notes": [note for finding in findings for note in finding.notes],
        "seconds": {"training": trained_for(run), **seconds},
        **circumstances(run, recipe, arguments.threads),
        "evaluated_at": commit(),
    }
    write_result(path, result)
    return True


def judge(run: Run, arguments: argparse.Namespace) -> tuple[list[Finding], dict[str, float]]:
    """What is found of a network, and how many seconds each part took."""
    material = Material(run, None, "test", read(run), samples=SAMPLES)
    part, few = material.part(arguments.data), material.part(arguments.fitted)
    how: dict[str, Any] = {"chains": arguments.chains, "steps": arguments.steps}
    found, seconds = {}, {}
    for name, analysis in {
        "importance": lambda: evaluate(run.model, part, samples=SAMPLES),
        "annealed": lambda: annealed(run.model, part, **how),
        "bidirectional": lambda: bidirectional(run.model, part, **how),
        "gaps": lambda: gaps(run.model, few),
    }.items():
        began = time.perf_counter()
        found[name] = analysis()
        seconds[name] = round(time.perf_counter() - began, 1)
        print(f"{name}: {seconds[name]} s", flush=True)
        print(found[name], flush=True)
    difference = found["annealed"].log_px.estimate + found["importance"].nll
    return [*found.values(), Agreement(difference, "test", arguments.chains)], seconds


HEAD = """# The evidence of MNIST networks, from both sides

Made by `python experiments/evidence.py`. Static MNIST, the short schedules of the `static-mnist-*.yaml`, seed 0. All numbers are
nats, on test digits drawn at random; ± is the standard error over the digits, and after a semicolon that over samples or chains
alone. IS is importance sampling by 5,000 samples, AIS annealed importance sampling from q(z|x); both are lower bounds in
expectation. The BDMC gap is between the lower and the upper bound of the same annealing, on digits that the model draws, and
bounds how far AIS is off there. The gaps are log p(x) less the ELBO, of which the approximation gap is that of the best Gaussian
(of a flow: of the best posterior found) for each digit, and the amortization gap the rest. Times are those of one thread beside
other work. The commit is that of the evaluation; a + marks one with changes that were not in it.
"""


def write_page(results: Path) -> str:
    """Write `evidence.md` from all results that there are."""
    paths = (results / "evidence" / f"{name}.json" for name in NAMES)
    found = [json.loads(path.read_text()) for path in paths if path.exists()]
    evidence = [
        "| network | ELBO | IS-5000 | AIS | AIS - IS | BDMC gap | digits | chains x steps | IS, AIS, BDMC | commit |",
        "|---|---|---|---|---|---|---|---|---|---|",
        *map(line, found),
    ]
    lost = [
        "| network | inference gap | approximation gap | amortization gap | best full Gaussian | best flow | digits | time |",
        "|---|---|---|---|---|---|---|---|",
        *map(gap_line, found),
    ]
    doubts = [f"* {each['name']}: {note}" for each in found for note in each["notes"]]
    text = "\n".join([HEAD, *evidence, "", *lost, "", "What the analyses say of them:", "", *doubts]) + "\n"
    write(results / "evidence.md", text)
    return text


def line(result: dict[str, Any]) -> str:
    metrics, settings, seconds = result["metrics"], result["settings"], result["seconds"]
    evaluated = result["evaluated_at"] or ""
    cells = (
        result["name"],
        number(metrics, "elbo"),
        f"{-metrics['nll_nats']:.2f} ± {metrics['nll_stderr_nats']:.2f}; {metrics['nll_mc_stderr_nats']:.3f}",
        number(metrics, "ais_log_px"),
        number(metrics, "ais_minus_is"),
        number(metrics, "bdmc_gap", 3),
        f"{settings['data']:,}",
        f"{settings['chains']} x {settings['steps']}",
        ", ".join(f"{seconds[name] / 60:.1f}" for name in ("importance", "annealed", "bidirectional")) + " min",
        evaluated[:7] + "+" * evaluated.endswith("+changes"),
    )
    return f"| {' | '.join(map(str, cells))} |"


def gap_line(result: dict[str, Any]) -> str:
    metrics = result["metrics"]
    names = (
        "inference_gap",
        "approximation_gap",
        "amortization_gap",
        "approximation_gap_full_gaussian",
        "approximation_gap_flow",
    )
    cells = [number(metrics, name) for name in names]
    return (
        f"| {result['name']} | {' | '.join(cells)} | {result['settings']['fitted']} | {result['seconds']['gaps'] / 60:.1f} min |"
    )


def number(metrics: dict[str, float], name: str, decimals: int = 2) -> str:
    """A metric with its error over the data and, where it is known, over samples or chains."""
    if f"{name}_nats" not in metrics:
        return ""
    text = f"{metrics[f'{name}_nats']:.{decimals}f} ± {metrics[f'{name}_stderr_nats']:.{decimals}f}"
    alone = metrics.get(f"{name}_mc_stderr_nats")
    return text if alone is None else f"{text}; {alone:.3f}"


if __name__ == "__main__":
    sys.exit(main())
