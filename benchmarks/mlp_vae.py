"""Training and evidence of an MLP VAE, beside a plain PyTorch loop over `DataLoader(TensorDataset)`.

Both have the network 784-400-400-40, a Bernoulli likelihood and Adam. They are timed in pairs within one run (ours, theirs, ours,
theirs, ...), because a machine drifts by more than many differences; what counts is the median of the pairs' ratios.

    python benchmarks/mlp_vae.py [--rounds 7] [--threads 2] [--out benchmarks/results]
"""

import argparse
import json
import math
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from amortized import VAE, likelihoods, networks, posteriors, priors
from amortized.data import Batches, Split
from amortized.evaluation import evaluate
from amortized.objectives import Objective, elbo
from amortized.training import Settings, train
from amortized.training.progress import Silent

EVENT, HIDDEN, LATENT = 784, 400, 40
ROWS = 20_000
EVIDENCE_DATA, EVIDENCE_SAMPLES = 16, 5000


def main() -> None:
    parser = argparse.ArgumentParser(description="Training and evidence of an MLP VAE, beside a plain PyTorch loop.")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=3.0, help="about how long each timing takes")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--out", type=Path, help="a folder for the table, as JSON and Markdown")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    x = (torch.rand(ROWS, EVENT, generator=torch.Generator().manual_seed(0)) < 0.13).float()
    cases: list[tuple[str, str, Callable[[int], int], Callable[[int], int]]] = []
    for size in (128, 1024):
        cases.append((f"training, batch {size}", "examples/s", our_training(x, size), plain_training(x, size)))
    cases.append((f"evidence, {EVIDENCE_SAMPLES} samples", "examples/s", our_evidence(x), plain_evidence(x)))
    rows = [compare(*case, arguments.rounds, arguments.seconds) for case in cases]
    table = {"machine": machine(), "rounds": arguments.rounds, "rows": rows}
    print(markdown(table))
    if arguments.out is not None:
        arguments.out.mkdir(parents=True, exist_ok=True)
        (arguments.out / "mlp_vae.json").write_text(json.dumps(table, indent=2) + "\n")
        (arguments.out / "mlp_vae.md").write_text(markdown(table) + "\n")


def compare(
    name: str, unit: str, ours: Callable[[int], int], theirs: Callable[[int], int], rounds: int, seconds: float
) -> dict[str, Any]:
    """Time two functions in turn; each takes an amount of work and returns the number of examples it did."""
    amounts = []
    for function in (ours, theirs):
        function(1)
        start = time.perf_counter()
        function(3)
        amounts.append(max(1, round(3 * seconds / (time.perf_counter() - start))))
    speeds: tuple[list[float], list[float]] = ([], [])
    for _ in range(rounds):
        for function, amount, found in zip((ours, theirs), amounts, speeds, strict=True):
            start = time.perf_counter()
            examples = function(amount)
            found.append(examples / (time.perf_counter() - start))
    ratios = [a / b for a, b in zip(*speeds, strict=True)]
    return {
        "name": name,
        "unit": unit,
        "ours": statistics.median(speeds[0]),
        "plain": statistics.median(speeds[1]),
        "ratio": statistics.median(ratios),
        "ratio_low": min(ratios),
        "ratio_high": max(ratios),
    }


def our_model() -> VAE:
    torch.manual_seed(0)
    return VAE(
        prior=priors.StandardNormal(LATENT),
        posterior=posteriors.DiagonalGaussian(networks.MLP(EVENT, [HIDDEN, HIDDEN]), event=LATENT),
        likelihood=likelihoods.Bernoulli(networks.MLP(LATENT, [HIDDEN, HIDDEN]), event=EVENT),
    )


def our_training(x: Tensor, size: int) -> Callable[[int], int]:
    batches = Batches(Split(x, torch.arange(len(x))), batch_size=size)
    model = our_model()

    def run(amount: int) -> int:
        steps = amount * 20
        settings = Settings(steps=steps, batch_size=size, validate_every=1_000_000, accelerator="cpu")
        train(model, Objective(elbo), batches, None, settings, reporter=Silent())
        return steps * size

    return run


def our_evidence(x: Tensor) -> Callable[[int], int]:
    model = our_model()

    def run(amount: int) -> int:
        data = x[: EVIDENCE_DATA * amount]
        evaluate(model, [data], samples=EVIDENCE_SAMPLES)
        return len(data)

    return run


class PlainVAE(nn.Module):
    """The model as a tutorial writes it."""

    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(EVENT, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, HIDDEN), nn.ReLU())
        self.to_mean, self.to_log_variance = nn.Linear(HIDDEN, LATENT), nn.Linear(HIDDEN, LATENT)
        self.decoder = nn.Sequential(
            nn.Linear(LATENT, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, EVENT)
        )

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance of q(z | x)."""
        features = self.encoder(x)
        return self.to_mean(features), self.to_log_variance(features)


def plain_training(x: Tensor, size: int) -> Callable[[int], int]:
    torch.manual_seed(0)
    model = PlainVAE()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    loader = DataLoader(TensorDataset(x), batch_size=size, shuffle=True, drop_last=True)

    def batches():
        while True:
            yield from loader

    source = batches()

    def run(amount: int) -> int:
        steps = amount * 20
        for _ in range(steps):
            (batch,) = next(source)
            mean, log_variance = model.encode(batch)
            z = mean + torch.exp(0.5 * log_variance) * torch.randn_like(mean)
            reconstruction = F.binary_cross_entropy_with_logits(model.decoder(z), batch, reduction="sum")
            kl = -0.5 * torch.sum(1 + log_variance - mean.pow(2) - log_variance.exp())
            loss = (reconstruction + kl) / size
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        return steps * size

    return run


def plain_evidence(x: Tensor) -> Callable[[int], int]:
    """One datum at a time, all of its samples in one batch."""
    torch.manual_seed(0)
    model = PlainVAE()

    @torch.no_grad()
    def run(amount: int) -> int:
        found: list[Tensor] = []
        for datum in x[: EVIDENCE_DATA * amount]:
            mean, log_variance = model.encode(datum[None])
            noise = torch.randn(EVIDENCE_SAMPLES, LATENT)
            z = mean + torch.exp(0.5 * log_variance) * noise
            logits = model.decoder(z)
            log_px = -F.binary_cross_entropy_with_logits(logits, datum.expand_as(logits), reduction="none").sum(1)
            log_pz = (-0.5 * z.pow(2) - 0.5 * math.log(2 * math.pi)).sum(1)
            log_qz = (-0.5 * noise.pow(2) - 0.5 * log_variance - 0.5 * math.log(2 * math.pi)).sum(1)
            found.append(torch.logsumexp(log_px + log_pz - log_qz, 0) - math.log(EVIDENCE_SAMPLES))
        return len(found)

    return run


def machine() -> dict[str, Any]:
    return {
        "processor": processor(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


def processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.processor())


def markdown(table: dict[str, Any]) -> str:
    facts = ", ".join(f"{name} {value}" for name, value in table["machine"].items())
    lines = [
        f"{facts}; medians of {table['rounds']} interleaved pairs",
        "",
        "| | ours | plain PyTorch | ratio (range) |",
        "|---|---|---|---|",
    ]
    for row in table["rows"]:
        spread = f"{row['ratio']:.2f} ({row['ratio_low']:.2f} to {row['ratio_high']:.2f})"
        lines.append(f"| {row['name']} ({row['unit']}) | {row['ours']:,.0f} | {row['plain']:,.0f} | {spread} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
