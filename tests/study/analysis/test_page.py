"""The results page: one file, nothing from elsewhere, names as text, every state of a study; and in a real browser."""

import re
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from pathlib import Path

import pytest

from study_answers import answer, study
from xmcgan.study.analysis.figure import figure_3, rendered
from xmcgan.study.analysis.page import NONE, PAGE_POLICY, render, results_page
from xmcgan.study.analysis.results import analyse
from xmcgan.study.analysis.simulate import PAPER, Population, simulated_study


@pytest.fixture(scope="module")
def results():
    """A study of two criteria with someone left out."""
    described, answers = simulated_study(
        {"realism": PAPER, "alignment": PAPER}, Population(random=0.2), captions=40, annotators=12, seed=3
    )
    found = analyse(described, answers, replicates=200)
    assert found.excluded
    return found


def test_it_says_each_number_of_the_figure(results):
    page = render(results)
    for each in results.criteria:
        for system in each.systems:
            assert f"{100 * system.best.value:.1f}" in page
            assert f"{100 * system.best.low:.1f} to {100 * system.best.high:.1f}" in page
    leader = results.criteria[0].systems[0]
    assert f"XMC-GAN was ranked best in {100 * leader.best.value:.1f} % of answers" in page
    assert results.excluded[0].reasons[0] in page.replace("&lt;", "<")


def test_a_criterion_has_one_name_on_the_page(results):
    page = re.sub(r"<style>.*?</style>", "", render(results), flags=re.DOTALL)
    assert {each.criterion for each in results.excluded} == {"realism", "alignment"}
    assert not re.search(r"\b(realism|alignment)\b", page)
    assert 'aria-label="Win rates, Alignment with the caption"' in page
    assert "Alignment with the caption, " in page[page.index("Exclusion") :]


def test_it_is_one_file_without_script_that_fetches_nothing(results):
    page = render(results, downloads={"answers.csv": "raw answers"})
    assert "<script" not in page
    assert not re.findall(r"(?:src|href)=\"(?!answers\.csv)", page)
    assert "style=" not in page  # the policy lets the page's own sheet through alone
    assert PAGE_POLICY.replace("'", "&#39;") in page
    assert 'href="answers.csv"' in page


def test_names_are_text():
    evil = "<script>alert(1)</script>"
    answers = [
        replace(answer("a>b", caption=caption), ranking=((first,), (second,)))
        for caption, (first, second) in enumerate([("a", evil), (evil, "a")])
    ]
    page = results_page(replace(study(("a", evil)), name=evil), answers, replicates=100)
    assert "<script" not in page
    assert page.count("&lt;script&gt;") > 4


def test_a_study_without_answers_has_a_page():
    page = results_page(study(), [])
    assert "There are no answers yet." in page
    assert "Nobody is left out" in page
    with pytest.raises(ValueError, match="no answers count yet"):
        figure_3(analyse(study(), []))


@pytest.mark.parametrize("mode", ["rank", "pairs", "pairs-ties"])
def test_few_answers_give_dashes_not_errors(mode):
    systems = ("a", "b", "c")
    page = results_page(replace(study(systems), mode=mode), [answer("a>b")], replicates=100)
    assert "no answer ranks" in page
    assert "nan" not in page.lower().replace("nannotator", "")
    assert "None" not in page


def test_what_answers_do_not_tell_is_a_dash():
    """Where all systems are tied, Kendall's W has no value, although two annotators answered."""
    answers = [answer("a=b=c", annotator=annotator) for annotator in (1, 2)]
    page = results_page(study(), answers, replicates=100)
    assert f"<dt>Kendall's W</dt><dd>{NONE}</dd>" in page


def test_a_criterion_whose_answers_are_all_left_out_is_said_to_be_so():
    both = study(criteria=("realism", "alignment"))
    answers = [answer("a>b>c", seconds=0.1), answer("a>b>c", criterion="alignment", item_id="other")]
    page = results_page(both, answers, replicates=100)
    assert "<b>Realism.</b> All answers are left out by the study" in page
    assert "1 answer to 1 caption by 1 annotator<" in page
    assert "no item has answers of two annotators" in page
    assert "<b>Realism.</b> There are no answers yet." in results_page(both, answers[1:], replicates=100)
    assert "No answer counts: all are left out" in results_page(both, answers[:1], replicates=100)


def test_an_uncertain_lead_is_called_so():
    answers = [answer("a>b>c" if number % 2 else "b>a>c", caption=number, annotator=number % 6) for number in range(24)]
    page = results_page(study(), answers, replicates=200)
    assert "which of the two is put above the other more often is not certain" in page


def test_figure_3_holds_systems_and_shares_and_is_the_same_each_time(results):
    svg = rendered(figure_3(results), "svg")
    assert svg == rendered(figure_3(results), "svg")
    text = " ".join(
        "".join(node.itertext()) for node in ElementTree.fromstring(svg).iter() if node.tag.endswith("text")
    )
    for each in results.criteria:
        for system in each.systems:
            assert system.system in text
            assert f"{100 * system.best.value:.1f}" in text
    assert "Realism" in text
    assert rendered(figure_3(results), "png").startswith(b"\x89PNG")


@pytest.mark.slow
def test_in_a_browser_it_fits_every_screen_and_axe_finds_nothing(results, tmp_path: Path):
    sync_api = pytest.importorskip("playwright.sync_api")
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    from browsers import STILL, chromium, launch

    if chromium() is None:
        pytest.skip("no chromium on this machine")
    page_file = tmp_path / "results.html"
    page_file.write_text(render(results, note="Simulated."), encoding="utf-8")
    with sync_api.sync_playwright() as playwright:
        browser = launch(playwright)
        # The page's policy forbids scripts, axe among them; that no style is blocked is seen by the errors below.
        page = browser.new_context(bypass_csp=True, **STILL).new_page()
        page.goto(page_file.as_uri())
        for width, scheme in ((1200, "light"), (360, "dark")):
            page.set_viewport_size({"width": width, "height": 800})
            page.emulate_media(color_scheme=scheme)
            found = axe.run(page)
            assert found.violations_count == 0, found.generate_report()
            assert page.evaluate("document.documentElement.scrollWidth") <= width
        strict = browser.new_page()
        errors: list[str] = []
        strict.on("console", lambda message: errors.append(message.text))
        strict.goto(page_file.as_uri())
        assert strict.evaluate("getComputedStyle(document.querySelector('.panels')).display") == "grid"
        assert errors == []
        browser.close()
