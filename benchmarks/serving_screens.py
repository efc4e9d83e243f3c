"""Screenshots of the page of `xmcgan serve` for the docs: a word, an interpolation, two models, a phone.

python benchmarks/serving_screens.py docs/images --other runs/owls --caption "a white owl on the grass"
"""

import argparse
import sys
from pathlib import Path
from urllib.parse import urlencode

from playwright.sync_api import Browser, Page, expect, sync_playwright

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "support"))

from browsers import launch
from servers import running, served
from study_browser import shoot
from xmcgan import Pipeline

DESKTOP, PHONE = {"width": 1120, "height": 900}, {"width": 390, "height": 800}
CAPTION = "a red car left of a stop sign under a night sky"


def opened(browser: Browser, url: str, colours: str, viewport: dict[str, int], **settings: str | int) -> Page:
    """The page with a link's settings, when all its images have come."""
    page = browser.new_page(color_scheme=colours, viewport=viewport)
    page.set_default_timeout(60_000)
    page.goto(f"{url}/#{urlencode(settings)}")
    expect(page.locator("#results")).to_have_attribute("aria-busy", "false", timeout=60_000)
    page.wait_for_timeout(500)  # images fade in
    return page


def touched(page: Page, word: str) -> None:
    page.get_by_role("button", name=word, exact=True).click()
    page.wait_for_timeout(300)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path)
    parser.add_argument("--other", required=True, help="a second model, to compare with")
    parser.add_argument("--caption", required=True, help="what the two models draw")
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    models = {"scenes-64": "scenes-64", Path(options.other).name: options.other}
    pipes = {name: served(name, Pipeline.from_pretrained(source, device="cpu")) for name, source in models.items()}
    with running(pipes) as url, sync_playwright() as playwright:
        browser = launch(playwright)

        page = opened(browser, url, "light", DESKTOP, caption=CAPTION, image=0)
        touched(page, "car")
        shoot(page, options.output / "serving-light.png", full_page=True)
        other = Path(options.other).name
        page = opened(browser, url, "light", DESKTOP, caption=options.caption, compare=other)
        shoot(page, options.output / "serving-compare.png", full_page=True)
        between = {"caption": "a red car on a city street", "second": "two umbrellas on a beach at sunset"}
        page = opened(browser, url, "dark", DESKTOP, mode="strip", seed=1, second_seed=2, step=4, **between)
        shoot(page, options.output / "serving-dark.png", full_page=True)
        page = opened(browser, url, "light", PHONE, caption="a yellow bus on a snowy street", image=0)
        touched(page, "bus")
        shoot(page, options.output / "serving-phone.png", full_page=True)
        browser.close()


if __name__ == "__main__":
    main()
