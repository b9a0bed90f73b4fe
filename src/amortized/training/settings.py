"""How a model is trained: plain values, the same in Python, YAML and on the command line."""

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Lt
from pydantic import BeforeValidator


def _as_text(value: Any) -> Any:
    return str(value) if isinstance(value, int) else value  # YAML and the command line read 64 as a number


def _as_switch(value: Any) -> Any:
    return ("on" if value else "off") if isinstance(value, bool) else value  # YAML reads on and off as true and false


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How a model is trained.

    Attributes:
        epochs: Passes over the training data; ignored where `steps` is given.
        steps: Optimizer steps.
        batch_size: Data per step, over all processes together.
        optimizer: Adam (fused where the device has it), AdamW or Adamax.
        lr: The learning rate, at its highest.
        betas: Decay rates of the optimizer's two moments.
        eps: Added to the root of the second moment.
        weight_decay: Of AdamW; of the others an L2 penalty.
        schedule: How the learning rate changes: "constant", "cosine" (to zero), "step" (times `step_factor` after every
            `step_epochs` epochs), or "burda" (Burda et al. 2016, section 5: seven falls by 10^(1/7), each stage three times
            as long as the one before).
        lr_warmup_steps: Linear warm-up of the learning rate.
        step_epochs: Of the schedule "step".
        step_factor: Of the schedule "step".
        clip_norm: The largest norm of the gradient; None does not clip.
        ema: Decay per step of an exponential moving average of the weights, which evaluation then uses; None keeps none.
        patience: Validations without a better bound after which training stops, counted once the objective's schedules have
            come to their end; the best weights are then kept. None trains to the end and keeps the last weights.
        validate_every: Epochs between two validations.
        precision: "32", "64", or "bf16" (mixed).
        compile: Whether the step is compiled: "on", "off", or "auto" where the run is long enough to pay for it. Compiled and
            plain steps differ by rounding.
        accelerator: "auto", "cpu", "cuda" or "mps".
        devices: The number of processes, each with a device of its own; 1 is as many as torchrun has started.
        strategy: How they work together: "ddp" (torch's data parallelism), "ddp_find_unused_parameters_true" (the same, where an
            objective leaves parameters without gradient), "fsdp" (gradients and the optimizer's moments are shared out), or
            "auto": the last by shared memory on the processors of one machine, and "ddp" elsewhere.
        checkpoint_seconds: The least time between two checkpoints.
    """

    __pydantic_config__ = {"extra": "forbid", "allow_inf_nan": False, "use_attribute_docstrings": False}

    epochs: Annotated[int, Ge(1)] = 100
    steps: Annotated[int, Ge(1)] | None = None
    batch_size: Annotated[int, Ge(1)] = 128
    optimizer: Literal["adam", "adamw", "adamax"] = "adam"
    lr: Annotated[float, Gt(0)] = 1e-3
    betas: tuple[Annotated[float, Ge(0), Lt(1)], Annotated[float, Ge(0), Lt(1)]] = (0.9, 0.999)
    eps: Annotated[float, Gt(0)] = 1e-8
    weight_decay: Annotated[float, Ge(0)] = 0.0
    schedule: Literal["constant", "cosine", "step", "burda"] = "constant"
    lr_warmup_steps: Annotated[int, Ge(0)] = 0
    step_epochs: Annotated[int, Ge(1)] = 30
    step_factor: Annotated[float, Gt(0)] = 0.1
    clip_norm: Annotated[float, Gt(0)] | None = None
    ema: Annotated[float, Gt(0), Lt(1)] | None = None
    patience: Annotated[int, Ge(1)] | None = None
    validate_every: Annotated[int, Ge(1)] = 1
    precision: Annotated[Literal["32", "64", "bf16"], BeforeValidator(_as_text)] = "32"
    compile: Annotated[Literal["auto", "on", "off"], BeforeValidator(_as_switch)] = "auto"
    accelerator: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    devices: Annotated[int, Ge(1)] = 1
    strategy: Literal["auto", "ddp", "ddp_find_unused_parameters_true", "fsdp"] = "auto"
    checkpoint_seconds: Annotated[float, Ge(0)] = 30.0
