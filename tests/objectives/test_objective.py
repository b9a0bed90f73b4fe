# pyright: reportArgumentType=false, reportOptionalMemberAccess=false
from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import nn

from amortized import VAE, InputError, likelihoods, posteriors, priors, train
from amortized.networks import MLP
from amortized.objectives import (
    NEEDS,
    Cyclical,
    FactorVAE,
    Linear,
    Objective,
    beta_tcvae,
    capacity,
    check_compatible,
    ciwae,
    dip_i,
    dreg,
    elbo,
    elbo_sampled,
    free_bits,
    free_bits_per_dimension,
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
    with pytest.raises(InputError, match="steps must be an integer of 0 or more; it is -1"):
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
    assert Objective(rloo).needs == {"density", "alike", "separate"}
    assert Objective(vimco).needs == {"density", "log_w", "alike", "separate"}
    assert Objective(stl).needs == {"density", "pathwise"}


@pytest.mark.parametrize(
    ("function", "samples", "gradient"),
    [(dreg, 5, "split"), (piwae, 64, "split"), (stl, 1, "path"), (rloo, 4, "score"), (vimco, 5, "score"), (miwae, 64, "total")],
)
def test_a_bare_function_brings_its_samples_and_its_gradient(function, samples, gradient):
    objective = Objective(function)
    assert (objective.samples, objective.gradient) == (samples, gradient)


def test_a_function_with_bound_arguments_keeps_what_it_declared():
    objective = Objective(partial(piwae, groups=2))
    assert (objective.name, objective.samples, objective.gradient) == ("piwae", 64, "split")
    assert objective.needs == Objective(piwae).needs
    assert Objective(partial(dip_i, lambda_d=1.0)).rows == 2


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Objective(FactorVAE), "an objective is a function of Terms, or an Auxiliary that was built"),
        (lambda: Objective(3), "an objective is a function of Terms"),
        (lambda: Objective(elbo, hyper={"betta": 2.0}), "objective 'elbo' has no hyper-parameter 'betta'; it takes beta"),
        (lambda: Objective(iwae, hyper={"beta": 2.0}), "objective 'iwae' has no hyper-parameter 'beta'; it takes none"),
        (lambda: Objective(FactorVAE(2), hyper={"beta": 2.0}), "has no hyper-parameter 'beta'; it takes gamma"),
        (lambda: Objective(elbo, hyper={"beta": "x"}), "objective.beta must be a number or a schedule; it is 'x'"),
        (lambda: Objective(elbo, hyper={"beta": float("nan")}), "objective.beta must be a number or a schedule; it is nan"),
        (lambda: Objective(elbo, samples=True), "objective.samples must be a positive integer; it is True"),
        (lambda: Linear("a", 1.0, 3), "a schedule's start must be a finite number; it is 'a'"),
        (lambda: Linear(0.0, float("nan"), 3), "a schedule's end must be a finite number; it is nan"),
        (lambda: Linear(0.0, 1.0, 2.5), "a schedule's steps must be an integer of 0 or more; it is 2.5"),
        (lambda: FactorVAE(2, lr=-1.0), "an auxiliary network's lr must be a positive number; it is -1.0"),
        (lambda: FactorVAE(0), "takes 1 entry or more; it is given 0"),
    ],
)
def test_what_cannot_work_is_refused_when_it_is_made(make, message):
    with pytest.raises(InputError, match=message):
        make()


@pytest.mark.parametrize("shape", [lambda t: t.log_px, lambda t: t.log_px.mean()])
def test_values_that_are_not_one_for_each_datum_are_refused(shape):
    with pytest.raises(InputError, match="returned values of shape .*, and one for each datum is wanted, \\(3,\\)"):
        Trainable(model(), Objective(shape, samples=2))({"x": torch.zeros(3, 5)}, {})


def test_the_size_of_the_data_is_known_to_the_loop():
    x = (torch.rand(40, 5) < 0.5).float().numpy()
    assert Objective(beta_tcvae, fixed={"data_size": 7}).with_data_size(32).fixed == {"data_size": 7}
    assert train(model(), x, beta_tcvae, steps=1, batch_size=8, quiet=True).outcome.steps == 1


@pytest.mark.parametrize("kind", ["dip-i", "dip-ii", "beta-tcvae", "factor", "infomax", "infovae", "wae"])
def test_what_compares_data_takes_no_batches_of_one(kind):
    x = (torch.rand(40, 5) < 0.5).float().numpy()
    with pytest.raises(InputError, match="compares the data of a minibatch with each other, and training.batch_size is 1"):
        train(model(), x, kind, steps=1, batch_size=1, quiet=True)


@pytest.mark.parametrize("function", [capacity, free_bits, free_bits_per_dimension])
def test_the_rate_of_a_point_mass_cannot_be_held_to_a_value(function):
    with pytest.raises(InputError, match=f"objective '{function.__name__}' needs a KL to hold to a value"):
        Trainable(model(posteriors.Delta), Objective(function))


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
