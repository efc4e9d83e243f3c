"""The page of a run: everything on it, nothing outside it, and nothing in a caption taken for HTML."""

import base64
import html
import io
import json
import re
import shutil
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image

from tiny import run, tiny_config
from xmcgan import Pipeline
from xmcgan.data.layouts import read_records
from xmcgan.pages.run import (
    evaluations_section,
    plot_curves,
    plot_evaluations,
    progress_row,
    read_log,
    trained_on,
    write_report,
)

TYPED = ["a red car left of the bus", '<script>alert("1")</script> & co', "", "🚗 一辆汽车"]


class Page(HTMLParser):
    """The tags of a page, with their attributes, and its text."""

    def __init__(self, text: str):
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def report_of(output: Path, scenes: Path, page: Path, *, images: int = 2) -> str:
    held_out = read_records(scenes, "coco", "val2014")[:3]
    pipe = Pipeline.from_pretrained(output, device="cpu")
    written = write_report(page, run=output, pipe=pipe, held_out=held_out, typed=TYPED, images_a_caption=images)
    assert written == page
    return page.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def text(trained, scenes, tmp_path_factory) -> str:
    return report_of(trained, scenes, tmp_path_factory.mktemp("page") / "deep/report.html")


def test_every_caption_is_on_the_page(text, scenes):
    held_out = [record.captions[0] for record in read_records(scenes, "coco", "val2014")[:3]]
    cells = re.findall(r'<td class="caption">(.*?)</td>', text)
    assert [html.unescape(cell) for cell in cells] == [*TYPED, *held_out]


def test_captions_are_text_and_never_html(text):
    assert "<script" not in text
    assert "&lt;script&gt;alert(&quot;1&quot;)&lt;/script&gt; &amp; co" in text
    assert not Page(text).all("script")


def test_every_word_has_its_map(text, trained):
    """Under each its word, which can be a < of a caption."""
    pipe = Pipeline.from_pretrained(trained, device="cpu")
    words = [word for row in pipe(TYPED).words for word in row[1:-1]]
    assert "<" in words
    captions = re.findall(r"<figcaption>(.*?)</figcaption>", text)
    assert captions.count("&nbsp;") == len(TYPED)  # the picture itself
    assert [each for each in captions if each != "&nbsp;" and not each.startswith("step ")] == [
        html.escape(word) for word in words
    ]


def test_nothing_is_outside_the_page(text):
    page = Page(text)
    assert not re.search(r"""(src|href)\s*=\s*["']?\s*(https?:)?//""", text)
    assert not re.search(r"url\(|@import|https?://", text)
    assert not page.all("link")
    assert not page.all("a")
    assert all(image["src"].startswith("data:image/png;base64,") for image in page.all("img"))


def test_every_image_can_be_read(text, trained, scenes):
    images = Page(text).all("img")
    pictures = [Image.open(io.BytesIO(base64.b64decode(image["src"].partition(",")[2]))) for image in images]
    for picture in pictures:
        picture.load()
    drawn, real = len(TYPED) * 2 + 3 * 2, 3
    words = sum(1 + len(row) - 2 for row in Pipeline.from_pretrained(trained, device="cpu")(TYPED).words)
    curves, grids = 1, 1
    assert len(pictures) == drawn + real + words + curves + grids
    assert all(image["alt"] for image in images)


def test_the_pictures_are_those_of_the_pipeline_beside_the_real_ones(text, trained, scenes):
    sources = [image["src"] for image in Page(text).all("img")]
    pixels = {
        Image.open(io.BytesIO(base64.b64decode(each.partition(",")[2]))).convert("RGB").tobytes() for each in sources
    }
    pipe = Pipeline.from_pretrained(trained, device="cpu")
    for record in read_records(scenes, "coco", "val2014")[:3]:
        with Image.open(record.image) as image:
            assert image.convert("RGB").tobytes() in pixels
        assert {image.tobytes() for image in pipe(record.captions[0], num_images=2).images} <= pixels


def test_a_page_is_replaced_and_leaves_nothing_beside_it(trained, scenes, tmp_path):
    (tmp_path / "report.html").write_text("an earlier one")
    assert "an earlier one" not in report_of(trained, scenes, tmp_path / "report.html", images=1)
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]


def test_plain_modulation_has_no_maps(scenes, encoder_folder, tmp_path):
    config = tiny_config(scenes, encoder_folder, steps=1)
    run(replace(config, generator=replace(config.generator, modulation="plain")), tmp_path / "run")
    text = report_of(tmp_path / "run", scenes, tmp_path / "report.html")
    assert 'class="row words"' not in text
    assert len(re.findall(r'<td class="caption">', text)) == len(TYPED) + 3


def test_page_states_step_and_data(text):
    assert "XMC-GAN, step 6" in text
    assert "trained on 24 images" in text


def test_a_run_without_a_log_is_named(trained, scenes, tmp_path):
    output = Path(shutil.copytree(trained, tmp_path / "run"))
    (output / "log.jsonl").unlink()
    with pytest.raises(FileNotFoundError, match=r"log\.jsonl is missing: this is not a training run"):
        report_of(output, scenes, tmp_path / "report.html")
    assert not (tmp_path / "report.html").exists()


def test_the_curves_are_those_of_the_log(trained):
    curves = read_log(trained / "log.jsonl")
    assert curves.steps == [1, 2, 3, 4, 5, 6]
    assert {"d_hinge", "real_word", "real_word_accuracy", "images_per_second"} <= set(curves.columns)
    figure = plot_curves(curves)
    lines = {line.get_label(): list(line.get_ydata()) for axis in figure.axes for line in axis.get_lines()}
    assert lines["d hinge"] == curves.columns["d_hinge"]
    assert "image encoder" not in lines  # which was off


def test_metrics_during_training_are_plotted(tmp_path):
    assert evaluations_section(tmp_path / "evaluations.jsonl") == []
    lines = [{"step": step, "time": 0.0, "fid": 100.0 / step, "contrastive-accuracy": step / 10} for step in (1, 2, 4)]
    path = tmp_path / "evaluations.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    fid, accuracy = sorted(plot_evaluations(read_log(path)).axes, key=lambda axis: axis.get_title() != "fid")
    assert fid.get_title() == "fid"
    assert list(fid.lines[0].get_xdata()) == [1, 2, 4]
    assert list(fid.lines[0].get_ydata()) == [100.0, 50.0, 25.0]
    assert list(accuracy.lines[0].get_ydata()) == [0.1, 0.2, 0.4]
    assert 'alt="metrics against the step"' in evaluations_section(path)[1]


@pytest.mark.parametrize(("count", "shown"), [(0, []), (1, [1]), (3, [1, 2, 3]), (10, [1, 4, 7, 10])])
def test_sample_grids_are_evenly_spaced(tmp_path, count, shown):
    for step in range(1, count + 1):
        Image.new("RGB", (4, 4)).save(tmp_path / f"step-{step:08d}.png")
    steps = [int(step) for step in re.findall(r"step (\d+)<", progress_row(tmp_path))]
    assert steps == shown


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"step": 2, "loss": "low"}', "loss is 'low'; it should be a number"),
        ('{"step": 2, "loss": null}', "loss is None; it should be a number"),
        ('{"step": 2, "loss": true}', "loss is True; it should be a number"),
        ('{"step": 2.5, "loss": 1}', "step is 2.5; it should be a number"),
        ('{"loss": 1.0}', "has no step"),
    ],
)
def test_a_damaged_line_of_the_log_is_named(tmp_path, line, message):
    path = tmp_path / "log.jsonl"
    path.write_text(f'{{"step": 1, "loss": 1}}\n{line}\n')
    with pytest.raises(ValueError, match=rf"log\.jsonl, line 2:? {message}"):
        read_log(path)


@pytest.mark.parametrize(
    ("data", "found"), [({"records": "24"}, "'24'"), ({}, "None"), ([24], "None"), ({"records": True}, "True")]
)
def test_a_configuration_without_a_number_of_images_is_named(tmp_path, data, found):
    (tmp_path / "config.json").write_text(json.dumps({"data": data}))
    with pytest.raises(ValueError, match=rf"config\.json is damaged: data\.records is {found}; it should be a number"):
        trained_on(tmp_path)


def test_a_damaged_grid_of_samples_is_named(tmp_path):
    (tmp_path / "step-00000005.png").write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"step-00000005\.png cannot be read as an image: "):
        progress_row(tmp_path)
