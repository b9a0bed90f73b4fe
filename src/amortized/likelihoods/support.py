"""Which likelihoods can score which values.

    bernoulli                                             {0, 1}
    beta                                                  the open interval (0, 1)
    continuous-bernoulli                                  the closed interval [0, 1]
    gaussian, laplace, student-t, gaussian-mixture        the finite reals
    categorical                                           0..classes-1
    binomial, discretized-logistic, ordinal               0..levels-1
    logistic-mixture, and of images pixelcnn              0..levels-1
    poisson, negative-binomial, zinb, multinomial         0, 1, 2, ...

A kind is in one of the lists below, and so in `KINDS`. Where `levels` or `classes` is not given, it is whatever the largest value
asks for, up to 65,536.
"""

import torch
from torch import Tensor

from amortized.errors import InputError, nearest

MOST_LEVELS = 65536
UNIT = ("beta", "continuous-bernoulli")
REAL = ("gaussian", "laplace", "student-t", "gaussian-mixture")
LEVELS = ("binomial", "discretized-logistic", "ordinal", "logistic-mixture", "pixelcnn")
COUNTS = ("poisson", "negative-binomial", "zinb", "multinomial")
KINDS = ("bernoulli", *UNIT, *REAL, "categorical", *LEVELS, *COUNTS)


def check_support(
    kind: str,
    x: Tensor,
    *,
    name: str = "x",
    levels: int | None = None,
    classes: int | None = None,
    observed: Tensor | None = None,
    rows: Tensor | None = None,
) -> None:
    """Refuse data that a likelihood cannot score.

    Args:
        kind: Name of the likelihood.
        x: (N, *event) data.
        name: What to call the array.
        levels: The number of grey levels.
        classes: The number of classes.
        observed: Of the shape of x, true where the value counts.
        rows: (N,) what number each row has, where that is not its position.

    Raises:
        InputError: A value is outside the support; the message names the first one, its place, and what would fit.
    """
    if kind not in KINDS:
        raise InputError(f"likelihood '{kind}' is unknown; {nearest(kind, KINDS)}")
    inside = _inside(kind, x, levels, classes)
    outside = ~inside if observed is None else ~inside & observed.bool()
    if not outside.any():
        return
    index = tuple(int(i) for i in torch.unravel_index(outside.flatten().byte().argmax(), x.shape))
    value, row = x[index].item(), index[0] if rows is None else int(rows[index[0]])
    raise InputError(
        f"likelihood '{kind}' needs {_values(kind, levels, classes)}; array '{name}' has {value} at {_place((row, *index[1:]))}."
        f" {_way_out(kind, x, levels, classes, observed)}"
    )


def fits(x: Tensor, *, levels: int | None = None, classes: int | None = None, observed: Tensor | None = None) -> list[str]:
    """The kinds of likelihood whose support holds every value of x.

    Args:
        x: (N, *event) data.
        levels: The number of grey levels.
        classes: The number of classes.
        observed: Of the shape of x, true where the value counts.

    Returns:
        Their names, the most specific first.

    Example:
        >>> fits(torch.tensor([[0.0, 17.5]]))
        ['gaussian', 'laplace', 'student-t', 'gaussian-mixture']
    """
    hidden = torch.zeros_like(x, dtype=torch.bool) if observed is None else ~observed.bool()
    return [kind for kind in KINDS if bool((_inside(kind, x, levels, classes) | hidden).all())]


def _inside(kind: str, x: Tensor, levels: int | None, classes: int | None) -> Tensor:
    if kind in REAL:
        return torch.isfinite(x)
    if kind == "bernoulli":
        return (x == 0) | (x == 1)
    if kind in UNIT:
        return (x > 0) & (x < 1) if kind == "beta" else (x >= 0) & (x <= 1)
    counts = (x >= 0) & torch.isfinite(x)
    if x.is_floating_point():
        counts &= x == x.trunc()
    return counts if kind in COUNTS else counts & _below(x, _size(kind, levels, classes))


def _below(x: Tensor, size: int) -> Tensor:
    # a narrow integer type cannot be compared with a number that it does not hold
    always = x.dtype == torch.bool or (not x.is_floating_point() and torch.iinfo(x.dtype).max < size)
    return torch.ones_like(x, dtype=torch.bool) if always else x < size


def _size(kind: str, levels: int | None, classes: int | None) -> int:
    return (classes if kind == "categorical" else levels) or MOST_LEVELS


def _values(kind: str, levels: int | None, classes: int | None) -> str:
    if kind in REAL:
        return "finite values"
    if kind == "bernoulli":
        return "values in {0, 1}"
    if kind in UNIT:
        return "values between 0 and 1, the ends excluded" if kind == "beta" else "values in [0, 1]"
    return "integers 0, 1, 2, ..." if kind in COUNTS else f"integers 0..{_size(kind, levels, classes) - 1}"


def _way_out(kind: str, x: Tensor, levels: int | None, classes: int | None, observed: Tensor | None) -> str:
    # A size that the user gave and the data exceed is no reason to rule out the same family with a larger one.
    suitable = [other for other in fits(x, observed=observed) if other != kind]
    sized = kind in LEVELS or kind == "categorical"
    if sized and kind in fits(x, observed=observed):
        size = int(x.max() if observed is None else x[observed.bool()].max()) + 1
        return f"Give {'classes' if kind == 'categorical' else 'levels'}={size}, or use one that fits: {_listed(suitable)}."
    if not suitable:
        return "No likelihood scores it: remove it, or mark it as missing."
    binarize = "; or pass binarize='dynamic'" if kind == "bernoulli" and bool((x[torch.isfinite(x)] >= 0).all()) else ""
    return f"Fits: {_listed(suitable)}{binarize}."


def _listed(kinds: list[str]) -> str:
    return ", ".join(f"'{kind}'" for kind in kinds)


def _place(index: tuple[int, ...]) -> str:
    return f"row {index[0]}, column {index[1]}" if len(index) == 2 else f"index {index}"
