"""The subcommand ``xmcgan generate``."""

import io
import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from xmcgan import __version__
from xmcgan.cli.parser import ArgumentParser
from xmcgan.runtime.files import write_bytes


def generate_command(arguments: list[str]) -> int:
    """Draws pictures of captions."""
    parser = ArgumentParser(
        prog="xmcgan generate",
        description="Draws pictures of captions: PNGs, a grid of them, and the settings that made them.",
        exit_on_error=False,
    )
    parser.add_argument("captions", nargs="+", type=str, help="one or several captions, each in quotes")
    parser.add_argument("--model", type=str, default="scenes-64",
                        help="a run, a checkpoint, a saved pipeline, a hub name, or scenes-64")  # fmt: skip
    parser.add_argument("--output", type=Path, default=Path("out"), help="folder for the pictures")
    parser.add_argument("--seed", type=int, default=0, help="of the first picture of each caption; the next has + 1")
    parser.add_argument("--count", type=int, default=1, help="pictures a caption")
    parser.add_argument("--attention", type=bool, default=False, help="also each word's attention over the picture")
    parser.add_argument("--precision", type=Literal["float32", "bfloat16", "float16"], default="float32",
                        help="of weights and layers; a half is faster where the device is made for it")  # fmt: skip
    parser.add_argument("--device", type=str, default="auto", help="auto, cpu, cuda, ...")
    options = parser.parse_args(arguments)

    import torch
    from tqdm import tqdm

    from xmcgan.inference.pipeline import Pipeline, attention_overlay

    model = options.model
    pipe = Pipeline.from_pretrained(model, device=options.device, dtype=getattr(torch, options.precision))
    with tqdm(total=len(options.captions) * options.count, unit="picture", leave=False) as bar:
        pictures = pipe(
            options.captions,
            seed=options.seed,
            num_images=options.count,
            callback=lambda done, _total: bar.update(done - bar.n),
        )

    files: dict[str, bytes] = {}
    names = file_names(options.captions)
    for number, image in enumerate(pictures.images):
        name = f"{names[pictures.captions[number]]}-{pictures.seeds[number]}"
        files[f"{name}.png"] = png(image)
        if options.attention and pictures.attention is not None:
            maps = [image, *(attention_overlay(image, word_map) for word_map in pictures.attention[number])]
            files[f"{name}-attention.png"] = png(grid(maps, len(maps)))
    name = f"{file_name(options.captions[0])}-{options.seed}-x{len(pictures.images)}"
    files[f"{name}-grid.png"] = png(grid(pictures.images, options.count if len(options.captions) > 1 else 4))
    settings = {
        "version": __version__,
        "model": str(model),
        "step": pipe.step,
        "device": str(pipe.device),
        "precision": options.precision,
        "pictures": [
            {"caption": caption, "seed": seed, "words": words}
            for caption, seed, words in zip(pictures.captions, pictures.seeds, pictures.words, strict=True)
        ],
    }
    files[f"{name}.json"] = (json.dumps(settings, indent=2, ensure_ascii=False) + "\n").encode()
    write_new(options.output, files)
    path = options.output / (next(iter(files)) if len(pictures.images) == 1 else f"{name}-grid.png")
    report(pictures, f"{model} (step {pipe.step:,})", path)
    return 0


def report(pictures, by: str, path: Path) -> None:
    """Prints where the pictures are, and in one line the words of their captions that the model has never learnt."""
    count = len(pictures.images)
    print(f"{count} picture{'s' if count > 1 else ''} by {by}: {path}")
    if unknown := dict.fromkeys(word for words in pictures.unknown_words for word in words):
        print(f"Words that {by.split(' (')[0]} has never learnt: {', '.join(unknown)}")


def file_name(caption: str) -> str:
    """A caption as the beginning of a file name; what is no letter or digit becomes a hyphen."""
    return re.sub(r"\W+", "-", caption.lower()).strip("-")[:60].rstrip("-") or "no-words"


def file_names(captions: Iterable[str]) -> dict[str, str]:
    """The beginning of each caption's file names; a number tells apart captions that would have the same."""
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


def grid(images: list, columns: int, gap: int = 2):
    """PIL images of one size side by side."""
    from PIL import Image

    columns = min(columns, len(images))
    width, height = images[0].size
    rows = -(-len(images) // columns)
    sheet = Image.new("RGB", (columns * (width + gap) - gap, rows * (height + gap) - gap), "white")
    for number, image in enumerate(images):
        row, column = divmod(number, columns)
        sheet.paste(image, (column * (width + gap), row * (height + gap)))
    return sheet


def write_new(folder: Path, files: dict[str, bytes]) -> None:
    """Writes files, or none if one is there with other content; one with the same content stays as it is."""
    different = [name for name, content in files.items()
                 if (folder / name).exists() and (folder / name).read_bytes() != content]  # fmt: skip
    if different:
        raise FileExistsError(
            f"{folder} has other files of the same names, which stay as they are: {', '.join(different[:3])}"
            f"{' ...' if len(different) > 3 else ''}. Choose another --output"
        )
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        if not (folder / name).exists():
            write_bytes(folder / name, content)
