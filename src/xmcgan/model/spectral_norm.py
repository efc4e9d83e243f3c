"""Spectral normalisation with one power iteration per forward pass."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from xmcgan.runtime.precision import no_half_precision

SPECTRAL_NORM_EPS = 1e-10


def unit(x: Tensor) -> Tensor:
    """x / |x|, with the official implementation's epsilon inside the root."""
    return x * torch.rsqrt(x.square().sum() + SPECTRAL_NORM_EPS)


class SpectralNorm(nn.Module):
    """Divides one layer's weight by an estimate of its largest singular value, from a power iteration.

    The layer itself is unchanged: a discriminator computes the normalised weights once a step and applies its network
    with them, so real and generated images share one iteration. A weight of shape (O, I, ...) counts as an O x I...
    matrix.
    """

    u: Tensor

    def __init__(self, out_features: int):
        super().__init__()
        self.register_buffer("u", unit(torch.randn(out_features)))

    def forward(self, weight: Tensor) -> Tensor:
        """The weight over its spectral norm. The iterated vector u is stored only in training mode."""
        with no_half_precision(weight.device):
            matrix = weight.flatten(1)
            with torch.no_grad():
                v = unit(matrix.T @ self.u)
                u = unit(matrix @ v)
                if self.training:
                    self.u.copy_(u)
            sigma = torch.dot(u, matrix @ v)
            return weight / (sigma + SPECTRAL_NORM_EPS)


class SpectralNorms(nn.ModuleDict):
    """The power iterations of a network's weights.

    Args:
        parameters: by name; those with names ending in ``.weight`` are normalised.
    """

    def __init__(self, parameters: Mapping[str, nn.Parameter]):
        weights = {name: weight for name, weight in parameters.items() if name.endswith(".weight")}
        super().__init__({key_of(name): SpectralNorm(weight.shape[0]) for name, weight in weights.items()})
        self.names = list(weights)

    def forward(self, network: nn.Module) -> dict[str, Tensor]:
        """Each weight over its spectral norm, by name; in training, advances each iteration by one step."""
        return {name: self[key_of(name)](network.get_parameter(name)) for name in self.names}


def key_of(parameter_name: str) -> str:
    """The name of a weight's layer as a ModuleDict key, which may not contain dots."""
    return parameter_name.removesuffix(".weight").replace(".", "_")
