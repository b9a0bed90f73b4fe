"""Where the time of annealed importance sampling goes: `python benchmarks/annealing.py`, written to results/annealing.md.

The network is that of the MNIST models: 784-300-300-40 with gated units and a Bernoulli likelihood, untrained, on random bits,
under the standard normal prior and under a VampPrior of 500 components. Time is the profiler's own time of each operation, as
a share of the sum of all; the profiler makes operations slower that are many and small, so that the share of products is a
little larger without it. Chains per second are measured without it.
"""

import argparse
import time
from pathlib import Path

import torch
from machine import describe
from torch.profiler import ProfilerActivity, profile

from amortized import VAE, likelihoods, posteriors, priors
from amortized.evaluation import annealed
from amortized.networks import MLP

PRODUCTS = ("aten::addmm", "aten::mm", "aten::bmm", "aten::baddbmm", "aten::mkldnn_linear")
PIXELS, LATENT, CHAINS, LEAPFROG = 784, 40, 16, 2
SHOWN = 12


def network(entries: int) -> MLP:
    """Two layers of gated units."""
    return MLP(entries, [300, 300], gated=True)


def model(prior: str) -> VAE:
    """The MNIST network under a prior."""
    torch.manual_seed(0)
    posterior = posteriors.DiagonalGaussian(network(PIXELS), LATENT)
    vamp = priors.Vamp(posterior, torch.rand(500, PIXELS), 0.0, 1.0) if prior == "vamp" else None
    return VAE(vamp or priors.StandardNormal(LATENT), posterior, likelihoods.Bernoulli(network(LATENT), PIXELS))


def measure(prior: str, data: int, steps: int) -> list[str]:
    """A section of the report."""
    vae, x = model(prior), (torch.rand(data, PIXELS) < 0.2).float()
    annealed(vae, [x], chains=CHAINS, steps=2, leapfrog=LEAPFROG)
    began = time.perf_counter()
    annealed(vae, [x], chains=CHAINS, steps=steps, leapfrog=LEAPFROG)
    seconds = time.perf_counter() - began
    with profile(activities=[ProfilerActivity.CPU]) as found:
        annealed(vae, [x], chains=CHAINS, steps=steps, leapfrog=LEAPFROG)
    events = sorted(found.key_averages(), key=lambda event: -event.self_cpu_time_total)
    total = sum(event.self_cpu_time_total for event in events)
    products = sum(event.self_cpu_time_total for event in events if event.key in PRODUCTS) / total
    rows = [f"| `{event.key}` | {event.self_cpu_time_total / total:.1%} | {event.count:,} |" for event in events[:SHOWN]]
    return [
        f"## Prior: {prior}",
        "",
        f"**{products:.0%} of the time is in matrix products.** {data} data, {CHAINS} chains each, {steps} steps of {LEAPFROG}"
        f" leapfrog steps and the pilot: {seconds:.1f} s, {seconds / data:.3f} s per datum.",
        "",
        "| operation | share of the time | calls |",
        "|---|---|---|",
        *rows,
        "",
    ]


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=int, default=80)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "annealing.md")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    facts = ", ".join(f"{name} {value}" for name, value in describe(options.threads).items())
    sections = [line for prior in ("normal", "vamp") for line in measure(prior, options.data, options.steps)]
    text = "\n".join(["# Annealed importance sampling", "", f"{facts}.", "", *sections])
    print(text)
    options.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
