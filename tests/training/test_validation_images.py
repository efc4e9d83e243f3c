"""Images of an interrupted evaluation are kept only if the same weights drew them."""

from xmcgan.runtime.files import write_json
from xmcgan.training.validation import drop_other_images

DRAWN_BY = {"step": 2, "noise": "n", "generator_sha256": "a" * 64, "text_encoder_sha256": "b" * 64}


def left(folder, settings):
    (folder / "images").mkdir(parents=True)
    (folder / "images/0.png").write_bytes(b"an image")
    if isinstance(settings, str):
        (folder / "settings.json").write_text(settings)
    else:
        write_json(folder / "settings.json", settings)
    return folder


def test_images_of_the_same_weights_stay(tmp_path):
    folder = left(tmp_path / "step", DRAWN_BY)
    drop_other_images(folder, DRAWN_BY)
    assert (folder / "images/0.png").read_bytes() == b"an image"
    drop_other_images(tmp_path / "none", DRAWN_BY)  # the usual case
    assert not (tmp_path / "none").exists()


def test_images_of_other_weights_or_unknown_ones_go(tmp_path):
    others = [DRAWN_BY | {"generator_sha256": "c" * 64}, {"step": 2, "noise": "n"}, "[]", "{"]
    for number, settings in enumerate(others):
        folder = left(tmp_path / f"step-{number}", settings)
        drop_other_images(folder, DRAWN_BY)
        assert not folder.exists()
