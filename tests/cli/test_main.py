"""The command line from end to end, and one line with exit status 2 for each mistake."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

from tiny import files, flags, tiny_config
from xmcgan import Pipeline, __version__
from xmcgan.cli import main as main_module
from xmcgan.cli.generate import file_name, file_names, write_new
from xmcgan.cli.main import COMMANDS, main, message_of, summary
from xmcgan.config import flatten, to_dict
from xmcgan.recipes import RECIPES

CAPTION = "a red car left of the bus"


@pytest.fixture(scope="module")
def pictures(trained, tmp_path_factory) -> Path:
    """What one command drew."""
    output = tmp_path_factory.mktemp("out") / "pictures"
    assert main(generate(trained, output)) == 0
    return output


def generate(model: Path, output: Path, *more: str) -> list[str]:
    captions = [CAPTION, "the blue sky"]
    return ["generate", *captions, "--model", str(model), "--output", str(output), "--seed", "3", "--count", "2",
            "--device", "cpu", *more]  # fmt: skip


def refused(arguments: list[str], capsys) -> str:
    """The one line that a mistake gives."""
    capsys.readouterr()
    assert main(arguments) == 2
    printed = capsys.readouterr().err.rpartition("\r")[2]  # after a progress bar, which wipes itself out
    assert printed.startswith("xmcgan: ")
    assert printed.count("\n") == 1
    assert printed.endswith("\n")
    return printed


# ------------------------------------------------------------------------------------------------ end to end


def test_train_generate_report(config, tmp_path, capsys):
    """Scenes, training and pictures by public commands alone."""
    data, run, out = tmp_path / "scenes", tmp_path / "run", tmp_path / "out"
    sizes = ["--size", "64", "--train", "10", "--val", "3", "--evaluator", "0"]
    assert main(["scenes", str(data), *sizes]) == 0
    assert f"Scenes are in {data}" in capsys.readouterr().out
    assert len(list((data / "train2014").iterdir())) == 10

    command = flags(tiny_config(data, Path(config.text.encoder), steps=2), run)
    assert main(command) == 0
    said = capsys.readouterr().out
    assert "10 records of" in said
    assert "trained 2 steps: samples in" in said

    assert main(["generate", "a car", "--model", str(run), "--output", str(out)]) == 0
    assert (out / "a-car-0.png").is_file()


def test_the_fields_on_the_command_line_are_those_of_the_run(trained, config, tmp_path):
    """The flags of a run in Python make the same run."""
    command = flags(tiny_config(Path(config.data), Path(config.text.encoder), steps=2), tmp_path / "run")
    assert main(command) == 0
    name = "checkpoints/step-00000002/training/generator.safetensors"
    assert (tmp_path / "run" / name).read_bytes() == (trained / name).read_bytes()


def own_folder(root: Path) -> Path:
    """A person's own pictures, in one split."""
    (root / "train").mkdir(parents=True)
    for number in range(6):
        Image.new("RGB", (64, 64), (40 * number, 0, 0)).save(root / f"train/{number}.png")
        (root / f"train/{number}.txt").write_text(f"the red car {number}\n")
    return root


def own_command(config, data: Path, output: Path) -> list[str]:
    changed = [*flags(config, output), "--training.steps", "1", "--dataset.layout", "folder"]
    return [*changed, "--data", str(data), "--dataset.split", "train", "--dataset.workers", "0"]


def test_own_pictures_need_no_validation_split(config, tmp_path, capsys):
    data, run = own_folder(tmp_path / "mine"), tmp_path / "run"
    assert main(own_command(config, data, run)) == 0
    assert "there is no split val2014: the grids of samples show captions of train\n" in capsys.readouterr().out
    assert list((run / "samples").iterdir())


def test_a_validation_split_that_is_named_or_needed_must_exist(config, tmp_path, capsys):
    command = own_command(config, own_folder(tmp_path / "mine"), tmp_path / "run")
    assert "mine/val is missing" in refused([*command, "--dataset.validation_split", "val"], capsys)
    assert "mine/val2014 is missing" in refused([*command, "--dataset.validation_split=val2014"], capsys)
    message = refused([*command, "--evaluation.every", "1"], capsys)
    assert "has no split 'val2014', which evaluation.every needs" in message
    assert "--dataset.validation-split" in message


def test_scenes_written_again_are_left_alone(tmp_path, capsys):
    command = ["scenes", str(tmp_path / "data"), "--size", "32", "--train", "3", "--val", "0", "--evaluator", "0"]
    assert main(command) == 0
    before = files(tmp_path)
    assert main(command) == 0
    assert files(tmp_path) == before
    assert "holds Scenes with other settings" in refused([*command, "--seed", "1"], capsys)
    assert files(tmp_path) == before


# ------------------------------------------------------------------------------------------------ generate


def test_pictures_a_grid_and_their_settings(pictures, trained):
    stem = "a-red-car-left-of-the-bus"
    assert set(files(pictures)) == {
        f"{stem}-3.png", f"{stem}-4.png", "the-blue-sky-3.png", "the-blue-sky-4.png",
        f"{stem}-3-x4-grid.png", f"{stem}-3-x4.json",
    }  # fmt: skip
    drawn = Pipeline.from_pretrained(trained, device="cpu")("the blue sky", seed=4).images[0]
    with Image.open(pictures / "the-blue-sky-4.png") as image:
        assert image.tobytes() == drawn.tobytes()
    with Image.open(pictures / f"{stem}-3-x4-grid.png") as sheet:
        assert sheet.size == (2 * 66 - 2, 2 * 66 - 2)  # a row a caption, a column a seed
        assert sheet.crop((66, 66, 130, 130)).tobytes() == drawn.tobytes()
    settings = json.loads((pictures / f"{stem}-3-x4.json").read_text())
    assert settings["version"] == __version__
    assert (settings["model"], settings["step"], settings["device"]) == (str(trained), 6, "cpu")
    assert [(each["caption"], each["seed"]) for each in settings["pictures"]] == [
        (CAPTION, 3), (CAPTION, 4), ("the blue sky", 3), ("the blue sky", 4),
    ]  # fmt: skip
    assert settings["pictures"][2]["words"] == ["[CLS]", "the", "blue", "sky", "[SEP]"]


def test_the_same_command_again_changes_nothing(pictures, trained):
    before = {path: path.stat().st_mtime_ns for path in pictures.iterdir()}
    contents = files(pictures)
    assert main(generate(trained, pictures)) == 0
    assert files(pictures) == contents
    assert before.keys() == dict.fromkeys(pictures.iterdir()).keys()


def test_other_pictures_of_the_same_name_get_a_number(trained, tmp_path, capsys):
    assert main(generate(trained, tmp_path)) == 0
    before = files(tmp_path)
    earlier = trained / "checkpoints/step-00000002"
    capsys.readouterr()
    assert main(generate(earlier, tmp_path)) == 0
    assert f"{tmp_path}/a-red-car-left-of-the-bus-3-x4-grid-2.png" in capsys.readouterr().out
    after = files(tmp_path)
    assert after.items() > before.items()
    assert {Path(name).stem.endswith("-2") for name in after.keys() - before.keys()} == {True}
    assert len(after) == 2 * len(before)
    assert main(generate(earlier, tmp_path)) == 0
    assert files(tmp_path) == after


def test_a_long_caption_is_said_to_be_cut(trained, tmp_path, capsys):
    assert main(["generate", "a red car and " * 20, "--model", str(trained), "--output", str(tmp_path)]) == 0
    _, cut = capsys.readouterr().out.splitlines()
    length = Pipeline.from_pretrained(trained, device="cpu").encoder.max_length
    assert f"reads {length - 2} word pieces of a caption: 'a red car and a red car and" in cut


def test_words_without_quotes_are_said_to_be_captions(trained, tmp_path, capsys):
    assert main(["generate", "red", "car", "--model", str(trained), "--output", str(tmp_path)]) == 0
    assert "Drawn as 2 captions: red, car. A caption of several words needs quotes" in capsys.readouterr().out


def test_a_caption_may_stand_after_a_flag(trained, tmp_path):
    given = ["generate", "a car", "--attention", "a bus", "--model", str(trained), "--output", str(tmp_path)]
    assert main(given) == 0
    assert {"a-car-0-attention.png", "a-bus-0-attention.png"} <= set(files(tmp_path))


def test_half_precision_is_chosen_by_name(trained, tmp_path):
    assert (
        main(["generate", "a car", "--model", str(trained), "--output", str(tmp_path), "--precision", "bfloat16"]) == 0
    )
    pipe = Pipeline.from_pretrained(trained, device="cpu", dtype=torch.bfloat16)
    with Image.open(tmp_path / "a-car-0.png") as image:
        assert image.tobytes() == pipe("a car").images[0].tobytes()
    (settings,) = tmp_path.glob("*.json")
    assert json.loads(settings.read_text())["precision"] == "bfloat16"


def test_maps_of_attention(trained, tmp_path):
    arguments = ["generate", "a red car", "--model", str(trained), "--output", str(tmp_path), "--attention", "true"]
    assert main(arguments) == 0
    with Image.open(tmp_path / "a-red-car-0-attention.png") as sheet:
        assert sheet.size == (6 * 66 - 2, 64)  # the picture, [CLS], three words, [SEP]


def test_unknown_words_are_named_in_one_line(trained, tmp_path, capsys):
    """The packaged model carries its vocabulary; a run carries none, and says nothing."""
    assert main(["generate", "a photo of my cat Tom on Mars", "a red car", "a cat", "--output", str(tmp_path)]) == 0
    drawn, words = capsys.readouterr().out.splitlines()
    assert drawn.endswith("a-photo-of-my-cat-tom-on-mars-0-x3-grid.png")
    assert words == "Words that scenes-64 was not trained on: photo, my, cat, Tom, Mars"
    assert main(["generate", "a red car at night", "--output", str(tmp_path)]) == 0
    assert capsys.readouterr().out == f"1 image by scenes-64 (step 9,160): {tmp_path}/a-red-car-at-night-0.png\n"
    assert main(["generate", "a cat", "--model", str(trained), "--output", str(tmp_path / "run")]) == 0
    assert capsys.readouterr().out.count("\n") == 1


def test_captions_that_would_have_the_same_name_are_all_kept(trained, tmp_path):
    long = "a very long caption about a red car that is parked left of a bus "
    captions = [long + "by day", long + "by night", "?!", "🚗", "A Bus", "a bus", "a bus 2"]
    assert main(["generate", *captions, "--model", str(trained), "--output", str(tmp_path)]) == 0
    assert len([name for name in files(tmp_path) if name.endswith("-0.png")]) == len(captions)


def test_the_packaged_model_is_the_default_and_no_run_is_picked(trained, tmp_path, monkeypatch, capsys):
    from xmcgan.inference.pipeline import Pipeline

    load, asked = Pipeline.from_pretrained, []
    monkeypatch.setattr(Pipeline, "from_pretrained", lambda model, **kw: asked.append(model) or load(trained, **kw))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs/mine").symlink_to(trained)
    assert main(["generate", "a car"]) == 0
    assert asked == ["scenes-64"]
    assert (tmp_path / "out/a-car-0.png").is_file()


@pytest.mark.parametrize(
    ("caption", "name"),
    [
        ("A red car, left of: a bus!", "a-red-car-left-of-a-bus"),
        ("", "no-words"),
        ("../../etc/passwd", "etc-passwd"),
        ("🚗", "no-words"),
        ("一辆汽车", "一辆汽车"),
        ("a" * 100, "a" * 60),
        ("a" * 59 + " b", "a" * 59),
    ],
)
def test_names_of_files(caption, name):
    assert file_name(caption) == name


def test_names_of_files_are_all_different():
    names = file_names(["x", "X!", "x 2", "x", "x?"])
    assert names == {"x": "x", "X!": "x-2", "x 2": "x-2-2", "x?": "x-3"}


def test_a_reader_that_left_is_no_mistake(monkeypatch, capsys):
    """``xmcgan --help | head`` prints no error, also when Python flushes at exit."""
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w") as closed:
        monkeypatch.setattr(sys, "stdout", closed)
        monkeypatch.setattr(main_module, "run", lambda _: print("x" * 100_000))
        assert main(["--help"]) == 141
    assert capsys.readouterr().err == ""


def test_an_interruption_is_said(monkeypatch, capsys):
    def run(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(main_module, "run", run)
    assert main(["--help"]) == 130
    assert capsys.readouterr().err == "xmcgan: interrupted\n"


def test_an_error_of_the_system_begins_with_the_file():
    assert message_of(FileNotFoundError(2, "No such file or directory", "a.csv")) == "a.csv: No such file or directory"
    assert message_of(FileNotFoundError("a.csv is missing")) == "a.csv is missing"


def test_files_with_other_content_are_kept(tmp_path):
    write_new(tmp_path / "new", {"a": b"1", "b": b"2"})
    names = write_new(tmp_path / "new", {"a": b"1", "b": b"3", "c": b"4"})
    assert names == {"a": "a-2", "b": "b-2", "c": "c-2"}
    assert files(tmp_path / "new") == {"a": b"1", "b": b"2", "a-2": b"1", "b-2": b"3", "c-2": b"4"}


# ------------------------------------------------------------------------------------------------------ mistakes


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["trian"], "unknown command 'trian'; did you mean 'train'?"),
        (["zzz"], "unknown command 'zzz'; there is train, generate, evaluate, compare, ablate"),
        (["train", "scenes-46", "--output", "x"], "unknown recipe 'scenes-46'; did you mean 'scenes-64'?"),
        (["train", "scenes-64"], "output"),
        (["train", "scenes-64", "--output"], "--output needs a value: --output PATH"),
        (["train", "scenes-64", "more", "--output", "x"], "unrecognized arguments: more"),
        (["train", "--output", "x"], "the recipe comes first: xmcgan train RECIPE --output ..."),
        (["generate"], "CAPTIONS"),
        (["generate", "a car", " "], "a caption is empty; give a few words in quotes"),
        (["data", "verify", "nosuch"], "nosuch is no prepared data: it has no manifest.json; `xmcgan data prepare`"),
        (["train-dual-encoder", "--data", "nosuch.csv", "--output", "x"], "nosuch.csv"),
        (
            ["generate", "a car", "--model", "no/such/folder"],
            "there is no folder no/such/folder; models in the package: scenes-64",
        ),
        (["generate", "a car", "--cuont", "3"], "--cuont"),
        (["generate", "a car", "--truncation", "2"], "--truncation is 2.0; it should be 0 to 1"),
        (["generate", "a car", "--output", "car.png"], "--output is car.png; it should be a folder"),
        (["generate", "a car", "--device", "gpu"], "device is 'gpu'; it should be auto, cpu, cuda or cuda:0"),
        (["train", "scenes-64", "--output", "x", "--steps", "2"], "did you mean --training.steps?"),
        (["serve", "--port", "80000"], "--port is 80000; it should be 0 to 65535"),
        (
            ["evaluate", "--data", "x", "--model", "scenes-64", "--metrics", "fid,r-precison"],
            "unknown metric 'r-precison'; did you mean 'r-precision'?",
        ),
        (["generate", "a car", "--seed", "x"], "seed"),
        (["scenes"], "OUTPUT"),
        (["scenes", "x", "--size", "4"], "size must be at least 16 pixels, not 4"),
        (["scenes", "x", "--size", "1000000"], "size must be at most 2048 pixels, not 1000000"),
        (["train", "scenes-64", "--output", "x", "--training.seed", str(2**70)], "training.seed is 11805916207174113"),
        (["scenes", "x", "--train", "-1"], "train must be at least 0 pictures, not -1"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_mistake_is_one_line(arguments, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert message in refused(arguments, capsys)
    assert not files(tmp_path)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        (("--training.stesp", "5"), "unknown option --training.stesp; did you mean --training.steps?"),
        (("--training.stesp=5",), "unknown option --training.stesp; did you mean --training.steps?"),
        (("--widht", "5"), "unknown option --widht"),
        (("--training.steps", "many"), "training.steps"),
        (("--training.steps", "1.5"), "training.steps"),
        (("--training.steps", "0"), "training.steps is 0; it should be at least 1"),
        (("--training.batch_size", "1"), "training.batch_size is 1"),
        (("--training.discriminator_lr", "-1"), "training.discriminator_lr is -1.0"),
        (("--training.seed", "-1"), "training.seed is -1"),
        (("--training.precision", "float16"), "training.precision"),
        (("--training.device", "nowhere"), "device is 'nowhere'"),
        (("--image_size", "100"), "--image-size is '100'; it should be one of 64, 128, 256"),
        (("--generator.stem", "top"), "generator.stem"),
        (("--generator.width", "0"), "generator.width is 0"),
        (("--generator.noise_dim", "0"), "generator.noise_dim is 0"),
        (("--discriminator.width", "0"), "discriminator.width is 0"),
        (("--discriminator.head_layers", "3"), "--discriminator.head-layers is '3'; it should be one of 0, 1, 2"),
        (("--losses.word", "-1"), "losses.word is -1.0"),
        (("--losses.temperature", "0"), "losses.temperature is 0"),
        (("--losses.word_temperature", "-1"), "losses.word_temperature is -1"),
        (("--losses.rho_2", "0"), "losses.rho_2 is 0"),
        (("--losses.encoder_weights", "x.pth"), "losses.encoder_weights names a file, but losses.image_encoder is 0"),
        (("--dataset.layout", "folders"), "dataset.layout"),
        (("--dataset.flip", "maybe"), "--dataset.flip is 'maybe'; it should be true or false"),
        (("--dataset.split", "train2015"), "captions_train2015.json is missing"),
        (("--text.encoder", "nobody/knows"), "text.encoder is 'nobody/knows', which could not be loaded"),
        (("--text.max_length", "1"), "text.max_length is 1"),
        (("--text.cache_mb", "-1"), "text.cache_mb is -1"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_a_wrong_setting_names_its_field(setting, message, config, capsys, tmp_path):
    line = refused([*flags(config, tmp_path / "run"), *setting], capsys)
    assert message in line
    assert not files(tmp_path)  # and the folder is free for the right one


def test_a_missing_data_folder_shows_the_layout(capsys, tmp_path):
    arguments = ["train", "coco14-256", "--output", str(tmp_path / "run"), "--data", str(tmp_path / "coco")]
    message = refused(arguments, capsys)
    assert "coco/annotations/captions_train2014.json is missing. The official layout of COCO is" in message
    assert not files(tmp_path)


def test_a_negative_seed_or_count_is_refused(trained, capsys, tmp_path):
    command = ["generate", "a car", "--model", str(trained), "--output", str(tmp_path / "out")]
    assert "--seed is -1; it should be at least 0" in refused([*command, "--seed", "-1"], capsys)
    assert "--count is 0; it should be at least 1" in refused([*command, "--count", "0"], capsys)
    assert "device is 'nowhere'" in refused([*command, "--device", "nowhere"], capsys)
    assert not files(tmp_path)


def test_an_output_that_is_a_file_is_refused(trained, config, capsys, tmp_path):
    (tmp_path / "file").write_text("mine")
    refused(["generate", "a car", "--model", str(trained), "--output", str(tmp_path / "file")], capsys)
    refused(flags(config, tmp_path / "file"), capsys)
    assert files(tmp_path) == {"file": b"mine"}


# ---------------------------------------------------------------------------------------------------------- help


def helped(arguments: list[str], capsys) -> str:
    capsys.readouterr()
    with pytest.raises(SystemExit) as exit:
        main(arguments)
    assert not exit.value.code
    return capsys.readouterr().out


def test_no_command_lists_them(capsys):
    assert main([]) == 2
    listed = capsys.readouterr().out
    assert main(["--help"]) == 0
    assert capsys.readouterr().out == listed
    assert all(f"  {name} " in listed and summary(found) in listed for name, found in COMMANDS.items())


def test_the_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.strip() == __version__


@pytest.mark.parametrize("recipe", RECIPES)
def test_help_of_train_has_every_field_and_the_recipes_values(recipe, capsys):
    text = helped(["train", recipe, "--help"], capsys)
    for name, value in flatten(to_dict(RECIPES[recipe])).items():
        (_, entry) = text.split(f"\n  --{name.replace('_', '-')} ")
        entry = "".join(entry.partition("\n  --")[0].split())  # its lines are broken anywhere
        if value is not None:
            assert f"default:{str(value).lower() if isinstance(value, bool) else value})" in entry, name
    assert "--output" in text


def test_help_of_train_without_a_recipe_lists_them(capsys):
    text = helped(["train", "--help"], capsys)
    assert all(recipe in text for recipe in RECIPES)
    with pytest.raises(SystemExit) as exit:
        main(["train"])
    assert exit.value.code == 2


@pytest.mark.parametrize(
    ("command", "fields"),
    [
        (
            "generate",
            ["CAPTIONS", "--model", "--output", "--seed", "--count", "--attention", "--precision", "--device"],
        ),
        ("scenes", ["OUTPUT", "--size", "--train", "--val", "--evaluator", "--seed"]),
        ("demo", ["--output", "--steps"]),
    ],
)
def test_help_of_the_other_commands(command, fields, capsys):
    text = helped([command, "--help"], capsys)
    assert all(field in text for field in fields)


@pytest.mark.parametrize(
    "code",
    ["import xmcgan", "from xmcgan.cli.main import main; main(['--help'])", "from xmcgan import RECIPES, Config"],
)
def test_torch_is_not_imported_before_it_is_needed(code):
    check = f"{code}\nimport sys\nassert not {{'torch', 'transformers', 'matplotlib'}} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", check], check=True, env=dict(os.environ), stdout=subprocess.DEVNULL)
