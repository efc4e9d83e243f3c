"""The page of a trained model: samples, figures beside real images', attention maps, nothing from outside."""

import pytest

from xmcgan import Pipeline
from xmcgan.data.layouts import read_records
from xmcgan.pages.model import figures_table, write_model_page


@pytest.fixture(scope="module")
def page(scenes, trained, tmp_path_factory) -> str:
    path = tmp_path_factory.mktemp("pages") / "new" / "page.html"
    pipe = Pipeline.from_pretrained(trained, device="cpu")
    written = write_model_page(
        path,
        name="<mine>",
        pipe=pipe,
        held_out=read_records(scenes, "coco", "val2014")[:2],
        typed=["a red car", "a <b>bus</b>"],
        figures={"fid": (0.25, None), "r-precision": (0.5, 0.9)},
        evaluated=300,
        images_a_caption=3,
    )
    return written.read_text()


def test_it_shows_every_sample_and_every_map(page):
    assert page.count('alt="seed ') == 4 * 3
    assert page.count('alt="real image"') == 2
    assert "<h2>Attention to each word</h2>" in page
    assert "Figures of 300 held-out captions" in page
    assert "6 steps of 4 images" in page


def test_it_is_whole_and_escaped(page):
    assert "http" not in page
    assert "<b>" not in page
    assert "&lt;mine&gt;" in page
    assert page.startswith("<!doctype html>")


def test_a_figure_that_is_not_there_is_left_out():
    table = figures_table({"fid": (0.25, None), "soa-c": (0.5, 1.0)})
    assert "<tr><td>fid</td><td>0.250</td><td></td></tr>" in table
    assert "<tr><td>soa-c</td><td>0.500</td><td>1.000</td></tr>" in table
