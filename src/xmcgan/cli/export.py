"""The subcommand ``xmcgan export``."""

from pathlib import Path

from xmcgan.cli.parser import ArgumentParser


def export_command(arguments: list[str]) -> int:
    """Writes a trained generator as ONNX or torch.export files."""
    parser = ArgumentParser(
        prog="xmcgan export",
        description="Writes the generator and its text encoder as graphs with a batch of any size, each compared with "
        "PyTorch before it gets its name (docs/export.md).",
        exit_on_error=False,
    )
    parser.add_argument("--model", type=str, required=True, help="a run, a checkpoint, a saved pipeline or a hub name")
    parser.add_argument("--output", type=Path, required=True, help="a new folder")
    parser.add_argument("--format", type=str, default="onnx", help="onnx, or torch for torch.export")
    parser.add_argument("--images", type=str, default="uint8", help="uint8 for 0 to 255, or float for [-1, 1]")
    parser.add_argument("--text-encoder", type=bool, default=True, help="also the text encoder and its vocabulary")
    options = parser.parse_args(arguments)
    from xmcgan.inference.export import export

    written = export(
        options.model,
        options.output,
        format=options.format,
        images=options.images,
        text_encoder=options.text_encoder,
        tick=lambda words: print(f"{words} ...", flush=True),
    )
    print("\n| file | MB | output | largest difference from PyTorch, by batch size |\n|---|---|---|---|")
    for each in written:
        size = each.file.stat().st_size / 1e6
        for name, found in each.differences.items():
            apart = ", ".join(f"{rows}: {value:.1e}" for rows, value in found.items())
            print(f"| {each.file.name} | {size:.1f} | {name} | {apart} |")
    print(f"\nwritten to {options.output}")
    return 0
