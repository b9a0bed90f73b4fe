from typing import Any

import pytest

import amortized as am
from amortized.report.page import is_finished, warnings_of
from amortized.report.training_verdicts import overfitting, unstable, untrained
from amortized.report.verdicts import amortization, collapse, loose, memorizing, miscalibration, untrusted, verdicts, worse

HEALTHY = {
    "elbo_nats": -91.0,
    "elbo_stderr_nats": 1.1,
    "nll_nats": 85.5,
    "nll_stderr_nats": 1.0,
    "nll_bias_nats": 0.13,
    "rate_nats": 20.0,
    "active_units": 16.0,
    "active_share": 1.0,
    "latent_gain_nats": 187.0,
    "pareto_k_bad_fraction": 0.98,
    "amortization_gap_nats": 4.5,
    "amortization_gap_stderr_nats": 0.7,
    "coverage_90": 0.8,
    "calibration_p_value_z": 0.001,
    "memorization_auc": 0.52,
    "memorization_auc_stderr": 0.03,
}


def history_of(train, valid):
    rows = zip(train, valid, strict=True)
    return [{"step": 10 * n, "epoch": n, "train_elbo_nats": a, "valid_elbo_nats": b} for n, (a, b) in enumerate(rows, 1)]


def rising(end=-90.0, rows=60, height=140.0, gap=0.0):
    """A curve that climbs to `end` and stays there."""
    train = [end + gap - height * 0.85**n for n in range(rows)]
    return history_of(train, [end - height * 0.85**n for n in range(rows)])


def titles(found):
    return [each.title for each in found]


def test_a_healthy_run_is_not_warned_of():
    assert verdicts(rising(gap=5.0), HEALTHY, keeps_best=True) == []


def test_what_is_not_known_is_not_warned_of():
    assert verdicts(rising(), {}) == []


@pytest.mark.parametrize("change", [{"rate_nats": 0.001}, {"active_units": 0.0, "active_share": 0.0}, {"latent_gain_nats": 0.01}])
def test_a_collapse_is_named_by_any_of_its_three_signs(change):
    (found,) = collapse(HEALTHY | change)
    assert "collapse" in found.title
    assert found.is_grave
    assert "free-bits" in found.remedy


def test_of_a_collapsed_model_nothing_is_said_that_follows_from_it():
    metrics = HEALTHY | {"rate_nats": 0.001, "elbo_nats": -200.0, "nll_nats": 100.0}
    assert titles(verdicts(rising(), metrics)) == ["Posterior collapse: the latents are not used"]


def test_a_latent_most_of_which_is_idle_is_a_caution():
    (found,) = collapse(HEALTHY | {"active_units": 3.0, "active_share": 3 / 40})
    assert "3 of 40" in found.seen
    assert not found.is_grave


def test_a_validation_bound_that_falls_is_over_fitting_unless_the_best_weights_were_kept():
    train = [-100 + n for n in range(40)]
    valid = [-100 + n if n < 15 else -85 - 0.8 * (n - 15) for n in range(40)]
    (found,) = overfitting(history_of(train, valid), {"elbo_stderr_nats": 1.0})
    assert found.is_grave
    assert "step 160" in found.seen
    assert list(overfitting(history_of(train, valid), {"elbo_stderr_nats": 1.0}, keeps_best=True)) == []


def test_a_bound_far_higher_on_training_data_is_over_fitting_beside_the_rate():
    assert list(overfitting(rising(gap=5.0), HEALTHY)) == []
    (found,) = overfitting(rising(gap=15.0), HEALTHY)
    assert "15.0 nats higher" in found.seen
    assert "earlier" not in found.remedy  # the validation bound has not fallen
    assert list(overfitting(rising(gap=15.0), HEALTHY | {"elbo_stderr_nats": 6.0})) == []  # within its error


def test_a_relaxed_training_bound_is_not_held_against_that_of_validation():
    history = [{"step": n, "train_objective_nats": -85.0, "valid_elbo_nats": -100.0 + 0.01 * n} for n in range(40)]
    assert list(overfitting(history, HEALTHY)) == []
    falling = [row | {"valid_elbo_nats": -90.0 - 0.5 * row["step"]} for row in history]
    (found,) = overfitting(falling, HEALTHY)
    assert found.is_grave
    assert "training data" not in found.seen


def test_a_curve_that_falls_back_is_unstable():
    assert list(unstable(rising())) == []
    history = rising()
    history[40]["train_elbo_nats"] -= 60
    (found,) = unstable(history)
    assert "1 time," in found.seen
    assert "step 410" in found.seen


def test_numbers_that_are_not_finite_are_said_first():
    history = rising()
    history[30]["train_elbo_nats"] = float("nan")
    first, *_ = verdicts(history, HEALTHY)
    assert "not finite" in first.title
    assert "step 310" in first.seen


def test_a_curve_that_still_climbs_at_the_end_is_under_trained():
    assert list(untrained(rising(), HEALTHY)) == []
    steep = [-200.0 + 2 * n for n in range(40)]
    (found,) = untrained(history_of(steep, steep), {})
    assert "16.0 nats" in found.seen


def test_a_climb_that_is_less_than_the_error_of_the_bound_is_none():
    steep = [-200.0 + 2 * n for n in range(40)]
    assert list(untrained(history_of(steep, steep), {"elbo_stderr_nats": 40.0})) == []


def test_simpler_models_that_are_clearly_better_are_named():
    gains = {"gain_over_gaussian_nats": -1.3, "gain_over_gaussian_stderr_nats": 0.3}
    gains |= {"gain_over_ppca_nats": -1.0, "gain_over_ppca_stderr_nats": 0.9, "gain_over_uniform_nats": 4.0}
    (found,) = worse(gains)
    assert "gaussian by 1.3." in found.seen


def test_a_few_validations_tell_nothing():
    assert "once" in next(untrained(history_of([-200.0], [-200.0]), {})).seen
    assert "3 times" in next(untrained(history_of([-200.0] * 3, [-200.0] * 3), {})).seen


def test_a_run_without_a_validation_split_is_judged_by_its_training():
    history = [{"step": n, "train_elbo_nats": -200.0 + 2 * n} for n in range(40)]
    assert titles(untrained(history, {})) == ["Under-trained: still improving at the end"]


def test_a_run_that_was_stopped_is_said_to_be_so():
    (found,) = [each for each in verdicts(rising(), HEALTHY, finished=False) if each.is_grave]
    assert "after step 600" in found.seen
    assert "before its first validation" in verdicts([], {}, finished=False)[0].seen


def test_a_loose_bound_is_one_that_lies_far_below_beside_the_rate():
    assert list(loose(HEALTHY)) == []
    (found,) = loose(HEALTHY | {"elbo_nats": -110.0})
    assert "24.5 nats" in found.seen


def test_bad_weights_matter_where_they_move_the_estimate():
    assert list(untrusted(HEALTHY)) == []
    (found,) = untrusted(HEALTHY | {"nll_bias_nats": 2.0, "effective_samples": 1.3})
    assert "98%" in found.seen
    assert "1.3" in found.seen


def test_annealing_that_finds_more_contradicts():
    metrics = HEALTHY | {"ais_minus_is_nats": 3.0, "ais_minus_is_stderr_nats": 0.5}
    assert "too low" in next(untrusted(metrics)).title
    assert list(untrusted(metrics | {"ais_minus_is_stderr_nats": 1.5})) == []


def test_an_encoder_that_loses_much_is_named():
    assert list(amortization(HEALTHY)) == []
    assert "9.0 ± 0.7" in next(amortization(HEALTHY | {"amortization_gap_nats": 9.0})).seen


@pytest.mark.parametrize(("held", "kind"), [(0.5, "narrow"), (0.995, "wide")])
def test_intervals_that_hold_another_share_are_miscalibrated(held, kind):
    assert list(miscalibration(HEALTHY)) == []
    assert kind in next(miscalibration(HEALTHY | {"coverage_90": held})).title
    assert list(miscalibration(HEALTHY | {"coverage_90": held, "calibration_p_value_z": 0.2})) == []  # by chance


def test_a_posterior_that_is_beside_the_latents_is_not_mended_by_a_richer_family():
    found = next(miscalibration(HEALTHY | {"coverage_90": 0.67, "mean_rank_log_px": 0.82}))
    assert "beside" in found.title
    assert "encoder" in found.remedy


def test_samples_nearer_than_new_data_may_be_copies():
    assert list(memorizing(HEALTHY)) == []
    assert "75%" in next(memorizing(HEALTHY | {"memorization_auc": 0.75})).seen


def metrics_of(run):
    found = run.evaluate(samples=50, only=["evidence", "surgery"])
    return {name: metric.value for name, metric in found.metrics.items()}


def test_an_honest_fit_of_digits_gives_no_false_alarm(tmp_path):
    run = am.fit("digits", epochs=40, lr=3e-3, out=tmp_path / "run", quiet=True)
    assert warnings_of(run, metrics_of(run)) == []
    assert is_finished(am.load_run(tmp_path / "run"))


def test_a_collapsed_fit_is_said_to_be_so():
    heavy: dict[str, Any] = {"objective.beta": 100}
    run = am.fit("digits", objective="beta", epochs=5, quiet=True, **heavy)
    found = warnings_of(run, metrics_of(run))
    assert "collapse" in found[0].title


def test_a_fit_that_learns_by_heart_is_said_to_be_so():
    few: dict[str, Any] = {"data.splits": (0.08, 0.46, 0.46), "training.patience": None, "training.validate_every": 20}
    run = am.fit("digits", epochs=300, lr=3e-3, quiet=True, **few)
    assert "Over-fitting" in titles(warnings_of(run, metrics_of(run)))
