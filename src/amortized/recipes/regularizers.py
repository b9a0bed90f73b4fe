"""Descriptions of objectives that regularize the aggregate posterior q(z), the mean of q(z | x) over the data."""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from amortized import objectives
from amortized.recipes.objective import ObjectiveDescription, Setting
from amortized.recipes.schedules import Hyper, Weight, within
from amortized.recipes.schema import PositiveFloat


class BetaTCVAE(ObjectiveDescription):
    """The KL in three parts, of which the total correlation has a weight of its own (Chen et al. 2018)."""

    kind: Literal["beta-tcvae"] = "beta-tcvae"
    function: ClassVar[Any] = objectives.beta_tcvae
    fixed: ClassVar[frozenset[str]] = frozenset({"estimator"})
    alpha: Weight = 1.0
    """Weight of the mutual information of x and z."""
    beta: Weight = 6.0
    """Weight of the total correlation."""
    gamma: Weight = 1.0
    """Weight of the KL of each entry of z from the prior."""
    estimator: Literal["mws", "mss"] = "mws"
    """Of q(z): minibatch weighted sampling, or minibatch stratified sampling."""

    def _fixed(self, setting: Setting) -> dict[str, Any]:
        return super()._fixed(setting) | {"data_size": setting.rows}


class DIPI(ObjectiveDescription):
    """The covariance of the posterior means held to the identity (Kumar et al. 2018, DIP-VAE-I)."""

    kind: Literal["dip-i"] = "dip-i"
    function: ClassVar[Any] = objectives.dip_i
    lambda_od: Weight = 10.0
    """Weight of the squared entries off the diagonal."""
    lambda_d: Weight = 100.0
    """Weight of the squared distance of those on the diagonal from 1."""


class DIPII(DIPI):
    """The covariance of q(z) held to the identity (Kumar et al. 2018, DIP-VAE-II)."""

    kind: Literal["dip-ii"] = "dip-ii"  # pyright: ignore[reportIncompatibleVariableOverride]
    function: ClassVar[Any] = objectives.dip_ii
    lambda_d: Weight = 10.0
    """Weight of the squared distance of those on the diagonal from 1."""


class WAE(ObjectiveDescription):
    """No KL: a kernel's discrepancy of q(z) and the prior (Tolstikhin et al. 2018, WAE-MMD)."""

    kind: Literal["wae"] = "wae"
    function: ClassVar[Any] = objectives.wae
    fixed: ClassVar[frozenset[str]] = frozenset({"kernel", "scales"})
    lambda_mmd: Weight = 10.0
    """Weight of the discrepancy."""
    kernel: Literal["rbf", "imq"] = "imq"
    """Gaussian, or inverse multiquadratic."""
    scales: Annotated[list[PositiveFloat], Field(min_length=1)] = [1.0]
    """Squared widths of the kernels that are summed, in units of 2 D, D the number of entries of z."""


class InfoVAE(WAE):
    """The KL, and a kernel's discrepancy of q(z) and the prior (Zhao et al. 2017)."""

    kind: Literal["infovae"] = "infovae"  # pyright: ignore[reportIncompatibleVariableOverride]
    function: ClassVar[Any] = objectives.infovae
    alpha: Annotated[Hyper, within(most=1.0)] = 0.5
    """Weight of the mutual information of x and z; the KL weighs 1 - alpha."""
    lambda_mmd: Weight = 100.0
    """Weight of the divergence of q(z) from the prior, of which 1 - alpha is in the KL."""
    kernel: Literal["rbf", "imq"] = "rbf"
    """Gaussian, or inverse multiquadratic."""
