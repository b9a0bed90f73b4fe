"""The rows of the table: who is measured against whom, and what is wanted."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from data import EVENT, HIDDEN, LATENT
from pairs import Job, Measure


@dataclass(frozen=True, kw_only=True)
class Row:
    """One row.

    Attributes:
        name: What is measured.
        against: What it is held against.
        unit: Of the two sides.
        ours: Our side.
        theirs: The other one; None where a time stands alone.
        measure: How the two are compared.
        target: The least value that is wanted (of a time, the largest); None where none was set.
        stretch: What would be better still.
        precision: "float32" or "bf16", where the rate of matrix products bounds it.
        flop: Floating-point operations of a unit, where these are known.
        threads: The processors of each side, where they are part of what is measured; None takes the command's.
        obstacle: Why it cannot be measured on this machine; empty where it can.
    """

    name: str
    against: str
    unit: str
    ours: Job
    theirs: Job | None = None
    measure: Measure = "speed"
    target: float | None = None
    stretch: float | None = None
    precision: str = "float32"
    flop: float | None = None
    threads: int | None = None
    obstacle: str = ""

    @property
    def needs_rivals(self) -> bool:
        """Whether it needs their environment."""
        return self.theirs is not None and self.theirs.is_rival


PRODUCTS = 2 * (2 * EVENT * HIDDEN + 2 * HIDDEN**2 + 3 * LATENT * HIDDEN)
MLP_FLOP = 3 * PRODUCTS - 2 * EVENT * HIDDEN
"""Of an example of the MLP in training: forward, and twice that backward, but for the gradient of the data."""

FLOOR = "matrix products"
IMPORTS = "import torch; import amortized"
ALL_PARTS = "import torch; from amortized import *"


def all_rows(threads: int) -> list[Row]:
    """Every row, in the order of the table."""
    return [*_floor(), *_training(), *_other_training(), *_evidence(), *_commands(), *_at_scale(threads), *_accelerated()]


def _ours(name: str, **options: Any) -> Job:
    return Job("jobs_ours", name, options)


def _plain(name: str, **options: Any) -> Job:
    return Job("jobs_plain", name, options)


def _rival(module: str, name: str, **options: Any) -> Job:
    return Job(module, name, options, is_rival=True)


_pythae = partial(_rival, "jobs_pythae")
_examples: Callable[..., Row] = partial(Row, unit="examples/s")
_mlp: Callable[..., Row] = partial(_examples, flop=MLP_FLOP)


def _floor() -> list[Row]:
    products = partial(Job, "jobs_floor", "matrix_products")
    ours, theirs = products({"dtype": "bfloat16"}), products({"dtype": "float32"})
    return [Row(name=f"{FLOOR}, bf16", against="float32", unit="GFLOP/s", ours=ours, theirs=theirs, precision="bf16")]


def _training() -> list[Row]:
    return [
        _mlp(
            name="train MLP, batch 128, float32",
            against="Pythae",
            ours=_ours("train_mlp", batch=128),
            theirs=_pythae("train_mlp", batch=128),
            target=2.4,
            stretch=2.9,
        ),
        _mlp(
            name="train MLP, batch 128, float32",
            against="JAX, jit and scan",
            ours=_ours("train_mlp", batch=128),
            theirs=_rival("jobs_jax", "train_mlp", batch=128),
            target=0.85,
            stretch=1.0,
        ),
        _mlp(
            name="train MLP, batch 128, float32",
            against="tutorial loop",
            ours=_ours("train_mlp", batch=128),
            theirs=_plain("train_mlp", batch=128),
        ),
        _mlp(
            name="train MLP, batch 128, float32, not compiled",
            against="Pythae",
            ours=_ours("train_mlp", batch=128, compile="off"),
            theirs=_pythae("train_mlp", batch=128),
        ),
        _mlp(
            name="train MLP, batch 1,024, float32",
            against="Pythae",
            ours=_ours("train_mlp", batch=1024),
            theirs=_pythae("train_mlp", batch=1024),
            target=1.8,
            stretch=2.4,
        ),
        _mlp(
            name="train MLP, batch 1,024, bf16",
            against="Pythae",
            ours=_ours("train_mlp", batch=1024, precision="bf16"),
            theirs=_pythae("train_mlp", batch=1024),
            target=3.2,
            stretch=3.8,
            precision="bf16",
        ),
        _mlp(
            name="train MLP, batch 1,024, float32",
            against="tutorial loop",
            ours=_ours("train_mlp", batch=1024),
            theirs=_plain("train_mlp", batch=1024),
        ),
    ]


def _other_training() -> list[Row]:
    convolutional = _pythae("train_convolutional", batch=128)
    iwae = {"samples": 50, "batch": 20}
    return [
        _examples(
            name="train convolutional VAE, batch 128, float32",
            against="Pythae",
            ours=_ours("train_convolutional", batch=128),
            theirs=convolutional,
            target=1.2,
        ),
        _examples(
            name="train convolutional VAE, batch 128, bf16",
            against="Pythae",
            ours=_ours("train_convolutional", batch=128, precision="bf16"),
            theirs=convolutional,
            target=1.6,
            precision="bf16",
        ),
        _examples(
            name="train IWAE, K = 50, batch 20, float32",
            against="tutorial loop",
            ours=_ours("train_iwae", **iwae),
            theirs=_plain("train_iwae", **iwae),
            target=1.3,
            stretch=2.0,
        ),
        Row(
            name="train zero-inflated negative binomial, 10,000 x 2,000 counts, batch 128",
            against="scvi-tools",
            unit="cells/s",
            ours=_ours("train_counts", batch=128),
            theirs=_rival("jobs_scvi", "train_counts", batch=128),
        ),
    ]


def _evidence() -> list[Row]:
    theirs = _pythae("evidence", samples=5000)
    return [
        _examples(
            name="log p(x), 5,000 samples, float32",
            against="Pythae",
            ours=_ours("evidence", samples=5000),
            theirs=theirs,
            target=6.0,
        ),
        _examples(
            name="log p(x), 5,000 samples, bf16",
            against="Pythae",
            ours=_ours("evidence", samples=5000, precision="bf16"),
            theirs=theirs,
            target=9.0,
            precision="bf16",
        ),
    ]


def _commands() -> list[Row]:
    python = partial(Job, "jobs_commands", "python")
    beyond = partial(Row, against="import torch", unit="s", theirs=python({"statement": "import torch"}), measure="difference")
    return [
        beyond(name="import amortized", ours=python({"statement": IMPORTS}), target=0.3),
        beyond(name="import amortized, with all its parts", ours=python({"statement": ALL_PARTS})),
        Row(
            name="command to first training step, digits",
            against="",
            unit="s",
            ours=Job("jobs_commands", "first_step"),
            measure="seconds",
            target=3.0,
        ),
    ]


def _at_scale(threads: int) -> list[Row]:
    """Jobs that limit their memory, and share the processors of their worker among their processes, themselves."""
    streaming, mlp = partial(Job, "jobs_streaming"), partial(Job, "jobs_processes", "train_mlp")
    return [
        _examples(
            name="fit, 4 GB memory-mapped, 1 GB memory limit",
            against="in memory",
            ours=streaming("train_streaming", {"threads": threads}),
            theirs=streaming("train_in_memory", {"threads": threads}),
            target=0.8,
        ),
        _examples(
            name="train MLP, batch 1,024, two processes of one thread",
            against="one process of two threads",
            ours=mlp({"batch": 1024, "processes": 2}),
            theirs=mlp({"batch": 1024, "processes": 1}),
            target=0.9,
            threads=2,
            obstacle="" if (os.cpu_count() or 1) >= 2 else "needs two cores",
        ),
    ]


def _accelerated() -> list[Row]:
    obstacle = "" if torch.cuda.is_available() else "no accelerator: torch.cuda.is_available() is False"
    on_device = partial(
        _examples, name="train MLP on CUDA, batch 128", ours=_ours("train_mlp", batch=128, accelerator="cuda"), obstacle=obstacle
    )
    return [
        on_device(against="Pythae on CUDA", theirs=_pythae("train_mlp", batch=128, cuda=True), target=20.0),
        on_device(against="replay of its captured graph", theirs=Job("jobs_cuda", "replay", {"batch": 128}), target=0.5),
    ]
