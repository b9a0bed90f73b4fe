# pyright: reportArgumentType=false
# Options of many types are unpacked into one call.
import math
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

import amortized as am
from amortized import InputError, fit, train
from amortized.data import Batches, Split
from amortized.evaluation import evaluate
from amortized.objectives import Objective, elbo
from amortized.training import Settings, loop, uphill
from amortized.training import train as run_loop
from amortized.training.checkpoints import read_checkpoint
from amortized.training.progress import Silent

SMALL: dict[str, Any] = {"latent_dim": 2, "model.network.hidden": [8], "batch_size": 8, "likelihood": "gaussian", "quiet": True}


def model_of(event: tuple[int, ...] = (4, 3), seed: int = 0, posterior: Any = am.posteriors.DiagonalGaussian) -> am.VAE:
    torch.manual_seed(seed)
    return am.VAE(
        am.priors.StandardNormal(2),
        posterior(am.networks.MLP(event, [8]), event=2),
        am.likelihoods.Gaussian(am.networks.MLP(2, [8]), event=event, scale=1.0),
    )


def batches_of(x: Tensor, batch_size: int = 8) -> Batches:
    return Batches(Split(x, torch.arange(len(x))), batch_size=batch_size, seed=0)


def data(n: int = 48) -> Tensor:
    return torch.randn(n, 4, 3, generator=torch.Generator().manual_seed(0))


def run(model: am.VAE, x: Tensor, valid: Tensor | None = None, objective: Any = elbo, **settings: Any):
    settings = {"accelerator": "cpu", "batch_size": 8} | settings
    held_out = None if valid is None else Batches(Split(valid, torch.arange(len(valid))), batch_size=8, shuffle=False)
    trained = Objective(objective) if not isinstance(objective, Objective) else objective
    return run_loop(model, trained, batches_of(x), held_out, Settings(**settings), reporter=Silent())


def weights(model: nn.Module) -> Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


def test_the_moving_average_is_the_one_computed_by_hand():
    path: list[Tensor] = [weights(model_of())]
    for steps in range(1, 5):
        model = model_of()
        run(model, data(), steps=steps)
        path.append(weights(model))
    average = path[0]
    for step, value in enumerate(path[1:]):
        decay = min(0.3, (1 + step) / (10 + step))
        average = decay * average + (1 - decay) * value
    model = model_of()
    run(model, data(), steps=4, ema=0.3)
    torch.testing.assert_close(weights(model), average, rtol=1e-5, atol=1e-6)


def test_the_average_of_a_model_in_float64_is_kept_in_float64():
    model = model_of()
    run(model, data(), data(16), epochs=2, ema=0.9, precision="64")
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float64}


def test_one_step_of_a_model_without_noise_is_one_step_of_a_plain_loop():
    model, plain = model_of(posterior=am.posteriors.Delta), model_of(posterior=am.posteriors.Delta)
    run(model, data(), steps=3, lr=0.01, clip_norm=0.5)
    optimizer = torch.optim.Adam(plain.parameters(), lr=0.01)
    for _, fields in zip(range(3), batches_of(data()).epoch(0), strict=False):
        optimizer.zero_grad()
        (-elbo(plain.terms(am.Batch(**fields))).mean()).backward()
        torch.nn.utils.clip_grad_norm_(plain.parameters(), 0.5)
        optimizer.step()
    # Both use float32; three steps of Adam of size 0.01 each magnify rounding at most to about the size of a step's last digits.
    torch.testing.assert_close(weights(model), weights(plain), rtol=1e-4, atol=1e-5)


def test_clipping_bounds_the_gradient_that_the_optimizer_sees(monkeypatch: pytest.MonkeyPatch):
    norms: list[float] = []
    make = uphill.make_optimizer

    def watched(parameters, settings, auxiliary):
        optimizer = make(parameters, settings, auxiliary)
        gradients = optimizer.param_groups[0]["params"]
        optimizer.register_step_pre_hook(lambda *_: norms.append(math.sqrt(sum(float(p.grad.square().sum()) for p in gradients))))
        return optimizer

    monkeypatch.setattr(uphill, "make_optimizer", watched)
    run(model_of(), 10 * data(), steps=3)
    run(model_of(), 10 * data(), steps=3, clip_norm=0.1)
    assert min(norms[:3]) > 0.1
    assert norms[3:] == pytest.approx([0.1] * 3, rel=1e-4)


def test_early_stopping_keeps_the_weights_with_the_best_validation_bound(table: str):
    result = fit(table, epochs=200, lr=0.1, **SMALL, **{"training.patience": 2})
    assert result.outcome is not None
    bounds = [row["valid_objective_nats"] for row in result.history]
    best = max(bounds)
    assert result.outcome.finished
    assert bounds.index(best) == len(bounds) - 3
    assert result.outcome.best_step == result.history[-3]["step"]
    # The kept weights, scored with the same noise by the same loop, give the same number.
    kept = loop.Validation(
        result.model, Objective(elbo), batches_of(data()), _valid(result), result.recipe.seed, loop.launch(Settings())
    )
    with torch.random.fork_rng([]):
        scores = kept.scores()
    assert scores is not None
    assert scores[0] == best


def _valid(result: am.Run) -> Any:
    from amortized.recipes import known_transform, make_batches

    return make_batches(result.source.valid, result.recipe, known_transform(result.recipe, result.spec))


def test_what_is_shown_is_the_mean_since_the_last_row_or_that_row():
    seen: list[Any] = []

    class Watching(Silent):
        def advance(self, steps: int, shown: Any) -> None:
            seen.append(shown)

    settings = Settings(epochs=2, batch_size=8, accelerator="cpu")
    outcome = run_loop(model_of(), Objective(elbo), batches_of(data()), None, settings, reporter=Watching())
    last = outcome.history[-1]
    assert [seen[-1][name] for name in ("elbo", "rate", "distortion")] == [
        last["train_elbo_nats"],
        last["train_rate_nats"],
        last["train_distortion_nats"],
    ]


def test_patience_counts_only_when_the_warm_up_is_over(table):
    """At a rate of zero no validation is better than the first."""
    stopped = {}
    for warmup in (0, 5):
        options = {"training.patience": 2, "objective.warmup_epochs": warmup, "training.lr": 1e-30}
        stopped[warmup] = fit(table, epochs=20, **SMALL, **options).history[-1]["epoch"]
    assert stopped == {0: 3, 5: 6}


def test_patience_without_validation_data_is_refused():
    with pytest.raises(InputError, match="no validation data"):
        run(model_of(), data(), epochs=1, patience=3)


def test_without_validation_data_the_history_has_the_training_terms_alone():
    outcome = run(model_of(), data(), epochs=2)
    assert len(outcome.history) == 2
    assert not [name for name in outcome.history[0] if name.startswith("valid")]


def test_validation_comes_every_so_many_epochs_and_at_the_end():
    outcome = run(model_of(), data(), data(16), steps=6 * 5 + 2, validate_every=2)
    assert [row["step"] for row in outcome.history] == [12, 24, 32]
    assert outcome.steps == 32


def test_fewer_steps_than_an_epoch_has_and_a_batch_larger_than_the_data_both_work():
    assert run(model_of(), data(), data(16), steps=2).history[-1]["step"] == 2
    outcome = run_loop(
        model_of(), Objective(elbo), batches_of(data(), 1000), None, Settings(epochs=3, batch_size=1000), reporter=Silent()
    )
    assert outcome.steps == 3


def test_the_warm_up_of_beta_reaches_the_log_step_by_step(table: str):
    result = fit(table, epochs=4, objective={"kind": "elbo", "warmup_epochs": 4}, **SMALL)
    # An epoch has six steps; the row of epoch e stands at step 6 e - 1 of the 24 that beta takes from 0 to 1.
    assert [row["beta"] for row in result.history] == pytest.approx([5 / 24, 11 / 24, 17 / 24, 23 / 24], rel=1e-12)


@pytest.mark.parametrize("options", [{"precision": "bf16"}, {"precision": "64"}, {"precision": 64}, {"objective": "iwae"}])
def test_every_precision_and_objective_raises_the_bound(options: dict[str, Any], table: str):
    result = fit(table, epochs=20, lr=0.02, **SMALL, **options)
    bounds = [row["valid_objective_nats"] for row in result.history]
    assert max(bounds[5:]) > bounds[0]
    dtype = torch.float64 if str(options.get("precision")) == "64" else torch.float32
    assert {parameter.dtype for parameter in result.model.parameters()} == {dtype}  # pyright: ignore


def test_training_in_mixed_precision_ends_near_that_in_float32(table: str):
    results = [fit(table, epochs=10, lr=0.01, precision=precision, **SMALL) for precision in ("32", "bf16")]
    first, second = (result.evidence(samples=50) for result in results)
    # bfloat16 has 8 bits: a relative error of 2^-8 of each of some hundreds of nats.
    bound, other = first.metrics["elbo_nats"].value, second.metrics["elbo_nats"].value
    assert other == pytest.approx(bound, rel=2**-6)


@pytest.mark.parametrize("kind", ["cuda", "mps"])
def test_a_device_that_is_not_there_is_refused(kind: str, table: str):
    available = torch.cuda.is_available() if kind == "cuda" else torch.backends.mps.is_available()
    if available:
        pytest.skip(f"this machine has {kind}")
    with pytest.raises(InputError, match=f"'{kind}'.*try training.accelerator=cpu"):
        fit(table, accelerator=kind, epochs=1, **SMALL)


def test_training_leaves_no_trace_in_the_state_of_torch(table: str):
    torch.manual_seed(7)
    state, precision = torch.get_rng_state(), torch.get_float32_matmul_precision()
    fit(table, epochs=1, **SMALL)
    assert torch.equal(state, torch.get_rng_state())
    assert torch.get_float32_matmul_precision() == precision
    assert torch.get_default_dtype() == torch.float32
    assert not torch.are_deterministic_algorithms_enabled()


def test_the_state_of_torch_before_has_no_influence(table: str):
    results = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        results.append(fit(table, epochs=2, **SMALL))
    assert torch.equal(weights(results[0].model), weights(results[1].model))  # pyright: ignore


def test_training_works_in_a_thread_that_is_not_the_main_one(table: str):
    results: list[am.Run] = []
    thread = threading.Thread(target=lambda: results.append(fit(table, epochs=1, **SMALL)))
    thread.start()
    thread.join(60)
    assert results[0].finished


class Rows(Dataset):
    def __init__(self, n: int = 48):
        self.x = data(n)

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, row: int) -> Tensor:
        return self.x[row]


@pytest.mark.parametrize(
    "source",
    [
        data(),
        data().numpy(),
        Rows(),
        TensorDataset(data(), torch.arange(48) % 2),
        {"train": DataLoader(Rows(), batch_size=8, shuffle=True), "valid": DataLoader(Rows(16), batch_size=8)},
    ],
    ids=["tensor", "array", "Dataset", "TensorDataset", "DataLoader"],
)
def test_any_source_trains_a_model_composed_by_hand(source: Any):
    model = model_of()
    before = weights(model)
    result = train(model, source, epochs=2, batch_size=8, quiet=True)
    assert not torch.equal(before, weights(model))
    assert result.history[-1]["epoch"] == 2


class Short(Batches):
    def __len__(self) -> int:
        return super().__len__() + 1


def test_data_that_give_fewer_batches_than_they_told_are_named():
    batches = Short(Split(data(), torch.arange(48)), batch_size=8)
    with pytest.raises(InputError, match="end before step 6"):
        run_loop(model_of(), Objective(elbo), batches, None, Settings(epochs=1, batch_size=8), reporter=Silent())


def bad_from(step: int, value: float):
    calls = iter(range(1000))

    def objective(t: am.Terms) -> Tensor:
        return elbo(t) + (value if next(calls) >= step else 0.0)

    return objective


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("step", [0, 3, 6])
def test_a_term_that_is_not_finite_stops_the_run_and_the_last_good_weights_are_kept(step: int, value: float, tmp_path: Path):
    good = model_of()
    if step:
        run(good, data(), steps=step)
    model, path = model_of(), tmp_path / "last.safetensors"
    settings = Settings(epochs=3, batch_size=8)
    with pytest.raises(InputError, match=f"'objective' is not finite at step {step}. The last good checkpoint is kept in"):
        run_loop(model, Objective(bad_from(step, value)), batches_of(data()), None, settings, checkpoint=path, reporter=Silent())
    progress, groups = read_checkpoint(path)
    assert progress.step == step
    kept = torch.cat([groups["model"][name].flatten() for name, _ in model.named_parameters()])
    assert torch.equal(kept, weights(good))


def test_without_a_folder_the_message_promises_no_checkpoint():
    with pytest.raises(InputError, match=r"'objective' is not finite at step 2\. Lower training.lr"):
        run(model_of(), data(), objective=bad_from(2, math.nan), epochs=1)


def test_the_term_that_is_to_blame_is_named():
    class Broken(am.likelihoods.Gaussian):
        def forward(self, z: Tensor, *context: Tensor):  # pyright: ignore[reportIncompatibleMethodOverride]
            return super().forward(z * torch.inf, *context)

    model = model_of()
    model.parts["likelihood"] = Broken(am.networks.MLP(2, [8]), event=(4, 3), scale=1.0)
    with pytest.raises(InputError, match="'distortion' is not finite at step 0"):
        run(model, data(), epochs=1)


def test_a_gradient_that_is_not_finite_never_reaches_a_checkpoint(tmp_path: Path):
    class Explodes(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, value: Tensor) -> Tensor:
            return value.clone()

        @staticmethod
        def backward(ctx: Any, *gradients: Tensor) -> Tensor:
            return gradients[0] * torch.inf

    calls = iter(range(1000))

    def objective(t: am.Terms) -> Tensor:
        values = elbo(t)
        return Explodes.apply(values) if next(calls) == 3 else values  # pyright: ignore

    path = tmp_path / "last.safetensors"
    settings = Settings(epochs=3, batch_size=8, checkpoint_seconds=0)
    with pytest.raises(InputError, match="not finite at step 4. The last good checkpoint is kept in"):
        run_loop(model_of(), Objective(objective), batches_of(data()), None, settings, checkpoint=path, reporter=Silent())
    progress, groups = read_checkpoint(path)
    assert progress.step == 3
    assert all(bool(value.isfinite().all()) for group in groups.values() for value in group.values())


def test_weights_that_the_last_step_ruined_are_refused_too():
    with pytest.raises(InputError, match="weights are not finite at step 1"):
        run(model_of(), data(), objective=_sqrt_of_zero, steps=1)


def _sqrt_of_zero(t: am.Terms) -> Tensor:
    return elbo(t) * 0.0 + (elbo(t) - elbo(t).detach()).abs().sqrt()  # the value is 0, its gradient infinite


def test_validation_data_that_cannot_be_scored_are_named():
    valid = data(16)
    valid[3] = 1e30
    with pytest.raises(InputError, match="'distortion' of the validation data is not finite at step 6"):
        run(model_of(), data(), valid, epochs=2)


def test_a_model_that_is_no_module_is_refused():
    with pytest.raises(InputError, match="must be a torch.nn.Module"):
        run(object(), data(), epochs=1)  # pyright: ignore


def test_a_data_set_that_fits_a_linear_model_is_fitted_to_its_closed_form():
    # One latent that is never used: the ELBO is that of a Gaussian with the mean as its only parameter, fixed scale 1.
    x = torch.randn(64, 3, generator=torch.Generator().manual_seed(1)) + torch.tensor([1.0, -2.0, 0.5])
    model = am.VAE(
        am.priors.StandardNormal(1),
        am.posteriors.DiagonalGaussian(am.networks.MLP(3, []), event=1),
        am.likelihoods.Gaussian(am.networks.MLP(1, []), event=3, scale=2.0),
    )
    run(model, x, steps=600, lr=0.05, schedule="cosine")
    # All variances are below the scale's square, so the best linear model ignores its latent (posterior collapse is optimal).
    constant = -0.5 * math.log(2 * math.pi * 4.0) * 3
    best = constant - 0.5 * float((x - x.mean(0)).square().sum(1).mean()) / 4.0
    found = evaluate(model, [am.Batch(x)], samples=200, seed=0, split="train").metrics["elbo_nats"].value
    assert found == pytest.approx(best, abs=0.02)
