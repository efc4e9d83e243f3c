"""Sets of drawn images: which captions are asked for, drawing that goes on, and finding other systems' images."""

import json

import pytest
import torch
from PIL import Image

from xmcgan.data.images import ImageTransform
from xmcgan.data.records import Record
from xmcgan.evaluation.image_set import Request, find_images, generate_set, random_captions

RECORDS = [Record(b"", tuple(f"caption {k} of {name}" for k in range(3)), name) for name in ("a", "b", "c", "d")]
SETTINGS = {"model": "runs/first", "step": 100}


def one_colour(captions, seeds):
    """A "generator" whose picture says which seed was asked for."""
    return torch.stack([torch.full((3, 8, 8), seed, dtype=torch.uint8) for seed in seeds])


def test_every_image_is_used_before_one_is_repeated():
    requests = random_captions(RECORDS, 10, seed=1)
    assert sorted(request.image_id for request in requests[:4]) == ["a", "b", "c", "d"]
    assert sorted(request.image_id for request in requests[4:8]) == ["a", "b", "c", "d"]
    assert len({request.id for request in requests}) == 10
    assert [request.seed for request in requests] == list(range(1, 11))
    by_id = {record.id: record for record in RECORDS}
    for request in requests:
        image_id, _, number = request.id.rpartition("-")
        assert by_id[image_id].captions[int(number)] == request.caption


def test_choice_depends_only_on_the_seed():
    assert random_captions(RECORDS, 4, seed=5) == random_captions(RECORDS, 9, seed=5)[:4]
    assert random_captions(RECORDS, 4, seed=5) != random_captions(RECORDS, 4, seed=6)


@pytest.mark.parametrize("count", [0, 13])
def test_count_is_checked(count):
    with pytest.raises(ValueError, match="1 to 12"):
        random_captions(RECORDS, count)


def test_interrupted_generation_resumes(tmp_path):
    requests = random_captions(RECORDS, 9)
    drawn = []

    def draw(captions, seeds):
        if len(drawn) == 4:
            raise KeyboardInterrupt
        drawn.extend(seeds)
        return one_colour(captions, seeds)

    with pytest.raises(KeyboardInterrupt):
        generate_set(tmp_path / "set", requests, draw, settings=SETTINGS, batch_size=4)

    def rest(captions, seeds):
        drawn.extend(seeds)
        return one_colour(captions, seeds)

    images = generate_set(tmp_path / "set", requests, rest, settings=SETTINGS, batch_size=4)
    assert drawn == list(range(9))
    transform = ImageTransform(8)
    assert [int(transform(image)[0, 0, 0]) for image in images] == list(range(9))
    assert not list(tmp_path.rglob(".partial*"))
    assert find_images(tmp_path / "set", requests) == images


def test_other_settings_or_captions_are_rejected(tmp_path):
    requests = random_captions(RECORDS, 4)
    generate_set(tmp_path / "set", requests, one_colour, settings=SETTINGS)
    with pytest.raises(ValueError, match="step was 100 and is 200"):
        generate_set(tmp_path / "set", requests, one_colour, settings=SETTINGS | {"step": 200})
    with pytest.raises(ValueError, match="other captions or seeds"):
        generate_set(tmp_path / "set", requests[:3], one_colour, settings=SETTINGS)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "note.txt").write_text("keep me")
    with pytest.raises(ValueError, match="neither empty nor"):
        generate_set(tmp_path / "mine", requests, one_colour, settings=SETTINGS)
    assert (tmp_path / "mine" / "note.txt").read_text() == "keep me"


def test_images_of_other_systems_are_matched_by_id(tmp_path):
    requests = random_captions(RECORDS, 3)
    for number, request in enumerate(reversed(requests)):
        Image.new("RGB", (8, 8), (number, 0, 0)).save(tmp_path / f"{request.id}.png")
    Image.new("RGB", (8, 8)).save(tmp_path / "another.png")
    images = find_images(tmp_path, requests)
    assert [int(ImageTransform(8)(image)[0, 0, 0]) for image in images] == [2, 1, 0]
    assert [image.id for image in images] == [request.id for request in requests]


def test_missing_images_are_reported(tmp_path):
    requests = [Request("7-0", "7", "a bus", 0), Request("8-0", "8", "a car", 1)]
    Image.new("RGB", (8, 8)).save(tmp_path / "7-0.png")
    with pytest.raises(FileNotFoundError, match=r"lacks 1 of 2 images; the first is 8-0\.png"):
        find_images(tmp_path, requests)


def test_damaged_requests_line_is_named(tmp_path):
    requests = random_captions(RECORDS, 2)
    generate_set(tmp_path / "set", requests, one_colour, settings=SETTINGS)
    lines = (tmp_path / "set" / "requests.jsonl").read_text().splitlines()
    (tmp_path / "set" / "requests.jsonl").write_text(lines[0] + "\n" + json.dumps({"id": 3}) + "\n")
    with pytest.raises(ValueError, match="line 2"):
        find_images(tmp_path / "set", requests)


@pytest.mark.parametrize("outside", ["absolute", "above", "a link"])
def test_a_file_outside_the_folder_is_never_read(tmp_path, outside):
    """A folder of somebody else's images must not give access to the rest of the disk."""
    requests, folder = random_captions(RECORDS, 2), tmp_path / "set"
    generate_set(folder, requests, one_colour, settings=SETTINGS)
    secret = tmp_path / "secret.png"
    Image.new("RGB", (8, 8)).save(secret)
    lines = [json.loads(line) for line in (folder / "requests.jsonl").read_text().splitlines()]
    lines[1]["file"] = {"absolute": str(secret), "above": "../secret.png", "a link": "images/link.png"}[outside]
    if outside == "a link":
        (folder / "images/link.png").symlink_to(secret)
    (folder / "requests.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    with pytest.raises(ValueError, match=r"leads out of .*set; the images should be files inside it"):
        find_images(folder, requests)


def test_a_link_among_plain_files_may_not_lead_out_either(tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "secret.png")
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "7-0.png").symlink_to(tmp_path / "secret.png")
    with pytest.raises(ValueError, match="leads out of"):
        find_images(tmp_path / "theirs", [Request("7-0", "7", "a bus", 0)])


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere is not a folder; it should hold an image for each caption"):
        find_images(tmp_path / "nowhere", [Request("7-0", "7", "a bus", 0)])


@pytest.mark.parametrize("content", ["[]", "7", "not JSON", "[" * 100_000])
def test_damaged_settings_are_named(tmp_path, content):
    requests = random_captions(RECORDS, 2)
    generate_set(tmp_path / "set", requests, one_colour, settings=SETTINGS)
    (tmp_path / "set" / "settings.json").write_text(content)
    with pytest.raises(ValueError, match=r"settings\.json is (damaged|not JSON)"):
        generate_set(tmp_path / "set", requests, one_colour, settings=SETTINGS)


def test_two_processes_do_not_draw_one_set(tmp_path):
    requests = random_captions(RECORDS, 2)

    def draw(captions, seeds):
        with pytest.raises(FileExistsError, match=r"set is being drawn into by process \d+"):
            generate_set(tmp_path / "set", requests, one_colour, settings=SETTINGS)
        return one_colour(captions, seeds)

    assert len(generate_set(tmp_path / "set", requests, draw, settings=SETTINGS)) == 2
    assert not list(tmp_path.rglob(".lock"))


def test_a_set_that_was_killed_before_it_began_may_begin(tmp_path):
    requests = random_captions(RECORDS, 2)
    (tmp_path / "set").mkdir()
    for name in (".lock", "requests.jsonl", ".partial-settings.json"):
        (tmp_path / "set" / name).write_text("half")
    assert len(generate_set(tmp_path / "set", requests, one_colour, settings=SETTINGS)) == 2


def test_a_caption_may_hold_what_other_programs_take_for_the_end_of_a_line(tmp_path):
    requests = [Request("7-0", "7", "a bus\u2028and a car\x85", 0)]
    images = generate_set(tmp_path / "set", requests, one_colour, settings=SETTINGS)
    assert find_images(tmp_path / "set", requests) == images
