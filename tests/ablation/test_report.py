"""The report: numbers, the paper's order, cautions, failures, figures, and a page that works from a file."""

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from ablations import end_runs, outcome_of, plan_of
from xmcgan.ablation.outcome import write_outcome
from xmcgan.ablation.report import write_report
from xmcgan.ablation.studies import table_4, table_5
from xmcgan.ablation.summary import gather
from xmcgan.recipes import RECIPES

BASE = RECIPES["scenes-64"]


@pytest.fixture(scope="module")
def plan(tmp_path_factory):
    """Table 4: the paper's order by FID but for the sentence loss, which is the worst; one row failed, two are open."""
    plan = plan_of(tmp_path_factory.mktemp("ablations") / "table-4", table_4(BASE))
    fids = {"none": 0.9, "sentence": 1.9, "word": 0.6, "image D": 0.7, "sentence + word": 0.3, "image encoder": 0.31}
    end_runs(plan, {row: {"fid": fid, "soa-c": 1 - fid / 2} for row, fid in fids.items()}, spread=0.02)
    failing = next(run for run in plan.runs() if run.row.name == "image D + encoder")
    write_outcome(
        plan.outcome_file(failing),
        outcome_of(
            failing, {}, status="failed", error="TrainingDiverged: step 4: <g_hinge> is nan", curve=[], losses=[]
        ),
    )
    return plan


@pytest.fixture(scope="module")
def report(plan) -> Path:
    """The page."""
    return write_report(plan.output)


def text_of(page: str) -> str:
    """What a page shows, without its markup."""

    class Text(HTMLParser):
        shown = ""
        hidden = False

        def handle_starttag(self, tag, attrs):
            self.hidden = self.hidden or tag in ("style", "title")

        def handle_endtag(self, tag):
            self.hidden = self.hidden and tag not in ("style", "title")

        def handle_data(self, data):
            self.shown += "" if self.hidden else f" {data}"

    parser = Text()
    parser.feed(page)
    return " ".join(parser.shown.split())


def test_the_page_says_what_was_measured(report):
    shown = text_of(report.read_text())
    assert "1/103,479 of the paper's 82,783,000" in shown
    assert "Metrics use 128 generated images" in shown
    assert "Some variants have no finished run yet" in shown
    assert "image D + encoder , seed 0: TrainingDiverged: step 4: <g_hinge> is nan" in shown
    assert "Not done yet: " in shown
    assert "all, seed 2" in shown
    assert "fid sentence + word better than sentence the same yes" in shown
    assert "fid sentence better than none the reverse yes" in shown
    assert "<b>two</b> boats & a bus" in shown  # a caption is text
    assert "39.28" in shown


def test_the_order_is_counted_as_it_is(plan, report):
    replications = gather(plan).replications()
    by_pair = {(each.claim.better, each.claim.worse): each for each in replications}
    # Known in the paper and measured: none, sentence, word, image D, sentence + word.
    assert len(by_pair) == 10
    assert {pair for pair, each in by_pair.items() if not each.agrees} == {
        ("sentence", "none"), ("sentence", "word"), ("sentence", "image D"),
    }  # fmt: skip
    assert by_pair["sentence + word", "none"].ours == pytest.approx(0.6, abs=0.03)
    page = text_of(report.read_text())
    assert "As in the paper: 7 of 10 pairs, " in page


def test_the_page_needs_nothing_from_outside(report):
    page = report.read_text()
    assert "default-src 'none'" in page
    assert not re.findall(r'(?:src|href)="(?!data:|#)[^"]*"', page)
    assert not re.findall(r"url\((?!#|data:)", page)
    assert "prefers-color-scheme: dark" in page
    assert page.count("<svg") == page.count("</svg>") == 5  # two metrics, their curves, one statistic of the log


def test_figures_are_files_too_and_follow_light_and_dark(report):
    folder = report.parent
    names = {path.name for path in folder.iterdir()}
    assert {"report.html", "report.md", "metric-fid.svg", "metric-fid.png", "curve-soa-c.svg"} <= names
    svg = (folder / "metric-fid.svg").read_text()
    assert "var(--ink, #1d2330)" in svg
    assert "prefers-color-scheme: dark" in svg
    markdown = (folder / "report.md").read_text()
    for name in re.findall(r"!\[[^]]*\]\(([^)]+)\)", markdown):
        assert (folder / name).is_file()
    assert "![samples of sentence + word](samples-sentence-and-word.jpg)" in markdown
    assert r"2. \<b\>two\</b\> boats & a bus" in markdown
    rows = re.findall(r"(?m)^\| (?:none|word|all) \|.*$", markdown)
    assert len(rows) == 6  # in the table of results and in that of costs
    assert "| none | 3 | 0.9" in markdown
    assert "*(39.28)*" in markdown


def test_the_same_report_twice_is_the_same_bytes(plan, report, tmp_path):
    again = write_report(plan.output, tmp_path / "again").parent
    for path in report.parent.iterdir():
        assert path.read_bytes() == (again / path.name).read_bytes(), path.name


def test_equal_means_have_no_best(tmp_path):
    plan = plan_of(tmp_path / "ablation", table_5(BASE), seeds=1)
    end_runs(plan, {"plain": {"fid": 2.0}, "attentional": {"fid": 2.0}}, spread=0.0, seeds=(0,))
    assert "**" not in write_report(plan.output).with_suffix(".md").read_text().split("## Results")[1].split("## ")[0]


def test_one_seed_is_not_tested(tmp_path):
    plan = plan_of(tmp_path / "ablation", table_5(BASE), seeds=1)
    end_runs(plan, {"plain": {"fid": 2.0}, "attentional": {"fid": 1.0}}, seeds=(0,))
    shown = text_of(write_report(plan.output).read_text())
    assert "No pair of variants can be tested" in shown
    assert "Some variants have one seed only" in shown
    assert "attentional better than plain the same no" in shown
    assert "±" not in shown.split("Results")[1].split("The paper's order")[0].removeprefix(" Mean ± standard")


def test_an_ablation_without_a_finished_run_has_no_report(tmp_path):
    plan = plan_of(tmp_path / "ablation", table_5(BASE))
    with pytest.raises(ValueError, match=r"no run of .* has ended yet"):
        write_report(plan.output)
    with pytest.raises(FileNotFoundError, match="is not the folder of an ablation"):
        write_report(Path(tmp_path))


def test_diversity_has_no_best_and_chance_is_named(tmp_path):
    plan = plan_of(tmp_path / "ablation", table_5(BASE))
    end_runs(
        plan,
        {"plain": {"r-precision": 0.012, "diversity": 0.9}, "attentional": {"r-precision": 0.01, "diversity": 0.1}},
    )
    folder = write_report(plan.output).parent
    markdown = (folder / "report.md").read_text()
    assert "R-precision is at chance (0.01) in every variant" in markdown
    assert "| variant | seeds | r-precision ↑ | diversity  |" in markdown
    assert "diversity: plain is higher than attentional by" in markdown
    assert markdown.count("**") == 2  # the best R-precision alone
