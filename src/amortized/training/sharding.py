"""Data parallelism in which every process updates a share of the weights.

The parameters of an optimizer's group lie in one flat vector, which is cut into as many equal shares as there are processes.
After a backward pass every process takes the mean over the processes of the gradients of its own share and updates that share;
then all shares are gathered into whole weights again. So the gradients that are kept and the optimizer's moments are held once
over all processes, not once in each, at the traffic of plain data parallelism: stage 2 of ZeRO (Rajbhandari et al. 2020, arXiv
1910.02054).

The weights stay whole. A model is called as one here: objectives take gradients within the forward pass, parts have parameters in
common, and validation calls parts alone. All weights would have to be whole for the whole of a step, the only time when memory is
short.

Checkpoints hold whole moments, of every parameter by its number, as one process writes them: any number of processes reads them.
"""

from collections.abc import Sequence
from typing import Any

import torch
from lightning_fabric.strategies import DDPStrategy
from torch import Tensor, distributed, nn

from amortized.errors import InputError
from amortized.processes import from_first

ALIGNMENT = 16
"""Numbers: of float32 a cache line, so that no two processes, and no two threads, write to one."""


class ShardedStrategy(DDPStrategy):
    """Fabric's strategy for it, through torch's collectives."""

    def setup_module_and_optimizers(self, module: nn.Module, optimizers: list[Any], scheduler: Any = None) -> Any:
        """Give all processes the weights of the first, and the one optimizer a share of them."""
        from_first([*module.parameters(), *module.buffers()])
        (optimizer,) = optimizers
        self.shares, self._buffers = Shares(optimizer, self.global_rank, self.world_size), _Buffers(module)
        return module, optimizers, scheduler

    def backward(self, tensor: Tensor, module: nn.Module | None, *args: Any, **kwargs: Any) -> None:
        """Take the gradients, and the mean of them over the processes into the shares."""
        super().backward(tensor, module, *args, **kwargs)
        with torch.no_grad():
            for flat in self.shares.flats:
                self.reduce(flat)
        self._buffers.share()

    def optimizer_step(self, optimizer: Any, **kwargs: Any) -> Any:
        """Update the shares, and make the weights whole."""
        result = super().optimizer_step(optimizer, **kwargs)
        with torch.no_grad():
            for flat in self.shares.flats:
                self.gather(flat)
        return result

    def clip_norm(self, largest: float) -> None:
        """Scale the gradients of the first group, the model's, so that their norm over all processes is at most `largest`."""
        gradient = self.shares.flats[0].gradient
        norm = self.all_reduce(gradient.square().sum(), reduce_op="sum").sqrt()
        gradient.mul_((largest / (norm + 1e-6)).clamp(max=1.0))  # as torch.nn.utils.clip_grad_norm_ does

    def reduce(self, flat: "Flat") -> None:
        """Put the mean over the processes of the gradients of a share into `flat.gradient`."""
        whole = torch.zeros_like(flat.weights)
        flat.take_gradients(flat.views(whole))
        _reduce_scatter(flat.gradient, whole)
        flat.gradient.div_(self.world_size)
        flat.share.grad = flat.gradient

    def gather(self, flat: "Flat") -> None:
        """Put the shares of all processes into `flat.weights`."""
        _all_gather(flat.weights, flat.share.detach().clone())


class Flat:
    """Parameters in one vector, and the share of it that a process updates.

    Attributes:
        parameters: They are views of `weights` now.
        weights: All of them, whole.
        own: Where the share lies.
        share: The part of `weights` that the optimizer knows.
        gradient: Of the share.

    Args:
        parameters: Of one type, on one device.
        rank: Which process this is.
        world: How many there are.

    Raises:
        InputError: They are of several types.
    """

    def __init__(self, parameters: Sequence[nn.Parameter], rank: int, world: int):
        types = {(parameter.dtype, parameter.device) for parameter in parameters}
        if len(types) > 1:
            kinds = " and ".join(sorted(str(dtype) for dtype, _ in types))
            raise InputError(f"the model has parameters of types {kinds}, which cannot be shared out; use strategy 'ddp'.")
        ((dtype, device),) = types
        self.parameters, self._places, end = list(parameters), [], 0
        for parameter in parameters:
            self._places.append(end)
            end += _aligned(parameter.numel())
        size = _aligned(-(-end // world))
        self.own = slice(rank * size, (rank + 1) * size)
        self.weights = torch.zeros(size * world, dtype=dtype, device=device)
        for parameter, view in zip(parameters, self.views(self.weights), strict=True):
            view.copy_(parameter.detach())
            parameter.data = view
        self.share = nn.Parameter(self.weights[self.own])
        self.gradient = torch.zeros_like(self.weights[self.own])

    def views(self, vector: Tensor) -> list[Tensor]:
        """The places of the parameters in a vector like `weights`."""
        return [
            vector[place : place + parameter.numel()].view(parameter.shape)
            for place, parameter in zip(self._places, self.parameters, strict=True)
        ]

    def take_gradients(self, views: Sequence[Tensor]) -> None:
        """Move the gradients of the parameters into a vector's views; where there is none it is zero."""
        present = [(view, parameter.grad) for view, parameter in zip(views, self.parameters, strict=True)]
        for view, gradient in present:
            if gradient is None:
                view.zero_()
        found = [(view, gradient) for view, gradient in present if gradient is not None]
        torch._foreach_copy_([view for view, _ in found], [gradient for _, gradient in found])
        for parameter in self.parameters:
            parameter.grad = None

    def whole(self, share: Tensor) -> list[Tensor]:
        """Of every parameter, what all processes hold of it in vectors like `share`."""
        vector = torch.empty_like(self.weights)
        _all_gather(vector, share)
        return self.views(vector)

    def part(self, tensors: Sequence[Tensor | None]) -> Tensor:
        """The share of a vector that holds these tensors, one for each parameter; zeros where there is none."""
        vector = torch.zeros_like(self.weights)
        for view, tensor in zip(self.views(vector), tensors, strict=True):
            if tensor is not None:
                view.copy_(tensor)
        return vector[self.own].clone()


class Shares:
    """An optimizer that knows a share of each of its groups, and reads and writes states of whole parameters.

    Args:
        optimizer: Without a state as yet.
        rank: Which process this is.
        world: How many there are.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, rank: int, world: int):
        self.flats = [Flat(group["params"], rank, world) for group in optimizer.param_groups]
        for group, flat in zip(optimizer.param_groups, self.flats, strict=True):
            group["params"] = [flat.share]
        optimizer.register_state_dict_post_hook(self._whole)
        optimizer.register_load_state_dict_pre_hook(self._parts)

    def _whole(self, _: torch.optim.Optimizer, state: dict[str, Any]) -> dict[str, Any]:
        """The state by the number of each parameter; all processes must ask for it together."""
        found: dict[int, dict[str, Any]] = {}
        first = 0
        for index, flat in enumerate(self.flats):
            for name, value in state["state"].get(index, {}).items():
                values = [value.clone() for _ in flat.parameters] if name == "step" else flat.whole(value)
                for number, each in enumerate(values, first):
                    found.setdefault(number, {})[name] = each
            first += len(flat.parameters)
        return {**state, "state": found}

    def _parts(self, _: torch.optim.Optimizer, state: dict[str, Any]) -> dict[str, Any]:
        """The state of the shares, from that of whole parameters."""
        found: dict[int, dict[str, Any]] = {}
        first = 0
        for index, flat in enumerate(self.flats):
            members = [state["state"].get(number, {}) for number in range(first, first + len(flat.parameters))]
            for name in dict.fromkeys(name for member in members for name in member):
                values = [member.get(name) for member in members]
                known = next(value for value in values if value is not None)
                found.setdefault(index, {})[name] = known if name == "step" else flat.part(values)
            first += len(flat.parameters)
        return {**state, "state": found}


class _Buffers:
    """What a module keeps besides parameters, such as the moments of batch normalization; the first process's count."""

    def __init__(self, module: nn.Module):
        self._members = [(member, name) for member in module.modules() for name, _ in member.named_buffers(recurse=False)]
        self._seen = self._versions()

    def _versions(self) -> list[tuple[int, int]]:
        buffers = [getattr(member, name) for member, name in self._members]
        return [(id(buffer), 0 if buffer is None else buffer._version) for buffer in buffers]

    def share(self) -> None:
        """Take what changed of the first process's since the last time."""
        versions = self._versions()
        if versions == self._seen:
            return
        changed = [member for member, new, old in zip(self._members, versions, self._seen, strict=True) if new != old]
        from_first([getattr(member, name) for member, name in changed])
        self._seen = self._versions()


def _aligned(count: int) -> int:
    return -(-count // ALIGNMENT) * ALIGNMENT


def _all_gather(whole: Tensor, share: Tensor) -> None:
    gather = getattr(distributed, "all_gather_single", None) or distributed.all_gather_into_tensor  # renamed in torch 2.13
    gather(whole, share)


def _reduce_scatter(share: Tensor, whole: Tensor) -> None:
    scatter = getattr(distributed, "reduce_scatter_single", None) or distributed.reduce_scatter_tensor
    scatter(share, whole)
