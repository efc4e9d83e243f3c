"""Converts weights between the official implementation and this one, at any image size and width.

The official implementation (google-research/xmcgan_image_generation) is written in Flax: modules are numbered in order
of creation, kernels are HWIO or (in, out), and the generator's stem is reshaped channel-last. Its weights appear here
as arrays under slash-joined names, ``params/GenBlock_0/Conv_0/kernel``; running statistics are under ``batch_stats``
and ``spectral_norm_stats``.
"""

import re
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

from xmcgan.model.discriminator import Discriminator
from xmcgan.model.generator import Generator
from xmcgan.model.spectral_norm import key_of

# Left: a pattern that matches our dotted name. Right: the official implementation's name.
GENERATOR_NAMES = (
    (r"sentence_projection\.", "Dense_0/"),
    (r"stem\.", "Dense_1/"),
    (r"region_projection\.", "Conv_0/"),
    (r"to_rgb\.", "Conv_1/"),
    (r"global_blocks\.(\d+)\.norm1\.", r"GenBlock_\1/ConditionalBatchNorm_0/"),
    (r"global_blocks\.(\d+)\.norm2\.", r"GenBlock_\1/ConditionalBatchNorm_1/"),
    (r"global_blocks\.(\d+)\.", r"GenBlock_\1/"),
    (r"attentional_blocks\.(\d+)\.norm1\.", r"GenSpatialBlock_\1/LocalConditionalBatchNorm_0/"),
    (r"attentional_blocks\.(\d+)\.norm2\.", r"GenSpatialBlock_\1/LocalConditionalBatchNorm_1/"),
    (r"attentional_blocks\.(\d+)\.", r"GenSpatialBlock_\1/"),
    (r"norm\.(?=gamma|beta|norm)", "LocalConditionalBatchNorm_0/"),
)
GENERATOR_LAYERS = (
    (r"/conv1\.", "/Conv_0/"),
    (r"/conv2\.", "/Conv_1/"),
    (r"/shortcut\.", "/Conv_2/"),
    (r"(/ConditionalBatchNorm_\d)/gamma\.", r"\1/Dense_0/"),
    (r"(/ConditionalBatchNorm_\d)/beta\.", r"\1/Dense_1/"),
    (r"(LocalConditionalBatchNorm_\d)/gamma\.", r"\1/Conv_0/"),
    (r"(LocalConditionalBatchNorm_\d)/beta\.", r"\1/Conv_1/"),
    (r"/norm\.running_", "/BatchNorm_0/"),
)
DISCRIMINATOR_NAMES = (
    (r"network\.region_projection\.", "SpectralConv_0/"),
    (r"network\.unconditional\.", "SpectralDense_0/"),
    (r"network\.sentence_projection\.", "SpectralDense_1/"),
    (r"network\.stem\.", "DiscOptimizedBlock_0/"),
    (r"network\.blocks\.(\d+)\.", r"DiscBlock_\1/"),
)
DISCRIMINATOR_LAYERS = (
    (r"/conv1\.", "/SpectralConv_0/"),
    (r"/conv2\.", "/SpectralConv_1/"),
    (r"/shortcut\.", "/SpectralConv_2/"),
)


def to_official(network: Generator | Discriminator) -> dict[str, np.ndarray]:
    """A network's parameters and buffers under the official implementation's names and in its layout.

    Raises:
        ValueError: if the network uses an option the official one lacks (plain self-modulation, contrastive heads).
    """
    return {
        official_name(network, name): to_official_layout(name, tensor.detach().cpu())
        for name, tensor in network.state_dict().items()
    }


def load_official_weights(network: Generator | Discriminator, arrays: Mapping[str, np.ndarray]) -> None:
    """Copies the official implementation's weights and buffers into a network of the same size and width.

    Raises:
        ValueError: listing every array that is missing, unexpected or of the wrong shape; the network is unchanged.
    """
    problems, converted, expected = [], {}, set()
    for name, tensor in network.state_dict().items():
        theirs = official_name(network, name)
        expected.add(theirs)
        if theirs not in arrays:
            problems.append(f"{theirs} is missing")
            continue
        shape = to_official_layout(name, tensor.detach().cpu()).shape
        if arrays[theirs].shape != shape:
            problems.append(f"{theirs} has shape {arrays[theirs].shape}; this network needs {shape}")
            continue
        converted[name] = from_official_layout(name, arrays[theirs])
    problems += [f"{name} is not part of this network" for name in arrays if name not in expected]
    if problems:
        raise ValueError("the official implementation's weights do not fit this network: " + "; ".join(problems))
    network.load_state_dict(converted)


def official_name(network: nn.Module, name: str) -> str:
    """The official implementation's name for an entry of our state dict, prefixed with its collection."""
    if isinstance(network, Discriminator):
        collection, kind = "params", {"weight": "kernel", "bias": "bias"}
        if name.startswith("spectral_norms."):
            layers = {key_of(f"{path}.weight"): path for path, _ in network.network.named_modules()}
            name = f"network.{layers[name.split('.')[1]]}.u"
            collection, kind = "spectral_norm_stats", {"u": "u0"}
        tables = (DISCRIMINATOR_NAMES, DISCRIMINATOR_LAYERS)
    else:
        if network.region_projection is None:
            raise ValueError("a generator with plain self-modulation has no counterpart in the official implementation")
        state = name.endswith(("running_mean", "running_var"))
        collection = "batch_stats" if state else "params"
        kind = {"mean": "mean", "var": "var"} if state else {"weight": "kernel", "bias": "bias"}
        tables = (GENERATOR_NAMES, GENERATOR_LAYERS)
    theirs = name
    for pattern, replacement in tables[0]:
        theirs, found = re.subn(f"^{pattern}", replacement, theirs)
        if found:
            break
    else:
        raise ValueError(f"{name} has no counterpart in the official implementation")
    for pattern, replacement in tables[1]:
        theirs = re.sub(pattern, replacement, theirs)
    path, _, last = theirs.rpartition("/")
    if "." in last or last not in kind:
        raise ValueError(f"{name} has no counterpart in the official implementation")
    return f"{collection}/{path}/{kind[last]}"


def to_official_layout(name: str, tensor: Tensor) -> np.ndarray:
    """Converts OIHW to HWIO, (out, in) to (in, out), the power iteration's u to a row, and the stem to channel-last."""
    if name.endswith(".u"):
        tensor = tensor[None]
    elif name.startswith("stem."):
        tensor = tensor.unflatten(0, (-1, 4, 4)).permute(1, 2, 0, *range(3, tensor.dim() + 2)).flatten(0, 2)
    if name.endswith(".weight"):
        tensor = tensor.permute(2, 3, 1, 0) if tensor.dim() == 4 else tensor.T
    return tensor.contiguous().numpy()


def from_official_layout(name: str, array: np.ndarray) -> Tensor:
    """The inverse of ``to_official_layout``."""
    tensor = torch.from_numpy(np.array(array))
    if name.endswith(".u"):
        return tensor[0]
    if name.endswith(".weight"):
        tensor = tensor.permute(3, 2, 0, 1) if tensor.dim() == 4 else tensor.T
    if name.startswith("stem."):
        tensor = tensor.unflatten(0, (4, 4, -1)).permute(2, 0, 1, *range(3, tensor.dim() + 2)).flatten(0, 2)
    return tensor.contiguous()
