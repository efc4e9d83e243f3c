"""The stream of training examples: everything random about example n depends on the seed and n alone."""

from collections import Counter
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from xmcgan.data.images import ImageTransform, is_upright_jpeg, open_image, to_images
from xmcgan.data.layouts import read_records
from xmcgan.data.records import Record, Slice
from xmcgan.data.stream import ExampleStream, load_batches, noise

RECORDS = 24


@pytest.fixture
def records(scenes) -> list[Record]:
    return read_records(scenes, "coco", "train2014")


def stream_of(records, seed=0, flip=True, size=16) -> ExampleStream:
    return ExampleStream(records, ImageTransform(size), seed=seed, flip=flip)


def first_examples(records, count, *, batch_size=4, workers=0, start=0, **settings):
    """Pixels, captions and numbers of ``count`` examples as training gets them, in one list."""
    batches = load_batches(stream_of(records, **settings), start=start, batch_size=batch_size, workers=workers)
    taken = list(islice(batches, -(-count // batch_size)))
    rows = [row for batch in taken for row in zip(batch.pixels, batch.captions, batch.numbers, strict=True)]
    return rows[:count]


def assert_same(one, other):
    assert [row[1:] for row in one] == [row[1:] for row in other]
    assert all(torch.equal(left[0], right[0]) for left, right in zip(one, other, strict=True))


# ------------------------------------------------------------------------------------------------ the stream


@pytest.mark.parametrize(("batch_size", "workers"), [(1, 0), (7, 0), (5, 2)])
def test_examples_do_not_depend_on_workers_or_batch_size(records, batch_size, workers):
    count = 2 * RECORDS + 5
    reference = first_examples(records, count)
    assert_same(first_examples(records, count, batch_size=batch_size, workers=workers), reference)


@pytest.mark.parametrize(("start", "workers"), [(4, 0), (RECORDS, 0), (RECORDS + 7, 0), (6, 2)])
def test_stream_resumes_exactly(records, start, workers):
    reference = first_examples(records, start + 12)
    assert_same(first_examples(records, 12, start=start, workers=workers), reference[start:])


@pytest.mark.parametrize("workers", [0, 2])
def test_ranks_share_every_batch(records, workers):
    """Rank k of 3 has the k-th part of each; together they are the batches of one, so nothing is lost or read twice."""
    parts = [
        list(islice(load_batches(stream_of(records), start=6, batch_size=6, workers=workers, part=(rank, 3)), 5))
        for rank in range(3)
    ]
    whole = list(islice(load_batches(stream_of(records), start=6, batch_size=6, workers=0), 5))
    for number, batch in enumerate(whole):
        shared = [each[number] for each in parts]
        assert [len(each.numbers) for each in shared] == [2, 2, 2]
        assert [n for each in shared for n in each.numbers] == batch.numbers
        assert [caption for each in shared for caption in each.captions] == batch.captions
        assert torch.equal(torch.cat([each.pixels for each in shared]), batch.pixels)


def test_epoch_is_complete_when_the_number_of_ranks_changes(records):
    """Two batches by 4 ranks, then by 2, then by 1: each record once in 24 examples."""
    seen: list[bytes] = []
    for start, ranks, count in ((0, 4, 2), (8, 2, 2), (16, 1, 2)):
        for rank in range(ranks):
            stream = stream_of(records, flip=False, size=64)
            batches = load_batches(stream, start=start, batch_size=4, workers=0, part=(rank, ranks))
            seen += [pixels.numpy().tobytes() for batch in islice(batches, count) for pixels in batch.pixels]
    assert len(seen) == len(set(seen)) == RECORDS


def test_a_batch_without_equal_parts_is_refused(records):
    with pytest.raises(ValueError, match="a batch of 4 cannot be divided into 3 equal parts"):
        next(load_batches(stream_of(records), start=0, batch_size=4, workers=0, part=(0, 3)))


def test_examples_do_not_depend_on_access_order(records):
    stream, again = stream_of(records), stream_of(records)
    numbers = [70, 3, 30, 4, 29, 3]
    forward = {number: again[number] for number in sorted(set(numbers))}
    for number in numbers:
        example = stream[number]
        assert example.caption == forward[number].caption
        assert torch.equal(example.pixels, forward[number].pixels)


def test_numbers_are_consecutive(records):
    assert [number for _, _, number in first_examples(records, 50, start=3)] == list(range(3, 53))


def marked(tmp_path, count=11, captions=3) -> list[Record]:
    """Records whose every pixel is their number, left half darker by 100; and captions that say it too."""
    made = []
    for number in range(count):
        pixels = np.full((8, 8, 3), 100 + 10 * number, dtype=np.uint8)
        pixels[:, :4] -= 100
        Image.fromarray(pixels).save(tmp_path / f"{number}.png")
        made.append(Record(tmp_path / f"{number}.png", tuple(f"{number} {k}" for k in range(captions)), str(number)))
    return made


def record_of(pixels) -> int:
    return (int(pixels.max()) - 100) // 10


def test_every_record_once_an_epoch_in_a_new_order(tmp_path):
    records = marked(tmp_path)
    seen = [record_of(row[0]) for row in first_examples(records, 44, size=8)]
    epochs = [seen[start : start + 11] for start in range(0, 44, 11)]
    assert all(sorted(epoch) == list(range(11)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 4


def test_another_seed_another_order_other_captions_and_flips(tmp_path):
    records = marked(tmp_path)
    one, other = (first_examples(records, 33, size=8, seed=seed) for seed in (0, 1))
    assert [record_of(row[0]) for row in one] != [record_of(row[0]) for row in other]
    assert [row[1].split()[1] for row in one] != [row[1].split()[1] for row in other]
    assert [mirrored(row[0]) for row in one] != [mirrored(row[0]) for row in other]


def test_captions_are_the_images_own_and_all_of_them_are_used(tmp_path):
    records = marked(tmp_path)
    examples = first_examples(records, 11 * 20, size=8)
    assert all(int(caption.split()[0]) == record_of(pixels) for pixels, caption, _ in examples)
    assert {caption for _, caption, _ in examples} == {caption for record in records for caption in record.captions}
    shares = Counter(caption.split()[1] for _, caption, _ in examples)
    assert min(shares.values()) > 50  # of 220, where chance gives 73 each


def mirrored(pixels) -> bool:
    return bool(pixels[0, 0, 0] > pixels[0, 0, -1])


def test_half_of_the_pictures_are_mirrored(tmp_path):
    flips = [mirrored(row[0]) for row in first_examples(marked(tmp_path), 400, size=8)]
    assert 160 < sum(flips) < 240
    assert len({tuple(flips[start : start + 11]) for start in range(0, 396, 11)}) > 30  # and not always the same


def test_no_image_is_mirrored_without_flip(tmp_path):
    records = marked(tmp_path)
    plain = first_examples(records, 100, size=8, flip=False)
    assert not any(mirrored(row[0]) for row in plain)
    # Order and captions are drawn apart from the flips.
    assert [row[1:] for row in plain] == [row[1:] for row in first_examples(records, 100, size=8)]


def test_an_empty_data_set_is_refused():
    with pytest.raises(ValueError, match="no records"):
        stream_of([])


# ------------------------------------------------------------------------------------------------- the noise


def test_noise_is_a_function_of_seed_and_number():
    together = noise(3, [5, 6, 1000], 8)
    assert together.shape == (3, 8)
    assert together.dtype == torch.float32
    assert torch.equal(noise(3, [1000], 8)[0], together[2])
    assert not torch.equal(noise(4, [5], 8)[0], together[0])
    assert len({tuple(row.tolist()) for row in together}) == 3


def test_noise_is_standard_normal():
    values = noise(0, range(2000), 8)
    assert abs(values.mean()) < 0.03
    assert abs(values.std() - 1) < 0.03


# ------------------------------------------------------------------------------------------------- the image


def test_images_are_in_minus_one_to_one():
    assert to_images(torch.tensor([0, 255], dtype=torch.uint8)).tolist() == [-1.0, 1.0]
    assert to_images(torch.tensor([127, 128], dtype=torch.uint8)).sum().abs() < 1e-6


@pytest.fixture
def banded(tmp_path) -> Path:
    """48 x 16: a red, a green and a blue square side by side."""
    pixels = np.zeros((16, 48, 3), dtype=np.uint8)
    for band in range(3):
        pixels[:, 16 * band : 16 * (band + 1), band] = 255
    Image.fromarray(pixels).save(tmp_path / "banded.png")
    return tmp_path / "banded.png"


def pictured(image: Path | Slice | bytes) -> Record:
    """A record of that image."""
    return Record(image, ("a picture",), "7")


def test_an_image_can_be_a_file_a_part_of_one_or_its_content(banded):
    content = banded.read_bytes()
    archive = banded.with_name("archive")
    archive.write_bytes(b"before" + content + b"after")
    whole = ImageTransform(12)(pictured(banded))
    assert torch.equal(ImageTransform(12)(pictured(content)), whole)
    assert torch.equal(ImageTransform(12)(pictured(Slice(archive, 6, len(content)))), whole)


def test_a_damaged_part_or_content_is_named(banded):
    # To the last letter: what Pillow says of it has an address in memory, and a report should be the same each time.
    with pytest.raises(
        ValueError, match=r"^the image of record 7 cannot be read as an image: Pillow does not know its format$"
    ):
        ImageTransform(12)(pictured(b"no image"))
    with pytest.raises(ValueError, match=r"banded\.png, bytes 4 to 24, cannot be read as an image"):
        ImageTransform(12)(pictured(Slice(banded, 4, 20)))


def test_squash_keeps_all_of_the_picture(banded):
    pixels = ImageTransform(12, "squash")(pictured(banded))
    assert pixels.shape == (3, 12, 12)
    assert pixels.dtype == torch.uint8
    assert [int(pixels[:, 6, column].argmax()) for column in (1, 5, 10)] == [0, 1, 2]


def test_crop_keeps_the_middle_square(banded):
    pixels = ImageTransform(16, "crop")(pictured(banded))
    green = torch.tensor([0, 255, 0], dtype=torch.uint8)
    assert torch.equal(pixels, green[:, None, None].expand(3, 16, 16))


def test_crop_is_the_middle_of_the_resized_picture(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (16, 48, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "wide.png")
    resized = Image.fromarray(pixels).resize((36, 12), Image.Resampling.BICUBIC)
    middle = torch.from_numpy(np.array(resized)[:, 12:24]).permute(2, 0, 1)
    assert torch.equal(ImageTransform(12, "crop")(pictured(tmp_path / "wide.png")), middle)


def test_crop_of_an_upright_picture_keeps_its_middle(banded):
    Image.open(banded).rotate(90, expand=True).save(banded)
    pixels = ImageTransform(16, "crop")(pictured(banded))
    assert (pixels[1] == 255).all()
    assert (pixels[0] == 0).all()


def test_image_of_the_right_size_is_unchanged(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "same.png")
    assert torch.equal(ImageTransform(16)(pictured(tmp_path / "same.png")), torch.from_numpy(pixels).permute(2, 0, 1))


@pytest.mark.parametrize("fit", ["squash", "crop"])
def test_a_checkerboard_becomes_grey(tmp_path, fit):
    board = (np.indices((64, 64)).sum(0) % 2 * 255).astype(np.uint8)
    Image.fromarray(board).save(tmp_path / "board.png")
    pixels = ImageTransform(16, fit)(pictured(tmp_path / "board.png")).float()
    # The border sees an odd cut of the board; without antialiasing every pixel would be 0 or 255.
    assert (pixels[:, 1:-1, 1:-1] - 127.5).abs().max() < 3


@pytest.mark.parametrize(
    ("mode", "colour", "suffix", "expected"),
    [
        ("L", 200, "jpg", (200, 200, 200)),
        ("1", 1, "png", (255, 255, 255)),
        ("LA", (90, 255), "png", (90, 90, 90)),
        ("LA", (90, 128), "png", (172, 172, 172)),  # half of it white: what is transparent lies on a page
        ("RGBA", (10, 200, 30, 128), "png", (132, 227, 142)),
        ("RGBA", (10, 200, 30, 0), "png", (255, 255, 255)),
        ("I;16", 200 * 257, "png", (200, 200, 200)),
        ("CMYK", (0, 255, 255, 0), "jpg", (255, 0, 0)),
        ("P", (10, 200, 30), "png", (10, 200, 30)),
    ],
)
def test_files_of_any_mode_become_rgb(tmp_path, mode, colour, suffix, expected):
    path = tmp_path / f"picture.{suffix}"
    if mode == "P":
        Image.new("RGB", (20, 20), colour).quantize(4).save(path)
    else:
        Image.new(mode, (20, 20), colour).save(path)
    with Image.open(path) as written:
        assert written.mode == mode
    pixels = ImageTransform(8)(pictured(path))
    assert pixels.shape == (3, 8, 8)
    assert (pixels.flatten(1).T.float() - torch.tensor(expected)).abs().max() <= 3


def test_sixteen_bits_of_grey_become_eight(tmp_path):
    """All levels, as in a measured or a medical picture: Pillow's own conversion leaves 255 of 256 of them white."""
    levels = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    Image.fromarray(levels).save(tmp_path / "levels.png")
    pixels = ImageTransform(256)(pictured(tmp_path / "levels.png"))
    assert torch.equal(pixels[0], torch.from_numpy(np.round(levels / 65535 * 255).astype(np.uint8)))
    assert torch.equal(pixels[0], pixels[2])


@pytest.mark.parametrize(("kind", "said"), [(np.float32, "floating-point"), (np.int32, "range from 0 to 70000")])
def test_pixels_of_unknown_range_are_refused(tmp_path, kind, said):
    Image.fromarray(np.array([[0, 70000]], dtype=kind)).save(tmp_path / "numbers.tiff")
    with pytest.raises(ValueError, match=rf"numbers\.tiff cannot be read as an image: its pixels .*{said}"):
        ImageTransform(8)(pictured(tmp_path / "numbers.tiff"))


def test_a_transparent_colour_of_a_palette_is_white(tmp_path):
    palette = Image.new("P", (4, 4), 1)
    palette.putpalette([255, 0, 0, 0, 0, 255])
    palette.paste(0, (0, 0, 2, 4))
    palette.save(tmp_path / "palette.png", transparency=0)
    pixels = ImageTransform(4)(pictured(tmp_path / "palette.png"))
    assert pixels[:, 0, 0].tolist() == [255, 255, 255]
    assert pixels[:, 0, 3].tolist() == [0, 0, 255]


def turned(path: Path, orientation: int, size: tuple[int, int] = (24, 16)) -> Path:
    """A picture as a camera writes it, with its corners red, green, blue and black, and the orientation it was held."""
    image = Image.new("RGB", size, "white")
    (width, height), (w, h) = size, (size[0] // 2, size[1] // 2)
    for corner, colour in (((0, 0), "red"), ((w, 0), "lime"), ((0, h), "blue"), ((w, h), "black")):
        image.paste(colour, (*corner, min(corner[0] + w, width), min(corner[1] + h, height)))
    exif = Image.Exif()
    exif[0x0112] = orientation
    image.save(path, exif=exif, **({"quality": 95, "subsampling": 0} if path.suffix == ".jpg" else {}))
    return path


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tiff"])
@pytest.mark.parametrize(
    ("orientation", "corners"),  # upper left and right, lower left and right; as the EXIF standard shows an F
    [
        (1, "red lime blue black"),
        (2, "lime red black blue"),
        (3, "black blue lime red"),
        (4, "blue black red lime"),
        (5, "red blue lime black"),
        (6, "blue red black lime"),
        (7, "black lime blue red"),
        (8, "lime black red blue"),
    ],
)
def test_a_photograph_is_upright(tmp_path, suffix, orientation, corners):
    image = open_image(pictured(turned(tmp_path / f"photo.{suffix}", orientation)))
    width, height = image.size
    assert (width, height) == ((24, 16) if orientation < 5 else (16, 24))
    colours = {"red": (255, 0, 0), "lime": (0, 255, 0), "blue": (0, 0, 255), "black": (0, 0, 0)}
    places = [(x, y) for y in (4, height - 5) for x in (4, width - 5)]
    for place, colour in zip(places, corners.split(), strict=True):
        assert max(abs(a - b) for a, b in zip(image.getpixel(place), colours[colour], strict=True)) < 40, (
            place,
            colour,
        )


@pytest.mark.parametrize("damage", [b"Exif\0\0nonsense", b"Exif\0\0MM\0*\0\0\0\xff" + b"\xff" * 30, b"Exif\0\0"])
def test_damaged_exif_data_are_none(tmp_path, damage):
    Image.new("RGB", (24, 16), "red").save(tmp_path / "photo.jpg", exif=damage)
    assert open_image(pictured(tmp_path / "photo.jpg")).size == (24, 16)


def test_only_an_upright_rgb_jpeg_is_kept(tmp_path):
    assert is_upright_jpeg(turned(tmp_path / "upright.jpg", 1).read_bytes())
    assert not is_upright_jpeg(turned(tmp_path / "turned.jpg", 6).read_bytes())
    assert not is_upright_jpeg(turned(tmp_path / "upright.png", 1).read_bytes())
    Image.new("L", (8, 8)).save(tmp_path / "grey.jpg")
    assert not is_upright_jpeg((tmp_path / "grey.jpg").read_bytes())


@pytest.mark.parametrize("suffix", ["jpg", "png", "gif", "webp", "bmp", "tiff"])
def test_a_file_cut_short_is_named(tmp_path, suffix):
    whole, path = tmp_path / f"whole.{suffix}", tmp_path / f"cut.{suffix}"
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(whole)
    content = whole.read_bytes()
    for share in (0.0, 0.02, 0.2, 0.5, 0.8):
        path.write_bytes(content[: int(share * len(content))])
        with pytest.raises(ValueError, match=rf"cut\.{suffix} cannot be read as an image"):
            ImageTransform(8)(pictured(path))


@pytest.mark.parametrize("content", [b"", b"no image at all", b"\xff\xd8\xff\xe0" + b"\x00" * 50, b"\x89PNG\r\n\x1a\n"])
def test_a_file_that_is_no_image_is_named(tmp_path, content):
    (tmp_path / "words.jpg").write_bytes(content)
    with pytest.raises(ValueError, match=r"words\.jpg cannot be read as an image"):
        ImageTransform(8)(pictured(tmp_path / "words.jpg"))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"gone\.jpg cannot be read as an image"):
        ImageTransform(8)(pictured(tmp_path / "gone.jpg"))


def test_damaged_image_in_a_worker_is_named(tmp_path):
    records = marked(tmp_path, count=2)
    records[1].image.write_bytes(b"damaged")
    with pytest.raises(ValueError, match=r"1\.png cannot be read as an image"):
        first_examples(records, 8, workers=1)


def test_an_unknown_fit_names_its_field():
    with pytest.raises(ValueError, match=r"^fit is 'stretch'; it can be squash, crop"):
        ImageTransform(8, "stretch")
