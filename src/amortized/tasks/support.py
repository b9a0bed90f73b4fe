"""Whether a model's data are discrete: p(x | z) is then a mass, and bits per dimension make sense."""

from amortized.models.model import Model, device_of, evaluating
from amortized.terms import Batch


def is_discrete(model: Model, batch: Batch) -> bool:
    """Whether p(x | z) is a mass, judged by the support of its distribution at one datum of `batch`."""
    datum = batch.rows(slice(1)).to(device_of(model))
    with evaluating(model, 0, "support"):
        px = model.decode(model.posterior(datum).sample(), datum.context)
    try:
        return bool(px.support.is_discrete)  # pyright: ignore[reportOptionalMemberAccess]
    except (AttributeError, NotImplementedError):  # a family of the user's own may not tell its support
        return False
