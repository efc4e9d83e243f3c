"""Pictures as files hold them: fit, mode, orientation, damage."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from xmcgan.data.images import ImageTransform, image_size, is_upright_jpeg, open_image
from xmcgan.data.records import Record, Slice


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
    with pytest.raises(ValueError, match=r"banded\.png \(bytes 4 to 24\) cannot be read as an image"):
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


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp"])
@pytest.mark.parametrize("damage", [b"Exif\0\0nonsense", b"Exif\0\0MM\0*\0\0\0\xff" + b"\xff" * 30, b"Exif\0\0"])
def test_damaged_exif_data_are_none(tmp_path, damage, suffix):
    Image.new("RGB", (24, 16), "red").save(tmp_path / f"photo.{suffix}", exif=damage)
    assert open_image(pictured(tmp_path / f"photo.{suffix}")).size == (24, 16)
    assert image_size(tmp_path / f"photo.{suffix}") == (24, 16)


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


def test_an_unknown_fit_names_its_field():
    with pytest.raises(ValueError, match=r"^fit is 'stretch'; it can be squash, crop"):
        ImageTransform(8, "stretch")


def test_an_image_of_too_many_pixels_is_refused_before_it_is_decoded(tmp_path, monkeypatch):
    Image.new("RGB", (24, 16)).save(tmp_path / "bomb.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)  # twice as many are an error
    said = r"cannot be read as an image: Image size \(384 pixels\) exceeds limit"
    with pytest.raises(ValueError, match=rf"bomb\.png {said}"):
        open_image(pictured(tmp_path / "bomb.png"))
    with pytest.raises(ValueError, match=f"^{said}"):
        image_size(tmp_path / "bomb.png")
