"""Screenshots of a results page for the docs: light, dark, and on a phone, with its Figure 3.

python examples/simulated_study.py out/answers.json
xmcgan study results out/answers.json --output out/results
python benchmarks/study_results_screens.py out/results docs/images
"""

import argparse
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "support"))

from browsers import launch
from study_browser import shoot

SCREENS = (("light", "light", (1180, 1330)), ("dark", "dark", (1180, 1330)), ("phone", "light", (390, 1400)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path, help="folder that `xmcgan study results` wrote")
    parser.add_argument("output", type=Path)
    options = parser.parse_args()
    with sync_playwright() as playwright:
        browser = launch(playwright)
        for name, colours, (width, height) in SCREENS:
            page = browser.new_page(color_scheme=colours, viewport={"width": width, "height": height})
            page.goto((options.results / "results.html").resolve().as_uri())
            shoot(page, options.output / f"study-results-{name}.png")
        browser.close()
    figure = Image.open(options.results / "figure-3.png")
    figure.convert("RGB").quantize(64, dither=Image.Dither.NONE).save(
        options.output / "study-figure-3.png", optimize=True
    )


if __name__ == "__main__":
    main()
