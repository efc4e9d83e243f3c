"""What a GPU machine without a network needs beside Python's own packages, in a folder of under 60 MB.

    python benchmarks/gpu_pack.py pack
    python benchmarks/gpu_run.py --output results --pack pack      # there, with this checkout

MiniLM and EfficientNet-Lite0, both in half precision. Smaller, for captions that are known before:

    python benchmarks/gpu_pack.py pack --layers 4 --captions captions.txt
"""

import argparse
import json
import shutil
from pathlib import Path

import torch
from torch import nn
from transformers import BertModel

from xmcgan.encoders.efficientnet import packaged_weights
from xmcgan.encoders.text import load_pretrained


def keep_words(folder: Path, model: BertModel, pieces: set[str]) -> None:
    """Leaves out of a saved tokenizer, and of the model's embeddings, all word pieces but these and the special ones.

    Captions of these pieces are split as before: the longest piece that fits is the same.
    """
    path = folder / "tokenizer.json"
    tokenizer = json.loads(path.read_text())
    vocabulary = tokenizer["model"]["vocab"]
    special = {each["content"] for each in tokenizer["added_tokens"]}
    kept = [piece for piece in sorted(vocabulary, key=vocabulary.get) if piece in pieces | special]
    table = model.get_input_embeddings().weight.detach()
    rows = torch.tensor([vocabulary[piece] for piece in kept])
    position = {piece: number for number, piece in enumerate(kept)}
    for each in tokenizer["added_tokens"]:
        each["id"] = position[each["content"]]
    for name, each in tokenizer["post_processor"].get("special_tokens", {}).items():
        each["ids"] = [position[name]]
    tokenizer["model"]["vocab"] = position
    path.write_text(json.dumps(tokenizer))
    model.set_input_embeddings(nn.Embedding.from_pretrained(table[rows], padding_idx=position["[PAD]"]))
    model.config.vocab_size, model.config.pad_token_id = len(kept), position["[PAD]"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path, help="a folder, new")
    parser.add_argument("--layers", type=int, help="of MiniLM, from the first; all unless given")
    parser.add_argument("--captions", type=Path, help="a caption on each line; only their words are kept")
    options = parser.parse_args()
    output = options.output
    if options.captions and not options.captions.is_file():
        raise SystemExit(f"{options.captions} is missing: --captions should be a file with a caption on each line")
    output.mkdir(parents=True)
    tokenizer, model = load_pretrained("minilm", options.layers)
    tokenizer.save_pretrained(output / "minilm")
    assert isinstance(model, BertModel)
    if options.captions:
        lines = options.captions.read_text(encoding="utf-8").splitlines()
        keep_words(output / "minilm", model, {piece for line in lines for piece in tokenizer.tokenize(line)})
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
