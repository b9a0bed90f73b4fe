import math
from typing import Any

import numpy as np
import pytest
import torch

from amortized.data import Batches, Masking, Noise, SaltPepper, Split, Transform, describe, load, make_transform
from amortized.data.randomness import generator, uniform_of_rows
from amortized.errors import InputError

DIGITS = load("digits")
N = 200_000


def grey() -> Split:
    assert isinstance(DIGITS.train, Split)
    return DIGITS.train


def everything(batches: Batches, epoch: int = 0) -> torch.Tensor:
    return torch.cat([batch["x"] for batch in batches.epoch(epoch)])


def evaluation(transform: Transform, batch_size: int = 100) -> Batches:
    return Batches(grey(), batch_size=batch_size, transform=transform, shuffle=False, drop_last=False)


def test_dynamic_binarization_has_the_grey_level_as_its_mean():
    transform = make_transform(DIGITS.support, binarize="dynamic")
    p = grey().x.double() / 16
    batch = grey().fetch(torch.arange(len(grey())))
    for noise in (generator(1), None):
        x = transform(batch, noise)["x"]
        assert set(x.unique().tolist()) == {0.0, 1.0}
        z = (x.double() - p).sum() / (p * (1 - p)).sum().sqrt()
        assert abs(z) < 4
        by_pixel = ((x.double() - p).sum(0) / (p * (1 - p)).sum(0).sqrt())[(p * (1 - p)).sum(0) > 5]
        assert by_pixel.square().mean() == pytest.approx(1, abs=4 * math.sqrt(2 / len(by_pixel)))


def test_black_stays_black_and_white_stays_white():
    x = make_transform(DIGITS.support, binarize="dynamic")(grey().fetch(torch.arange(len(grey()))), generator(0))["x"]
    assert not x[grey().x == 0].any()
    assert x[grey().x == 16].all()


def test_frozen_binarization_is_the_same_at_every_visit_whatever_the_batches():
    transform = make_transform(DIGITS.support, binarize="dynamic", seed=4)
    first = everything(evaluation(transform))
    assert torch.equal(first, everything(evaluation(transform), epoch=3))
    assert torch.equal(first, everything(evaluation(transform, batch_size=17)))
    assert torch.equal(first, transform(grey().fetch(torch.arange(len(grey()))))["x"])
    other = make_transform(DIGITS.support, binarize="dynamic", seed=5)
    assert not torch.equal(first, everything(evaluation(other)))


def test_dynamic_binarization_is_drawn_anew_at_every_visit_of_training():
    batches = Batches(grey(), batch_size=100, transform=make_transform(DIGITS.support, binarize="dynamic"))
    by_row: dict[int, torch.Tensor] = {}
    for batch in batches.epoch(0):
        by_row.update(zip(batch["index"].tolist(), batch["x"], strict=True))
    second = [(batch["x"][i], by_row.get(int(row))) for batch in batches.epoch(1) for i, row in enumerate(batch["index"])]
    changed = [not torch.equal(x, before) for x, before in second if before is not None]
    assert np.mean(changed) > 0.99  # a digit has dozens of grey pixels


def test_thresholding_is_at_one_half():
    x = make_transform(DIGITS.support, binarize="threshold")(grey().fetch(torch.arange(50)), generator(0))["x"]
    assert torch.equal(x, (grey().x[:50] > 8).float())


def test_scaling_divides_by_one_factor():
    batch = grey().fetch(torch.arange(50))
    unit = make_transform(DIGITS.support, scale="unit")
    assert torch.equal(unit(batch)["x"], grey().x[:50].float() / 16)
    assert (unit.support.kind, unit.support.low, unit.support.high) == ("unit", 0, 1)
    half = make_transform(DIGITS.support, scale=2.0)
    assert torch.equal(half(batch)["x"], grey().x[:50].float() / 2)
    assert half.support.kind == "real"


def test_the_support_after_binarization_is_binary():
    assert make_transform(DIGITS.support, binarize="dynamic").support.kind == "binary"
    assert make_transform(DIGITS.support).support == DIGITS.support


def uniform(noise: str) -> torch.Tensor:
    if noise == "frozen":
        return uniform_of_rows(7, torch.arange(N // 100), torch.Size([100])).flatten()
    return torch.rand(N, generator=generator(7))


@pytest.mark.parametrize("noise", ["frozen", "fresh"])
def test_corruptions_have_their_moments(noise):
    x, u = torch.full((N,), 0.25), uniform(noise)
    perturbed = Noise(0.5)(x, u, 0, 1) - x
    assert abs(perturbed.mean()) < 4 * 0.5 / math.sqrt(N)
    assert perturbed.square().mean() == pytest.approx(0.25, abs=4 * 0.25 * math.sqrt(2 / N))
    assert perturbed.pow(4).mean() == pytest.approx(3 * 0.0625, abs=4 * 0.0625 * math.sqrt(96 / N))
    error = 4 * math.sqrt(0.3 * 0.7 / N)
    assert (Masking(0.3)(x, u, 0, 1) == 0).double().mean() == pytest.approx(0.3, abs=error)
    salted = SaltPepper(0.3)(x, u, 0, 1)
    assert (salted == 0).double().mean() == pytest.approx(0.15, abs=error)
    assert (salted == 1).double().mean() == pytest.approx(0.15, abs=error)
    assert Noise(0.5)(torch.zeros(2), torch.tensor([0.0, 1.0]), 0, 1).isfinite().all()


def test_only_the_input_of_training_is_corrupted():
    transform = make_transform(DIGITS.support, scale="unit", corrupt=Masking(0.5))
    batch = grey().fetch(torch.arange(50))
    made = transform(batch, generator(0))
    assert torch.equal(made["x"], grey().x[:50].float() / 16)
    assert ((made["input"] == made["x"]) | (made["input"] == 0)).all()
    assert not torch.equal(made["input"], made["x"])
    assert "input" not in transform(batch)
    frozen = make_transform(DIGITS.support, scale="unit", corrupt=Masking(0.5), corrupt_evaluation=True)
    assert torch.equal(frozen(batch)["input"], frozen(batch)["input"])
    assert not torch.equal(frozen(batch)["input"], frozen(batch)["x"])


def test_frozen_uniforms_are_uniform_and_unrelated_between_neighbors():
    u = uniform_of_rows(3, torch.arange(500), torch.Size([20, 20])).double()
    n = u.numel()
    assert u.min() >= 0
    assert u.max() < 1
    counts = torch.histc(u, 64, 0, 1)
    chi_square = ((counts - n / 64) ** 2 / (n / 64)).sum()
    assert abs(chi_square - 63) < 4 * math.sqrt(2 * 63)
    centered = (u - 0.5) * math.sqrt(12)
    other = (uniform_of_rows(4, torch.arange(500), torch.Size([20, 20])).double() - 0.5) * math.sqrt(12)
    pairs: list[tuple[Any, Any]] = [
        (centered[1:], centered[:-1]),
        (centered[:, 1:], centered[:, :-1]),
        (centered[..., 1:], centered[..., :-1]),
        (centered, other),
    ]
    for a, b in pairs:
        assert abs((a * b).sum() / math.sqrt(a.numel())) < 4


def test_noise_on_counts_is_refused_because_it_leaves_them():
    support = describe(torch.tensor([[0, 3], [7, 1]]))
    with pytest.raises(InputError, match="'masking' or 'salt-pepper'"):
        make_transform(support, corrupt=Noise(1.0))
