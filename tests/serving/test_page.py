"""The page in a real browser: typed, pressed, touched, shared by a link, and read by axe."""

import io
from pathlib import Path

import pytest
from PIL import Image

from servers import running, served
from xmcgan import Pipeline
from xmcgan.serving.encoding import read_settings

pytest.importorskip("playwright")
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect, sync_playwright

from browsers import STILL, chromium, launch

CAPTION = "a red zebra left of a stop sign under a night sky"

pytestmark = pytest.mark.skipif(chromium() is None, reason="there is no Chromium")


@pytest.fixture(scope="module")
def pipe() -> Pipeline:
    pipe = Pipeline.from_pretrained("scenes-64", device="cpu")
    pipe.batch_size = 4  # as many as the page asks for
    return pipe


@pytest.fixture(scope="module")
def url(tiny_model, pipe):
    with running({"scenes-64": served("scenes-64", pipe), "tiny": tiny_model}) as address:
        yield address


@pytest.fixture(scope="module")
def browser():
    with sync_playwright() as playwright:
        browser = launch(playwright)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def tab(browser):
    """One tab for all tests: to open another takes longer than most of them, and the page keeps nothing in it."""
    return browser.new_context(color_scheme="light", **STILL).new_page()


@pytest.fixture
def page(tab, url):
    """The page when it has drawn its first example; whatever it writes on the console as an error fails the test."""
    errors: list[str] = []
    listeners = {
        "pageerror": lambda error: errors.append(str(error)),
        "console": lambda message: errors.append(message.text) if message.type == "error" else None,
    }
    for event, listener in listeners.items():
        tab.on(event, listener)
    tab.goto(url)
    drawn(tab)
    yield tab
    for event, listener in listeners.items():
        tab.remove_listener(event, listener)
    assert [each for each in errors if "status of 400" not in each] == []


def drawn(page: Page) -> None:
    """Waits until everything that was asked for has come."""
    page.wait_for_selector("#results[aria-busy=false]", timeout=20_000)
    expect(page.locator("#error")).to_be_hidden()


def saved(page: Page, link: str = "#save") -> bytes:
    """The file that a link saves."""
    with page.expect_download() as download:
        page.locator(link).click()
    return Path(download.value.path()).read_bytes()


def violations(page: Page) -> list[str]:
    return [f"{each['id']}: {each['nodes'][0]['html']}" for each in Axe().run(page).response["violations"]]


def test_a_caption_is_typed_a_word_touched_and_the_link_shared(page, browser, pipe):
    page.locator("#caption").fill(CAPTION)
    page.locator("#seed").fill("7")
    page.keyboard.press("Enter")
    expect(page.locator("#status")).to_have_text("4 images, seeds 7 to 10, scenes-64", timeout=20_000)
    expect(page.locator("#caption-underlines .unknown")).to_have_text("zebra")
    expect(page.locator("#caption-note")).to_contain_text("zebra")
    page.locator("#grids button").nth(1).click()
    page.get_by_role("button", name="sign", exact=True).click()
    expect(page.locator("#light")).to_have_css("opacity", "1")
    expect(page.locator("#detail-status")).to_contain_text("where “sign” acted most")
    shade = "document.getElementById('light').getContext('2d').getImageData(0, 0, 16, 16).data[4 * 7 + 3]"
    assert page.evaluate(shade) > 100  # the top of the image, where the sign is not, is dark
    content = saved(page)
    settings = read_settings(content)
    assert (settings["prompt"], settings["seed"], settings["model"]) == (CAPTION, 8, "scenes-64")
    (image,) = pipe(CAPTION, seed=8).images
    assert Image.open(io.BytesIO(content)).tobytes() == image.tobytes()

    other = browser.new_context(color_scheme="dark", viewport={"width": 390, "height": 800}, **STILL)  # a phone
    second = other.new_page()
    second.goto(page.url)
    drawn(second)
    expect(second.locator("#words button[aria-pressed=true]")).to_have_text("sign")
    expect(second.locator("#grids button[aria-pressed=true]")).to_have_attribute("aria-label", "Seed 8")
    assert saved(second) == content
    assert violations(second) == []
    assert second.evaluate("document.documentElement.scrollWidth") <= 390
    other.close()


def test_the_image_is_touched_and_moved_over_by_keys(page):
    page.locator("#frame").click(position={"x": 30, "y": 30})
    expect(page.locator("#ring")).to_be_visible()
    expect(page.locator("#detail-status")).to_contain_text("Here: ")
    first = page.locator("#detail-status").inner_text()
    page.locator("#frame").focus()
    for _ in range(12):
        page.keyboard.press("ArrowDown")
    assert page.locator("#detail-status").inner_text() != first
    shares = page.locator("#words button").evaluate_all("all => all.map(b => +b.style.getPropertyValue('--share'))")
    assert max(shares) == 1
    assert violations(page) == []


def test_history_undo_and_examples(page):
    first = page.url
    page.locator("#examples button").nth(1).click()
    drawn(page)
    expect(page.locator("#entries li")).to_have_count(2)
    second, caption = page.url, page.locator("#caption").input_value()
    assert first != second
    page.locator("#undo").click()
    expect(page).to_have_url(first)
    assert page.locator("#caption").input_value() != caption
    expect(page.locator("#undo")).to_be_disabled()
    page.keyboard.press("Control+Shift+Z")
    expect(page).to_have_url(second)
    page.locator("#next").click()
    expect(page.locator("#status")).to_contain_text("seeds 4 to 7", timeout=20_000)
    page.locator("#entries button").first.click()
    expect(page).to_have_url(first)


@pytest.mark.slow
def test_an_interpolation_and_its_strip(page):
    page.get_by_text("Interpolation").click()
    page.locator("#second").fill("a blue boat on the sea")
    page.locator("#second-seed").fill("5")
    page.locator("#steps").fill("4")
    page.locator("#draw").click()
    expect(page.locator("#strip-row img")).to_have_count(4, timeout=20_000)
    page.locator("#slide").focus()
    page.keyboard.press("ArrowRight")
    expect(page.locator("#slide-value")).to_have_text("33 %")
    strip = saved(page, "#strip-save")
    assert Image.open(io.BytesIO(strip)).size == (4 * 66 - 2, 64)
    assert read_settings(strip)["second_prompt"] == "a blue boat on the sea"
    assert violations(page) == []
    other = page.context.new_page()
    other.goto(page.url)
    expect(other.locator("#slide-value")).to_have_text("33 %", timeout=20_000)
    assert saved(other, "#strip-save") == strip
    assert saved(other, "#step-save") == saved(page, "#step-save")
    other.close()


def test_two_models_side_by_side_and_an_error(page):
    page.locator("#compare").select_option("tiny")
    page.locator("#count-field").get_by_text("1", exact=True).click()
    page.locator("#draw").click()
    expect(page.locator("#status")).to_have_text("Seed 0, scenes-64 and tiny", timeout=20_000)
    assert page.locator("#grids h2").all_inner_texts() == ["scenes-64", "tiny"]
    one = saved(page)
    page.locator("#grids button").nth(1).click()
    other = saved(page)
    assert [read_settings(content)["model"] for content in (one, other)] == ["scenes-64", "tiny"]
    page.evaluate("document.getElementById('caption').value = 'a\\0b'")
    with page.expect_response("**/generations"):
        page.locator("#draw").click()
    expect(page.locator("#error")).to_contain_text("NUL")
    expect(page.locator("#caption")).to_be_focused()
    assert violations(page) == []
