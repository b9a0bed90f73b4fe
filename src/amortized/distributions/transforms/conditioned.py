"""A transform of zuko at the condition and the parameters of one call.

zuko's transforms are lazy: their networks run when the transform is applied, not when it is made. A distribution must not
change after it was returned, in particular not when it was made with other parameters than the module's own (those held
constant for the path gradient, `conditional.call_detached`). So the parameters are taken when the transform is made, and put
in place when it is applied.
"""

from torch import Tensor, nn
from torch.func import functional_call


class Steps(nn.Module):
    """A lazy transform of zuko, as a module whose call applies it.

    Args:
        transform: Any `zuko.lazy.LazyTransform` of vectors.
    """

    def __init__(self, transform: nn.Module):
        super().__init__()
        self.transform = transform

    def forward(self, z: Tensor, condition: Tensor | None, inverse: bool) -> tuple[Tensor, Tensor]:
        """The image of z (*lead, D) and the logarithm of the determinant (*lead), of the transform or of its inverse."""
        transform = self.transform(condition)
        if not inverse:
            return transform.call_and_ladj(z)
        image = transform.inv(z)
        return image, -transform.call_and_ladj(image)[1]


class Conditioned:
    """The bijection that `steps` is at one condition, with the parameters that it has now.

    Args:
        steps: The transform.
        condition: (*batch, C); None where there is none.
    """

    def __init__(self, steps: Steps, condition: Tensor | None):
        self.steps, self.condition = steps, condition
        self.tensors = {**dict(steps.named_parameters()), **dict(steps.named_buffers())}

    def call_and_ladj(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Map z (*lead, D) to f(z), and give log |det df/dz| (*lead)."""
        return functional_call(self.steps, self.tensors, (z, self.condition, False))

    def inverse_and_ladj(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Map z (*lead, D) to f^-1(z), and give log |det df^-1/dz| (*lead)."""
        return functional_call(self.steps, self.tensors, (z, self.condition, True))
