"""Exported graphs run without this library, at any batch size, and match PyTorch."""

import json
import re

import numpy as np
import pytest
import torch

from xmcgan.cli.main import main
from xmcgan.encoders.text import TextEncoder
from xmcgan.inference.export import BATCHES, check_difference, export
from xmcgan.inference.model_files import find_model, load_generator
from xmcgan.inference.noise import seeded_noise
from xmcgan.inference.sample import to_pixels

onnxruntime = pytest.importorskip("onnxruntime", reason="the onnx extra is not installed")
pytest.importorskip("onnxscript", reason="the onnx extra is not installed")

CAPTIONS = ["a red car left of the bus", "", "the sky", "a bus", "green on green"]


@pytest.fixture(scope="module")
def folder(trained, tmp_path_factory):
    output = tmp_path_factory.mktemp("export") / "model"
    words = []
    written = export(trained, output, tick=words.append)
    assert len(words) == 3
    assert [each.file.name for each in written] == ["generator.onnx", "text_encoder.onnx"]
    for each in written:
        assert each.file.is_file()
        assert all(tuple(found) == BATCHES for found in each.differences.values())
    return output


def test_folder_content(folder):
    names = {"export.json", "generator.onnx", "text_encoder.onnx", "vocab.txt"}
    assert {path.name for path in folder.iterdir()} == names
    assert not list(folder.parent.glob(".partial-*"))


def test_images_from_captions_with_the_files_alone(folder, trained, encoder_folder):
    """At batch size 5, which export did not check."""
    about = json.loads((folder / "export.json").read_text())
    encoder = TextEncoder(str(encoder_folder), max_length=about["max_length"])
    tokens = encoder.tokenizer(
        CAPTIONS, padding="max_length", truncation=True, max_length=about["max_length"], return_tensors="np"
    )
    mask_BT = tokens["attention_mask"].astype(bool)
    session = onnxruntime.InferenceSession(folder / "text_encoder.onnx")
    words_BTD, sentence_BD = session.run(None, {"input_ids_BT": tokens["input_ids"], "mask_BT": mask_BT})
    text = encoder(CAPTIONS)
    np.testing.assert_allclose(words_BTD, text.words_BTD, atol=1e-4)
    np.testing.assert_allclose(sentence_BD, text.sentence_BD, atol=1e-4)

    noise_BZ = seeded_noise(range(5), about["noise_dim"])
    inputs = {"noise_BZ": noise_BZ.numpy(), "words_BTD": words_BTD, "mask_BT": mask_BT, "sentence_BD": sentence_BD}
    images, attention_BRT = onnxruntime.InferenceSession(folder / "generator.onnx").run(None, inputs)
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


@pytest.mark.slow
def test_torch_export_of_floats_without_the_text_encoder(trained, tmp_path, capsys):
    """By the command line, which prints how near the files are."""
    output = tmp_path / "model"
    given = ["--format", "torch", "--images", "float", "--text-encoder", "false"]
    assert main(["export", "--model", str(trained), "--output", str(output), *given]) == 0
    printed = capsys.readouterr().out
    assert f"written to {output}" in printed
    row = re.search(r"\| generator\.pt2 \| [\d.]+ \| images \| .*\b8: ([\d.e+-]+)", printed)
    assert float(row[1]) < 1e-6
    assert {path.name for path in output.iterdir()} == {"export.json", "generator.pt2"}
    program = torch.export.load(output / "generator.pt2").module()
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
