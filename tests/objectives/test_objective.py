from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import nn

from amortized import VAE, InputError, likelihoods, posteriors, priors
from amortized.networks import MLP
from amortized.objectives import (
    NEEDS,
    Cyclical,
    Linear,
    Objective,
    capacity,
    check_compatible,
    ciwae,
    dreg,
    elbo,
    elbo_sampled,
    free_bits,
    iwae,
    miwae,
    needs,
    piwae,
    renyi,
    rloo,
    stl,
    vimco,
)
from amortized.training.step import Trainable


def model(posterior: Callable[..., nn.Module] = posteriors.DiagonalGaussian):
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
    assert objective.needs == {"pathwise"}  # its gradient is that of the values drawn


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
    for function in (elbo, elbo_sampled, iwae, miwae, piwae, ciwae, dreg, stl, renyi, rloo, vimco, capacity, free_bits):
        assert Objective(function).needs <= set(NEEDS)
    assert Objective(elbo).needs == {"pathwise"}
    assert Objective(iwae).needs == {"log_w", "pathwise"}
    assert Objective(needs("density", "log_w")(lambda terms: terms.log_px)).needs == {"density", "log_w", "pathwise"}


def test_the_gradient_of_the_score_needs_a_density_in_the_place_of_draws_with_a_gradient():
    assert Objective(rloo).needs == {"density", "alike"}
    assert Objective(vimco).needs == {"density", "log_w", "alike"}
    assert Objective(stl).needs == {"density", "pathwise"}


@pytest.mark.parametrize(
    ("function", "samples", "gradient"),
    [(dreg, 5, "split"), (piwae, 64, "split"), (stl, 1, "path"), (rloo, 4, "score"), (vimco, 5, "score"), (miwae, 64, "total")],
)
def test_a_bare_function_brings_its_samples_and_its_gradient(function, samples, gradient):
    objective = Objective(function)
    assert (objective.samples, objective.gradient) == (samples, gradient)


@pytest.mark.parametrize("function", [rloo, vimco])
def test_one_sample_cannot_be_held_against_others(function):
    with pytest.raises(InputError, match="compares 2 posterior samples or more; samples is 1"):
        Objective(function, samples=1)


@pytest.mark.parametrize(("function", "gradient"), [(dreg, "total"), (stl, "total"), (rloo, "path"), (elbo, "split")])
def test_a_gradient_that_is_not_the_functions_own_is_refused(function, gradient):
    with pytest.raises(InputError, match=f"has gradient '.*', and '{gradient}' is another"):
        Objective(function, gradient=gradient)


@pytest.mark.parametrize("function", [dreg, piwae, rloo, vimco])
def test_what_compares_samples_takes_none_that_differ_by_plan(function):
    with pytest.raises(InputError, match=f"objective '{function.__name__}' needs posterior samples that are drawn alike"):
        Trainable(model(partial(posteriors.MixtureOfGaussians, components=2)), Objective(function))


def test_a_schedule_is_settled_when_it_is_over_not_when_it_passes_its_end():
    cycles = Objective(elbo, hyper={"beta": Cyclical(0.0, 1.0, steps=40)})
    assert cycles.values(7) == cycles.values()  # the rest after the first rise
    assert not cycles.is_settled(7)
    assert cycles.is_settled(40)
    assert Objective(elbo, hyper={"beta": 2.0}).is_settled(0)
    assert Objective(elbo, hyper={"beta": Linear(2.0, 2.0, steps=40)}).is_settled(0)


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
