r"""The gated PixelCNN: all conditionals of an image, one pixel given those before it, in one pass.

Van den Oord, Kalchbrenner, Vinyals, Espeholt, Graves and Kavukcuoglu 2016, arXiv 1606.05328. The pixels are ordered row by row,
the channels of a pixel one after the other (eq. 1, 2 there):

    p(x) = prod_i p(x_i | x_<i)

A layer has two stacks of F features at every pixel (figure 2). The vertical stack v sees all rows above, the horizontal stack h
the pixels to the left in its own row, and through v the rows above: together they see all earlier pixels, with no blind spot.

    a = W_v * v,             v' = gate(a + V_v s)
    b = W_h * h + U a,       h' = h + O gate(b + V_h s)
    gate(a) = tanh(a_1) . sigmoid(a_2)                                            eq. 2; with s(z) a feature map, eq. 4

W are convolutions with a kernel of k pixels, masked by construction: W_v has no rows below the pixel, and W_h no columns to its
right; the input of v is x moved down by one row. U, V and O are 1x1. The channels of one pixel keep their order as in the
PixelCNN (arXiv 1601.06759, section 3.4): the features of h are in C groups, of which group c sees the inputs c' < c at the same
pixel in the first layer (mask A), and the groups c' <= c in the others (mask B).

The output is one logit for 2 levels, else one for each level l. It is tilted by t, a learned number for each entry of the image,

    logits_l(i) = (O_2 relu(O_1 relu(h)))_l + t_i l / (L - 1)

so that the mean of the data has a place to be put.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, pad

from amortized.errors import InputError, is_count
from amortized.networks.layers import check_image_shape

TANH_GAIN = 5 / 3  # Glorot and Bengio 2010, as torch has it


class GatedPixelCNN(nn.Module):
    """Images and a feature map to the logits of every entry given the entries before it.

    Args:
        event: Shape of an image, (H, W) or (H, W, C).
        levels: The number L of grey levels.
        channels: The number F of features of each stack, C or more.
        layers: The number of gated layers.
        kernel: Width k of the convolutions, odd and 3 or more.
        context_channels: The number of channels of the feature map s; 0 for a network without one.

    Attributes:
        event_shape: Shape of an image.
        tilt: (*event) the learned numbers t.
        reach: How many rows above, and columns to each side, a pixel can see.

    Raises:
        InputError: An argument, or the shape of an input, is not what the network takes.

    Example:
        >>> network = GatedPixelCNN((8, 8), channels=16, layers=2, context_channels=4)
        >>> network(torch.zeros(5, 8, 8), torch.zeros(5, 4, 8, 8)).shape
        torch.Size([5, 8, 8])
    """

    def __init__(
        self,
        event: tuple[int, ...],
        *,
        levels: int = 2,
        channels: int = 64,
        layers: int = 5,
        kernel: int = 5,
        context_channels: int = 0,
    ):
        super().__init__()
        height, width, groups = check_image_shape("event", event)
        _check("levels", levels, 2)
        _check("channels", channels, groups)
        _check("layers", layers, 1)
        _check("context_channels", context_channels, 0)
        if not isinstance(kernel, int) or kernel < 3 or kernel % 2 == 0:
            raise InputError(f"kernel must be an odd integer of 3 or more; it is {kernel!r}; give e.g. kernel=5.")
        self.event_shape = torch.Size(event)
        self.size = (height, width, groups)
        self.levels = levels
        self.context_channels = context_channels
        self.reach = kernel // 2 * layers
        self.layers = nn.ModuleList(
            _GatedLayer(groups, channels, kernel, context_channels, first=depth == 0, last=depth == layers - 1)
            for depth in range(layers)
        )
        outputs = 1 if levels == 2 else levels
        self.hidden = _GroupedConv(channels, channels, groups)
        self.output = _GroupedConv(channels, groups * outputs, groups)
        self.tilt = nn.Parameter(torch.zeros(self.event_shape))
        with torch.no_grad():
            self.output.weight.mul_(0.1)  # at the start what is said of an entry is mostly its tilt, but no gradient is zero
            self.output.bias.zero_()

    def forward(self, x: Tensor, features: Tensor | None = None) -> Tensor:
        """Score every level of every entry.

        Args:
            x: (N, *event) levels, of any type; what is said of an entry does not depend on it and on those after it.
            features: (N, context_channels, H, W) the feature map s.

        Returns:
            (N, *event) logits of level 1 for 2 levels, else (N, *event, levels) unnormalized log-probabilities. They have the
            type of the weights also where autocast computes in bfloat16.
        """
        if x.shape[1:] != self.event_shape:
            raise InputError(f"GatedPixelCNN takes images {tuple(self.event_shape)}; its input has shape {tuple(x.shape)}.")
        image, features = self._as_maps(x), self._checked(features, len(x))
        out = self._logits(self._horizontal(image, self._vertical(image, features)), self._tilts())
        return out if len(self.event_shape) == 3 else out.squeeze(3)

    @torch.no_grad()
    def fill(self, rows: int, features: Tensor | None, draw: Callable[[Tensor], Tensor]) -> Tensor:
        """Make images entry by entry, each given those made before it.

        It says of an entry what `forward` would, but computes no more than that entry needs: the vertical stack once for each
        row, and the horizontal stack on one row up to the pixel.

        Args:
            rows: The number N of images.
            features: (N, context_channels, H, W) the feature map s.
            draw: Turns the logits of one entry, (N,) for 2 levels and else (N, levels), into its levels (N,).

        Returns:
            (N, *event) levels, in torch's default type.
        """
        height, width, groups = self.size
        features, tilts = self._checked(features, rows), self._tilts()
        x = torch.zeros(rows, height, width, groups, device=self.tilt.device)
        image = self.tilt.new_zeros(rows, groups, height, width)
        for i in range(height):
            seen = slice(max(0, i - self.reach - 1), i + 1)
            above = self._vertical(image[:, :, seen], None if features is None else features[:, :, seen])
            above = [part[:, :, -1:] for part in above]
            for j in range(width):
                near = slice(max(0, j - self.reach), j + 1)
                for c in range(groups):
                    h = self._horizontal(image[:, :, i : i + 1, near], [part[..., near] for part in above])
                    logits = self._logits(h[..., -1:], tilts[i : i + 1, j : j + 1])
                    x[:, i, j, c] = draw(logits[:, 0, 0, c]).to(x)
                    image[:, c, i, j] = self._scaled(x[:, i, j, c])
        return x.reshape(rows, *self.event_shape)

    def _vertical(self, image: Tensor, features: Tensor | None) -> list[Tensor]:
        """What the horizontal stack gets at each layer from the rows above and from the feature map, (N, 2 F, H, W)."""
        v = pad(image, (0, 0, 1, 0))[:, :, :-1]
        parts = []
        for layer in self.layers:
            v, part = layer.vertical(v, features)  # pyright: ignore[reportCallIssue]
            parts.append(part)
        return parts

    def _horizontal(self, image: Tensor, parts: list[Tensor]) -> Tensor:
        h = image
        for layer, part in zip(self.layers, parts, strict=True):
            h = layer.horizontal(h, part)  # pyright: ignore[reportCallIssue]
        return h

    def _logits(self, h: Tensor, tilts: Tensor) -> Tensor:
        """(N, H, W, C) for 2 levels, else (N, H, W, C, levels), of features (N, F, H, W) and tilts (H, W, C)."""
        out = self.output(self.hidden(h.relu()).relu()).to(self.tilt.dtype)
        out = out.unflatten(1, (self.size[2], -1)).permute(0, 3, 4, 1, 2)
        if self.levels == 2:
            return out.squeeze(-1) + tilts
        return out + tilts.unsqueeze(-1) * torch.linspace(0, 1, self.levels, dtype=out.dtype, device=out.device)

    def _tilts(self) -> Tensor:
        return self.tilt.reshape(self.size)

    def _scaled(self, x: Tensor) -> Tensor:
        # levels on [-1, 1], so that the zeros that pad an image are none of the ends
        return x.to(self.tilt.dtype) * (2 / (self.levels - 1)) - 1

    def _as_maps(self, x: Tensor) -> Tensor:
        return self._scaled(x).reshape(len(x), *self.size).movedim(-1, 1)

    def _checked(self, features: Tensor | None, rows: int) -> Tensor | None:
        given = None if features is None else tuple(features.shape)
        wanted = (rows, self.context_channels, *self.size[:2]) if self.context_channels else None
        if given != wanted:
            raise InputError(f"GatedPixelCNN was built for a feature map {wanted}; it got {given}; give it context_channels.")
        return None if features is None else features.to(self.tilt.dtype)


class _GatedLayer(nn.Module):
    """One layer of both stacks.

    Args:
        groups: The number C of channels of the image.
        channels: The number F of features.
        kernel: Width k of the convolutions.
        context_channels: The number of channels of the feature map.
        first: Whether its input is the image: there the pixel itself is hidden, and nothing is there to add to.
        last: Whether no vertical stack follows.
    """

    def __init__(self, groups: int, channels: int, kernel: int, context_channels: int, *, first: bool, last: bool):
        super().__init__()
        inputs = groups if first else channels
        self.radius = kernel // 2
        self.first = first
        self.above = nn.Conv2d(inputs, 2 * channels, (self.radius + 1, kernel))
        self.link = nn.Conv2d(2 * channels, 2 * channels, 1)
        self.left = _GroupedConv(inputs, 2 * channels, groups, width=self.radius + 1, halves=2, strict=first)
        self.out = _GroupedConv(channels, channels, groups)
        self.condition = nn.Conv2d(context_channels, 2 * channels, 1, bias=False) if context_channels else None
        self.condition_above = nn.Conv2d(context_channels, 2 * channels, 1, bias=False) if context_channels and not last else None
        for convolution in (self.above, self.left, self.out):
            _set_gain(convolution.weight, TANH_GAIN)
        for convolution in (self.link, self.condition, self.condition_above):
            if convolution is not None:
                _set_gain(convolution.weight, 1.0)

    def vertical(self, v: Tensor, features: Tensor | None) -> tuple[Tensor, Tensor]:
        """The next features of the vertical stack, (N, F, H, W), and what it and s give to the horizontal one, (N, 2 F, H, W)."""
        a = self.above(pad(v, (self.radius, self.radius, self.radius, 0)))
        part = self.link(a)
        if self.condition is not None:
            part = part + self.condition(features)
        if self.condition_above is not None:
            a = a + self.condition_above(features)
        return _gate(a), part

    def horizontal(self, h: Tensor, part: Tensor) -> Tensor:
        """The next features of the horizontal stack, (N, F, H, W)."""
        out = self.out(_gate(self.left(pad(h, (self.radius, 0, 0, 0))) + part))
        return out if self.first else h + out


class _GroupedConv(nn.Module):
    """A convolution over one row whose channels are in groups that are ordered at its last column.

    Args:
        inputs: Number of inputs.
        outputs: Number of outputs.
        groups: Number of groups, of sizes as equal as can be, in order.
        width: Length of the row that is looked at; an output stands at its last column.
        halves: Into how many parts the outputs are cut, each of which has all groups.
        strict: Whether a group sees only the groups before it at the last column, and not itself.
    """

    mask: Tensor

    def __init__(self, inputs: int, outputs: int, groups: int, *, width: int = 1, halves: int = 1, strict: bool = False):
        super().__init__()
        convolution = nn.Conv2d(inputs, outputs, (1, width))
        self.weight = convolution.weight
        self.bias = nn.Parameter(torch.zeros(outputs))
        size = outputs // halves
        out_group = (torch.arange(outputs) % size * groups // size)[:, None]
        in_group = torch.arange(inputs) * groups // inputs
        mask = torch.ones(outputs, inputs, 1, width)
        mask[..., -1] = (in_group < out_group if strict else in_group <= out_group).unsqueeze(-1).to(mask)
        self.register_buffer("mask", mask, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, inputs, H, W + width - 1) to (N, outputs, H, W)."""
        return conv2d(x, self.weight * self.mask, self.bias)


def _set_gain(weight: Tensor, gain: float) -> None:
    # torch's own start, a gain of 0.6, fades a signal out over a few gates, and with it the gradient.
    nn.init.normal_(weight, std=gain / math.sqrt(weight[0].numel()))


def _gate(a: Tensor) -> Tensor:
    value, gate = a.chunk(2, dim=1)
    return value.tanh() * gate.sigmoid()


def _check(name: str, value: object, least: int) -> None:
    if not is_count(value, least):
        raise InputError(f"{name} must be an integer of {least} or more; it is {value!r}; give e.g. {name}={max(least, 16)}.")
