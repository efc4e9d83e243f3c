from pathlib import Path

import pytest
import torch
from torch import Tensor


@pytest.fixture(scope="module")
def dinov2_folder(tmp_path_factory) -> Path:
    from tiny_vision import write_dinov2

    return write_dinov2(tmp_path_factory.mktemp("models") / "dinov2")


@pytest.fixture(scope="module")
def clip_folder(tmp_path_factory) -> Path:
    from tiny_vision import write_clip

    return write_clip(tmp_path_factory.mktemp("models") / "clip")


@pytest.fixture
def block_images() -> Tensor:
    """Three images of 60 px, of 5 x 5 blocks."""
    return torch.randint(256, (3, 3, 12, 12), dtype=torch.uint8).repeat_interleave(5, 2).repeat_interleave(5, 3)
