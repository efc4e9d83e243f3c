"""Exported graphs run without this library, at any batch size, and match PyTorch."""

import io
import json
from contextlib import redirect_stdout
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from xmcgan.cli.main import main
from xmcgan.encoders.text import TextEncoder
from xmcgan.inference.export import BATCHES, check_difference, export, write_vocabulary
from xmcgan.inference.model_files import find_model, load_generator
from xmcgan.inference.noise import seeded_noise
from xmcgan.inference.sample import to_pixels

CAPTIONS = ["a red car left of the bus", "", "the sky", "a bus", "green on green"]


def exported(trained, output, *options: str) -> list[list[str]]:
    """Exports with the command line; returns file and output of each row that it prints."""
    printed = io.StringIO()
    with redirect_stdout(printed):
        assert main(["export", "--model", str(trained), "--output", str(output), *options]) == 0
    text = printed.getvalue()
    assert text.count(" ...\n") == 3
    assert text.endswith(f"written to {output}\n")
    rows = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| ") and ": " in line]
    for row in rows:
        differences = dict(pair.split(": ") for pair in row[3].split(", "))
        assert [int(rows) for rows in differences] == list(BATCHES)
        rounded = row[2] == "images" and "float" not in options  # by at most one of 255 levels
        assert max(map(float, differences.values())) < (0.008 if rounded else 1e-3)
    return [[row[0], row[2]] for row in rows]


@pytest.fixture(scope="module")
def onnx_folder(trained, tmp_path_factory):
    for package in ("onnxruntime", "onnxscript"):
        pytest.importorskip(package, reason="the onnx extra is not installed")
    output = tmp_path_factory.mktemp("export") / "model"
    assert exported(trained, output) == [
        ["generator.onnx", "images"],
        ["generator.onnx", "attention_BRT"],
        ["text_encoder.onnx", "words_BTD"],
        ["text_encoder.onnx", "sentence_BD"],
    ]
    return output


@pytest.fixture(scope="module")
def folder(trained, tmp_path_factory):
    """Files of torch.export, which takes a third of ONNX's time."""
    output = tmp_path_factory.mktemp("export") / "model"
    assert exported(trained, output, "--format", "torch", "--images", "float") == [
        ["generator.pt2", "images"],
        ["generator.pt2", "attention_BRT"],
        ["text_encoder.pt2", "words_BTD"],
        ["text_encoder.pt2", "sentence_BD"],
    ]
    return output


def test_folder_content(folder):
    assert {path.name for path in folder.iterdir()} == {"export.json", "generator.pt2", "text_encoder.pt2", "vocab.txt"}
    assert not list(folder.parent.glob(".partial-*"))


@pytest.mark.slow
def test_images_from_captions_with_the_files_alone(onnx_folder, trained, encoder_folder):
    """At batch size 5, which export did not check."""
    import onnxruntime

    assert {path.name for path in onnx_folder.iterdir()} == {
        "export.json", "generator.onnx", "text_encoder.onnx", "vocab.txt"
    }  # fmt: skip
    about = json.loads((onnx_folder / "export.json").read_text())
    encoder = TextEncoder(str(encoder_folder), max_length=about["max_length"])
    tokens = encoder.tokenizer(
        CAPTIONS, padding="max_length", truncation=True, max_length=about["max_length"], return_tensors="np"
    )
    mask_BT = tokens["attention_mask"].astype(bool)
    session = onnxruntime.InferenceSession(onnx_folder / "text_encoder.onnx")
    words_BTD, sentence_BD = session.run(None, {"input_ids_BT": tokens["input_ids"], "mask_BT": mask_BT})
    text = encoder(CAPTIONS)
    np.testing.assert_allclose(words_BTD, text.words_BTD, atol=1e-4)
    np.testing.assert_allclose(sentence_BD, text.sentence_BD, atol=1e-4)

    noise_BZ = seeded_noise(range(5), about["noise_dim"])
    inputs = {"noise_BZ": noise_BZ.numpy(), "words_BTD": words_BTD, "mask_BT": mask_BT, "sentence_BD": sentence_BD}
    images, attention_BRT = onnxruntime.InferenceSession(onnx_folder / "generator.onnx").run(None, inputs)
    generator, _, step = load_generator(find_model(trained))
    expected = generator(noise_BZ, text)
    assert images.dtype == np.uint8
    assert np.abs(images.astype(int) - to_pixels(expected.images_B3HW).numpy().astype(int)).max() <= 1
    np.testing.assert_allclose(attention_BRT, expected.attention_BRT, atol=1e-4)
    assert (about["step"], about["image_size"], about["images"]) == (step, 64, "uint8")


def test_vocabulary_line_numbers_are_ids(folder, encoder_folder):
    pieces = (folder / "vocab.txt").read_text().splitlines()
    tokenizer = TextEncoder(str(encoder_folder)).tokenizer
    assert {piece: number for number, piece in enumerate(pieces)} == tokenizer.get_vocab()
    about = json.loads((folder / "export.json").read_text())["tokenizer"]
    assert [pieces[about[name]] for name in ("cls", "sep", "pad", "unk")] == ["[CLS]", "[SEP]", "[PAD]", "[UNK]"]


def test_a_tokenizer_without_a_plain_vocabulary_is_refused(encoder_folder, tmp_path):
    encoder = TextEncoder(str(encoder_folder))
    described = json.loads(encoder.tokenizer.backend_tokenizer.to_str())
    described["model"]["vocab"]["zebra"] = len(described["model"]["vocab"]) + 1
    for wrong, message in (
        (described, r"the vocabulary of .*tiny-bert has gaps; its ids should be 0 to \d+$"),
        ({"model": {"type": "BPE"}}, "the tokenizer of .*tiny-bert is BPE; only WordPiece can be exported"),
    ):
        backend = SimpleNamespace(to_str=lambda wrong=wrong: json.dumps(wrong))
        encoder.tokenizer = SimpleNamespace(backend_tokenizer=backend, get_vocab=lambda: described["model"]["vocab"])
        with pytest.raises(ValueError, match=message):
            write_vocabulary(encoder, tmp_path / "vocab.txt")
    assert not list(tmp_path.iterdir())


def test_a_program_of_torch_export_draws_floats(folder):
    program = torch.export.load(folder / "generator.pt2").module()
    mask = torch.ones(4, 17, dtype=torch.bool)
    images, attention = program(torch.randn(4, 8), torch.randn(4, 17, 32), mask, torch.randn(4, 32))
    assert images.shape == (4, 3, 64, 64)
    assert images.abs().max() <= 1
    assert attention.shape == (4, 256, 17)


def test_nothing_is_overwritten(folder, trained):
    before = (folder / "export.json").read_bytes()
    with pytest.raises(FileExistsError, match="exists already; choose another --output"):
        export(trained, folder)
    assert (folder / "export.json").read_bytes() == before


@pytest.mark.parametrize(
    ("values", "message"),
    [({"format": "tflite"}, "format is 'tflite'; it can be onnx, torch"), ({"images": "png"}, "images is 'png'")],
)
def test_unknown_choices_are_rejected(trained, tmp_path, values, message):
    with pytest.raises(ValueError, match=message):
        export(trained, tmp_path / "model", **values)
    assert not list(tmp_path.iterdir())


def test_missing_model(tmp_path):
    with pytest.raises(FileNotFoundError):
        export(tmp_path / "none", tmp_path / "model")


def test_differences_are_rejected(tmp_path):
    file = tmp_path / "generator.onnx"
    ours = np.zeros((2, 3), dtype=np.float32)
    assert check_difference("images", ours, ours + 1e-5, file) == pytest.approx(1e-5)
    for theirs in (ours + 0.01, np.full_like(ours, np.nan)):
        with pytest.raises(ValueError, match=r"generator\.onnx: images differs from PyTorch"):
            check_difference("images", ours, theirs, file)
    with pytest.raises(ValueError, match=r"returns images as float32\[2, 2\]; it should be float32\[2, 3\]"):
        check_difference("images", ours, ours[:, :2], file)
    pixels = np.zeros((2, 3), dtype=np.uint8)
    assert check_difference("images", pixels, pixels + 1, file) == pytest.approx(1 / 127.5)
    with pytest.raises(ValueError, match="PyTorch by up to 2"):
        check_difference("images", pixels, pixels + 2, file)
