"""Tiny CLIP and DINOv2 models with random weights, as transformers saves them, and what they should see."""

import string
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from transformers import (
    BitImageProcessorPil,
    CLIPConfig,
    CLIPImageProcessorPil,
    CLIPModel,
    CLIPTokenizer,
    Dinov2Config,
    Dinov2Model,
)

from xmcgan.encoders.text import quiet_transformers

MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.3, 0.25)
CAPTIONS = ["a red car", "two kites above a beach", "", "a red car and a bus and a car and a bus"]


def save(folder: Path, model: nn.Module, *beside) -> Path:
    """Saves a model with random weights, large enough that its outputs depend on its inputs."""
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.dim() > 1 or "class_embedding" in name:
                weight.normal_(std=0.3)
    with quiet_transformers():
        for part in (model, *beside):
            part.save_pretrained(folder)
    return folder


def write_dinov2(folder: Path) -> Path:
    torch.manual_seed(1)
    shape = Dinov2Config(hidden_size=24, num_hidden_layers=2, num_attention_heads=2, image_size=28, patch_size=14)
    processor = BitImageProcessorPil(
        size={"shortest_edge": 40}, crop_size={"height": 28, "width": 28}, image_mean=MEAN, image_std=STD, resample=3
    )
    return save(folder, Dinov2Model(shape), processor)


def write_clip(folder: Path) -> Path:
    torch.manual_seed(2)
    words = [letter + end for end in ("", "</w>") for letter in string.ascii_lowercase]
    vocabulary = {word: number for number, word in enumerate([*words, "<|startoftext|>", "<|endoftext|>"])}
    tower = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16}
    ends = {"bos_token_id": vocabulary["<|startoftext|>"], "eos_token_id": vocabulary["<|endoftext|>"]}
    shape = CLIPConfig(
        text_config={**tower, **ends, "vocab_size": len(vocabulary), "max_position_embeddings": 24},
        vision_config={**tower, "image_size": 32, "patch_size": 16},
        projection_dim=8,
    )
    processor = CLIPImageProcessorPil(
        size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}, image_mean=MEAN, image_std=STD
    )
    tokenizer = CLIPTokenizer(vocab=vocabulary, merges=[])
    return save(folder, CLIPModel(shape), processor, tokenizer)


def normalised(images: Tensor, side: int) -> Tensor:
    """The input that the networks should get, by PIL alone."""
    pictures = [Image.fromarray(image.permute(1, 2, 0).numpy()) for image in images]
    resized = [np.asarray(picture.resize((side, side), Image.Resampling.BICUBIC)) for picture in pictures]
    pixels = torch.from_numpy(np.stack(resized)).permute(0, 3, 1, 2) / 255
    return (pixels - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]


def close(ours: Tensor, theirs: Tensor) -> None:
    assert theirs.std(0).max() > 1e-3, "the network's outputs hardly differ: the test could not fail"
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)
