"""``xmcgan generate``."""

import io
import json
import re
from collections.abc import Iterable, Mapping
from itertools import count as count_from
from pathlib import Path
from typing import Literal

from xmcgan import __version__
from xmcgan.cli.options import check_at_least
from xmcgan.runtime.files import write_bytes
from xmcgan.runtime.locks import locked_folder
from xmcgan.runtime.progress import ProgressBar


def generate(
    captions: list[str],
    *,
    model: str = "scenes-64",
    output: Path = Path("out"),
    seed: int = 0,
    count: int = 1,
    truncation: float = 1.0,
    noise: Literal["philox", "numpy"] = "philox",
    attention: bool = False,
    precision: Literal["float32", "bfloat16", "float16"] = "float32",
    device: str = "auto",
) -> int:
    """Generate images from captions: PNGs, a grid of several, and the settings that made them.

    Files that exist are kept: if they differ, the new ones get a number.

    Args:
        captions: one or several captions, each in quotes.
        model: a run, a checkpoint, a saved pipeline, a hub name, or scenes-64.
        output: folder for the images; it may exist.
        seed: seed of each caption's first image; the next one has seed + 1.
        count: images per caption.
        truncation: factor on the noise, 0 to 1; smaller makes images more alike and more typical.
        noise: how a seed becomes noise: philox, or numpy to repeat images of earlier versions.
        attention: also write each word's attention over the image.
        precision: precision of weights and layers; half precision is faster on some devices.
        device: auto, cpu, cuda, ...

    Examples:
        xmcgan generate "two umbrellas on a beach at sunset"
        xmcgan generate "a red car" "a blue bus" --model runs/first --count 4 --seed 7
    """
    check_at_least(1, count=count)
    check_at_least(0, seed=seed)
    check(captions, truncation, output)

    import torch

    from xmcgan.inference.image_grid import image_grid
    from xmcgan.inference.pipeline import Pipeline

    pipe = Pipeline.from_pretrained(model, device=device, dtype=getattr(torch, precision))
    with ProgressBar(total=len(captions) * count, unit="image", leave=False) as bar:
        drawn = pipe(captions, seed=seed, num_images=count, truncation=truncation, noise=noise,
                     callback=lambda done, _total: bar.update(done - bar.n))  # fmt: skip
    files = image_files(captions, drawn, attention=attention)
    name = f"{file_name(captions[0])}-{seed}-x{len(drawn.images)}"
    if len(drawn.images) > 1:
        files[f"{name}-grid.png"] = png(image_grid(drawn.images, count if len(captions) > 1 else 4))
    made_by = {"version": __version__, "model": model, "step": pipe.step, "device": str(pipe.device),
               "precision": precision, "noise": noise, "truncation": truncation}  # fmt: skip
    files[f"{name}.json"] = settings_file(drawn, made_by)
    written = write_new(output, files)
    path = output / written[next(iter(files)) if len(drawn.images) == 1 else f"{name}-grid.png"]
    report(drawn, f"{model} (step {pipe.step:,})", path)
    report_captions(captions, pipe.encoder, model)
    return 0


def check(captions: list[str], truncation: float, output: Path) -> None:
    """Refuses captions and outputs that cannot be drawn or written, before anything is loaded."""
    if not all(caption.strip() for caption in captions):
        raise ValueError("a caption is empty; give a few words in quotes")
    if not 0 <= truncation <= 1:
        raise ValueError(f"--truncation is {truncation}; it should be 0 to 1")
    if output.is_file() or output.suffix.lower() in (".png", ".jpg", ".jpeg", ".webp"):
        raise ValueError(f"--output is {output}; it should be a folder, in which images are named by their captions")


def image_files(captions: list[str], drawn, *, attention: bool) -> dict[str, bytes]:
    """The PNG of each image, and with ``attention`` of its attention maps, by file name."""
    from xmcgan.inference.image_grid import image_grid
    from xmcgan.inference.pipeline import attention_overlay

    files: dict[str, bytes] = {}
    names = file_names(captions)
    for number, image in enumerate(drawn.images):
        name = f"{names[drawn.captions[number]]}-{drawn.seeds[number]}"
        files[f"{name}.png"] = png(image)
        if attention and drawn.attention is not None:
            maps = [image, *(attention_overlay(image, word_map) for word_map in drawn.attention[number])]
            files[f"{name}-attention.png"] = png(image_grid(maps, len(maps)))
    return files


def settings_file(drawn, made_by: Mapping[str, object]) -> bytes:
    """The settings that made the images, as JSON."""
    pictures = [
        {"caption": caption, "seed": number, "words": words}
        for caption, number, words in zip(drawn.captions, drawn.seeds, drawn.words, strict=True)
    ]
    return (json.dumps({**made_by, "pictures": pictures}, indent=2, ensure_ascii=False) + "\n").encode()


def report(drawn, by: str, path: Path) -> None:
    """Prints where the images are, and the words that are in no training caption."""
    count = len(drawn.images)
    print(f"{count} image{'s' if count > 1 else ''} by {by}: {path}")
    if unknown := dict.fromkeys(word for words in drawn.unknown_words for word in words):
        print(f"Words that {by.split(' (')[0]} was not trained on: {', '.join(unknown)}")


def report_captions(captions: list[str], encoder, model: str) -> None:
    """Prints which captions were cut, and warns that words without quotes become separate captions."""
    for caption in dict.fromkeys(captions):
        if encoder.is_cut(caption):
            read = " ".join(encoder.tokens(caption)[-4:-1]).replace(" ##", "")
            print(
                f"{model} reads {encoder.max_length - 2} word pieces of a caption: {caption[:40]!r} ... ends "
                f"after {read!r}"
            )
    if len(captions) > 1 and not any(" " in caption.strip() for caption in captions):
        print(f"Drawn as {len(captions)} captions: {', '.join(captions)}. A caption of several words needs quotes")


def file_name(caption: str) -> str:
    """A caption as the start of a file name, with hyphens for everything but letters and digits."""
    return re.sub(r"\W+", "-", caption.lower()).strip("-")[:60].rstrip("-") or "no-words"


def file_names(captions: Iterable[str]) -> dict[str, str]:
    """The start of each caption's file names; a number tells captions apart that would share one."""
    names: dict[str, str] = {}
    for caption in dict.fromkeys(captions):
        name, number = file_name(caption), 1
        while name in names.values():
            number += 1
            name = f"{file_name(caption)}-{number}"
        names[caption] = name
    return names


def png(image) -> bytes:
    """A PIL image as a PNG file's content."""
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    return buffer.getvalue()


def write_new(folder: Path, files: dict[str, bytes]) -> dict[str, str]:
    """Writes files under their names, or all with the first number for which no file with other content exists.

    Returns:
        the name that each file was given.
    """
    with locked_folder(folder, "written into", wait=True):
        for number in count_from(1):
            names = {name: numbered(name, number) for name in files}
            paths = {folder / names[name]: content for name, content in files.items()}
            if all(not path.exists() or path.read_bytes() == content for path, content in paths.items()):
                break
        for path, content in paths.items():
            if not path.exists():
                write_bytes(path, content)
    return names


def numbered(name: str, number: int) -> str:
    """A file name with a number; number 1 adds none."""
    path = Path(name)
    return name if number == 1 else f"{path.stem}-{number}{path.suffix}"
