"""The compiled step is the plain one, to rounding; what cannot be compiled says why."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import amortized as am
from amortized import InputError
from amortized.data import Batches, Split
from amortized.objectives import Linear, Objective, dreg, elbo, iwae
from amortized.recipes import make_recipe
from amortized.training import Settings, compiling, train
from amortized.training.adam import FusedAdam
from amortized.training.checkpoints import read_checkpoint
from amortized.training.progress import Silent
from amortized.training.step import Trainable

CPU = torch.device("cpu")


class Heard(Silent):
    def __init__(self):
        self.lines: list[str] = []

    def say(self, line: str) -> None:
        self.lines.append(line)


def model_of(**parts: Any) -> am.VAE:
    torch.manual_seed(0)
    network = am.networks.MLP(12, [8])
    return am.VAE(
        parts.get("prior", am.priors.StandardNormal(3)),
        parts.get("posterior", am.posteriors.DiagonalGaussian(network, event=3)),
        am.likelihoods.Bernoulli(am.networks.MLP(3, [8], norm=parts.get("norm")), event=12),
    )


def batches_of(size: int = 8) -> Batches:
    bits = torch.rand(64, 12, generator=torch.Generator().manual_seed(0)) < 0.4
    return Batches(Split(bits.to(torch.uint8), torch.arange(64)), batch_size=size)


def weights(model: nn.Module) -> Tensor:
    return torch.cat([value.detach().flatten().float() for value in model.state_dict().values()])


def run(model: am.VAE, objective: Objective | None = None, reporter: Any = None, **settings: Any):
    settings = {"accelerator": "cpu", "batch_size": 8, "steps": 20, "lr": 1e-2} | settings
    checkpoint = settings.pop("checkpoint", None)
    trained = objective or Objective(elbo)
    return train(model, trained, batches_of(), None, Settings(**settings), reporter=reporter or Silent(), checkpoint=checkpoint)


def test_compiled_and_plain_steps_agree_to_rounding_and_a_resumed_run_keeps_its_path(tmp_path, monkeypatch: pytest.MonkeyPatch):
    # With normalization, a warm-up and noise, which all are the same on both paths. Not with that over batches: the gradient of a
    # bias before it is nothing but rounding, of which Adam makes whole steps.
    objective = Objective(elbo, hyper={"beta": Linear(0.0, 1.0, 10)})
    plain, fast, resumed = (model_of(norm="layer") for _ in range(3))
    run(plain, objective, compile="off")
    heard = Heard()
    run(fast, objective, heard, compile="on")
    assert heard.lines[1] == "Compiling the training step."
    assert torch.distributions.Distribution._validate_args  # the setting of the process is what it was
    torch.testing.assert_close(weights(fast), weights(plain), rtol=1e-4, atol=1e-5)
    assert not torch.equal(weights(fast), weights(plain))  # or nothing was compiled
    monkeypatch.setattr(compiling, "LEAST_STEPS", 20)
    path = tmp_path / "last.safetensors"
    run(resumed, objective, checkpoint=path, steps=20)
    assert read_checkpoint(path)[0].compiled
    assert torch.equal(weights(resumed), weights(fast))
    monkeypatch.setattr(compiling, "LEAST_STEPS", 1000)  # what would be decided today does not count
    run(resumed, objective, checkpoint=path, steps=30)
    whole = model_of(norm="layer")
    run(whole, objective, compile="on", steps=30)
    assert torch.equal(weights(resumed), weights(whole))


def test_a_short_run_is_not_compiled_and_says_nothing(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(compiling, "compile_step", lambda *_, **__: pytest.fail("it was compiled"))
    heard = Heard()
    run(model_of(), reporter=heard)
    assert not any("ompil" in line for line in heard.lines)


def test_the_work_decides():
    assert not compiling.wants_compiling(Settings(), compiling.LEAST_STEPS - 1, CPU)
    assert compiling.wants_compiling(Settings(), compiling.LEAST_STEPS, CPU)
    assert not compiling.wants_compiling(Settings(), compiling.LEAST_STEPS, torch.device("mps"))
    assert compiling.wants_compiling(Settings(compile="on"), 1, CPU)
    assert not compiling.wants_compiling(Settings(compile="off"), 10**9, CPU)


def test_what_cannot_be_compiled_runs_plain_or_is_refused_where_it_was_asked_for(monkeypatch: pytest.MonkeyPatch):
    objective = Objective(dreg, samples=2)
    with pytest.raises(InputError, match=r"the training step cannot be compiled \(.+\); set training.compile=off, or 'auto'"):
        run(model_of(), objective, compile="on")
    plain, automatic, heard = model_of(), model_of(), Heard()
    run(plain, objective, compile="off")
    monkeypatch.setattr(compiling, "LEAST_STEPS", 1)
    run(automatic, objective, heard)
    assert heard.lines[1].startswith("Compiling the training step, which 20 steps pay back")
    assert heard.lines[2].startswith("The training step is not compiled: ")
    assert torch.equal(weights(automatic), weights(plain))


def test_without_a_compiler_and_with_an_annealed_temperature_it_is_said_why(monkeypatch: pytest.MonkeyPatch):
    q = am.posteriors.Bernoulli(am.networks.MLP(12, [8]), 3, temperature=1.0, final_temperature=0.5, temperature_steps=10)
    annealed = model_of(prior=am.priors.Uniform(3, space="binary"), posterior=q)
    with pytest.raises(InputError, match="the temperature of Bernoulli changes from step to step"):
        run(annealed, compile="on")
    monkeypatch.setattr(compiling.shutil, "which", lambda _: None)
    with pytest.raises(InputError, match=r"cannot be compiled \(there is no C\+\+ compiler\)"):
        run(model_of(), compile="on")


def test_the_switch_is_read_from_yaml_too():
    recipe = make_recipe([{"training": {"compile": True}}])
    assert recipe.training.compile == "on"
    with pytest.raises(InputError, match="training.compile is 'fast', which it cannot be"):
        am.fit("digits", compile="fast")


@pytest.mark.parametrize("objective", [Objective(elbo), Objective(iwae, samples=3)], ids=lambda each: each.name)
@pytest.mark.parametrize("prior", ["normal", "gaussian", "mixture", "vamp"])
def test_a_step_of_the_common_kinds_is_one_graph(prior: str, objective: Objective):
    recipe = am.fit("digits", prior=prior, steps=1, batch_size=8, quiet=True).model
    assert isinstance(recipe, nn.Module)
    module = Trainable(recipe, objective)  # pyright: ignore[reportArgumentType]
    torch._dynamo.reset()
    traced = torch.compile(module.train(), backend="eager", fullgraph=True, dynamic=False)
    fields = {"x": torch.randint(0, 17, (8, 8, 8)).float()}
    torch.manual_seed(0)
    values, _ = traced(fields, {})
    torch.manual_seed(0)
    torch.testing.assert_close(values, module(fields, {})[0])


def test_a_batch_of_another_shape_takes_the_plain_path():
    x = (torch.rand(60, 12, generator=torch.Generator().manual_seed(0)) < 0.4).float()
    plain, fast = model_of(), model_of()
    for model, mode in ((plain, "off"), (fast, "on")):
        loader = DataLoader(
            TensorDataset(x), batch_sampler=[list(range(n)) for n in (8, 8, 5, 8, 6, 7, 9, 8, 3, 4, 2, 10, 11, 12)]
        )
        am.train(model, {"train": loader}, steps=28, compile=mode, accelerator="cpu", quiet=True)
    torch.testing.assert_close(weights(fast), weights(plain), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("decoupled", [False, True])
@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_adam_is_torchs_own_to_the_bit(decay: float, decoupled: bool):
    torch.manual_seed(0)
    ours = [nn.Parameter(torch.randn(30, 20)), nn.Parameter(torch.randn(5))]
    theirs = [nn.Parameter(value.detach().clone()) for value in ours]
    family = torch.optim.AdamW if decoupled else torch.optim.Adam
    optimizer = FusedAdam([{"params": ours}], 1e-2, weight_decay=decay, decoupled=decoupled)
    reference = family(theirs, 1e-2, weight_decay=decay, fused=True)
    for step in range(12):
        for own, other in zip(ours, theirs, strict=True):
            own.grad = torch.randn_like(own)
            other.grad = own.grad.clone()
        if step % 3 == 0:  # not every parameter has a gradient at every step
            ours[1].grad = theirs[1].grad = None
        optimizer.step()
        reference.step()
    assert all(map(torch.equal, ours, theirs))
    states = [each.state_dict()["state"][0] for each in (optimizer, reference)]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[1])
    optimizer.zero_grad()
    assert all(value.grad is None for value in ours)
