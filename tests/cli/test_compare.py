"""``xmcgan compare``: what it prints, what it writes, and what it refuses."""

from dataclasses import replace

import pytest

from xmcgan.cli.main import run
from xmcgan.evaluation.results import Result, append_results

OURS = Result("fid", 11.234, None, 30_000, "XMC-GAN", {"data": "coco14", "resize": "antialiased"}, 1.0)
LEGACY = replace(OURS, system="OP-GAN", value=24.9, protocol={"data": "coco14", "resize": "legacy"})


@pytest.fixture
def files(tmp_path) -> list[str]:
    append_results(tmp_path / "a.jsonl", [OURS])
    append_results(tmp_path / "b.jsonl", [LEGACY])
    return [str(tmp_path / "a.jsonl"), str(tmp_path / "b.jsonl")]


def test_it_prints_and_writes_the_table(files, tmp_path, capsys):
    assert run(["compare", files[0], "--output", str(tmp_path / "tables")]) == 0
    everything = capsys.readouterr().out
    printed, *later = everything.split("\n## ")
    assert later
    assert all(table.startswith("COCO, ") for table in later)  # later systems, in tables of their own
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in printed.splitlines() if line.startswith("|")]
    none = "\N{EN DASH}"
    assert lines[0] == ["System", "Source", "IS ↑", "FID ↓", "R-precision (%) ↑", "SOA-C (%) ↑", "SOA-I (%) ↑"]
    assert lines[-2] == ["XMC-GAN", "published", "30.45", "9.33", "71", "50.94", "71.33"]
    assert lines[-1] == ["XMC-GAN", "measured", none, "11.23", none, none, none]
    assert f"comparison.md, comparison.tex, comparison.html are in {tmp_path / 'tables'}" in everything
    assert (tmp_path / "tables/comparison.md").read_text() in everything


def test_it_writes_nothing_without_output(files, tmp_path, capsys):
    assert run(["compare", files[0]]) == 0
    assert "11.23" in capsys.readouterr().out
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.jsonl", "b.jsonl"]


def test_different_protocols_are_listed_and_make_no_table(files, tmp_path, capsys):
    assert run(["compare", *files, "--output", str(tmp_path / "tables")]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err == (
        "xmcgan: results with different protocols cannot share a column. Differences:\n"
        f'  coco14, fid: resize is "antialiased" in {files[0]} (XMC-GAN) and "legacy" in {files[1]} (OP-GAN)\n'
        "Measure them under one protocol, or ignore the settings: --ignore resize\n"
    )
    assert not (tmp_path / "tables").exists()


def test_ignore_a_setting(files, capsys):
    assert run(["compare", *files, "--ignore", "resize", "--table", "2"]) == 0
    printed = capsys.readouterr().out
    assert "Protocols differ (--ignore): in FID, resize is antialiased (XMC-GAN) and legacy (OP-GAN)" in printed
    assert "24.90" in printed


@pytest.mark.parametrize(
    ("arguments", "error", "said"),
    [
        (["nowhere.jsonl"], FileNotFoundError, r"nowhere\.jsonl does not exist"),
        (["--table", "3"], ValueError, "no result belongs to Table 3"),
        (
            ["--ignore", "resise, fit"],
            ValueError,
            "has the ignored setting 'resise'; did you mean 'resize'",
        ),
    ],
)
def test_a_mistake_is_named(files, arguments, error, said):
    with pytest.raises(error, match=said):
        run(["compare", files[0], *arguments])


def test_help_says_what_it_does(capsys):
    with pytest.raises(SystemExit) as left:
        run(["compare", "--help"])
    assert left.value.code == 0
    assert "xmcgan compare" in (said := capsys.readouterr().out)
    assert all(option in said for option in ("--output", "--table", "--ignore"))
