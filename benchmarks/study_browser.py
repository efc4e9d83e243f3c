"""A whole study in a real browser: five annotators, twenty captions, two criteria, from the start page to the results.

    python benchmarks/study_browser.py --output out/study
    python benchmarks/study_browser.py --output out/study --screenshots docs/images
    python benchmarks/study_browser.py --output out/study --captions 8 --every-screen out/screens

One annotator uses the keyboard alone, two a phone's screen, two load the page again in the middle of items, two undo an
answer. axe looks at every kind of screen, light and dark. The systems are those of study_pictures.py, which differ for
certain; annotators like them in an order that the results should find.
"""

import argparse
import json
import sys
import time
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "support"))

from study_pictures import write_systems

from browsers import launch
from study_browser import (
    DESKTOP,
    PHONE,
    annotate,
    by_taste,
    links_of,
    serving,
    shoot,
    systems_of,
    violations,
)
from xmcgan.study.create import create_study
from xmcgan.study.settings import Settings
from xmcgan.study.storage import read_answers, sqlite_url

LIKED = ["drawings", "scenes-64", "elsewhere", "blurred"]
PEOPLE = (  # how, colours, screen, answers in whose middle the page is loaded again, answers that are undone
    ("mouse", "light", DESKTOP, (), (7,)),
    ("keyboard", "dark", DESKTOP, (), (11,)),
    ("touch", "light", PHONE, (), ()),
    ("mouse", "dark", PHONE, (5, 20, 30), ()),
    ("mouse", "light", DESKTOP, (9,), ()),
)


def whole_study(
    browser: Browser, study: Path, base: str, shots: Path | None, every: Path | None
) -> tuple[list[str], int]:
    """All annotators one after the other; what axe found, and the number of screens that it looked at."""
    wrong: list[str] = []
    looked = 0
    systems = systems_of(sqlite_url(study))
    for number, (link, person) in enumerate(zip(links_of(study, base), PEOPLE, strict=True)):
        how, scheme, size, reloads, undos = person

        def look(page: Page, name: str, number: int = number) -> None:
            nonlocal looked
            other = "dark" if PEOPLE[number][1] == "light" else "light"
            for colours in (other, PEOPLE[number][1]):
                page.emulate_media(color_scheme=colours)
                wrong.extend(violations(page, f"{name}, {colours}, annotator {number + 1}"))
                looked += 1
                if every:
                    shoot(page, every / f"{number + 1}-{name}-{colours}.png", full_page=True)
            kept = {(0, "task"): "light", (1, "task-with-caption"): "dark", (2, "task-with-caption"): "phone",
                    (3, "task"): "phone-dark"}  # fmt: skip
            if shots and (number, name) in kept:
                shoot(page, shots / f"study-{kept[number, name]}.png")

        context = browser.new_context(color_scheme=scheme, viewport=size, has_touch=how == "touch")
        with context as opened:
            page = opened.new_page()
            page.set_default_timeout(120_000)
            order = by_taste(systems, LIKED, number)
            given = annotate(page, link, order, how=how, reload_at=reloads, undo_at=undos, look=look)
            print(f"annotator {number + 1}, {how}, {scheme}: {given} answers", flush=True)
    return wrong, looked


def administration(
    browser: Browser, study: Path, base: str, output: Path, shots: Path | None, every: Path | None
) -> list[str]:
    """The administrator's page and the results."""
    wrong = []
    with browser.new_context(color_scheme="light", viewport=DESKTOP) as opened:
        page = opened.new_page()
        page.set_default_timeout(120_000)
        page.goto(f"{base}/admin")
        if every:
            shoot(page, every / "login.png", full_page=True)
        page.fill("#token", (study / "admin-token").read_text().strip())
        page.click("text=Log in")
        for scheme in ("dark", "light"):
            page.emulate_media(color_scheme=scheme)
            wrong += violations(page, f"administration, {scheme}")
            if every:
                shoot(page, every / f"administration-{scheme}.png", full_page=True)
        if shots:
            shoot(page, shots / "study-admin.png")
        page.click("text=Results as they stand")
        page.wait_for_selector("text=Realism")
        for scheme in ("dark", "light"):
            page.emulate_media(color_scheme=scheme)
            wrong += violations(page, f"results, {scheme}")
            if every:
                shoot(page, every / f"results-{scheme}.png", full_page=True)
        page.screenshot(path=str(output / "results.png"), full_page=True)
    return wrong


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--captions", type=int, default=20)
    parser.add_argument("--screenshots", type=Path, default=None, help="folder for the pictures of the docs")
    parser.add_argument("--every-screen", type=Path, default=None, help="folder for each kind of screen, to look at")
    options = parser.parse_args()
    for folder in (options.screenshots, options.every_screen):
        if folder:
            folder.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    systems = write_systems(options.output / "systems", options.captions + 8)
    study = options.output / "study"
    create_study(
        study, systems=systems, captions_file=options.output / "systems" / "captions.jsonl", captions=options.captions,
        name="Which pictures are better?", settings=Settings(attention_every=10, repeat_every=10), progress=False,
    )  # fmt: skip
    with serving(study) as base, sync_playwright() as playwright:
        browser = launch(playwright)
        wrong, looked = whole_study(browser, study, base, options.screenshots, options.every_screen)
        wrong += administration(browser, study, base, options.output, options.screenshots, options.every_screen)
    _, answers = read_answers(sqlite_url(study))
    kinds: dict[str, int] = {}
    for each in answers:
        kinds[each.kind] = kinds.get(each.kind, 0) + 1
    print(json.dumps({"answers": kinds, "screens_that_axe_saw": looked + 4, "violations": wrong,
                      "attention_checks_right": sum(each.attentive for each in answers if each.kind == "attention"),
                      "seconds": round(time.monotonic() - began)}, indent=1))  # fmt: skip


if __name__ == "__main__":
    main()
