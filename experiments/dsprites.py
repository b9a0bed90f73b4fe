"""Traversals on dSprites: VAE, beta-VAE, beta-TCVAE and FactorVAE, the same network and the same short schedule.

    AMORTIZED_DATA=DATA python experiments/dsprites.py [NAME ...] [--seeds 0]

The network is that of Higgins et al. 2017, 1200-1200 rectifiers up and three layers of 1200 tanh down, ten latents; the data are
the 46,080 images of the array `grid_x` of `dsprites.npz`. The objectives are those of the named recipes. What differs from their
papers is the schedule: 6 epochs of 36,864 images in batches of 128, Adam with a rate of 1e-3 that falls by a cosine, also for
FactorVAE's discriminator (whose rate is constant). Per model and seed `results/dsprites/NAME-seed-S.png` is written, with a
`.json` beside it, and `results/dsprites.md` from all of them.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from record import carry_out, circumstances, fit_or_go_on, is_done, parsed, trained_for, write, write_result

from amortized import Batch, InputError, Run, tasks
from amortized.recipes import Recipe, make_recipe, named
from amortized.report import write_images

MODELS = {"vae": "elbo", "beta-vae": "beta-vae", "beta-tcvae": "beta-tcvae", "factor-vae": "factor-vae"}
"""By name, the named recipe with its objective; "elbo" is the bound itself."""
SCHEDULE = {"epochs": 6, "steps": None, "batch_size": 128, "lr": 1e-3, "schedule": "cosine"}
SHAPE = (3, 6, 10, 16, 16)  # of the grid: shape, scale, orientation, and the positions x and y
DATUM = (2, 4, 1, 8, 8)  # a heart in the middle, at which all traversals begin
STEPS, SPAN = 10, 3.0
SAMPLES = 10


def main() -> int:
    return carry_out(parse(), work, write_page)


def work(arguments: argparse.Namespace) -> Iterator[bool]:
    x = load_grid()
    for name in arguments.names or MODELS:
        for seed in arguments.seeds:
            yield produce(name, seed, x, arguments)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Traversals on dSprites.")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--steps", type=int, help="training steps in the place of the schedule's epochs, to try it out")
    return parsed(parser, MODELS, "runs/dsprites")


def load_grid() -> np.ndarray:
    """The images of the grid, (46080, 64, 64), zeros and ones."""
    path = Path(os.environ.get("AMORTIZED_DATA", ".")) / "dsprites.npz"
    if not path.exists():
        raise InputError(f"there is no '{path}'; set AMORTIZED_DATA to the folder that has dsprites.npz.")
    return np.load(path)["grid_x"]


def configure(name: str, seed: int, steps: int | None = None) -> Recipe:
    """The complete recipe of a model."""
    objective = {"kind": "elbo"} if name == "vae" else dict(named(MODELS[name])["objective"])
    if name == "factor-vae":
        objective["lr"] = SCHEDULE["lr"]  # the paper has one rate for both networks
    layer = {"model": named("beta-vae")["model"], "objective": objective, "training": SCHEDULE | {"steps": steps}}
    return make_recipe([layer], {"seed": seed})


def produce(name: str, seed: int, x: np.ndarray, arguments: argparse.Namespace) -> bool:
    """Fit a model and traverse its latents where that is not done yet; whether it is done."""
    recipe = configure(name, seed, arguments.steps)
    path = arguments.results / "dsprites" / f"{name}-seed-{seed}.json"
    if is_done(path, recipe, SAMPLES):
        return True
    run = fit_or_go_on(recipe, arguments.out / name, x)
    if not run.finished:
        return False
    began = time.perf_counter()
    path.parent.mkdir(parents=True, exist_ok=True)
    ranking = draw(run, x, path.with_suffix(".png"))
    evidence = run.evidence(samples=SAMPLES)
    result = {
        "name": name,
        "seed": seed,
        "samples": SAMPLES,
        "metrics": {key: metric.value for key, metric in evidence.metrics.items()},
        "dimensions": ranking.dimensions.tolist(),
        ranking.measure: [round(float(value), 4) for value in ranking.carried],
        "picture": {"file": path.with_suffix(".png").name, "datum": DATUM, "steps": STEPS, "span": SPAN},
        "seconds": {"training": trained_for(run), "evaluation": round(time.perf_counter() - began, 1)},
        **circumstances(run, recipe, arguments.threads),
    }
    write_result(path, result)
    return True


def draw(run: Run, x: np.ndarray, path: Path) -> tasks.Ranking:
    """Write the picture of all dimensions, from the same datum for every model, ranked by their KL on the test split."""
    ranking = tasks.rank_dimensions(run.model, run.batches(split="test")[1])
    datum = torch.tensor(x[[np.ravel_multi_index(DATUM, SHAPE)]], dtype=torch.float32)
    made = tasks.traverse(run.model, Batch(datum), ranking, steps=STEPS, span=SPAN)
    write_images(path, made.x.reshape(-1, *x.shape[1:]), columns=STEPS, low=0.0, high=1.0)
    return ranking


HEAD = f"""# Traversals on dSprites

Made by `python experiments/dsprites.py`. Each picture has a row for each of the ten latents, the one with the largest mean KL on
the test split first, which goes from -{SPAN:g} to {SPAN:g} while the others stay at the posterior mean of the same heart. The
network is the same, 1200-1200 up and 1200-1200-1200 down, and so is the short schedule: 6 epochs of 36,864 images in batches of
128. Numbers are nats on the 4,608 test images, by {SAMPLES} samples; a latent counts as used from 0.1 nats of mean KL on.
A + marks a commit with changes that were not in it.
"""


def write_page(results: Path) -> str:
    """Write `dsprites.md` from all results that there are."""
    found = [
        json.loads(path.read_text()) for name in MODELS for path in sorted((results / "dsprites").glob(f"{name}-seed-*.json"))
    ]
    lines = [
        "| model | seed | distortion | KL | latents used | KL of each, nats | ELBO | steps | training | commit |",
        "|---|---|---|---|---|---|---|---|---|---|",
        *map(line, found),
    ]
    names = [f"{result['name']}, seed {result['seed']}" for result in found]
    pictures = [f"![{name}](dsprites/{result['picture']['file']})" for name, result in zip(names, found, strict=True)]
    shown = ["", f"| {' | '.join(names)} |", "|---" * len(found) + "|", f"| {' | '.join(pictures)} |"] if found else []
    text = "\n".join([HEAD, *lines, *shown]) + "\n"
    write(results / "dsprites.md", text)
    return text


def line(result: dict[str, Any]) -> str:
    metrics, kl, commit = result["metrics"], result["kl_nats"], result["commit"] or ""
    cells = (
        result["name"],
        result["seed"],
        f"{metrics['distortion_nats']:.2f}",
        f"{metrics['rate_nats']:.2f}",
        sum(value >= 0.1 for value in kl),
        " ".join(f"{value:.1f}" for value in kl),
        f"{metrics['elbo_nats']:.2f} ± {metrics['elbo_stderr_nats']:.2f}",
        f"{result['steps']:,}",
        f"{result['seconds']['training'] / 60:.1f} min, {result['machine']['device']}",
        commit[:7] + "+" * commit.endswith("+changes"),
    )
    return f"| {' | '.join(map(str, cells))} |"


if __name__ == "__main__":
    sys.exit(main())
