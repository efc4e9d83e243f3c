"""Every recipe for photographs runs a step, on small data in its owner's layout and from what is prepared of it."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from tiny import logged, run, tiny_config
from xmcgan.cli.main import main
from xmcgan.inference.model_files import newest_checkpoint
from xmcgan.recipes import RECIPES
from xmcgan.scenes import write_scenes

SETS = {
    "coco14-128": "coco14",
    "coco14-256": "coco14",
    "ln-coco-256": "ln-coco",
    "ln-openimages-256": "ln-openimages",
}


def add_images(folder: Path, names: list[str]) -> None:
    folder.mkdir(parents=True)
    for number, name in enumerate(names):
        Image.new("RGB", (64, 48), (60 * number, 90, 200)).save(folder / name)


def write_coco14(root: Path, split: str) -> None:
    names = [f"COCO_{split}_{number:012d}.jpg" for number in (1, 2, 3)]
    add_images(root / split, names)
    content = {
        "images": [{"id": k, "file_name": name, "width": 64, "height": 48} for k, name in enumerate(names, 1)],
        "annotations": [{"id": k, "image_id": k, "caption": f"a red car {k}"} for k in (1, 2, 3)],
    }
    (root / "annotations").mkdir(exist_ok=True)
    (root / f"annotations/captions_{split}.json").write_text(json.dumps(content))


def write_narratives(root: Path, split: str, dataset: str, ids: list[str], names: list[str]) -> None:
    add_images(root / split, names)
    (root / "localized_narratives").mkdir(exist_ok=True)
    lines = [
        {
            "dataset_id": f"{dataset}_{split}",
            "image_id": image_id,
            "annotator_id": 7,
            "caption": "In this image there is a red car.",
            "timed_caption": [{"utterance": "In this image there is a red car.", "start_time": 0.0, "end_time": 2.0}],
            "traces": [[{"x": 0.2, "y": 0.3, "t": 0.5}, {"x": 0.4, "y": 0.5, "t": 1.5}]],
            "voice_recording": "none.ogg",
        }
        for image_id in ids
    ]
    (root / f"localized_narratives/{split}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def write_set(root: Path, name: str, split: str) -> None:
    if name == "coco14":
        write_coco14(root, split)
    elif name == "ln-coco":
        write_narratives(root, split, "mscoco", ["5", "6", "7"], [f"{number:012d}.jpg" for number in (5, 6, 7)])
    else:
        ids = [f"{number:016x}" for number in (10, 11, 12)]
        write_narratives(root, split, "open_images", ids, [f"{each}.jpg" for each in ids])


@pytest.mark.parametrize("recipe", SETS)
def test_a_recipe_runs_a_step_from_the_owners_layout_and_from_shards(recipe, encoder_folder, tmp_path):
    config = RECIPES[recipe]
    source, prepared = tmp_path / "source", tmp_path / "prepared"
    for split in (config.dataset.split, config.dataset.validation_split):
        write_set(source, SETS[recipe], split)
    flags = ["--source", str(source), "--output", str(prepared), "--size", str(config.image_size), "--workers", "1"]
    assert main(["data", "prepare", SETS[recipe], *flags]) == 0
    small = replace(
        config,
        dataset=replace(config.dataset, workers=0),
        text=replace(config.text, encoder=str(encoder_folder)),
        generator=replace(config.generator, width=1, noise_dim=4),
        discriminator=replace(config.discriminator, width=1),
        # VGG-19 with random weights has its own tests; here it would be 550 MB.
        losses=replace(config.losses, image_encoder=0.0, trace=1.0 if "ln-" in recipe else 0.0),
        training=replace(config.training, steps=1, batch_size=2, discriminator_steps=1, device="cpu", log_every=1),
    )
    for number, data in enumerate((source, prepared)):
        output = tmp_path / f"run-{number}"
        assert run(replace(small, data=str(data)), output) == 1
        assert newest_checkpoint(output / "checkpoints") is not None
        (line,) = [json.loads(line) for line in (output / "log.jsonl").read_text().splitlines()]
        assert ("real_trace" in line) == ("ln-" in recipe)


@pytest.mark.slow
def test_training_is_the_same_from_every_layout_of_scenes_and_from_shards(scenes, encoder_folder, tmp_path):
    """Losses to the last bit; captions are COCO's alone, so that its runs are compared with one another."""
    write_scenes(
        tmp_path / "open", layout="open-images", size=64, train=24, val=8, evaluator=4, workers=1, progress=False
    )
    tiny = tiny_config(scenes, encoder_folder, steps=1, discriminator_steps=1)
    losses = []
    for name, source, layout, splits in (
        ("scenes", scenes, "coco", ("train2014", "val2014")),
        ("scenes-narratives", scenes, "localized-narratives", ("train2014", "val2014")),
        ("scenes-open-images", tmp_path / "open", "localized-narratives", ("train", "validation")),
    ):
        prepared = tmp_path / f"{name}-prepared"
        command = ["data", "prepare", name, "--source", str(source), "--output", str(prepared)]
        assert main([*command, "--size", "64", "--workers", "1"]) == 0
        dataset = replace(tiny.dataset, layout=layout, split=splits[0], validation_split=splits[1])
        weights = replace(tiny.losses, trace=0.0 if layout == "coco" else 1.0)
        for data in (source, prepared):
            output = tmp_path / f"run-{len(losses)}"
            assert run(replace(tiny, data=str(data), dataset=dataset, losses=weights), output) == 1
            losses.append(logged(output))
    coco, coco_shards, *narrated = losses
    assert coco == coco_shards
    assert all(each == narrated[0] for each in narrated)
    assert coco != narrated[0]
    assert "real_trace" in narrated[0][0]
