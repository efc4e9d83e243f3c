"""Every write of a command fails once: one line, nothing half-written is read as whole, and the command resumes.

Some writes of each command here; ``python benchmarks/write_faults.py`` lets each of them fail with each error.
"""

import errno
import functools
import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from faults import CODES, faulty_writes, faulty_writes_of
from interrupted import evaluated_lines, same_run, train_with_evaluation
from xmcgan.cli.main import main
from xmcgan.data.prepared.export import export_webdataset
from xmcgan.data.prepared.prepare import prepare
from xmcgan.data.readers.coco import read_coco
from xmcgan.inference.model_files import checkpoints, read_tensors
from xmcgan.inference.pipeline import Pipeline
from xmcgan.runtime.files import WriteFailed, append_text, atomic_folder, atomic_stream, write_text
from xmcgan.runtime.locks import locked_folder
from xmcgan.scenes.write import write_scenes


@pytest.fixture
def short(config):
    """Two steps, each with a checkpoint, a line and an evaluation."""
    training = replace(
        config.training, steps=2, discriminator_steps=1, checkpoint_every=1, log_every=1, keep_checkpoints=2
    )
    return replace(config, training=training, evaluation=replace(config.evaluation, every=1))


@pytest.fixture
def whole(short, tmp_path):
    """The run without a fault, and how often it writes."""
    with faulty_writes() as faults:
        train_with_evaluation(short, tmp_path / "whole")
    return tmp_path / "whole", faults.count


@pytest.mark.parametrize("code", CODES)
def test_a_file_a_folder_and_a_line_stay_as_they_were(tmp_path, code):
    path, folder, reason = tmp_path / "a.txt", tmp_path / "f", os.strerror(code)
    write_text(path, "former\n")
    with atomic_folder(folder) as partial:
        write_text(partial / "x", "former")

    def fails(write) -> None:
        with faulty_writes(1, code), pytest.raises(WriteFailed, match=rf"^{tmp_path}.* could not be written: {reason}"):
            write()

    fails(lambda: write_text(path, "new\n"))
    fails(lambda: append_text(path, "new\n"))
    fails(lambda: replaced(folder))
    assert path.read_text() == "former\n"
    assert (folder / "x").read_text() == "former"
    assert sorted(each.name for each in tmp_path.iterdir()) == ["a.txt", "f"]


def replaced(folder):
    with atomic_folder(folder, replace=True) as partial:
        (partial / "x").write_text("new")


def test_errors_of_libraries_in_other_languages_are_named_too(tmp_path):
    """safetensors, onnx and torch put the system's error in words."""
    with pytest.raises(WriteFailed, match=r"a could not be written: No space left on device"):
        foreign(tmp_path / "a", RuntimeError("Error while serializing: I/O error: No space ... (os error 28)"))
    with pytest.raises(KeyError):
        foreign(tmp_path / "a", KeyError("not about the disk"))
    with pytest.raises(FileNotFoundError):  # of a file that is read meanwhile, elsewhere
        foreign(tmp_path / "a", FileNotFoundError(errno.ENOENT, "No such file", "/elsewhere/image.png"))


def foreign(folder, error):
    with atomic_folder(folder):
        raise error


def test_a_training_survives_writes_that_fail(short, whole, tmp_path):
    run, count = whole
    places = sorted({1, count // 3, 2 * count // 3, count})
    for number, at in enumerate(places):
        survives(short, run, tmp_path / f"run-{at}", at, CODES[number % len(CODES)])


def survives(config, whole, output, at, code):
    """The run ends in one line, or goes on; whatever has a name is whole; the same run resumes to the same."""
    said = ""
    with faulty_writes(at, code) as faults:
        try:
            train_with_evaluation(config, output)
        except (OSError, ValueError) as error:
            said = str(error)
    assert "\n" not in said
    if "tensorboard" not in faults.failed:  # whose curves end, and the run goes on
        assert os.strerror(code) in said
        assert str(output) in said
    assert faults.failed.startswith(str(output))
    for folder in (*checkpoints(output / "checkpoints"), output / "best"):
        for path in folder.rglob("*.safetensors"):
            read_tensors(path)  # with its checksum
    train_with_evaluation(config, output)
    assert same_run(whole, output) == []


def test_the_last_step_is_saved_when_the_disk_was_full_only_once(short, tmp_path):
    """The log's second line does not fit; the checkpoint of step 2 does."""
    config = replace(short, training=replace(short.training, checkpoint_every=1000), evaluation=short.evaluation)
    config = replace(config, evaluation=replace(config.evaluation, every=0))
    with faulty_writes() as faults:
        train_with_evaluation(replace(config, training=replace(config.training, steps=1)), tmp_path / "one")
    found = []
    for at in range(2, faults.count + 4):
        with faulty_writes(at) as each:
            try:
                train_with_evaluation(config, tmp_path / f"run-{at}")
            except OSError as error:
                found.append((Path(each.failed).name, str(error)))
        if each.failed.endswith("log.jsonl"):
            break
    name, said = found[-1]
    assert name == "log.jsonl"
    assert "The run stopped; the same command resumes from step 1" in said


def test_an_evaluation_survives_writes_that_fail(trained, scenes, tmp_path, capsys):
    def command(output):
        return ["evaluate", "--model", str(trained), "--data", str(scenes), "--output", str(output), "--count", "8",
                "--metrics", "fid,clip-score"]  # fmt: skip

    with faulty_writes() as faults:
        assert main(command(tmp_path / "whole")) == 0
    for number, at in enumerate(sorted({1, 4, faults.count})):
        output, code = tmp_path / f"out-{at}", CODES[number % len(CODES)]
        capsys.readouterr()
        with faulty_writes(at, code) as each:
            assert main(command(output)) == 2
        line = capsys.readouterr().err.strip().splitlines()[-1]
        assert each.failed in line
        assert os.strerror(code) in line
        assert main(command(output)) == 0
        assert evaluated_lines(output) == evaluated_lines(tmp_path / "whole")


def test_save_pretrained_keeps_the_former_model(trained, tmp_path):
    pipe = Pipeline.from_pretrained(trained, device="cpu")
    with faulty_writes() as faults:
        pipe.save_pretrained(tmp_path / "model")
    before = {path.name: path.read_bytes() for path in (tmp_path / "model").iterdir()}
    for number, at in enumerate(range(1, faults.count + 1)):
        with faulty_writes(at, CODES[number % len(CODES)]), pytest.raises(WriteFailed, match=r"model.* could not be"):
            pipe.save_pretrained(tmp_path / "model")
        assert {path.name: path.read_bytes() for path in (tmp_path / "model").iterdir()} == before
        with faulty_writes(at), pytest.raises(WriteFailed):
            pipe.save_pretrained(tmp_path / "new")
        assert sorted(path.name for path in tmp_path.iterdir()) == ["model"]


def test_an_export_appears_whole_or_not_at_all(trained, tmp_path, monkeypatch):
    """Without the graph, which takes a minute: what is written around it."""
    from xmcgan.inference import export as module

    def graph(_generator, _config, folder, format, _images):
        path = write_text(folder / f"generator{module.SUFFIX[format]}", "a graph")
        return module.Exported(path, {})

    monkeypatch.setattr(module, "write_generator", graph)
    with faulty_writes() as faults:
        module.export(trained, tmp_path / "whole", text_encoder=False)
    for number, at in enumerate(range(1, faults.count + 1)):
        with faulty_writes(at, CODES[number % len(CODES)]), pytest.raises(WriteFailed, match=r"out.* could not be"):
            module.export(trained, tmp_path / "out", text_encoder=False)
        assert sorted(path.name for path in tmp_path.iterdir()) == ["whole"]


def test_two_exports_into_one_folder(trained, prepared, tmp_path):
    """The second is refused and says who holds it; the first's files stay; a lock that a dead process left is none."""
    from xmcgan.inference.export import export

    output, number = tmp_path / "out", os.getpid()
    for path, write in (
        (output, lambda: export(trained, output)),
        (output / "val2014", lambda: export_webdataset(prepared, "val2014", output)),
    ):
        with (
            locked_folder(path, "exported", beside=True),
            pytest.raises(FileExistsError, match=f"^{path} is being exported by process {number}; wait for it"),
        ):
            write()
        assert not path.exists()
    (output / ".lock-val2014").write_text("1\n")
    assert export_webdataset(prepared, "val2014", output) == [output / "val2014-00000.tar"]
    assert [path.name for path in output.iterdir()] == ["val2014-00000.tar"]


def test_preparing_resumes_after_writes_that_fail(scenes, tmp_path, capsys):
    def command(output):
        return ["data", "prepare", "scenes", "--source", str(scenes), "--output", str(output), "--size", "32",
                "--workers", "1"]  # fmt: skip

    with faulty_writes() as faults:
        assert main(command(tmp_path / "whole")) == 0
    for number, at in enumerate(range(1, faults.count + 1)):
        output, code = tmp_path / f"out-{at}", CODES[number % len(CODES)]
        capsys.readouterr()
        with faulty_writes(at, code) as each:
            assert main(command(output)) == 2
        assert each.failed in capsys.readouterr().err.strip().splitlines()[-1]
        assert main(command(output)) == 0
        assert_same_files(tmp_path / "whole", output, "*.arrow")


def assert_same_files(whole, output, pattern):
    """Byte for byte, and none more."""
    expected = {path.relative_to(whole): path.read_bytes() for path in whole.rglob(pattern)}
    assert expected
    assert {path.relative_to(output): path.read_bytes() for path in output.rglob(pattern)} == expected


@pytest.fixture
def prepared(scenes, tmp_path):
    """Splits of a few shards."""
    prepare_small(scenes, tmp_path / "prepared")
    return tmp_path / "prepared"


def prepare_small(scenes, output):
    splits, entries = ["val2014"], functools.partial(read_coco, scenes)
    settings = {"name": "s", "layout": "coco", "size": 16, "shard_records": 4, "workers": 1, "progress": False}
    return prepare(scenes, output, splits=splits, entries=entries, **settings)


@pytest.mark.parametrize("code", [*CODES, errno.EDQUOT])
def test_each_write_of_shards_and_journal_is_named(scenes, prepared, tmp_path, code):
    """The kinds of file: the journal's plan, a shard, the journal's line, the report of problems, the manifest."""
    output = tmp_path / "out"
    for name in ("preparing.jsonl", "00000.arrow", "00001.arrow", "problems.jsonl", "manifest.json"):
        with faulty_writes_of(name, code) as faults, pytest.raises(WriteFailed) as caught:
            prepare_small(scenes, output)
        assert str(caught.value).startswith(f"{faults.failed} could not be written: {os.strerror(code)}")
        assert str(caught.value).endswith("; the same command then resumes")
        assert not [*output.rglob("*.partial*")]
    prepare_small(scenes, output)
    assert_same_files(prepared, output, "*.arrow")


@pytest.mark.parametrize("code", [*CODES, errno.EDQUOT])
def test_a_journals_line_that_fails_leaves_the_journal_whole(scenes, prepared, tmp_path, code):
    output = tmp_path / "out"
    with faulty_writes_of("preparing.jsonl", code, skipped=1), pytest.raises(WriteFailed, match=r"preparing\.jsonl"):
        prepare_small(scenes, output)
    assert all(json.loads(line) for line in (output / "preparing.jsonl").read_text().splitlines())
    prepare_small(scenes, output)
    assert_same_files(prepared, output, "*.arrow")


@pytest.mark.parametrize("code", [*CODES, errno.EDQUOT])
def test_each_write_of_a_data_export_is_named(prepared, tmp_path, code):
    def export(output):
        return export_webdataset(prepared, "val2014", output, shard_records=5)

    with faulty_writes() as counted:
        export(tmp_path / "whole")
    output = tmp_path / "out"
    for at in range(1, counted.count + 1):
        with faulty_writes(at, code) as faults, pytest.raises(WriteFailed) as caught:
            export(output)
        assert str(caught.value).startswith(f"{faults.failed} could not be written: {os.strerror(code)}")
    export(output)
    assert_same_files(tmp_path / "whole", output, "*")


@pytest.mark.parametrize("layout", ["coco", "open-images"])
def test_scenes_appear_whole_or_not_at_all(tmp_path, layout):
    def write(root):
        return write_scenes(root, layout=layout, size=16, train=2, val=1, evaluator=1, workers=1, progress=False)

    with faulty_writes() as counted:
        write(tmp_path / "whole")
    for number, at in enumerate(range(1, counted.count + 1)):
        code = [*CODES, errno.EDQUOT][number % 4]
        with faulty_writes(at, code), pytest.raises(WriteFailed, match=rf"^{tmp_path / 'out'}.*{os.strerror(code)}"):
            write(tmp_path / "out")
        assert [path.name for path in tmp_path.iterdir()] == ["whole"]


def test_a_disk_that_fills_within_a_file_is_named_and_what_is_read_is_not(tmp_path):
    """/dev/full takes no byte; the content's own errors pass unchanged."""
    path = tmp_path / "a.tar"
    path.write_bytes(b"former")
    full = tmp_path / "full"
    full.symlink_to("/dev/full")
    with pytest.raises(WriteFailed, match=rf"^{path} could not be written: No space left on device"):
        streamed(path, full, None)
    with pytest.raises(ChildProcessError, match="a worker died"):
        streamed(path, tmp_path / "partial", ChildProcessError("a worker died"))
    assert [each.name for each in tmp_path.iterdir()] == ["a.tar"]
    assert path.read_bytes() == b"former"


def streamed(path, partial, error):
    with atomic_stream(path, partial=partial) as stream:
        stream.write(b"x" * 100_000)
        if error is not None:
            raise error
