r"""beta-TCVAE: the KL in three parts, of which the total correlation of the entries of z has a weight of its own.

    E_p(x)[ KL( q(z|x) || p(z) ) ] = I_q(x; z) + KL( q(z) || prod_d q(z_d) ) + sum_d KL( q(z_d) || p(z_d) )
                                     mutual information, total correlation, dimension-wise KL

    objective    E_q[ log p(x|z) ] - alpha I - beta TC - gamma DWKL      Chen et al. 2018, arXiv 1802.04942, eq. 2 and 4

q(z) = 1/N sum_n q(z|x_n) is the aggregate posterior of the N data. Each term is taken at the values drawn, so that with all three
weights 1 the objective is the ELBO, whatever the estimate of q(z). Of B data, where z was drawn given x_b, that is

    "mws"    q(z) ~ 1/(N B) sum_i q(z|x_i)                                        minibatch weighted sampling, section 4.1
    "mss"    q(z) ~ 1/N q(z|x_b) + (N - 1)/(N (B - 1)) sum_{i != b} q(z|x_i)      minibatch stratified sampling, appendix C.2

"mws" is low: its mean over batches that hold x_b is 1/(N B) [ q(z|x_b) + (B - 1) q(z) ] <= q(z) where the other data are drawn
with replacement, as the paper has it, so that E[ log q(z) ] is bounded from below. The factor on q(z) is from about 1/N to 1/B;
1/N where the batch is all of the data, a constant that adds (D - 1) log N to the total correlation of D entries and nothing to
its gradient. "mss" is unbiased for q(z) where data are drawn without replacement, as in an epoch, and exact where the batch is
all of the data. In the paper one of the other data weighs (N - M)/(N M) and the rest 1/M, M = B - 1; this is its mean over their
order, with the smaller variance. The logarithm of either is low by Jensen's inequality.

Where p(z) does not factorize the third term is E[ sum_d log q(z_d) - log p(z) ], and the sum of the three is the KL all the same.
In a model with conditions q(z) is that of all data, whatever their conditions.
"""

from typing import Literal

import torch
from torch import Tensor
from torch.distributions import Independent, Normal

from amortized.errors import InputError
from amortized.objectives.objective import needs
from amortized.processes import first_of_own, of_all
from amortized.terms import Latent, Terms

Estimator = Literal["mws", "mss"]


@needs("mean_field", rows=2)
def beta_tcvae(
    t: Terms,
    alpha: float | Tensor = 1.0,
    beta: float | Tensor = 6.0,
    gamma: float | Tensor = 1.0,
    *,
    data_size: int,
    estimator: Estimator = "mws",
) -> Tensor:
    """The likelihood less the three parts of the KL, each with its weight: (B,) nats.

    Args:
        t: The terms, of one latent whose posterior has independent Gaussian entries.
        alpha: Weight of the mutual information of x and z.
        beta: Weight of the total correlation.
        gamma: Weight of the dimension-wise KL.
        data_size: The number N of training data.
        estimator: Of q(z): "mws", minibatch weighted sampling, or "mss", minibatch stratified sampling.

    Raises:
        InputError: There is more than one latent, or its posterior is of another family.
    """
    latent = _mean_field(t)
    log_qzx, log_pz = latent.q.log_prob(latent.z), latent.p.log_prob(latent.z)
    log_qz, log_qz_each = log_aggregate(latent, data_size, estimator)
    log_product = log_qz_each.sum(-1)
    parts = alpha * (log_qzx - log_qz) + beta * (log_qz - log_product) + gamma * (log_product - log_pz)
    return t.mean_over_samples(t.log_px - parts)


def log_aggregate(latent: Latent, data_size: int, estimator: Estimator) -> tuple[Tensor, Tensor]:
    """The aggregate posterior at the values drawn, estimated from the minibatch of all processes.

    Returns:
        (K, B) log q(z) and (K, B, D) log q(z_d), in nats.
    """
    q = latent.q
    assert isinstance(q, Independent)
    assert isinstance(q.base_dist, Normal)
    loc, scale = (of_all(value.flatten(1)) for value in (q.base_dist.loc, q.base_dist.scale))
    z = latent.z.flatten(2).unsqueeze(2)
    log_q = Normal(loc, scale, validate_args=False).log_prob(z)
    log_weight = _weights(z.shape[1], len(loc), data_size, estimator).to(log_q).log()
    return (log_q.sum(-1) + log_weight).logsumexp(-1), (log_q + log_weight.unsqueeze(-1)).logsumexp(-2)


def _weights(own: int, rows: int, data_size: int, estimator: Estimator) -> Tensor:
    """(own, rows) the weight of each q(z|x_i) of all processes' data, for z drawn given those of this process."""
    if estimator == "mws":
        return torch.full((own, rows), 1.0 / (data_size * rows), dtype=torch.float64)
    others = (data_size - 1) / (data_size * max(rows - 1, 1))
    weights = torch.full((own, rows), others, dtype=torch.float64)
    weights.diagonal(first_of_own(own)).fill_(1.0 / data_size)
    return weights


def _mean_field(t: Terms) -> Latent:
    latent = t.latents[0]
    q = latent.q if isinstance(latent, Latent) else None
    if len(t.latents) > 1 or type(q) is not Independent or type(q.base_dist) is not Normal:
        raise InputError(
            "beta-TCVAE needs one latent variable whose posterior is an Independent Normal; this one has"
            f" {len(t.latents)}, the first a {type(q).__name__}; take a VAE with the posterior DiagonalGaussian."
        )
    assert isinstance(latent, Latent)
    return latent
