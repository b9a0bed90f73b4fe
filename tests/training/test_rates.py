import math

import pytest
import torch
from torch import nn

from amortized.errors import InputError
from amortized.training import Settings
from amortized.training.rates import BURDA_ENDS, learning_rate, make_optimizer


def rate(step: int, total: int = 100, steps_per_epoch: int = 10, **settings) -> float:
    return learning_rate(Settings(lr=0.5, **settings), step, total=total, steps_per_epoch=steps_per_epoch)


def test_a_constant_rate_is_constant():
    assert {rate(step) for step in range(100)} == {0.5}


def test_cosine_falls_from_the_full_rate_to_zero_and_is_half_in_the_middle():
    assert rate(0, schedule="cosine") == 0.5
    assert rate(50, schedule="cosine") == pytest.approx(0.25, rel=1e-15)
    assert rate(100, schedule="cosine") == 0.0
    values = [rate(step, schedule="cosine") for step in range(101)]
    assert values == sorted(values, reverse=True)


def test_step_multiplies_after_every_run_of_epochs():
    values = [rate(step, schedule="step", step_epochs=2, step_factor=0.1) for step in (0, 19, 20, 39, 40)]
    assert values == pytest.approx([0.5, 0.5, 0.05, 0.05, 0.005], rel=1e-15)


@pytest.mark.parametrize("steps_per_epoch", [1, 7, 2500])
def test_every_stage_of_burda_ends_where_the_paper_says_whatever_the_length_of_an_epoch(steps_per_epoch: int):
    total = 3280 * steps_per_epoch
    assert BURDA_ENDS == (1, 4, 13, 40, 121, 364, 1093, 3280)
    for stage, end in enumerate(BURDA_ENDS):
        last = rate(end * steps_per_epoch - 1, total, steps_per_epoch, schedule="burda")
        first = rate(end * steps_per_epoch, total, steps_per_epoch, schedule="burda")
        assert last == pytest.approx(0.5 * 10 ** (-stage / 7), rel=1e-14)
        assert first == pytest.approx(0.5 * 10 ** (-(stage + 1) / 7), rel=1e-14)


def test_warm_up_rises_linearly_and_multiplies_the_schedule():
    assert [rate(step, lr_warmup_steps=4) for step in range(5)] == [0.125, 0.25, 0.375, 0.5, 0.5]
    assert rate(1, schedule="cosine", lr_warmup_steps=4) == pytest.approx(0.25 * 0.5 * (1 + math.cos(math.pi / 100)))


@pytest.mark.parametrize("name", ["adam", "adamw", "adamax"])
def test_the_first_step_of_each_optimizer_is_its_closed_form(name: str):
    parameter = nn.Parameter(torch.tensor([2.0], dtype=torch.float64))
    optimizer = make_optimizer([parameter], Settings(optimizer=name, lr=0.1, weight_decay=0.5, eps=1e-12))  # pyright: ignore
    (parameter * 3.0).sum().backward()
    optimizer.step()
    # The first step of all three is the rate times the gradient's sign; AdamW shrinks the weight by lr * decay first.
    expected = 2.0 * (1 - 0.05) - 0.1 if name == "adamw" else 1.9
    assert parameter.item() == pytest.approx(expected, rel=1e-9)


def test_parameters_without_a_gradient_are_left_out_and_none_at_all_is_refused():
    frozen = nn.Parameter(torch.ones(1), requires_grad=False)
    assert make_optimizer([frozen, nn.Parameter(torch.ones(2))], Settings()).param_groups[0]["params"][0].shape == (2,)
    with pytest.raises(InputError, match="nothing to train"):
        make_optimizer([frozen], Settings())
