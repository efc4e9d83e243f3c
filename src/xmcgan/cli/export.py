"""``xmcgan export``."""

from pathlib import Path
from typing import Literal

from xmcgan.runtime.progress import say


def export(
    *,
    model: str,
    output: Path,
    format: Literal["onnx", "torch"] = "onnx",
    images: Literal["uint8", "float"] = "uint8",
    text_encoder: bool = True,
) -> int:
    """Write a generator and its text encoder as ONNX or torch.export files.

    They take a batch of any size. Each file is compared with PyTorch before it gets its name (docs/export.md).

    Args:
        model: a run, a checkpoint, a saved pipeline, a hub name, or scenes-64.
        output: a new folder.
        format: onnx, or torch for torch.export.
        images: uint8 for 0 to 255, or float for [-1, 1].
        text_encoder: also write the text encoder and its vocabulary.

    Examples:
        xmcgan export --model scenes-64 --output exported
    """
    from xmcgan.inference import export as exporting

    written = exporting.export(
        model,
        output,
        format=format,
        images=images,
        text_encoder=text_encoder,
        tick=lambda words: say(f"{words} ..."),
    )
    print("\n| file | MB | output | largest difference from PyTorch, by batch size |\n|---|---|---|---|")
    for each in written:
        size = each.file.stat().st_size / 1e6
        for name, found in each.differences.items():
            apart = ", ".join(f"{rows}: {value:.1e}" for rows, value in found.items())
            print(f"| {each.file.name} | {size:.1f} | {name} | {apart} |")
    print(f"\nwritten to {output}")
    return 0
