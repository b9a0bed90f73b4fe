import math

import pytest
import torch
from torch import distributions

from amortized import likelihoods
from amortized.errors import InputError
from amortized.networks import MLP

FAMILIES = {"gaussian": (likelihoods.Gaussian, distributions.Normal), "laplace": (likelihoods.Laplace, distributions.Laplace)}
both = pytest.mark.parametrize(("likelihood", "family"), FAMILIES.values(), ids=FAMILIES)


@both
def test_the_density_in_own_units_is_the_standardized_one_less_the_log_unit(likelihood, family):
    torch.manual_seed(1)
    shift, unit = torch.randn(3).double() * 40, torch.rand(3).double() * 9 + 0.1
    own = likelihood(MLP(2, [4]), (3,), scale="predicted", shift=shift, unit=unit).double()
    standardized = likelihood(own.head.network, (3,), scale="predicted").double()
    standardized.head.load_state_dict(own.head.state_dict())
    own.shift.copy_(shift)  # to double, which the constructor rounded to the default type
    own.unit.copy_(unit)
    z, x = torch.randn(5, 4, 2).double(), shift + unit * torch.randn(4, 3).double()
    expected = standardized(z).log_prob((x - shift) / unit) - unit.log().sum()
    torch.testing.assert_close(own(z).log_prob(x), expected, rtol=1e-12, atol=1e-12)


@both
@pytest.mark.parametrize("unit", [1.0, 7.0])
def test_the_optimal_scale_is_the_closed_form_and_its_gradient_that_of_the_differentiable_form(likelihood, family, unit):
    torch.manual_seed(2)
    p = likelihood(MLP(2, [4], activation="tanh"), (3,), scale="optimal", shift=5.0, unit=unit).double().train()
    z, x = torch.randn(6, 4, 2).double(), torch.randn(4, 3).double()
    distribution = p(z)
    value = distribution.log_prob(x)
    residual = (x - distribution.mean) / unit
    best = residual.square().mean().sqrt() if family is distributions.Normal else residual.abs().mean()
    assert distribution.base_dist.best_scale(x).item() == pytest.approx(best.item(), rel=1e-12)
    differentiable = family(distribution.mean, unit * best).log_prob(x).sum(-1)
    torch.testing.assert_close(value, differentiable, rtol=1e-12, atol=1e-12)
    parameters = list(p.parameters())
    constant = torch.autograd.grad(value.mean(), parameters, retain_graph=True)
    through = torch.autograd.grad(differentiable.mean(), parameters)
    for g, h in zip(constant, through, strict=True):
        torch.testing.assert_close(g, h, rtol=1e-9, atol=1e-13)


@both
def test_no_other_scale_scores_the_minibatch_higher(likelihood, family):
    p = likelihood(MLP(2, [4]), (3,), scale="optimal").double().train()
    z, x = torch.randn(6, 4, 2).double(), torch.randn(4, 3).double()
    distribution = p(z)
    best = distribution.base_dist.best_scale(x)
    highest = distribution.log_prob(x).mean()
    for factor in (0.5, 0.99, 1.01, 2.0):
        assert family(distribution.mean, best * factor).log_prob(x).sum(-1).mean() < highest


@both
def test_every_process_takes_the_optimal_scale_of_all_of_them(likelihood, family, monkeypatch):
    p = likelihood(MLP(2, [4]), (3,), scale="optimal").double().train()
    z, x = torch.randn(10, 2).double(), torch.randn(10, 3).double()
    together = p(z).base_dist.best_scale(x)
    elsewhere = torch.stack((p.deviation(x[4:], p(z[4:])).sum().detach(), torch.tensor(18.0).double()))
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "all_reduce", lambda totals: totals.add_(elsewhere))
    torch.testing.assert_close(p(z[:4]).base_dist.best_scale(x[:4]), together, rtol=1e-12, atol=0)


@both
def test_the_scale_over_the_training_data_is_frozen_for_evaluation(likelihood, family):
    p = likelihood(MLP(2, [4]), (3,), scale="optimal", shift=2.0, unit=4.0).double().train()
    z, x = torch.randn(50, 2).double(), torch.randn(50, 3).double()
    expected = p(z).base_dist.best_scale(x)
    p.eval()
    assert p(z).base_dist.scale.unique().item() == 4.0  # before any calibration it is one, in standardized units
    total, entries = torch.zeros((), dtype=torch.float64), 0
    for rows in torch.arange(50).split(20):
        total += p.deviation(x[rows], p(z[rows])).sum()
        entries += x[rows].numel()
    p.set_scale(total, entries)
    assert p.needs_calibration
    assert p(z).base_dist.scale.unique().item() == pytest.approx(4 * expected.item(), rel=1e-12)


@both
def test_a_hole_does_not_count_in_the_deviation(likelihood, family):
    p = likelihood(MLP(2, [4]), (3,), scale="optimal").eval()
    z, x = torch.randn(5, 4, 2), torch.randn(4, 3)
    observed = torch.rand(4, 3) < 0.5
    holes = torch.where(observed, x, torch.nan)
    power = 2 if family is distributions.Normal else 1
    expected = ((x - p(z).mean).abs() ** power * observed).sum(-1)
    torch.testing.assert_close(p.deviation(holes, p(z), observed), expected)


@both
@pytest.mark.parametrize("scale", ["learned", "per-entry", "predicted"])
def test_a_scale_starts_at_one_and_never_falls_below_its_floor(likelihood, family, scale):
    p = likelihood(MLP(2, []), (3,), scale=scale, floor=0.01, unit=2.0)
    p.initialize(torch.zeros(3))
    assert p(torch.zeros(1, 2)).base_dist.scale[0].tolist() == pytest.approx([2.0] * 3, rel=1e-6)
    with torch.no_grad():
        (p.head.output.bias if scale == "predicted" else p.scale.raw).fill_(-1e4)
    assert p(torch.zeros(1, 2)).base_dist.scale[0].tolist() == pytest.approx([0.02] * 3)


def test_the_optimal_scale_of_a_perfect_fit_is_the_floor():
    p = likelihoods.Gaussian(MLP(2, [4]), (3,), scale="optimal", floor=0.1).train()
    distribution = p(torch.randn(4, 2))
    value = distribution.log_prob(distribution.mean.detach())
    torch.testing.assert_close(value, torch.full((4,), -3 * (math.log(0.1) + 0.5 * math.log(2 * math.pi))))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scale": "learnt"}, "scale cannot be 'learnt'; did you mean 'learned'"),
        ({"scale": 1e-4}, r"scale 0.0001 is not a number from its floor 0.001 up"),
        ({"scale": float("nan")}, "scale nan is not a number"),
        ({"floor": 0.0}, "floor of the scale must be positive; it is 0.0"),
        ({"scale": "optimal", "floor": -1.0}, "floor of the scale must be positive; it is -1.0"),
        ({"unit": torch.tensor([1.0, 0.0, 2.0])}, "unit must be positive and finite; its smallest value is 0"),
        ({"shift": torch.zeros(4)}, r"shift has shape \(4,\), which does not broadcast to the event \(3,\)"),
    ],
    ids=str,
)
def test_a_wrong_option_is_refused_in_one_sentence(options, message):
    with pytest.raises(InputError, match=message):
        likelihoods.Gaussian(MLP(2, [4]), (3,), **options)


def test_only_an_optimal_scale_is_set_from_the_data():
    with pytest.raises(InputError, match="likelihood 'laplace' has scale 'learned'"):
        likelihoods.Laplace(MLP(2, [4]), (3,)).set_scale(torch.ones(()), 3)
