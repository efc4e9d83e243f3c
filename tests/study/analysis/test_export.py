"""The folder of results: whole, repeatable, never over something else; its lines in `xmcgan compare`."""

import csv
import json
from dataclasses import replace

import pytest

from study_answers import answer, study
from xmcgan.cli.main import main
from xmcgan.evaluation.compare import compare, read_measured
from xmcgan.evaluation.results import append_results
from xmcgan.study.analysis.export import FILES, comparison_lines, write_results
from xmcgan.study.analysis.results import analyse
from xmcgan.study.analysis.simulate import PAPER, Population, simulated_study
from xmcgan.study.raw_answers import to_json


@pytest.fixture(scope="module")
def simulated():
    """A small study, its answers and results."""
    described, answers = simulated_study(
        {"realism": PAPER, "alignment": PAPER}, Population(random=0.1), captions=30, annotators=10, seed=1
    )
    return described, answers, analyse(described, answers, replicates=200)


@pytest.fixture(scope="module")
def folder(simulated, tmp_path_factory):
    """Its folder of results."""
    _, answers, results = simulated
    path = tmp_path_factory.mktemp("study") / "new" / "results"
    write_results(path, results, answers, data="coco14", seconds=1.5)
    return path


def test_the_folder_is_whole_and_the_same_again(simulated, folder):
    _, answers, results = simulated
    assert {path.name for path in folder.iterdir()} == {"results.html", *FILES}
    before = {path: path.read_bytes() for path in folder.iterdir()}
    written = write_results(folder, results, answers, data="coco14", seconds=1.5)
    assert written[0].name == "results.html"
    assert {path: path.read_bytes() for path in written} == before


def test_other_content_is_never_overwritten(simulated, tmp_path):
    _, answers, results = simulated
    (tmp_path / "results.json").write_text("mine")
    with pytest.raises(FileExistsError, match=r"holds results\.json with other content; choose another --output"):
        write_results(tmp_path, results, answers)
    assert [path.name for path in tmp_path.iterdir()] == ["results.json"]
    assert (tmp_path / "results.json").read_text() == "mine"


def test_json_holds_every_number_and_csv_every_answer(simulated, folder):
    _, answers, results = simulated
    content = json.loads((folder / "results.json").read_text())
    best = results.criteria[0].systems[0].best
    assert content["criteria"][0]["systems"][0]["best"] == best._asdict()
    assert content["criteria"][0]["agreement"]["kendall_w"]["value"] == results.criteria[0].agreement.kendall_w.value
    assert content["method"]["replicates"] == 200
    assert sum(each["excluded"] for each in content["annotators"]) == len(results.excluded)
    assert len(content["without_exclusion"]) == 2
    with (folder / "answers.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == len(answers)  # of all kinds, of excluded annotators too


def test_lines_stand_beside_figure_3_in_compare(simulated, folder):
    _, _, results = simulated
    (table,) = compare(read_measured([folder / "results.jsonl"]))
    names = [column.name for column in table.columns]
    place = names.index("Ranked best, realism")
    assert names[place + 1] == "Ranked best, alignment"
    measured = {row.name: row.cells[place] for row in table.groups[1].rows}
    best = results.criteria[0].systems[0].best
    assert measured["XMC-GAN"].value == f"{100 * best.value:.1f}"
    assert measured["XMC-GAN"].uncertainty == f"{100 * best.error:.1f}"
    published = {row.name: row.cells[place] for row in table.groups[0].rows}
    assert (published["XMC-GAN"].value, published["OP-GAN"].value) == ("77.3", "9.90")


def test_results_of_two_studies_do_not_share_a_column(simulated, folder, tmp_path):
    described, _, results = simulated
    other = replace(results, study=replace(described, id="other"))
    append_results(tmp_path / "other.jsonl", comparison_lines(other, data="coco14"))
    with pytest.raises(ValueError, match="study is"):
        compare(read_measured([folder / "results.jsonl", tmp_path / "other.jsonl"]))


def test_no_answers_write_nothing(tmp_path):
    with pytest.raises(ValueError, match="no annotator's answers count yet"):
        write_results(tmp_path / "new", analyse(study(), []), [])
    hasty = [answer("a>b>c", seconds=0.1)]
    with pytest.raises(ValueError, match="no annotator's answers count: all are left out by the study's rules"):
        write_results(tmp_path / "new", analyse(study(), hasty), hasty)
    assert not (tmp_path / "new").exists()


def test_the_command_reads_raw_answers(simulated, tmp_path, capsys):
    described, answers, _ = simulated
    source = tmp_path / "answers.json"
    source.write_text(to_json(described, answers))
    command = [
        "study",
        "results",
        str(source),
        "--output",
        str(tmp_path / "out"),
        "--replicates",
        "150",
        "--data",
        "coco14",
    ]
    assert main(command) == 0
    printed = capsys.readouterr().out
    assert "Realism, ranked best of" in printed
    assert "XMC-GAN" in printed
    assert f"are in {tmp_path / 'out'}" in printed
    assert json.loads((tmp_path / "out" / "results.json").read_text())["method"]["replicates"] == 150


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["missing"], "does not exist; `xmcgan study create` makes a study"),
        (["answers.json"], "not the raw answers of a study"),
        (["answers.json", "--database", "sqlite:///x"], "is a file of answers; --database goes with a folder"),
        (["missing", "--replicates", "5"], "--replicates is 5; it should be at least 100"),
    ],
)
def test_mistakes_are_one_line(arguments, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "answers.json").write_text("{}")
    assert main(["study", "results", *arguments]) == 2
    printed = capsys.readouterr().err
    assert message in printed
    assert printed.count("\n") == 1
