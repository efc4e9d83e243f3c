"""The commands bench, export and project, as a user calls them."""

import json

import pytest

from xmcgan import cli_bench
from xmcgan.cli_bench import bench_command, export_command, project_command


def test_bench_of_a_checkpoint(trained, encoder_folder, tmp_path, capsys):
    output = tmp_path / "bench.json"
    quick = ["--repetitions", "2", "--warmup", "1", "--threads", "1", "--device", "cpu"]
    assert bench_command(["--checkpoint", str(trained), *quick, "--output", str(output)]) == 0
    printed = capsys.readouterr().out
    for part in ("training", "generation", "text", "loading"):
        assert f"| {part} |" in printed
    written = json.loads(output.read_text())
    assert [each["part"] for each in written["measurements"]] == [
        "training", "generation", "generation", "text", "loading",
    ]  # fmt: skip
    assert written["checkpoint"] == str(trained)
    assert written["machine"]["threads"] == 1
    assert all(len(each["seconds"]) == 2 for each in written["measurements"])
    # What bench writes, project reads.
    assert project_command(["scenes-64", "--text_dim", "32", "--bench", str(output), "--devices", "[1, 2]"]) == 0
    assert "measured: bench.json" in capsys.readouterr().out
    with pytest.raises(FileExistsError, match="is there already"):
        bench_command(["scenes-64", "--output", str(output)])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["scenes-46"], "unknown recipe 'scenes-46'; did you mean 'scenes-64'"),
        (["--parts", "[trainng]"], "unknown part 'trainng'; did you mean 'training'"),
        (["--precision", "[float8]"], "precision is 'float8'; it can be float32 or bfloat16"),
    ],
)
def test_mistakes_are_named_before_anything_is_measured(arguments, message):
    with pytest.raises(ValueError, match=message):
        bench_command(arguments)


def test_project_says_what_it_assumes(capsys):
    given = ["--text_dim", "32", "--mfu", "0.4", "--tflops", "312", "--devices", "[1, 4]"]
    assert project_command(["scenes-64", *given]) == 0
    printed = capsys.readouterr().out
    assert "312 TFLOP/s at 40% (assumed: given on the command line)" in printed
    assert "bandwidth_gbs 50" in printed
    assert "| 4 |" in printed
    with pytest.raises(ValueError, match="unknown recipe"):
        project_command(["nothing"])
    with pytest.raises(ValueError, match=r"mfu is 2\.0; it is a share"):
        project_command(["scenes-64", "--text_dim", "32", "--mfu", "2"])


def test_export_prints_how_near_the_files_are(trained, tmp_path, capsys):
    output = tmp_path / "model"
    assert export_command([str(trained), "--output", str(output), "--format", "torch", "--text_encoder", "false"]) == 0
    printed = capsys.readouterr().out
    assert "| generator.pt2 |" in printed
    assert f"written to {output}" in printed


def test_a_file_is_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "new" / "a.json"
    cli_bench.write_whole(path, "one")
    assert path.read_text() == "one"
    assert [each.name for each in path.parent.iterdir()] == ["a.json"]
    with pytest.raises(FileExistsError):
        cli_bench.write_whole(path, "two")
    assert path.read_text() == "one"
