"""What works with what: the pairs of kinds that are refused, each with its reason. All others work together.

The list is written by hand, because each entry is a statement about mathematics; the tests hold the library to it, in both
directions, and the tables of `docs/compatibility.md` are made from it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from amortized.errors import InputError
from amortized.recipes.messages import kinds
from amortized.recipes.recipe import ModelDescription, Recipe

DISCRETE = ("categorical", "bernoulli")
NOT_DISCRETE = "none"
"""The estimator of a posterior that is not discrete."""
RELAXED = ("gumbel", "straight-through")
ESTIMATORS = (*RELAXED, "sample", "enumerate")
REAL_PRIORS = ("normal", "gaussian", "mixture", "flow")
FLOWS = ("planar", "radial", "sylvester", "iaf", "spline")
HIERARCHIES = ("bottom-up", "top-down", "ladder")
REAL_POSTERIORS = ("gaussian", "full-gaussian", "delta", *FLOWS, "mixture", "semi-amortized")
OBJECTIVES = kinds(Recipe, "objective")
WEIGHTED = ("iwae", "miwae", "ciwae", "piwae", "dreg", "renyi", "vimco")
BY_DENSITY = ("stl", "rloo")
BY_SCORE = ("rloo", "vimco")
COMPARING = ("dreg", "piwae", *BY_SCORE)
DISCREPANCIES = ("infovae", "wae")
COVARIANCES = ("dip-i", "dip-ii")


@dataclass(frozen=True)
class Refusal:
    """Two kinds that cannot go together.

    Attributes:
        first: (role, kind) of the one.
        second: (role, kind) of the other.
        reason: Why, in one sentence.
    """

    first: tuple[str, str]
    second: tuple[str, str]
    reason: str


def _each(role: str, kinds: Sequence[str], other: str, others: Sequence[str], reason: str) -> list[Refusal]:
    return [Refusal((role, kind), (other, another), reason) for kind in kinds for another in others]


REFUSED: tuple[Refusal, ...] = (
    *_each("prior", REAL_PRIORS, "posterior", DISCRETE, "a density over real numbers says nothing of bits or classes"),
    *_each("prior", REAL_PRIORS, "posterior", ["vmf"], "a density over all of the space gives the sphere no mass"),
    *_each("prior", ["autoregressive"], "posterior", ["vmf"], "the entries of a unit vector are not free, given those before"),
    *_each(
        *("prior", ["uniform"], "posterior", REAL_POSTERIORS),
        "the real numbers have no uniform distribution, and a box does not hold what q draws",
    ),
    *_each(
        *("prior", ["vamp"], "posterior", ["delta"]),
        "the prior is the mean of the posterior's densities, and a point has none",
    ),
    *_each("posterior", ["delta"], "objective", (*WEIGHTED, *BY_DENSITY), "a point mass has no density to score a sample by"),
    *_each("posterior", ["delta"], "objective", ("capacity", "free-bits"), "a point mass has no KL to hold to a value"),
    *_each(
        *("posterior", DISCRETE, "objective", ("dreg", "piwae")),
        "no estimator gives samples that are drawn alike and have both a density and a gradient",
    ),
    *_each(
        *("posterior", ["mixture"], "objective", (*COMPARING, *DISCREPANCIES)),
        "its samples are strata, which have weights of their own, and the objective compares samples that are drawn alike",
    ),
    *_each(
        *("posterior", ("full-gaussian", "delta", *FLOWS, "mixture", *DISCRETE, "vmf"), "objective", ["beta-tcvae"]),
        "the densities of the single entries are asked for, those of a Gaussian with independent entries",
    ),
    *_each(
        *("posterior", (*FLOWS, "mixture", *DISCRETE, "vmf"), "objective", COVARIANCES),
        "the covariance is asked for in closed form, that of a Gaussian or of a point",
    ),
    *_each(
        *("posterior", ("categorical", "vmf"), "objective", ["factor"]),
        "the entries of a one-hot or a unit vector determine each other, so that their total correlation cannot vanish",
    ),
    *_each(
        *("prior", ("mixture", "vamp", "autoregressive"), "objective", DISCREPANCIES),
        "what is drawn of the prior has no gradient by which the prior would learn",
    ),
    *_each(
        *("prior", ["uniform"], "objective", ("beta-tcvae", *COVARIANCES)),
        "the objective asks for what only posteriors over real numbers have, and none of those has a uniform prior",
    ),
    *_each(
        *("hierarchy", HIERARCHIES, "objective", ("beta-tcvae", *COVARIANCES, *DISCREPANCIES)),
        "what is aggregated over the data is one latent, and a group is given the others",
    ),
    *_each("hierarchy", HIERARCHIES, "posterior", (*DISCRETE, "vmf"), "the links between groups are Gaussians"),
    *_each("hierarchy", HIERARCHIES, "prior", ["uniform"], "the groups are real numbers"),
    *_each(
        *("hierarchy", HIERARCHIES, "posterior", ["semi-amortized"]),
        "what is refined is one latent, on the log joint of that latent",
    ),
    *_each(
        *("hierarchy", ["ladder"], "posterior", ("full-gaussian", "delta", "mixture", *FLOWS)),
        "only Gaussians with independent entries can be multiplied by adding precisions",
    ),
    *_each(
        *("hierarchy", ["bottom-up", "top-down"], "posterior", ["mixture"]),
        "strata are drawn for the first group only; the groups after it would need strata of strata",
    ),
    *_each(
        *("estimator", ESTIMATORS, "objective", ("beta-tcvae", *COVARIANCES)),
        "the objective asks for what only posteriors over real numbers have",
    ),
    *_each("estimator", RELAXED, "objective", (*WEIGHTED, *BY_DENSITY), "relaxed values have no density to score a sample by"),
    *_each(
        *("estimator", ["enumerate"], "objective", (*COMPARING, *DISCREPANCIES)),
        "every value is listed once, with its weight, and the objective compares samples that are drawn alike",
    ),
    *_each(
        *(
            "estimator",
            ["sample"],
            "objective",
            [each for each in OBJECTIVES if each not in (*BY_SCORE, "beta-tcvae", *COVARIANCES)],
        ),
        "hard values have no gradient, and the objective takes that of the values drawn",
    ),
)
"""All pairs that are refused."""


_POSITIONS = {frozenset((each.first, each.second)): position for position, each in enumerate(REFUSED)}


def refusal(choice: Mapping[str, str]) -> Refusal | None:
    """The first reason why kinds by role, such as {"prior": "vamp", ...}, do not go together; None where they do."""
    found = (_POSITIONS.get(frozenset(pair)) for pair in combinations(choice.items(), 2))
    position = min((each for each in found if each is not None), default=None)
    return None if position is None else REFUSED[position]


def refuse(choice: Mapping[str, str]) -> None:
    """Refuse kinds by role that do not go together.

    Raises:
        InputError: Two of them; the message has the reason, and what goes with the others.
    """
    found = refusal(choice)
    if found is None:
        return
    (role, kind), (other, another) = found.first, found.second
    others = [each for each in roles()[role] if (role, each) != ("estimator", NOT_DISCRETE)]
    fitting = [each for each in others if refusal({**choice, role: each}) is None]
    way_out = f"use {role} {' or '.join(map(repr, fitting))}" if fitting else f"change the {other}"
    raise InputError(f"{role} '{kind}' does not go with {other} '{another}': {found.reason}; {way_out}.")


def table(rows: tuple[str, list[str]], columns: tuple[str, list[str]]) -> str:
    """A Markdown table of two roles: a mark where the kinds go together, a number where they do not, and the reasons below.

    Args:
        rows: A role and its kinds.
        columns: Another.
    """
    reasons: list[str] = []
    (role, kinds), (other, others) = rows, columns
    lines = [f"| {role} \\ {other} | " + " | ".join(f"`{kind}`" for kind in others) + " |", "|---" * (len(others) + 1) + "|"]
    for kind in kinds:
        cells = []
        for column in others:
            found = refusal({role: kind, other: column})
            if found is not None and found.reason not in reasons:
                reasons.append(found.reason)
            cells.append("yes" if found is None else f"({reasons.index(found.reason) + 1})")
        lines.append(f"| `{kind}` | " + " | ".join(cells) + " |")
    notes = [f"({number}) {reason[:1].upper()}{reason[1:]}." for number, reason in enumerate(reasons, 1)]
    return "\n".join([*lines, "", *notes]).rstrip() + "\n"


INTRODUCTION = """# What works with what

Every likelihood works with every prior, posterior, objective and hierarchy; what follows is about the others. Each pair that is
marked `yes` is built, trained and evaluated in the tests; each that is not is refused with a sentence that says why.

The estimator is an option of the discrete posteriors, `categorical` and `bernoulli`: where none is given it is `sample` under the
objectives `rloo` and `vimco`, and `gumbel` under all others. So `iwae` and its relatives go with a discrete posterior whose
estimator is `enumerate`.

Four options are refused besides. The scale `optimal` of a whole batch, under the posterior `semi-amortized`, which refines each
datum by itself, and under the objectives `dreg`, `piwae`, `rloo` and `vimco`, which weigh each by itself. Under these four also
the norm `batch` of networks that see draws: of the decoder, and in a hierarchy of the links and of all posteriors but the first.
Free bits per `dimension`, where a KL is no sum over the entries of z: they need the posterior `gaussian` or `semi-amortized` with
the prior `normal` or `gaussian`, inferred from the top down where there is a hierarchy. The KL `sampled` of the objectives `elbo`
and `beta`, under the posterior `delta` and relaxed values, as for `stl`.

This page is made from `amortized.recipes.compatibility` by `make docs`.
"""


TABLES = (
    ("posterior", "prior"),
    ("hierarchy", "posterior"),
    ("hierarchy", "prior"),
    ("objective", "posterior"),
    ("objective", "estimator"),
    ("objective", "prior"),
    ("objective", "hierarchy"),
)
"""The pairs of roles on the page of the documentation."""


def roles() -> dict[str, list[str]]:
    """The kinds of each role; one of a hierarchy, or of an estimator, is "none"."""
    parts = {role: kinds(ModelDescription, role) for role in ("likelihood", "posterior", "prior")}
    estimator = [NOT_DISCRETE, *ESTIMATORS]
    hierarchy = ["none", *kinds(ModelDescription, "hierarchy")]
    return {**parts, "estimator": estimator, "objective": OBJECTIVES, "hierarchy": hierarchy}


def markdown() -> str:
    """The page of the documentation."""
    every = roles()
    tables = [f"## {a.title()} and {b}\n\n{table((a, every[a]), (b, every[b]))}" for a, b in TABLES]
    return "\n".join([INTRODUCTION, *tables])


if __name__ == "__main__":
    print(markdown(), end="")
