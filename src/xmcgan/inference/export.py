"""Export a trained generator and its text encoder as ONNX or torch.export files that do not need this library.

The fused generator is exported in float32. Every file is loaded, run and compared with PyTorch at several batch sizes
before the folder gets its final name.
"""

import json
import logging
import warnings
from collections.abc import Callable
from collections.abc import Generator as AbstractGenerator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor, nn

from xmcgan import __version__
from xmcgan.config import Config, to_dict
from xmcgan.encoders.text import TextEncoder
from xmcgan.inference.fused import FusedGenerator, fuse_generator
from xmcgan.inference.model_files import content_sha256, find_model, load_generator, tensors
from xmcgan.model.generator import Generator
from xmcgan.runtime.files import atomic_file, atomic_folder, write_json, write_text
from xmcgan.runtime.locks import locked_folder
from xmcgan.types import REGION_GRID, TextEmbedding

Format = Literal["onnx", "torch"]
Images = Literal["uint8", "float"]

SUFFIX: dict[Format, str] = {"onnx": ".onnx", "torch": ".pt2"}
DESCRIPTION = "export.json"
BATCHES = (1, 3, 8)
"""Batch sizes at which a file is compared with PyTorch."""
TOLERANCE = 1e-3
"""Largest accepted difference: absolute for images in [-1, 1] and attention, relative to the maximum for embeddings."""
OPSET = 20


class GeneratorGraph(nn.Module):
    """The generator on plain tensors: (noise_BZ, words_BTD, mask_BT, sentence_BD) -> (images, attention_BRT)."""

    def __init__(self, generator: FusedGenerator, images: Images):
        super().__init__()
        self.generator, self.images = generator, images

    def forward(self, noise_BZ: Tensor, words_BTD: Tensor, mask_BT: Tensor, sentence_BD: Tensor) -> tuple[Tensor, ...]:
        images, attention_BRT = self.generator(noise_BZ, TextEmbedding(words_BTD, mask_BT, sentence_BD))
        if self.images == "uint8":
            images = images.add(1).mul(127.5).round().clamp(0, 255).to(torch.uint8)
        return (images,) if attention_BRT is None else (images, attention_BRT)


class TextGraph(nn.Module):
    """``TextEncoder`` after its tokenizer: (input_ids_BT, mask_BT) -> (words_BTD, sentence_BD)."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model

    def forward(self, input_ids_BT: Tensor, mask_BT: Tensor) -> tuple[Tensor, Tensor]:
        real_BT1 = mask_BT[..., None].float()
        words = self.model(input_ids=input_ids_BT, attention_mask=mask_BT.long()).last_hidden_state
        words_BTD = words * real_BT1
        return words_BTD, words_BTD.sum(1) / real_BT1.sum(1)


@dataclass(frozen=True)
class Exported:
    """An exported file, and its largest difference from PyTorch by output and batch size."""

    file: Path
    differences: dict[str, dict[int, float]]


def export(
    model: str | Path,
    output: Path,
    *,
    format: Format = "onnx",
    images: Images = "uint8",
    text_encoder: bool = True,
    tick: Callable[[str], None] = lambda _: None,
) -> list[Exported]:
    """Export a generator, its text encoder, vocabulary and a description (``export.json``) to a folder.

    Args:
        model: a run, a checkpoint, a saved pipeline or a hub name.
        output: a new folder; it appears only once everything is written and checked.
        format: ``onnx``, or ``torch`` for ``torch.export`` (load it with ``torch.export.load``).
        images: ``uint8`` for 0 to 255, or ``float`` for [-1, 1]; both (B, 3, H, W).
        text_encoder: whether to export the text encoder, too; users then need only a WordPiece tokenizer.
        tick: called with a short description before each stage.

    Returns:
        the exported files, with their differences from PyTorch.

    Raises:
        FileExistsError: if ``output`` exists, or another process is writing it.
        ValueError: on an unknown format, if an exported file differs from PyTorch, or the tokenizer is not WordPiece.
    """
    for name, value, accepted in (("format", format, get_args(Format)), ("images", images, get_args(Images))):
        if value not in accepted:
            raise ValueError(f"{name} is {value!r}; it can be {', '.join(accepted)}")
    with locked_folder(output, "exported", beside=True):
        if output.exists():
            raise FileExistsError(f"{output} exists already; choose another --output")
        return export_locked(model, output, format, images, text_encoder, tick)


def export_locked(
    model: str | Path, output: Path, format: Format, images: Images, text_encoder: bool, tick: Callable[[str], None]
) -> list[Exported]:
    """``export`` while the output is locked."""
    generator, config, step = load_generator(find_model(model))
    tick("loading the text encoder")
    encoder = TextEncoder.from_config(config.text, cache_mb=0) if text_encoder else None
    with atomic_folder(output) as partial:
        tick("exporting and checking the generator")
        written = [write_generator(generator, config, partial, format, images)]
        if encoder is not None:
            tick("exporting and checking the text encoder")
            written.append(write_text_encoder(encoder, partial, format))
            write_vocabulary(encoder, partial / "vocab.txt")
        description = describe(generator, config, step, format, images, encoder)
        write_json(partial / DESCRIPTION, description)
    return [Exported(output / each.file.name, each.differences) for each in written]


def write_generator(generator: Generator, config: Config, folder: Path, format: Format, images: Images) -> Exported:
    """Export the generator and compare it with PyTorch."""
    graph = GeneratorGraph(fuse_generator(generator), images).eval()
    text_dim = generator.sentence_projection.in_features

    def inputs(rows: int) -> tuple[Tensor, ...]:
        torch.manual_seed(rows)
        length = config.text.max_length
        mask_BT = torch.arange(length) < torch.randint(2, length + 1, (rows, 1))
        words_BTD = torch.randn(rows, length, text_dim) * mask_BT[..., None]
        return torch.randn(rows, generator.noise_dim), words_BTD, mask_BT, words_BTD.mean(1)

    names = ["noise_BZ", "words_BTD", "mask_BT", "sentence_BD"]
    outputs = ["images", "attention_BRT"] if generator.region_projection is not None else ["images"]
    return write_graph(graph, inputs, names, outputs, folder / f"generator{SUFFIX[format]}", format)


def write_text_encoder(encoder: TextEncoder, folder: Path, format: Format) -> Exported:
    """Export the text encoder and compare it with PyTorch."""
    encoder.model.set_attn_implementation("eager")  # plain matrix products, which every runtime supports
    longest = encoder.max_length

    def inputs(rows: int) -> tuple[Tensor, ...]:
        captions = [" ".join(["a red car"] * (1 + row)) for row in range(rows)]
        tokens = encoder.tokenizer(
            captions, padding="max_length", truncation=True, max_length=longest, return_tensors="pt"
        )
        return tokens["input_ids"], tokens["attention_mask"].bool()

    graph = TextGraph(encoder.model).eval()
    names, outputs = ["input_ids_BT", "mask_BT"], ["words_BTD", "sentence_BD"]
    return write_graph(graph, inputs, names, outputs, folder / f"text_encoder{SUFFIX[format]}", format)


def write_graph(
    graph: nn.Module,
    inputs: Callable[[int], tuple[Tensor, ...]],
    names: list[str],
    outputs: list[str],
    file: Path,
    format: Format,
) -> Exported:
    """Export a graph with a dynamic batch dimension, and compare it with PyTorch at the sizes in ``BATCHES``.

    Args:
        inputs: example inputs for a batch size.
        names: names of the inputs.
        outputs: names of the outputs.
    """
    example = inputs(2)
    batch = torch.export.Dim("batch", min=1)
    dynamic = tuple({0: batch} for _ in example)
    with torch.no_grad(), quietly():
        program = torch.export.export(graph, example, dynamic_shapes=dynamic)
        if format == "torch":
            with atomic_file(file) as partial:
                torch.export.save(program, partial)
            loaded = torch.export.load(file).module()

            def run(values: tuple[Tensor, ...]) -> list[np.ndarray]:
                return [tensor.numpy() for tensor in loaded(*values)]
        else:
            torch.onnx.export(
                program,
                (),
                file,
                input_names=names,
                output_names=outputs,
                opset_version=OPSET,
                external_data=False,
                dynamo=True,
                verbose=False,
            )
            from onnxruntime import InferenceSession

            session = InferenceSession(file, providers=["CPUExecutionProvider"])

            def run(values: tuple[Tensor, ...]) -> list[np.ndarray]:
                feed = {name: value.numpy() for name, value in zip(names, values, strict=True)}
                return [np.asarray(value) for value in session.run(outputs, feed)]

        differences: dict[str, dict[int, float]] = {name: {} for name in outputs}
        for rows in BATCHES:
            values = inputs(rows)
            for name, expected, actual in zip(outputs, graph(*values), run(values), strict=True):
                differences[name][rows] = check_difference(name, expected.numpy(), actual, file)
    return Exported(file, differences)


def check_difference(name: str, expected: np.ndarray, actual: np.ndarray, file: Path) -> float:
    """Check an output of an exported file against PyTorch; return the largest difference (uint8 as in [-1, 1]).

    Raises:
        ValueError: if shapes or types differ, or values by more than ``TOLERANCE`` (uint8: by more than 1).
    """
    if expected.shape != actual.shape or expected.dtype != actual.dtype:
        raise ValueError(
            f"{file.name} returns {name} as {actual.dtype}{list(actual.shape)}; "
            f"it should be {expected.dtype}{list(expected.shape)} as in PyTorch"
        )
    absolute = float(np.abs(expected.astype(np.float64) - actual.astype(np.float64)).max())
    if expected.dtype == np.uint8:
        largest, allowed = absolute / 127.5, 1 / 127.5
    else:
        largest, allowed = absolute / max(1.0, float(np.abs(expected).max())), TOLERANCE
    if not largest <= allowed:  # rejects NaN, too
        raise ValueError(f"{file.name}: {name} differs from PyTorch by up to {absolute:g}; allowed is {allowed:g}")
    return largest


def write_vocabulary(encoder: TextEncoder, file: Path) -> None:
    """Write the vocabulary of a WordPiece tokenizer, one piece per line; line number = id.

    Raises:
        ValueError: if the tokenizer is not a WordPiece tokenizer, or its ids have gaps.
    """
    backend = json.loads(encoder.tokenizer.backend_tokenizer.to_str())
    if backend["model"]["type"] != "WordPiece":
        raise ValueError(
            f"the tokenizer of {encoder.name} is {backend['model']['type']}; only WordPiece can be exported as a "
            "vocabulary. Export with --text-encoder false and embed captions elsewhere"
        )
    pieces = sorted(encoder.tokenizer.get_vocab().items(), key=lambda pair: pair[1])
    if [number for _, number in pieces] != list(range(len(pieces))):
        raise ValueError(f"the vocabulary of {encoder.name} has gaps; its ids should be 0 to {len(pieces) - 1}")
    write_text(file, "".join(f"{piece}\n" for piece, _ in pieces))


def describe(
    generator: Generator, config: Config, step: int, format: Format, images: Images, encoder: TextEncoder | None
) -> dict[str, Any]:
    """Content of ``export.json``: what a program needs to use the files."""
    tokenizer = None
    if encoder is not None:
        own = encoder.tokenizer
        normalizer = json.loads(own.backend_tokenizer.to_str()).get("normalizer") or {}
        tokenizer = {
            "cls": own.cls_token_id,
            "sep": own.sep_token_id,
            "pad": own.pad_token_id,
            "unk": own.unk_token_id,
            "lowercase": bool(normalizer.get("lowercase", False)),
        }
    return {
        "library": "xmcgan",
        "version": __version__,
        "format": format,
        "step": step,
        "generator_sha256": content_sha256(tensors(generator)),
        "image_size": generator.image_size,
        "images": images,
        "attention": generator.region_projection is not None,
        "region_grid": REGION_GRID,
        "noise_dim": generator.noise_dim,
        "text_dim": generator.sentence_projection.in_features,
        "max_length": config.text.max_length,
        "encoder": config.text.encoder,
        "tokenizer": tokenizer,
        "config": to_dict(config),
    }


@contextmanager
def quietly() -> AbstractGenerator[None]:
    """Silence warnings and logs of the exporter; errors are still raised."""
    loggers = [logging.getLogger(name) for name in ("onnxscript", "onnx_ir", "torch.onnx")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
