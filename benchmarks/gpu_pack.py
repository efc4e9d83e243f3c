"""What a GPU machine without a network needs beside Python's own packages, in a folder of under 60 MB.

    python benchmarks/gpu_pack.py pack
    python benchmarks/gpu_run.py --output results --pack pack      # there, with this checkout

MiniLM and EfficientNet-Lite0, both in half precision.
"""

import argparse
import shutil
from pathlib import Path

import torch
from transformers import BertModel

from xmcgan.encoders.efficientnet import packaged_weights
from xmcgan.encoders.text import load_pretrained


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path, help="a folder, new")
    output = parser.parse_args().output
    output.mkdir(parents=True)
    tokenizer, model = load_pretrained("minilm")
    tokenizer.save_pretrained(output / "minilm")
    assert isinstance(model, BertModel)
    model.half().save_pretrained(output / "minilm")
    saved = torch.load(packaged_weights(), weights_only=True)
    torch.save(
        {name: tensor.half() if tensor.ndim == 4 else tensor for name, tensor in saved.items()}, output / "lite0.pth"
    )
    size = sum(path.stat().st_size for path in output.rglob("*") if path.is_file()) / 1e6
    print(f"{output}: {size:.1f} MB")
    if size > 60:
        shutil.rmtree(output)
        raise SystemExit(f"{size:.1f} MB is more than 60")


if __name__ == "__main__":
    main()
