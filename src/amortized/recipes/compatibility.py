"""What works with what: the pairs of kinds that are refused, each with its reason. All others work together.

The list is written by hand, because each entry is a statement about mathematics; the tests hold the library to it, in both
directions, and the tables of `docs/compatibility.md` are made from it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from amortized.errors import InputError
from amortized.recipes.messages import kinds
from amortized.recipes.recipe import ModelDescription, Recipe

DISCRETE = ("categorical", "bernoulli")
REAL_PRIORS = ("normal", "gaussian", "mixture", "flow")
FLOWS = ("planar", "radial", "sylvester", "iaf", "spline")
HIERARCHIES = ("bottom-up", "top-down", "ladder")
REAL_POSTERIORS = ("gaussian", "full-gaussian", "delta", *FLOWS, "mixture", "semi-amortized")


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
    *_each("posterior", ["delta"], "objective", ["iwae"], "a point mass has no density to weigh a sample by"),
    *_each(
        *("posterior", DISCRETE, "objective", ["iwae"]),
        "relaxed values have no importance weights; with `estimator` 'enumerate' the two go together",
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
)
"""All pairs that are refused."""


def refusal(choice: dict[str, str]) -> Refusal | None:
    """The first reason why kinds by role, such as {"prior": "vamp", ...}, do not go together; None where they do."""
    for each in REFUSED:
        if all(choice.get(role) == kind for role, kind in (each.first, each.second)):
            return each
    return None


def refuse(choice: dict[str, str]) -> None:
    """Refuse kinds by role that do not go together.

    Raises:
        InputError: Two of them; the message has the reason, and what goes with the others.
    """
    found = refusal(choice)
    if found is None:
        return
    (role, kind), (other, another) = found.first, found.second
    fitting = [each for each in roles()[role] if refusal({**choice, role: each}) is None]
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
marked `yes` is built, trained and evaluated in the tests; each that is not is refused with a sentence that says why. One option
is refused besides: the scale `optimal` of a whole batch, under the posterior `semi-amortized`, which refines each datum by
itself. This page is made from `amortized.recipes.compatibility` by `make docs`.
"""


def roles() -> dict[str, list[str]]:
    """The kinds of each role; one of a hierarchy is "none"."""
    parts = {role: kinds(ModelDescription, role) for role in ("likelihood", "posterior", "prior")}
    return {**parts, "objective": kinds(Recipe, "objective"), "hierarchy": ["none", *kinds(ModelDescription, "hierarchy")]}


def markdown() -> str:
    """The page of the documentation."""
    every = roles()
    pairs = ("posterior", "prior"), ("posterior", "objective"), ("hierarchy", "posterior"), ("hierarchy", "prior")
    tables = [f"## {a.title()} and {b}\n\n{table((a, every[a]), (b, every[b]))}" for a, b in pairs]
    return "\n".join([INTRODUCTION, *tables])


if __name__ == "__main__":
    print(markdown(), end="")
