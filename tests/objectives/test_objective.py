import pytest
import torch
from torch import nn

from amortized import VAE, InputError, likelihoods, posteriors, priors
from amortized.networks import MLP
from amortized.objectives import NEEDS, Linear, Objective, check_compatible, elbo, elbo_sampled, iwae, needs
from amortized.training.step import Trainable


def model(posterior: type[nn.Module] = posteriors.DiagonalGaussian):
    torch.manual_seed(0)
    return VAE(priors.StandardNormal(2), posterior(MLP(5, [8]), 2), likelihoods.Bernoulli(MLP(2, [8]), 5))


def own(terms, weight):
    return weight * terms.log_px.mean(0)


def test_hyper_parameters_follow_their_schedules_and_end_there():
    objective = Objective(elbo, hyper={"beta": Linear(0.0, 2.0, steps=4)})
    assert [objective.values(step)["beta"] for step in (0, 1, 3, 4, 100)] == [0.0, 0.5, 1.5, 2.0, 2.0]
    assert objective.values() == {"beta": 2.0}


def test_a_call_takes_the_values_given_and_the_end_of_the_schedule_for_the_rest():
    terms = model().terms(torch.zeros(3, 5))
    objective = Objective(elbo, hyper={"beta": Linear(0.0, 2.0, steps=4)})
    torch.testing.assert_close(objective(terms), elbo(terms, beta=2.0))
    torch.testing.assert_close(objective(terms, beta=0.5), elbo(terms, beta=0.5))


def test_a_plain_function_is_an_objective():
    objective = Objective(own, hyper={"weight": 3.0})
    terms = model().terms(torch.zeros(3, 5))
    torch.testing.assert_close(objective(terms), 3 * terms.log_px.mean(0))
    assert objective.name == "own"
    assert objective.needs == frozenset()


def test_a_warm_up_of_no_steps_is_at_its_end_from_the_start():
    assert Linear(0.0, 1.0, steps=0).at(0) == 1.0


def test_a_negative_number_of_steps_is_refused():
    with pytest.raises(InputError, match="steps must not be negative; they are -1"):
        Linear(0.0, 1.0, steps=-1)


@pytest.mark.parametrize("samples", [0, -3])
def test_a_number_of_samples_below_one_is_refused(samples):
    with pytest.raises(InputError, match=f"objective.samples must be a positive integer; it is {samples}"):
        Objective(elbo, samples=samples)


def test_what_is_declared_is_known_by_name():
    for function in (elbo, elbo_sampled, iwae):
        assert Objective(function).needs <= set(NEEDS)
    assert Objective(elbo).needs == frozenset()
    assert Objective(iwae).needs == {"log_w"}
    assert Objective(needs("density", "log_w")(lambda terms: terms.log_px)).needs == {"density", "log_w"}


@pytest.mark.parametrize("function", [elbo_sampled, iwae])
def test_what_needs_a_density_is_refused_for_a_point_mass_when_it_is_built(function):
    with pytest.raises(InputError, match=f"objective '{function.__name__}' needs .*, which this VAE does not have"):
        Trainable(model(posteriors.Delta), Objective(function))


def test_the_path_gradient_needs_a_density():
    with pytest.raises(InputError, match="objective 'elbo' needs the density of the posterior"):
        Trainable(model(posteriors.Delta), Objective(elbo, gradient="path"))


def test_the_path_gradient_of_importance_weights_is_refused_because_it_is_biased():
    with pytest.raises(InputError, match="objective 'iwae' has gradient 'path', which is biased"):
        Objective(iwae, gradient="path")


@pytest.mark.parametrize("posterior", [posteriors.DiagonalGaussian, posteriors.FullGaussian])
def test_every_objective_works_with_a_posterior_that_has_a_density(posterior):
    for function in (elbo, elbo_sampled, iwae):
        values, _ = Trainable(model(posterior), Objective(function, samples=3))({"x": torch.zeros(4, 5)}, {})
        assert values.shape == (4,)
        assert values.isfinite().all()


def test_the_elbo_works_with_a_point_mass_and_is_the_reconstruction_alone():
    autoencoder = model(posteriors.Delta)
    terms = autoencoder.terms(torch.zeros(4, 5))
    assert not terms.is_bound
    torch.testing.assert_close(elbo(terms), terms.log_px[0])


def test_the_message_names_the_first_thing_that_is_missing():
    with pytest.raises(InputError, match="which this made-up model does not have. Take the objective 'elbo'"):
        check_compatible(Objective(iwae), frozenset({"density"}), "this made-up model")
