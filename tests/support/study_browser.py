"""Annotators in a real browser: by mouse, by keyboard alone, on a phone, with a reload in the middle."""

import random
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

import uvicorn
from axe_playwright_python.base import AXE_SCRIPT
from PIL import Image
from playwright.sync_api import Page
from sqlalchemy import select

from xmcgan.study.server.app import create_app, open_site
from xmcgan.study.storage import open_database, reading
from xmcgan.study.tables import PICTURE

STANDARDS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
LOOKS = {"type": "rule", "values": ["color-contrast", "target-size"]}
DESKTOP, PHONE = {"width": 1280, "height": 860}, {"width": 390, "height": 780}
NEXT = "#pictures[data-ready]:not([data-ready='{key}']), .letter.screen:not([hidden])"


@contextmanager
def serving(folder: Path, database_url: str | None = None) -> Generator[str]:
    """Serves a study in a thread and yields its address."""
    site = open_site(folder, database_url=database_url)
    server = uvicorn.Server(uvicorn.Config(create_app(site), host="127.0.0.1", port=0, log_level="error"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.02)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join()
    site.database.engine.dispose()


def systems_of(database_url: str) -> dict[str, str]:
    """The system of each picture's name: what no annotator can know."""
    database = open_database(database_url)
    with reading(database) as connection:
        return {row[0]: row[1] for row in connection.execute(select(PICTURE.c.name, PICTURE.c.system))}


def links_of(study: Path, base: str) -> list[str]:
    """The personal links of a new study."""
    return [f"{base}/a/{line.rsplit('/', 1)[1]}" for line in (study / "links.txt").read_text().split()]


def by_taste(
    systems: dict[str, str], best_first: list[str], seed: int, *, whims: float = 0.3
) -> Callable[[list[str]], list[int]]:
    """How an annotator ranks: in an order of systems but for a share of whims; a photograph always before noise."""
    draw = random.Random(seed)

    def order(addresses: list[str]) -> list[int]:
        names = [systems[address.rsplit("/", 1)[1].split(".")[0]] for address in addresses]
        found = sorted(range(len(names)), key=lambda at: (["reference", *best_first, *names].index(names[at]), at))
        if "reference" not in names and draw.random() < whims:
            draw.shuffle(found)
        return found

    return order


def violations(page: Page, name: str, *, looks_only: bool = False) -> list[str]:
    """What axe finds wrong with a page.

    Args:
        looks_only: only what other colours or another screen can change, in a fraction of the time.
    """
    if not page.evaluate("'axe' in window"):  # once a document: it is large
        page.evaluate(AXE_SCRIPT)
    options = {"runOnly": LOOKS if looks_only else STANDARDS, "resultTypes": ["violations"]}
    found = page.evaluate("options => axe.run(options).then(all => all.violations)", options)
    return [f"{name}: {each['id']}: {node['html'][:200]}" for each in found for node in each["nodes"]]


def annotate(
    page: Page,
    link: str,
    order: Callable[[list[str]], list[int]],
    *,
    how: str,
    reload_at: tuple[int, ...] = (),
    undo_at: tuple[int, ...] = (),
    look: Callable[[Page, str], None] = lambda page, name: None,
    most: int = 10_000,
) -> int:
    """Answers everything that an annotator gets.

    Args:
        order: positions from best to worst, for the addresses of an item's pictures.
        how: ``mouse``, ``keyboard``, ``touch`` or ``drag``.
        reload_at: numbers of answers (from 0) in whose middle the page is loaded again.
        undo_at: numbers of answers that are undone and given again.
        look: called once for each kind of screen.
        most: stop after this many answers.

    Returns:
        The number of answers given, practice and those given again included.
    """
    seen: set[str] = set()
    answers, key = 0, ""
    undone: set[int] = set()
    page.goto(link)
    while answers < most:
        page.wait_for_selector(NEXT.format(key=key))
        screen = page.locator(".screen:not([hidden])").get_attribute("id").removeprefix("screen-")
        if screen == "loading":
            continue
        if screen == "task":
            key = page.get_attribute("#pictures", "data-ready")
            name = "task-with-caption" if page.is_visible("#caption") else "task"
            addresses = page.locator("#pictures img").evaluate_all("all => all.map(each => each.getAttribute('src'))")
            positions = order(addresses)
            if how != "keyboard" and "paused" not in seen:
                look_aside(page, look)
                seen.add("paused")
            if answers in reload_at:
                give(page, positions[:2], how)
                page.reload()
                page.wait_for_selector("#pictures[data-ready]")
                assert page.get_attribute("#pictures", "data-ready") == key, "a reload shows another item"
                assert page.locator(".pick[aria-pressed=true]").count() == 2, "a reload forgets the ranking"
                give(page, positions[2:], how)
            else:
                give(page, positions, how)
            if name not in seen:
                look(page, name)
                seen.add(name)
            press(page, "#next", "Enter", how)
            answers += 1
            if answers - 1 in undo_at and answers - 1 not in undone:
                undone.add(answers - 1)
                page.wait_for_selector(NEXT.format(key=key))
                other = page.get_attribute("#pictures", "data-ready")
                press(page, "#undo", "u", how)
                page.wait_for_selector(f"#pictures[data-ready='{key}']")
                key = other
            continue
        if screen not in seen:
            look(page, screen)
            seen.add(screen)
        if screen == "finished":
            return answers
        button = {"welcome": "#agree", "instructions": "#begin", "wait": "#again"}[screen]
        if how == "keyboard":
            for _ in range(20):  # the tab key reaches it, in the order of the page
                page.keyboard.press("Tab")
                if page.evaluate("document.activeElement?.id") == button[1:]:
                    break
            page.keyboard.press("Enter")
        else:
            page.click(button)
        page.wait_for_selector(f"#screen-{screen}", state="hidden" if screen != "wait" else "attached")
    return answers


def look_aside(page: Page, look: Callable[[Page, str], None]) -> None:
    """What an item's screen leads to: help, an enlarged picture, a pause that goes back to the item."""
    key = page.get_attribute("#pictures", "data-ready")
    page.click("#help")
    look(page, "help")
    page.click("#help-close")
    page.locator(".zoom").first.click()
    look(page, "enlarged")
    page.click("#zoom-close")
    page.click("#pause")
    look(page, "paused")
    page.click("#resume")
    page.wait_for_selector(f"#screen-task:not([hidden]) #pictures[data-ready='{key}']")


def give(page: Page, positions: list[int], how: str) -> None:
    """Ranks pictures in order."""
    for position in positions:
        card = page.locator(".pick").nth(position)
        if how == "keyboard":
            page.keyboard.press(str(position + 1))
        elif how == "touch":
            card.tap()
        elif how == "drag":
            free = page.locator("#places li:not(.filled)").first
            card.drag_to(free)
        else:
            card.click()


def press(page: Page, button: str, key: str, how: str) -> None:
    """A button, or its key."""
    if how == "keyboard":
        page.keyboard.press(key)
    elif how == "touch":
        page.tap(button)
    else:
        page.click(button)


def shoot(page: Page, path: Path, *, full_page: bool = False) -> None:
    """A screenshot in few bytes."""
    page.wait_for_timeout(400)
    page.screenshot(path=str(path), full_page=full_page)
    Image.open(path).convert("RGB").quantize(200, dither=Image.Dither.NONE).save(path, optimize=True)
