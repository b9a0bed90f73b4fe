import numpy as np
import pytest
import torch

from amortized import VAE, Hierarchical, InputError, likelihoods, posteriors, priors
from amortized.distributions import center
from amortized.models import BottomUp, TopDown
from amortized.networks import MLP, Context
from amortized.networks.context import Continuous
from amortized.tasks import Ranking, encode, rank_dimensions, running, traverse
from amortized.tasks.traverse import PRIOR_DRAWS
from amortized.terms import Batch

DIMENSION, LATENT = 5, 3


def linear_model(prior=None, posterior=None, **options) -> VAE:
    torch.manual_seed(0)
    features = int("context" in options)
    return VAE(
        prior or priors.StandardNormal(LATENT),
        posterior or posteriors.DiagonalGaussian(MLP(DIMENSION, [], context_features=features), LATENT),
        likelihoods.Gaussian(MLP(LATENT, [], context_features=features), DIMENSION, scale=0.5),
        **options,
    ).double()


def ranked(*dimensions: int) -> Ranking:
    return Ranking(np.array(dimensions), np.zeros(len(dimensions)), "kl_nats")


@pytest.fixture
def x() -> torch.Tensor:
    return torch.randn(7, DIMENSION, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def test_dimensions_come_by_their_mean_kl_in_closed_form(x):
    model = linear_model()
    ranking = rank_dimensions(model, [x[:3], Batch(x[3:])])
    q = model.posterior(x)
    kl = (0.5 * (q.mean.square() + q.variance - q.variance.log() - 1)).mean(0).detach()
    assert ranking.measure == "kl_nats"
    assert ranking.dimensions.tolist() == kl.argsort(descending=True).tolist() != [0, 1, 2]
    np.testing.assert_allclose(ranking.carried, kl.sort(descending=True).values, rtol=1e-12)
    first = ranking.first(2)
    assert (first.dimensions.tolist(), len(first.carried)) == (ranking.dimensions[:2].tolist(), 2)


def test_without_a_kl_by_entry_they_come_by_the_variance_of_the_posterior_means_in_units_of_the_prior(x):
    prior = priors.Gaussian(LATENT)
    with torch.no_grad():
        prior.log_scale.copy_(torch.tensor([0.0, 3.0, -3.0]))
    model = linear_model(prior, posteriors.FullGaussian(MLP(DIMENSION, []), LATENT))
    ranking = rank_dimensions(model, x)
    spread = encode(model, x).var(0, correction=0) / (2 * prior.log_scale.detach()).exp()
    assert ranking.measure == "variance"
    assert ranking.dimensions.tolist() == spread.argsort(descending=True).tolist() == [2, 0, 1]
    np.testing.assert_allclose(ranking.carried, spread.sort(descending=True).values, rtol=1e-12)


def test_what_a_condition_says_of_the_latent_is_not_counted_as_carried(x):
    """The posterior's means less the prior's at each datum's condition, in units of the prior's mean variance."""
    context = Context({"dose": Continuous(0.0, 1.0)})
    prior = priors.Gaussian(LATENT, network=MLP(1, []))
    posterior = posteriors.FullGaussian(MLP(DIMENSION, [], context_features=1), LATENT)
    model = linear_model(prior, posterior, context=context, condition=("prior", "posterior", "likelihood"))
    batch = Batch(x, context={"dose": torch.linspace(-3, 3, 7).double()})
    p = model.prior(batch.context)
    carried = (model.posterior(batch).mean - p.mean).detach().var(0, correction=0) / p.variance.detach().mean(0)
    for pieces in ([batch], [batch.rows(slice(3)), batch.rows(slice(3, 7))]):
        ranking = rank_dimensions(model, pieces)
        assert ranking.measure == "variance"
        np.testing.assert_allclose(ranking.carried, carried.sort(descending=True).values, rtol=1e-12)


def test_a_point_mass_has_no_kl_to_be_ranked_by(x):
    model = linear_model(posterior=posteriors.Delta(MLP(DIMENSION, []), LATENT))
    assert rank_dimensions(model, x).measure == "variance"


@pytest.mark.parametrize("start", ["data", "prior"])
def test_one_entry_goes_through_the_range_of_the_prior_and_the_others_stay(x, start, monkeypatch):
    prior = priors.Gaussian(LATENT)
    with torch.no_grad():
        prior.loc.copy_(torch.tensor([1.0, -2.0, 0.5]))
        prior.log_scale.copy_(torch.tensor([0.0, 1.0, -1.0]))
    model = linear_model(prior)
    monkeypatch.setattr(running, "CHUNK_ENTRIES", 2 * 4 * DIMENSION)  # so that the data come in pieces
    made = traverse(model, x, ranked(2, 0), steps=4, span=1.5, start=start)
    assert made.x.shape == (7, 2, 4, DIMENSION)
    for row, j in enumerate((2, 0)):
        moved = prior.loc[j] + torch.linspace(-1.5, 1.5, 4).double() * prior.log_scale[j].exp()
        np.testing.assert_allclose(made.z[:, row], moved.detach().expand(7, 4), rtol=1e-12)
        z = (model.posterior(x).mean if start == "data" else prior.loc.expand(7, LATENT)).repeat(4, 1, 1)
        z[..., j] = moved.unsqueeze(-1)
        expected = model.decode(z).mean.transpose(0, 1).detach()
        np.testing.assert_allclose(made.x[:, row], expected, rtol=1e-10)


def test_a_datum_at_its_own_value_is_its_reconstruction(x):
    model = linear_model()
    mean = model.posterior(x[:1]).mean[0]
    made = traverse(model, x[:1], ranked(1), steps=2, span=abs(mean[1].item()))
    at_own_value = made.x[0, 0, int(mean[1] > 0)]
    np.testing.assert_allclose(at_own_value, model.decode(mean).mean.detach(), rtol=1e-10)


def test_the_range_of_a_mixture_is_that_of_its_own_moments_and_of_a_flow_that_of_draws(x):
    mixture = priors.Mixture(LATENT, components=4)
    made = traverse(linear_model(mixture), x[:2], ranked(0, 1, 2), steps=3, span=2.0)
    p = mixture()
    expected = torch.stack((p.mean - 2 * p.stddev, p.mean, p.mean + 2 * p.stddev), 1).detach()
    np.testing.assert_allclose(made.z, expected.expand(2, LATENT, 3), rtol=1e-6, atol=1e-6)
    flow = priors.Flow(LATENT)
    made = traverse(linear_model(flow), x[:1], ranked(0, 1, 2), steps=3, span=2.0)
    drawn = flow().sample((20_000,))
    error = drawn.std(0) * (1 / 20_000 + 1 / 10_000) ** 0.5
    assert (abs(made.z[0, :, 1] - drawn.mean(0).numpy()) < 5 * error.numpy()).all()


def test_conditions_are_held_and_shift_a_conditional_prior(x):
    context = Context({"dose": Continuous(0.0, 1.0)})
    prior = priors.Gaussian(LATENT, MLP(1, []))
    model = linear_model(prior, context=context, condition=("prior", "posterior", "likelihood"))
    batch = Batch(x[:2], context={"dose": torch.tensor([0.0, 2.0]).double()})
    made = traverse(model, batch, ranked(0), steps=3, start="prior")
    p = model.prior(batch.context)
    np.testing.assert_allclose(made.z[:, 0, 1], p.mean[:, 0].detach(), rtol=1e-10)
    np.testing.assert_allclose(made.x[:, 0, 1], model.decode(p.mean, batch.context).mean.detach(), rtol=1e-10)


def hierarchy(order, *, skip=False) -> Hierarchical:
    torch.manual_seed(0)
    below, above = 3, 2
    first = posteriors.DiagonalGaussian(MLP(DIMENSION, []), below if order is BottomUp else above)
    if order is BottomUp:
        inference = BottomUp([first, posteriors.DiagonalGaussian(MLP(below, []), above)])
    else:
        inference = TopDown([first, posteriors.DiagonalGaussian(MLP(DIMENSION + above, []), below)])
    return Hierarchical(
        priors.StandardNormal(above),
        [posteriors.DiagonalGaussian(MLP(above, []), below)],
        inference,
        likelihoods.Gaussian(MLP(below + above * skip, []), DIMENSION, scale=0.5),
        skip=skip,
    ).double()


@pytest.mark.parametrize("skip", [False, True])
def test_what_is_below_a_group_that_is_moved_follows_it_and_what_is_above_stays(x, skip):
    model = hierarchy(BottomUp, skip=skip)
    made = traverse(model, x[:2], ranked(4, 1), steps=3)
    z = center(model.posterior(x[:2])).detach()
    t = torch.tensor([-3.0, 0.0, 3.0]).double()
    for row, (moved_z2, moved_z1) in enumerate([(True, False), (False, True)]):
        for step in range(3):
            z1, z2 = z[:, :3].clone(), z[:, 3:].clone()
            value = torch.as_tensor(made.z[:, row, step])
            if moved_z2:
                z2[:, 1] = value
                z1 = model.links[0](z2).mean
                error = (1 + abs(t[step]) / 2**0.5) / PRIOR_DRAWS**0.5  # of the mean and of the deviation, which are 0 and 1
                assert (abs(value - t[step]) < 5 * error).all()
            if moved_z1:
                z1[:, 1] = value
            expected = model.decode(torch.cat((z1, z2), 1)).mean.detach()
            np.testing.assert_allclose(made.x[:, row, step], expected, rtol=1e-10)


def test_a_hierarchy_is_ranked_over_all_its_groups(x):
    assert rank_dimensions(hierarchy(BottomUp), x).measure == "variance"
    ranking = rank_dimensions(hierarchy(TopDown), x)
    assert ranking.measure == "kl_nats"
    assert sorted(ranking.dimensions.tolist()) == [0, 1, 2, 3, 4]


def test_a_latent_whose_entries_cannot_move_alone_is_refused(x):
    sphere = posteriors.VonMisesFisher(MLP(DIMENSION, []), LATENT).double(), priors.Uniform(LATENT, "sphere")
    classes = posteriors.Categorical(MLP(DIMENSION, []), LATENT, 4).double(), priors.Uniform((LATENT, 4), "categorical")
    for posterior, prior in (sphere, classes):
        model = VAE(prior, posterior, likelihoods.Bernoulli(MLP(posterior.event_shape, []), DIMENSION)).double()
        with pytest.raises(InputError, match="moves one entry of the latent alone"):
            traverse(model, x.round().clamp(0, 1), ranked(0))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 1}, "steps is 1"),
        ({"span": 0.0}, "it is 0.0"),
        ({"span": float("nan")}, "it is nan"),
        ({"start": "priors"}, "did you mean 'prior'"),
        ({"ranking": ranked(3)}, "dimensions 0 to 2; 3 is not one of them"),
    ],
)
def test_what_cannot_be_done_is_refused_in_a_sentence(x, options, message):
    with pytest.raises(InputError, match=message):
        traverse(linear_model(), x, **{"ranking": ranked(0), **options})
    with pytest.raises(InputError, match="no data to begin at"):
        traverse(linear_model(), x[:0], ranked(0))
    with pytest.raises(InputError, match="no data to rank"):
        rank_dimensions(linear_model(), [])
