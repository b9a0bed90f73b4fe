from itertools import product

import pytest
import torch
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal

from amortized.evaluation import baseline_mixtures
from amortized.evaluation.baseline_entries import independent, level_log_probs
from amortized.evaluation.baseline_gaussians import log_density
from amortized.evaluation.baseline_mixtures import Tables, bins_of, fit_tables, gaussian_log_px, mixture, one_hot
from amortized.evaluation.baseline_rows import Counts, Levels, Reals
from amortized.evaluation.baseline_setting import NoBaseline
from tests.evaluation.baselines import check_recovered, generator, rows, setting


def random_tables(entries, levels, components, seed=0):
    raw = 2 * torch.randn(entries, levels, components, generator=generator(seed), dtype=torch.float64)
    weights = torch.rand(components, generator=generator(seed + 1), dtype=torch.float64) + 0.5
    prior = torch.full((entries, levels), 1 / levels, dtype=torch.float64)
    return Tables((weights / weights.sum()).log(), raw.log_softmax(1), prior)


def sample(tables, n, seed):
    noise = generator(seed)
    component = torch.multinomial(tables.log_weights.exp(), n, replacement=True, generator=noise)
    probs = tables.log_probs.exp().permute(2, 0, 1)[component]  # (n, D, L)
    return torch.multinomial(probs.flatten(0, 1), 1, generator=noise).view(n, -1).double()


def every(entries, levels):
    return torch.tensor(list(product(range(levels), repeat=entries))).double()


def test_the_mass_of_known_bernoulli_components_is_their_sum():
    tables = random_tables(5, 2, 3)
    x = every(5, 2)
    on = tables.log_probs[:, 1].exp()  # (D, K)
    parts = torch.distributions.Bernoulli(on.T).log_prob(x[:, None]).sum(2)
    torch.testing.assert_close(tables.log_px(rows(x)), (parts + tables.log_weights).logsumexp(1))
    torch.testing.assert_close(tables.log_px(rows(x)).exp().sum(), torch.tensor(1.0).double())


def test_how_the_data_are_cut_does_not_matter(monkeypatch):
    tables, x = random_tables(4, 3, 2), every(4, 3)
    expected = tables.log_px(rows(x))
    monkeypatch.setattr(baseline_mixtures, "MOST_CODES", 100)
    torch.testing.assert_close(tables.log_px(rows(x)), expected)


def test_a_missing_entry_is_summed_over():
    tables = random_tables(3, 4, 2)
    filled = torch.tensor([[1.0, level, 2.0] for level in range(4)])
    holed = rows(filled[:1], torch.tensor([[True, False, True]]))
    torch.testing.assert_close(tables.log_px(holed)[0], tables.log_px(rows(filled)).logsumexp(0))


@pytest.mark.parametrize("levels", [2, 5])
def test_no_step_of_em_lowers_what_it_climbs(levels):
    tables, start = random_tables(8, levels, 3), random_tables(8, levels, 4, seed=5)
    x = sample(tables, 300, 1)
    observed = torch.rand(x.shape, generator=generator(2)) < 0.8
    codes = one_hot(rows(x, observed), levels)
    values = []
    for _ in range(60):
        joint = start.joint(codes)
        values.append(start.objective(joint))
        start = start.step(codes, joint)
    rises = torch.tensor(values).double().diff()
    assert (rises > -1e-12 * abs(values[0])).all()
    assert rises[0] > 0.01
    assert rises[-1] < rises[0] / 10


@pytest.mark.parametrize("levels", [2, 4])
def test_a_mixture_of_tables_is_recovered(levels):
    truth = random_tables(12, levels, 3)
    train, test = sample(truth, 3_000, 1), sample(truth, 4_000, 2)
    fitted = fit_tables(levels, rows(train), 3, 2, 0)
    parameters = 3 * 12 * (levels - 1) + 2
    check_recovered(fitted(rows(test)), truth.log_px(rows(test)), parameters, 3_000)
    chosen = mixture(setting(Levels(levels), train, test))
    assert "The mixture has 4 components" in chosen.notes[0]  # of 1, 2, 4, 8, ...
    check_recovered(chosen.log_px, truth.log_px(rows(test)), parameters * 4 / 3, 3_000)


def test_independent_data_have_one_component():
    x = (torch.rand(1_000, 10, generator=generator()) < torch.linspace(0.1, 0.9, 10)).double()
    found = mixture(setting(Levels(2), x))
    assert "The mixture has 1 component," in found.notes[0]
    frequencies = x.mean(0)
    prior = (1_000 * frequencies + 1) / 1_002
    expected = torch.distributions.Bernoulli((1_000 * frequencies + prior) / 1_001).log_prob(x).sum(1)
    torch.testing.assert_close(found.log_px, expected, rtol=0, atol=1e-5)  # fitted in float32


def test_values_that_were_not_seen_are_possible():
    train = torch.zeros(40, 6)
    train[:20, 0] = 1
    for measure in (Levels(2), Levels(30), Counts(), Levels(30, is_ordered=False)):
        assert mixture(setting(measure, train, torch.ones(1, 6))).log_px.isfinite().all()


@pytest.mark.parametrize("levels", [9, 20])
def test_levels_in_bins_have_a_mass_that_sums_to_one_and_know_what_independent_entries_do_not(levels):
    x = torch.randint(levels, (400, 2), generator=generator()).double()
    x[:, 1] = (x[:, 0] + x[:, 1] / 4).trunc().clamp(max=levels - 1)
    measure = Levels(levels)
    bins = bins_of(measure, rows(x))
    assert bins.unique().tolist() == list(range(int(bins.max()) + 1))
    assert 5 <= bins.max() < 8
    found = mixture(setting(measure, x, every(2, levels)))
    assert found.log_px.exp().sum().item() == pytest.approx(1, abs=1e-9)
    assert mixture(setting(measure, x)).log_px.mean() > independent(setting(measure, x)).log_px.mean() + 0.2
    single = mixture(setting(measure, x[:19], every(2, levels)))  # too few for two components
    assert "1 component," in single.notes[0]
    frequencies = level_log_probs(measure, rows(x[:19])).exp()
    bins = bins_of(measure, rows(x[:19]))
    expected = torch.zeros(())
    for d in range(2):
        share = torch.zeros(8).double().index_add(0, bins, frequencies[d])
        number = torch.bincount(bins[x[:19, d].long()], minlength=8)
        coarse = (number + (number + 1) / (19 + 1 + bins.max())) / 20  # one added to each bin, and one datum like that
        expected = expected + (coarse[bins] * frequencies[d] / share[bins]).log()[every(2, levels)[:, d].long()]
    torch.testing.assert_close(single.log_px, expected, rtol=0, atol=1e-5)  # fitted in float32


def test_a_level_that_most_values_have_is_a_bin_of_its_own():
    x = torch.zeros(100, 3)
    x[:30] = torch.arange(1.0, 91.0).view(30, 3)
    bins = bins_of(Levels(256), rows(x))
    assert (bins == 0).sum() == 1
    sizes = torch.bincount(bins[x.long()].flatten())
    assert len(sizes) == 8
    assert sizes[1:].max() - sizes[1:].min() <= 1


def test_the_masses_of_a_mixture_of_gaussians_sum_to_one():
    measure, reach = Counts(), 40_000
    log_weights = torch.tensor([0.3, 0.7]).double().log()
    loc, scale = torch.tensor([[3.0], [1.2]]).double(), torch.tensor([[0.7], [2.0]]).double()
    x = torch.arange(float(reach)).double()[:, None]
    total = gaussian_log_px(measure, x, log_weights, loc, scale).exp().sum().item()
    beyond = 0.7 * (1 - Normal(1.2, 2.0).cdf(torch.tensor(reach + 1.0).log()).item())
    assert total == pytest.approx(1 - beyond, abs=1e-6)


def test_real_data_have_the_mixture_of_torch():
    log_weights = torch.tensor([0.3, 0.7]).double().log()
    loc, scale = torch.randn(2, 4, generator=generator()).double(), torch.rand(2, 4, generator=generator(1)).double() + 0.1
    x = torch.randn(9, 4, generator=generator(2)).double()
    expected = MixtureSameFamily(Categorical(logits=log_weights), Independent(Normal(loc, scale), 1)).log_prob(x)
    torch.testing.assert_close(gaussian_log_px(Reals(), x, log_weights, loc, scale), expected)


def test_the_mass_of_a_count_is_above_its_dequantized_bound():
    measure, x = Counts(), every(2, 8)
    loc, scale = torch.tensor([[1.0, 2.0]]).double(), torch.tensor([[0.4, 2.0]]).double()
    mass = gaussian_log_px(measure, x, torch.zeros(1).double(), loc, scale)
    assert (mass >= log_density(measure.relax(x), x >= 0, loc[0], scale[0].square().diag()) - 1e-12).all()


@pytest.mark.parametrize("loc", [0.0, 8.0])
def test_the_mass_of_a_count_in_a_tail_has_all_its_digits(loc):
    from mpmath import mp

    found = gaussian_log_px(Counts(), *(torch.tensor([[value]]).double() for value in (30.0, 0.0, loc, 0.125))).item()
    with mp.workdps(600):
        low, high = ((mp.log(edge) - loc) / mp.mpf(0.125) for edge in (31, 32))
        expected = float(mp.log(mp.ncdf(high) - mp.ncdf(low)))
    assert found == pytest.approx(expected, rel=1e-12)


def test_a_mixture_of_gaussians_is_recovered():
    loc = torch.tensor([[0.0, 0.0, 0.0], [4.0, -3.0, 2.0]]).double()
    truth = MixtureSameFamily(Categorical(torch.tensor([0.4, 0.6]).double()), Independent(Normal(loc, 0.8), 1))
    torch.manual_seed(0)
    train, test = truth.sample((1_500,)), truth.sample((3_000,))
    found = mixture(setting(Reals(), train, test))
    assert "The mixture has 2 components" in found.notes[0]
    check_recovered(found.log_px, truth.log_prob(test), 13, 1_500)


def test_an_entry_that_never_varies_in_a_component_or_at_all_has_a_density():
    x = torch.cat((torch.zeros(50, 3), torch.randn(50, 3, generator=generator())))
    x = torch.cat((x, torch.ones(100, 1)), 1)
    found = mixture(setting(Reals(), x, x + 0.3))
    assert found.log_px.isfinite().all()


def test_too_few_data_and_too_many_classes_are_left_out():
    with pytest.raises(NoBaseline, match="at least 10 training data, and there are 4"):
        mixture(setting(Levels(2), torch.zeros(4, 2)))
    with pytest.raises(NoBaseline, match="5,000 classes"):
        mixture(setting(Levels(5_000, is_ordered=False), torch.zeros(40, 2)))
