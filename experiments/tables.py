"""What is published, by data set: the rows of `published.py`."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

VAMP = "Tomczak and Welling 2018 (arXiv 1705.07120), table 1, static MNIST"
FLOWS = "van den Berg et al. 2018 (arXiv 1803.05649), table 1, static MNIST"
BURDA = "Burda et al. 2016 (arXiv 1509.00519), table 1, MNIST, one stochastic layer"
TUCKER = "Tucker et al. 2019 (arXiv 1810.04152), generative modeling of MNIST"


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


Order = tuple[str, tuple[str, ...]]
"""A metric, and the rows that are published from worst to best in it."""


@dataclass(frozen=True)
class Table:
    """What is published on one data set.

    Attributes:
        name: What the names of its rows begin with.
        file: Of the table.
        head: What it says above the rows.
        data: What the named recipes leave open: which data.
        rows: Its rows.
        orders: What is to come out, by whether the schedule is full.
        images: How many test images, drawn at random, the short rows are evaluated on; None for all.
    """

    name: str
    file: str
    head: str
    data: Mapping[str, Any]
    rows: tuple[Row, ...]
    orders: Mapping[bool, tuple[Order, ...]]
    images: int | None = None


STATIC = Table(
    "static-mnist",
    "published.md",
    """# Published results on static MNIST, beside ours

Made by `python experiments/published.py`, from the JSON files of this folder. All numbers are nats on the 10,000 test images,
lower is better; the first error is over data, the second over samples. A paper's number stands in the column of what it measures;
the flows' were had with convolutional networks and 64 latents. A + marks a commit with changes that were not in it.
""",
    {"source": "mnist_static_binarized"},
    (
        Row("static-mnist-vae", "vampprior-vae", "nll_nats", 88.6, f"{VAMP}, VAE (L = 1), standard prior"),
        Row("static-mnist-vamp", "vampprior", "nll_nats", 85.57, f"{VAMP}, VAE (L = 1), VampPrior"),
        Row("static-mnist-hvae-vamp", "hvae-vampprior", "nll_nats", 83.19, f"{VAMP}, HVAE (L = 2), VampPrior"),
        Row("static-mnist-gaussian", "sylvester-vae", "elbo_nats", 86.55, f"{FLOWS}, VAE", is_full_only=True),
        Row("static-mnist-planar", "planar", "elbo_nats", 86.06, f"{FLOWS}, planar"),
        Row("static-mnist-iaf", "iaf", "elbo_nats", 84.20, f"{FLOWS}, IAF"),
        Row("static-mnist-sylvester", "sylvester", "elbo_nats", 83.32, f"{FLOWS}, O-SNF"),
    ),
    {
        False: (
            ("nll_nats", ("static-mnist-vae", "static-mnist-vamp", "static-mnist-hvae-vamp")),
            ("elbo_nats", ("static-mnist-vae", "static-mnist-planar", "static-mnist-iaf", "static-mnist-sylvester")),
        ),
        True: (
            ("nll_nats", ("static-mnist-vae", "static-mnist-vamp", "static-mnist-hvae-vamp")),
            ("elbo_nats", ("static-mnist-gaussian", "static-mnist-planar", "static-mnist-iaf", "static-mnist-sylvester")),
        ),
    },
)
_BOUNDS: tuple[Order, ...] = (
    ("nll_nats", ("dynamic-mnist-vae", "dynamic-mnist-iwae-5", "dynamic-mnist-iwae-50")),
    ("nll_nats", ("dynamic-mnist-vae", "dynamic-mnist-iwae-5", "dynamic-mnist-dreg-5")),
)
DYNAMIC = Table(
    "dynamic-mnist",
    "published-dynamic-mnist.md",
    """# Published results on dynamically binarized MNIST, beside ours

Made by `python experiments/published.py`, from the JSON files of this folder. All rows have the network of Burda et al. 2016,
784-200-200-50, and differ in the objective alone: VAE, IWAE with K = 5 and 50, and DReG with K = 5. All numbers are nats, lower
is better; the first error is over data, the second over samples. Under the short schedules, 30,000 steps with batches of 20,
which are 10 epochs in the place of 3,280, they are those of 2,000 test images drawn at random, the same for all rows: what is to
come out there is the order. A + marks a commit with changes that were not in it.
""",
    {"source": "mnist", "splits": [1.0, 0.0, 0.0]},
    (
        Row("dynamic-mnist-vae", "burda-vae", "nll_nats", 86.76, f"{BURDA}, VAE, k = 1"),
        Row("dynamic-mnist-iwae-5", "iwae", "nll_nats", 85.54, f"{BURDA}, IWAE, k = 5"),
        Row("dynamic-mnist-iwae-50", "burda-iwae", "nll_nats", 84.78, f"{BURDA}, IWAE, k = 50"),
        Row("dynamic-mnist-dreg-5", "dreg", "nll_nats", 84.90, f"{TUCKER}, DReG(IWAE), K = 5"),
    ),
    {False: _BOUNDS, True: _BOUNDS},
    images=2000,
)
TABLES = (STATIC, DYNAMIC)
