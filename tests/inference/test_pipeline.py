"""Captions to pictures: repeatable, saved and loaded, pushed, and forgiving of any caption."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import huggingface_hub
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import xmcgan.inference.pipeline as pipeline_module
from tiny import files, run
from xmcgan import Pipeline, attention_overlay
from xmcgan.inference import model_files
from xmcgan.inference.model_files import PACKAGED, find_model, packaged_models, save_tensors
from xmcgan.inference.vocabulary import unknown_words, vocabulary
from xmcgan.scenes import World, describe, sample_scene
from xmcgan.scenes.scene import stream

CAPTIONS = ["a red car left of the bus", "the blue sky", "a bus under the sky"]
WRITTEN = {"config.json", "generator.safetensors", "README.md"}


@pytest.fixture(scope="module")
def pipe(trained) -> Pipeline:
    return Pipeline.from_pretrained(trained, device="cpu")


@pytest.fixture(scope="module")
def plain(scenes, encoder_folder, tmp_path_factory) -> Pipeline:
    """The pipeline of a run with plain self-modulation."""
    from tiny import tiny_config

    config = tiny_config(scenes, encoder_folder, steps=1)
    output = tmp_path_factory.mktemp("runs") / "plain"
    run(replace(config, generator=replace(config.generator, modulation="plain")), output)
    return Pipeline.from_pretrained(output, device="cpu")


def bits(pictures) -> list[bytes]:
    return [image.tobytes() for image in pictures.images]


# --------------------------------------------------------------------------------------------------- the drawing


def test_a_picture_a_caption(pipe):
    pictures = pipe(CAPTIONS[0])
    (image,) = pictures.images
    assert (image.size, image.mode) == ((64, 64), "RGB")
    assert pictures.captions == [CAPTIONS[0]]
    assert pictures.seeds == [0]
    assert pictures.words == [["[CLS]", "a", "red", "car", "left", "of", "the", "bus", "[SEP]"]]
    assert bits(pipe([CAPTIONS[0]])) == bits(pictures)


def test_a_picture_does_not_depend_on_its_batch(pipe):
    reference = pipe(CAPTIONS, seed=5, num_images=4)
    assert reference.captions == [caption for caption in CAPTIONS for _ in range(4)]
    assert reference.seeds == [5, 6, 7, 8] * 3
    drawn = dict(zip(zip(reference.captions, reference.seeds, strict=True), bits(reference), strict=True))
    assert len(set(drawn.values())) == 12  # another caption or another seed, another picture
    for caption in CAPTIONS:
        assert bits(pipe(caption, seed=7)) == [drawn[caption, 7]]
        assert bits(pipe(caption, seed=6, num_images=2)) == [drawn[caption, 6], drawn[caption, 7]]
    assert bits(pipe(CAPTIONS[::-1], seed=8)) == [drawn[caption, 8] for caption in CAPTIONS[::-1]]
    others = [*(f"a car {number}" for number in range(9)), CAPTIONS[1]]
    assert bits(pipe(others, seed=5))[-1] == drawn[CAPTIONS[1], 5]


def test_one_seed_for_every_picture(pipe):
    pictures = pipe(CAPTIONS[:2], seed=[3, 9], num_images=1)
    assert pictures.seeds == [3, 9]
    assert bits(pictures) == [*bits(pipe(CAPTIONS[0], seed=3)), *bits(pipe(CAPTIONS[1], seed=9))]


def test_a_second_pipeline_draws_the_same(pipe, trained):
    assert bits(Pipeline.from_pretrained(trained, device="cpu")(CAPTIONS)) == bits(pipe(CAPTIONS))


@pytest.mark.parametrize("count", [1, 8, 9])
def test_the_callback_counts_pictures(pipe, count):
    calls = []
    pipe(CAPTIONS[0], num_images=count, callback=lambda *call: calls.append(call))
    assert calls == [(min(done, count), count) for done in range(8, count + 8, 8)]


@pytest.mark.parametrize(
    "caption", ["", "   ", "🚗🪁", "一辆红色的汽车", "car " * 10_000, "\x00", "<script>alert(1)</script>"]
)
def test_any_string_gives_a_picture(pipe, caption):
    pictures = pipe(caption)
    assert pictures.images[0].size == (64, 64)
    assert len(set(pictures.images[0].tobytes())) > 10
    assert 2 <= len(pictures.words[0]) <= 17
    assert len(pictures.attention[0]) == len(pictures.words[0])


@pytest.mark.parametrize("captions", [None, 5, [None], ["a car", 5], [b"a car"], [["a car"]]])
def test_what_is_no_caption_is_a_type_error(pipe, captions):
    with pytest.raises(TypeError):
        pipe(captions)


@pytest.mark.parametrize("seed", ["7", None, 1.5, [1.5]])
def test_what_is_no_seed_is_an_error(pipe, seed):
    with pytest.raises((TypeError, ValueError)):
        pipe("a car", seed=seed)


def test_mistakes_are_named(pipe):
    with pytest.raises(ValueError, match="no caption was given"):
        pipe([])
    with pytest.raises(ValueError, match="num_images is 0"):
        pipe("a car", num_images=0)
    with pytest.raises(ValueError, match="seed is -1; it should be at least 0"):
        pipe("a car", seed=-1)
    with pytest.raises(ValueError, match="2 seeds do not fit 3 images"):
        pipe(CAPTIONS, seed=[1, 2])
    with pytest.raises(TypeError, match="caption 1 is a int; it should be a string"):
        pipe(["a car", 5])
    with pytest.raises(ValueError, match=r"num_images is 1,000,000,000, times 1 captions; .* at most 100,000"):
        pipe("a car", num_images=10**9)
    with pytest.raises(ValueError, match=r"caption 1 is 'caf\\udce9', which holds bytes that are not UTF-8"):
        pipe(["a car", b"caf\xe9".decode(errors="surrogateescape")])


def test_an_encoder_of_another_width_is_named(pipe):
    config = replace(pipe.config, text=replace(pipe.config.text, encoder="minilm"))
    with pytest.raises(ValueError, match="minilm has word embeddings of 384 dimensions, but the generator takes 32"):
        Pipeline(pipe.generator, config, 1, device="cpu")


def test_another_model_is_replaced_only_on_request(pipe, plain, tmp_path):
    folder = pipe.save_pretrained(tmp_path / "saved")
    before = files(folder)
    with pytest.raises(FileExistsError, match="holds another model; choose a new or empty folder, or overwrite it"):
        plain.save_pretrained(folder)
    assert files(folder) == before
    (folder / "README.md").write_text("our card")
    plain.save_pretrained(folder, overwrite=True)
    assert (folder / "README.md").read_text() == "our card"
    assert Pipeline.from_pretrained(folder, device="cpu").generator.region_projection is None


# -------------------------------------------------------------------------------------------------- the attention


def test_attention_is_one_map_a_word_whose_shares_sum_to_one(pipe):
    pictures = pipe([*CAPTIONS, "", "car " * 100], num_images=2)
    for words, maps in zip(pictures.words, pictures.attention, strict=True):
        assert maps.shape == (len(words), 16, 16)
        assert maps.min() >= 0
        np.testing.assert_allclose(maps.sum(0), 1, rtol=1e-5)


def test_attention_maps_have_the_layout_of_the_image(pipe):
    """Region (row, column) of a map is the region of that row and column, not transposed."""
    from torch import zeros

    attention_RT = zeros(256, 17)
    attention_RT[3 * 16 + 5, 2] = 1  # row 3, column 5, word 2
    maps = pipeline_module.word_maps(attention_RT, 4)
    assert maps.shape == (4, 16, 16)
    assert maps[2, 3, 5] == 1
    assert maps.sum() == 1


def test_plain_modulation_has_no_attention(plain):
    pictures = plain(CAPTIONS)
    assert pictures.attention is None
    assert len(set(bits(pictures))) == 3


def test_an_overlay_is_bright_where_the_word_is():
    image, word_map = Image.new("RGB", (64, 64), (128, 128, 128)), np.zeros((16, 16), dtype=np.float32)
    word_map[2:5, 10:13] = 0.3
    overlay = attention_overlay(image, word_map)
    assert (overlay.size, overlay.mode) == ((64, 64), "RGB")
    brightness = np.asarray(overlay.convert("L"), dtype=float)
    assert brightness[14, 46] > 1.5 * brightness[46, 14]
    flat = np.asarray(attention_overlay(image, np.full((16, 16), 0.25, dtype=np.float32)))
    assert np.ptp(flat.reshape(-1, 3), axis=0).max() == 0


# -------------------------------------------------------------------------------------------------- saved and loaded


def test_saved_and_loaded_it_draws_the_same(pipe, tmp_path):
    folder = pipe.save_pretrained(tmp_path / "saved")
    assert set(files(folder)) == WRITTEN
    loaded = Pipeline.from_pretrained(folder, device="cpu")
    assert (loaded.step, loaded.config) == (6, pipe.config)
    assert bits(loaded(CAPTIONS, seed=3)) == bits(pipe(CAPTIONS, seed=3))
    again = loaded.save_pretrained(tmp_path / "again")
    assert files(again) == files(folder)
    assert files(pipe.save_pretrained(folder)) == files(again)  # its own folder may be written anew


def test_plain_modulation_is_saved_and_loaded(plain, tmp_path):
    loaded = Pipeline.from_pretrained(plain.save_pretrained(tmp_path / "saved"), device="cpu")
    assert loaded.config.generator.modulation == "plain"
    assert bits(loaded(CAPTIONS)) == bits(plain(CAPTIONS))


def test_runs_checkpoints_and_saved_folders_can_be_loaded(pipe, trained, tmp_path):
    saved = pipe.save_pretrained(tmp_path / "saved")
    last = trained / "checkpoints/step-00000006"
    assert find_model(trained) == find_model(str(last)) == last
    reference = bits(pipe(CAPTIONS[0]))
    for source in (trained, str(trained), last, saved):
        assert bits(Pipeline.from_pretrained(source, device="cpu")(CAPTIONS[0])) == reference
    earlier = Pipeline.from_pretrained(trained / "checkpoints/step-00000002", device="cpu")
    assert earlier.step == 2
    assert bits(earlier(CAPTIONS[0])) != reference


def test_an_unknown_name_says_both_reasons():
    with pytest.raises(FileNotFoundError, match=r"no folder nobody/no-such-model, and the hub .* scenes-64"):
        Pipeline.from_pretrained("nobody/no-such-model")
    with pytest.raises(FileNotFoundError, match=r"there is no folder runs/a/b/c; models in the package: scenes-64"):
        Pipeline.from_pretrained("runs/a/b/c")


def test_folders_without_a_model_are_named(trained, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"holds no model: neither generator\.safetensors nor a checkpoint"):
        Pipeline.from_pretrained(tmp_path)
    shutil.copy(trained / "checkpoints/step-00000006/generator.safetensors", tmp_path)
    with pytest.raises(FileNotFoundError, match=r"has no config\.json"):
        Pipeline.from_pretrained(tmp_path)


def test_damaged_weights_are_named(pipe, tmp_path):
    folder = pipe.save_pretrained(tmp_path / "saved")
    (folder / "generator.safetensors").write_bytes(b"damaged")
    with pytest.raises(ValueError, match=r"saved/generator\.safetensors is damaged"):
        Pipeline.from_pretrained(folder)


def test_damaged_weights_are_replaced_only_on_request(pipe, tmp_path):
    folder = pipe.save_pretrained(tmp_path / "saved")
    whole = files(folder)
    (folder / "generator.safetensors").write_bytes(b"damaged")
    with pytest.raises(FileExistsError, match="holds another model; choose a new or empty folder, or overwrite it"):
        pipe.save_pretrained(folder)
    pipe.save_pretrained(folder, overwrite=True)
    assert files(folder) == whole


def test_a_folder_with_other_files_is_not_written_to(pipe, tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="holds other files; choose a new or empty folder"):
        pipe.save_pretrained(tmp_path)
    assert files(tmp_path) == {"mine.txt": b"mine"}
    with pytest.raises(FileExistsError, match=r"mine\.txt holds other files"):
        pipe.save_pretrained(tmp_path / "mine.txt")


def test_the_model_card_says_what_it_is(pipe, tmp_path):
    card = (pipe.save_pretrained(tmp_path / "saved") / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: xmcgan\n")
    assert "64 px" in card
    assert "6 steps" in card
    shown = card.split("```json\n")[1].split("```")[0]
    assert json.loads(shown)["generator"]["width"] == 4


class Hub:
    """HfApi as the pipeline uses it, writing down what it is calls."""

    def __init__(self, calls: list, token: str | None):
        calls.append(("token", token))
        self.calls = calls

    def create_repo(self, repository: str, *, private: bool, exist_ok: bool) -> str:
        self.calls.append(("create", repository, private, exist_ok))
        return f"https://hub.example/{repository}"

    def upload_folder(self, *, repo_id: str, folder_path: str) -> None:
        self.calls.append(("upload", repo_id, files(Path(folder_path))))


def test_pushing_uploads_exactly_the_saved_files(pipe, tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(huggingface_hub, "HfApi", lambda token=None: Hub(calls, token))
    monkeypatch.setattr(pipe, "config", replace(pipe.config, text=replace(pipe.config.text, encoder="minilm")))
    assert pipe.push_to_hub("me/cars", private=True, token="secret") == "https://hub.example/me/cars"
    saved = files(pipe.save_pretrained(tmp_path / "saved"))
    assert set(saved) == WRITTEN
    assert calls == [("token", "secret"), ("create", "me/cars", True, True), ("upload", "me/cars", saved)]


def test_a_local_text_encoder_is_not_pushed(pipe, monkeypatch):
    calls = []
    monkeypatch.setattr(huggingface_hub, "HfApi", lambda token=None: Hub(calls, token))
    with pytest.raises(ValueError, match=r"text encoder is the local folder .*tiny-bert"):
        pipe.push_to_hub("me/cars")
    assert calls == []


def test_a_model_of_the_hub_is_loaded_from_its_copy(pipe, tmp_path, monkeypatch):
    saved, asked = pipe.save_pretrained(tmp_path / "saved"), []

    def download(name, **settings):
        asked.append((name, settings))
        return str(saved)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    monkeypatch.setattr(model_files, "check_downloaded", lambda *_: None)  # its encoder lies in a folder
    loaded = Pipeline.from_pretrained("me/cars", device="cpu", revision="v1")
    assert asked == [("me/cars", {"revision": "v1", "allow_patterns": ["config.json", "generator.safetensors"]})]
    assert bits(loaded(CAPTIONS)) == bits(pipe(CAPTIONS))


def test_an_unknown_device_is_named(trained):
    with pytest.raises(ValueError, match="device is 'nowhere'; it should be auto, cpu, cuda"):
        Pipeline.from_pretrained(trained, device="nowhere")


# ------------------------------------------------------------------------------------------------- packaged models


@pytest.fixture(scope="module")
def packaged() -> Pipeline:
    return Pipeline.from_pretrained("scenes-64", device="cpu")


def test_a_packaged_model_is_found_by_its_name_without_a_network(packaged, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert find_model("scenes-64") == PACKAGED / "scenes-64"
    assert "scenes-64" in packaged_models()
    assert {parameter.dtype for parameter in packaged.generator.parameters()} == {torch.float32}
    assert packaged.step == 9160
    (image,) = packaged("two umbrellas on a beach at sunset").images
    assert image.size == (64, 64)
    assert len(set(image.tobytes())) > 100


def test_a_local_folder_comes_before_a_packaged_model(trained, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "scenes-64").symlink_to(trained)
    assert find_model("scenes-64").name == "step-00000006"


def test_a_packaged_model_is_small_and_has_a_card():
    for name in packaged_models():
        folder = PACKAGED / name
        assert (folder / "generator.safetensors").stat().st_size < 16e6
        assert "## Limits" in (folder / "README.md").read_text()
        with safe_open(folder / "generator.safetensors", framework="pt") as file:
            assert file.metadata()["format"] == "pt"


def test_the_vocabulary_is_that_of_the_captions_of_its_world(packaged):
    world = World(most_objects=2, sides=1.0)
    captions = (
        caption
        for index in range(2000)
        for caption in describe(sample_scene(0, "train", index, world), stream(0, "train", index, "captions"), sides=1)
    )
    assert vocabulary(captions) == packaged.words
    held_out = describe(sample_scene(0, "val", 7, world), stream(0, "val", 7, "captions"), sides=1)
    assert [packaged.unknown_words(caption) for caption in held_out] == [[]] * 5


def test_unknown_words_are_named(packaged, pipe):
    pictures = packaged(["a photo of my cat Tom on Mars", "A red car on the left, at night."], num_images=2)
    assert pictures.unknown_words == [["photo", "my", "cat", "Tom", "Mars"]] * 2 + [[]] * 2
    assert pipe("a photo of my cat").unknown_words == [[]]  # a model without a vocabulary


def test_the_words_are_saved_and_loaded(packaged, tmp_path):
    folder = packaged.save_pretrained(tmp_path / "saved")
    assert Pipeline.from_pretrained(folder, device="cpu").words == packaged.words
    description = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(description | {"words": "a red car"}))
    with pytest.raises(ValueError, match=r"config\.json is damaged: words should be a list of strings"):
        Pipeline.from_pretrained(folder, device="cpu")


@pytest.mark.parametrize(
    ("caption", "unknown"),
    [
        ("A CAR, a bus.", []),
        ("a cat and a Cat's cat", ["cat", "Cat's"]),
        ("3 cars 🚗", ["3", "cars", "🚗"]),
        ("红色的 car!", ["红色的"]),
        ("a_car (bus) -- $ <b>", ["b"]),
        ("", []),
    ],
)
def test_unknown_words(caption, unknown):
    assert unknown_words(caption, ["a", "car", "bus", "and"]) == unknown


# ------------------------------------------------------------------------------------------------ weights in files


def test_half_precision_weights_become_those_of_the_network(pipe, tmp_path):
    folder = pipe.save_pretrained(tmp_path / "saved")
    half = {name: tensor.half() for name, tensor in load_file(folder / "generator.safetensors").items()}
    save_file(half, folder / "generator.safetensors")
    loaded = Pipeline.from_pretrained(folder, device="cpu").generator.state_dict()
    for name, tensor in loaded.items():
        assert tensor.dtype == torch.float32
        assert torch.equal(tensor, half[name].float())


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_weights_that_are_not_finite_are_refused(pipe, tmp_path, value):
    folder = pipe.save_pretrained(tmp_path / "saved")
    weights = load_file(folder / "generator.safetensors")
    weights["stem.weight"][1, 2] = value
    save_file(weights, folder / "generator.safetensors")
    with pytest.raises(ValueError, match=r"safetensors holds stem\.weight with 1 of \d+ values NaN or infinite"):
        Pipeline.from_pretrained(folder)


def test_weights_that_are_whole_numbers_are_refused(pipe, tmp_path):
    folder = pipe.save_pretrained(tmp_path / "saved")
    weights = load_file(folder / "generator.safetensors")
    weights["stem.weight"] = weights["stem.weight"].int()
    save_file(weights, folder / "generator.safetensors")
    with pytest.raises(ValueError, match=r"holds stem\.weight as torch\.int32; weights are floating-point numbers"):
        Pipeline.from_pretrained(folder)


@pytest.mark.skipif(os.name != "posix", reason="permissions are those of POSIX")
def test_weights_say_their_format_and_follow_the_umask(tmp_path):
    before = os.umask(0o027)
    try:
        save_tensors({"a": torch.ones(3)}, tmp_path / "a.safetensors")
    finally:
        os.umask(before)
    assert (tmp_path / "a.safetensors").stat().st_mode & 0o777 == 0o640
    with safe_open(tmp_path / "a.safetensors", framework="pt") as file:
        assert file.metadata()["format"] == "pt"
    assert [path.name for path in tmp_path.iterdir()] == ["a.safetensors"]


# ------------------------------------------------------------------------------------------------------- the start


def fresh(program: str, **environment: str | None) -> str:
    """What a program prints in a process of its own; None removes a variable."""
    variables = {name: value for name, value in (os.environ | environment).items() if value is not None}
    return subprocess.run(
        [sys.executable, "-c", program], env=variables, check=True, capture_output=True, text=True
    ).stdout.strip()


@pytest.mark.parametrize(("set_by_user", "expected"), [(None, "passive"), ("active", "active")])
def test_threads_wait_without_spinning_unless_the_user_says_otherwise(set_by_user, expected):
    program = "import xmcgan, os, sys; print(os.environ['OMP_WAIT_POLICY'], 'torch' in sys.modules)"
    assert fresh(program, OMP_WAIT_POLICY=set_by_user) == f"{expected} False"


@pytest.mark.slow
def test_drawing_imports_none_of_the_slow_modules():
    """Each takes 0.3 to 6 seconds, and a picture by a packaged model needs none of them."""
    program = (
        "import sys; from xmcgan import Pipeline; Pipeline.from_pretrained('scenes-64', device='cpu')('a red car');"
        "print(sorted({'transformers', 'matplotlib', 'huggingface_hub', 'torchvision', 'pandas', 'scipy', 'sympy',"
        "'tensorboard', 'torch._dynamo'} & set(sys.modules)))"
    )
    assert fresh(program) == "[]"
