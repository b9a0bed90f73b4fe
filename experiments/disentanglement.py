"""Disentanglement on dSprites: MIG, DCI, FactorVAE score, SAP and modularity of VAE, beta-VAE, beta-TCVAE and FactorVAE.

    AMORTIZED_DATA=DATA python experiments/disentanglement.py [NAME ...] [--seeds 0 1 2]

The models are those of `dsprites.py`, with its short schedule: run folders that are there are read, and what is missing is
trained. Scored are the posterior means of all 46,080 images of the grid, with the five factors that the grid is made of. Beside
the models stand two codes that nobody trained: the factors themselves, and the ten principal components, scaled, of the images
averaged to 16 x 16. Per model and seed `results/disentanglement/NAME-seed-S.json` is written, and `results/disentanglement.md`
from all of them.
"""

import argparse
import json
import math
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from dsprites import MODELS, SHAPE, configure, load_grid
from record import carry_out, circumstances, fit_or_go_on, is_done, machine, parsed, trained_for, write, write_result
from torch import Tensor

from amortized.evaluation import Disentanglement, disentanglement, representations

FACTORS = ("shape", "scale", "orientation", "x", "y")
REPEATS = (0, 1, 2)
"""Seeds of the scores; those of the models are an option."""
REFERENCES = ("factors", "principal components")
PUBLISHED = {"vae": 0.10, "beta-vae": 0.21, "beta-tcvae": 0.45, "factor-vae": 0.43}
"""MIG as published for the full data set with the papers' schedules."""
COLUMNS = {
    "mig": "MIG",
    "mig_sampled": "MIG, sampled",
    "dci_disentanglement": "DCI D",
    "dci_completeness": "DCI C",
    "dci_informativeness": "DCI I",
    "factorvae_score": "FactorVAE score",
    "betavae_score": "beta-VAE score",
    "sap": "SAP",
    "modularity": "modularity",
}


def main() -> int:
    return carry_out(parse(), work, write_page)


def work(arguments: argparse.Namespace) -> Iterator[bool]:
    x = load_grid()
    for name in REFERENCES:
        refer(name, x, arguments)
    for name in arguments.names or MODELS:
        for seed in arguments.seeds:
            yield produce(name, seed, x, arguments)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Disentanglement on dSprites.")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", type=int, help="training steps in the place of the schedule's epochs, to try it out")
    return parsed(parser, MODELS, "runs/dsprites")


def factors() -> np.ndarray:
    """The factors of all images of the grid, (46080, 5)."""
    return np.stack(np.unravel_index(np.arange(math.prod(SHAPE)), SHAPE), 1)


def produce(name: str, seed: int, x: np.ndarray, arguments: argparse.Namespace) -> bool:
    """Fit a model and score its code where that is not done yet; whether it is done."""
    recipe = configure(name, seed, arguments.steps)
    path = arguments.results / "disentanglement" / f"{name}-seed-{seed}.json"
    if is_done(path, recipe, len(REPEATS)):
        return True
    run = fit_or_go_on(recipe, arguments.out / name, x)
    if not run.finished:
        return False
    began = time.perf_counter()
    code = representations(run.model, run.batches(x)[1])
    result = {
        "name": name,
        "seed": seed,
        **scored(code.z, code.scales),
        "seconds": {"training": trained_for(run), "evaluation": round(time.perf_counter() - began, 1)},
        **circumstances(run, recipe, arguments.threads),
    }
    write_result(path, result)
    return True


def refer(name: str, x: np.ndarray, arguments: argparse.Namespace) -> None:
    """Score a code that nobody trained, where that is not done yet."""
    path = arguments.results / "disentanglement" / f"{name.replace(' ', '-')}.json"
    if path.exists():
        return
    code = factors() / np.array(SHAPE) if name == "factors" else principal_components(x)
    code = (code - code.mean(0)) / code.std(0)
    write_result(path, {"name": name, "seed": None, **scored(torch.from_numpy(code), None), "machine": machine()})


def principal_components(x: np.ndarray) -> np.ndarray:
    """(46080, 10) those of the images averaged to 16 x 16."""
    from sklearn.decomposition import PCA

    small = x.reshape(-1, 16, 4, 16, 4).mean((2, 4), dtype=np.float32).reshape(len(x), -1)
    return PCA(10, svd_solver="covariance_eigh").fit_transform(small).astype(np.float64)


def scored(z: Tensor, scales: Tensor | None) -> dict[str, Any]:
    """What is recorded of a code: its scores, how many repetitions they are the mean of, and the matrices behind them."""
    found: Disentanglement = disentanglement(
        z,
        factors(),
        scales=scales,
        factor_names=FACTORS,
        seeds=REPEATS,
        split="grid",
        progress=lambda name: print(name, flush=True),
    )
    print(found)
    assert found.information is not None
    assert found.importance is not None
    return {
        "samples": len(REPEATS),
        "metrics": {key: round(metric.value, 6) for key, metric in found.metrics.items()},
        "active": found.table.active.nonzero()[0].tolist(),
        "information_nats": found.information.round(decimals=4).tolist(),
        "importance": found.importance.round(decimals=4).tolist(),
        "notes": found.notes,
    }


HEAD = f"""# Disentanglement on dSprites

Made by `python experiments/disentanglement.py` from the models of [dsprites.md](dsprites.md): the same network and the same short
schedule, 6 epochs of 36,864 images. Scored are the posterior means of all 46,080 images of the grid, by its five factors
({", ".join(FACTORS)}); "MIG, sampled" is that of draws from the posteriors.
A ± b is the mean over training seeds and its standard error; each score is itself the mean of {len(REPEATS)} repetitions, whose
standard errors are in `disentanglement/*.json`. DCI is that of gradient-boosted trees. By chance the FactorVAE and beta-VAE
scores are 0.2, and all others 0; the factors themselves have the best SAP that there is.
"""
DIFFERENCES = """
The difference from the VAE of the same seed, in the mean over seeds, with its standard error:
"""
PAPERS = """
MIG (Chen et al. 2018, arXiv 1802.04942) as published for all 737,280 images and the papers' schedules of hundreds of thousands
of steps, beside that of these models after 1,728 steps:
"""


def write_page(results: Path) -> str:
    """Write `disentanglement.md` from all results that there are."""
    found = [json.loads(path.read_text()) for path in sorted((results / "disentanglement").glob("*.json"))]
    groups = {name: by_seed(found, name) for name in (*MODELS, *REFERENCES)}
    groups = {name: of_name for name, of_name in groups.items() if of_name}
    rows = [
        [name, len(of_name) if name in MODELS else "", *(cell(list(values(of_name, key).values())) for key in COLUMNS)]
        for name, of_name in groups.items()
    ]
    text = HEAD + table(["code", "seeds", *COLUMNS.values()], rows)
    others = [name for name in groups if name in MODELS and name != "vae" and groups.keys() >= {"vae"}]
    if others:
        rows = [[name, *(cell(differences(groups[name], groups["vae"], key)) for key in COLUMNS)] for name in others]
        text += DIFFERENCES + table(["code", *COLUMNS.values()], rows)
    rows = [[name, f"{PUBLISHED[name]:.2f}", *published(groups[name])] for name in groups if name in MODELS]
    text += PAPERS + table(["model", "published MIG", "MIG here, sampled", "MIG here", "latents used", "commits"], rows)
    write(results / "disentanglement.md", text)
    return text


def by_seed(found: list[dict[str, Any]], name: str) -> dict[Any, dict[str, Any]]:
    return {result["seed"]: result for result in found if result["name"] == name}


def values(of_name: dict[Any, dict[str, Any]], key: str) -> dict[Any, float]:
    return {seed: result["metrics"][key] for seed, result in of_name.items() if key in result["metrics"]}


def differences(one: dict[Any, dict[str, Any]], other: dict[Any, dict[str, Any]], key: str) -> list[float]:
    """Those of the seeds that both have."""
    first, second = values(one, key), values(other, key)
    return [first[seed] - second[seed] for seed in first if seed in second]


def published(of_name: dict[Any, dict[str, Any]]) -> list[str]:
    used = " ".join(str(len(result["active"])) for result in of_name.values())
    commits = sorted(
        {(result["commit"] or "")[:7] + "+" * (result["commit"] or "").endswith("+changes") for result in of_name.values()}
    )
    return [*(cell(list(values(of_name, key).values())) for key in ("mig_sampled", "mig")), used, " ".join(commits)]


def cell(numbers: list[float]) -> str:
    """The mean and its standard error, as far as there are numbers for it."""
    if not numbers:
        return ""
    error = f" ± {np.std(numbers, ddof=1) / math.sqrt(len(numbers)):.3f}" if len(numbers) > 1 else ""
    return f"{np.mean(numbers):.3f}{error}"


def table(head: list[str], rows: list[list[Any]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n" + "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
