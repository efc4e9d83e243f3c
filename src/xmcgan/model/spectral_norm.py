"""Spectral normalisation with one power iteration a forward pass."""

import torch
from torch import Tensor, nn

SPECTRAL_NORM_EPS = 1e-10


# Discriminator: spectrally normalised layers


def unit(x: Tensor) -> Tensor:
    """x / |x|, with the official implementation's epsilon inside the root."""
    return x * torch.rsqrt(x.square().sum() + SPECTRAL_NORM_EPS)


class SpectralNorm(nn.Module):
    """One layer's power iteration: its weight divided by an estimate of its largest singular value.

    The layer itself stays plain; ``Discriminator`` asks for the divided weights once a forward pass and applies
    the network with them, so that two batches judged together share one iteration. Weights of any shape
    (O, I, ...) are seen as O x I... matrices.
    """

    u: Tensor

    def __init__(self, out_features: int):
        super().__init__()
        self.register_buffer("u", unit(torch.randn(out_features)))

    def forward(self, weight: Tensor) -> Tensor:
        """The weight over its spectral norm. Training keeps the iterated vector; evaluation iterates, keeps none."""
        with torch.autocast(weight.device.type, enabled=False):
            matrix = weight.flatten(1)
            with torch.no_grad():
                v = unit(matrix.T @ self.u)
                u = unit(matrix @ v)
                if self.training:
                    self.u.copy_(u)
            sigma = torch.dot(u, matrix @ v)
            return weight / (sigma + SPECTRAL_NORM_EPS)
