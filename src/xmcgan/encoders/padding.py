"""SAME padding as in TensorFlow and Flax: if the total is odd, the extra pixel goes to the bottom and right."""

from torch import Tensor, nn
from torch.nn import functional as F


class SameConv2d(nn.Conv2d):
    """A convolution with SAME padding: the output has ceil(size / stride) pixels a side."""

    def forward(self, input: Tensor) -> Tensor:
        kernel, stride = self.kernel_size[0], self.stride[0]
        totals = [total_padding(size, kernel, stride) for size in input.shape[2:]]
        if any(total % 2 for total in totals):
            input, totals = same_pad(input, kernel, stride), [0, 0]
        padding = (totals[0] // 2, totals[1] // 2)  # even padding costs no copy of the input
        return F.conv2d(input, self.weight, self.bias, self.stride, padding, groups=self.groups)


def total_padding(size: int, kernel: int, stride: int) -> int:
    """Pixels of padding along one dimension, before and after together."""
    return max((-(-size // stride) - 1) * stride + kernel - size, 0)


def same_pad(x: Tensor, kernel: int, stride: int, value: float = 0.0) -> Tensor:
    """Pads a map (B, C, H, W) so that the output has ceil(size / stride) pixels a side."""
    pads = []
    for size in (x.shape[3], x.shape[2]):
        total = total_padding(size, kernel, stride)
        pads += [total // 2, total - total // 2]
    return F.pad(x, pads, value=value)
