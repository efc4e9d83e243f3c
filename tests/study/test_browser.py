"""A whole study in a real browser: by keyboard alone and on a phone, with reloads and undo, and axe on every page."""

import pytest

pytest.importorskip("playwright", reason="playwright is not installed")

from playwright.sync_api import sync_playwright

from browsers import STILL, chromium, launch
from studies import SYSTEMS, make_study
from study_browser import (
    DESKTOP,
    PHONE,
    annotate,
    by_taste,
    links_of,
    serving,
    systems_of,
    violations,
)
from xmcgan.study.storage import read_answers, sqlite_url

pytestmark = pytest.mark.skipif(chromium() is None, reason="no chromium on this machine")


@pytest.fixture(scope="module")
def browser():
    with sync_playwright() as playwright:
        found = launch(playwright)
        yield found
        found.close()


@pytest.fixture(scope="module")
def desktop(browser):
    """One context for all tests: the first page of each takes a second. Studies differ in their ports and links."""
    return browser.new_context(viewport=DESKTOP, **STILL)


@pytest.fixture
def page(desktop):
    """A new tab in light colours."""
    opened = desktop.new_page()
    opened.emulate_media(color_scheme="light")
    yield opened
    opened.close()


@pytest.mark.slow
def test_a_whole_study(tmp_path, browser, page, monkeypatch):
    monkeypatch.setattr("xmcgan.study.server.admin.REPLICATES", 100)
    study = make_study(tmp_path, captions=1, annotators=2, practice=1, attention_every=2, min_attention_checks=1,
                       size=64)  # fmt: skip
    wrong: list[str] = []
    errors: list[str] = []
    phone = browser.new_context(color_scheme="dark", viewport=PHONE, has_touch=True, **STILL).new_page()
    for each in (page, phone):
        each.on("pageerror", lambda error: errors.append(str(error)))
    with serving(study) as base:
        taste = by_taste(systems_of(sqlite_url(study)), [*SYSTEMS], 1, whims=0)
        ways = ((page, "keyboard", "light", (2,), (1,)), (phone, "touch", "dark", (), ()))
        for link, (opened, how, scheme, reloads, undos) in zip(links_of(study, base), ways, strict=True):
            given = annotate(
                opened, link, taste, how=how, reload_at=reloads, undo_at=undos,
                look=lambda page, name, scheme=scheme: wrong.extend(
                    violations(page, f"{name}, {scheme}", looks_only=scheme == "dark")
                ),
            )  # fmt: skip
            assert given == 2 * (1 + 1 + 1) + len(undos)  # practice, a main item and a check in each block
        wrong += admin_pages(page, study, base)
        phone.context.close()
    assert not wrong
    assert not errors
    described, answers = read_answers(sqlite_url(study))
    main = [each for each in answers if each.kind == "main"]
    assert len(main) == 2 * 2
    assert all(each.attentive for each in answers if each.kind == "attention")
    assert {each.ranking for each in main} == {tuple((name,) for name in SYSTEMS)}  # positions were not confused
    assert all(each.seconds > 0 for each in answers)
    assert described.name == "study"


def admin_pages(page, study, base) -> list[str]:
    """What is wrong with them; tests/study/analysis/test_page.py looks at the page of results itself."""
    page.emulate_media(color_scheme="dark")
    page.goto(f"{base}/admin")
    wrong = violations(page, "login")
    page.fill("#token", (study / "admin-token").read_text().strip())
    page.click("text=Log in")
    page.wait_for_selector("text=Annotators")
    wrong += violations(page, "administration, dark")
    page.emulate_media(color_scheme="light")
    page.click("text=Make links")
    page.wait_for_selector("textarea")
    wrong += violations(page, "administration, light", looks_only=True)
    with page.expect_download() as download:
        page.click("text=answers.csv")
    assert download.value.path().read_text().startswith("item_id,")
    page.click("text=Results as they stand")
    page.wait_for_selector("text=Realism")
    return wrong


@pytest.mark.slow
def test_a_picture_that_does_not_load(tmp_path, page):
    """Keys do nothing until every picture is there; it can be tried again, or reported and skipped."""
    study = make_study(tmp_path, captions=2, annotators=1, criteria=("realism",), size=16)
    with serving(study) as base:
        broken = {"on": False}
        page.route("**/pictures/*", lambda route: route.abort() if broken["on"] else route.continue_())
        page.goto(links_of(study, base)[0])
        page.click("#agree")
        page.wait_for_selector("#begin")
        broken["on"] = True
        page.click("#begin")
        page.wait_for_selector(".broken-note")
        page.keyboard.press("1")
        assert page.locator(".pick[aria-pressed=true]").count() == 0
        assert page.is_disabled("#next")
        assert violations(page, "broken") == []
        broken["on"] = False
        for _ in range(4):
            page.locator("text=Try again").first.click()
        page.wait_for_selector("#pictures[data-ready]")
        page.keyboard.press("1")
        assert page.locator(".pick[aria-pressed=true]").count() == 1
        first = page.get_attribute("#pictures", "data-ready")
        broken["on"] = True
        page.reload()
        page.wait_for_selector(".broken-note")
        broken["on"] = False
        page.locator("text=Report and skip").first.click()
        page.wait_for_selector(f"#pictures[data-ready]:not([data-ready='{first}'])")
    assert read_answers(sqlite_url(study))[1] == []


@pytest.mark.slow
def test_drag_pairs_ties_and_a_server_that_is_away(tmp_path, page):
    study = make_study(tmp_path, captions=2, annotators=1, criteria=("alignment",), mode="pairs-ties", size=16)
    with serving(study) as base:
        page.goto(links_of(study, base)[0])
        page.click("#agree")
        page.click("#begin")
        page.wait_for_selector("#pictures[data-ready]")
        key = page.get_attribute("#pictures", "data-ready")
        page.click("#tie")
        away = {"on": True}
        page.route("**/api/**/answer", lambda route: route.abort() if away["on"] else route.continue_())
        page.click("#next")
        page.wait_for_selector("#problem:has-text('not saved yet')")
        assert page.is_visible("#screen-task")  # it waits: the answer is not lost, and the page does not move on
        page.unroute("**/api/**/answer")
        page.reload()  # the answer that was on its way is sent when the page is opened again
        page.wait_for_selector(f"#pictures[data-ready]:not([data-ready='{key}'])")
        page.keyboard.press("2")
        page.keyboard.press("Enter")
        page.wait_for_selector("#screen-finished:not([hidden])")
    answers = read_answers(sqlite_url(study))[1]
    assert len(answers[0].ranking) == 1
    assert answers[1].ranking == ((answers[1].shown_order[1],), (answers[1].shown_order[0],))


@pytest.mark.slow
def test_dragging(tmp_path, page):
    study = make_study(tmp_path, captions=1, annotators=1, criteria=("realism",), size=64)
    with serving(study) as base:
        page.goto(links_of(study, base)[0])
        page.click("#agree")
        page.click("#begin")
        page.wait_for_selector("#pictures[data-ready]")
        places, pictures = page.locator("#places li"), page.locator(".pick")
        for picture, place in ((0, 3), (1, 0), (2, 1), (3, 2)):
            pictures.nth(picture).drag_to(places.nth(place))
        places.nth(0).locator("button").drag_to(places.nth(1))  # the two change places
        page.click("#next")
        page.wait_for_selector("#screen-finished:not([hidden])")
    (answer,) = read_answers(sqlite_url(study))[1]
    assert answer.ranking == tuple((answer.shown_order[at],) for at in (2, 1, 3, 0))
