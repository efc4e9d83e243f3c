"""`xmcgan evaluate` as a user runs it: a checkpoint, another system's images, real ones, and tables of them."""

import json
import os
import shutil
from pathlib import Path

import pytest

from xmcgan.cli.main import main
from xmcgan.evaluation.results import read_results

METRICS = "fid,clip-score,soa"


@pytest.fixture(scope="module")
def evaluated(trained, scenes, tmp_path_factory) -> Path:
    output = tmp_path_factory.mktemp("evaluated") / "evaluations"
    command = ["evaluate", "--data", str(scenes), "--output", str(output), "--metrics", METRICS]
    assert main([*command, "--model", str(trained)]) == 0
    assert main([*command, "--real", "true"]) == 0
    return output


def values(path: Path, system: str) -> dict[str, float]:
    return {result.metric: result.value for result in read_results(path) if result.system == system}


def test_a_checkpoint_and_real_images_are_rows(evaluated):
    results = read_results(evaluated / "results.jsonl")
    assert {result.system for result in results} == {"trained step 6", "real images"}
    assert set(values(evaluated / "results.jsonl", "trained step 6")) == {"fid", "clip-score", "soa-c", "soa-i"}
    # Real images are at no distance from themselves, which would say nothing.
    assert set(values(evaluated / "results.jsonl", "real images")) == {"clip-score", "soa-c", "soa-i"}
    for result in results:
        assert result.samples == 40
        assert result.protocol["data"] == "scenes"
        assert result.protocol["split"] == "val2014"
        assert result.protocol["image_size"] == 64


def test_the_images_have_a_manifest(evaluated):
    folder = evaluated / "sets" / "trained-step-6"
    requests = [json.loads(line) for line in (folder / "requests.jsonl").read_text().splitlines()]
    assert len(requests) == 40 == len(list((folder / "images").iterdir()))
    assert {"file", "id", "image_id", "caption", "seed"} <= requests[0].keys()
    settings = json.loads((folder / "settings.json").read_text())
    assert (settings["step"], settings["noise"]) == (6, "philox")


def test_images_of_another_noise_are_not_added_to(evaluated, trained, scenes, tmp_path, capsys):
    """Sets from before the counter-based noise do not name theirs."""
    output = Path(shutil.copytree(evaluated, tmp_path / "older"))
    file = output / "sets" / "trained-step-6" / "settings.json"
    file.write_text(json.dumps({k: v for k, v in json.loads(file.read_text()).items() if k != "noise"}))
    before = (output / "results.jsonl").read_bytes()
    command = ["evaluate", "--data", str(scenes), "--output", str(output), "--metrics", "clip-score"]
    assert main([*command, "--model", str(trained)]) == 2
    assert "noise was None and is 'philox'" in capsys.readouterr().err
    assert (output / "results.jsonl").read_bytes() == before


def test_the_same_command_generates_nothing_again_and_gives_the_same_values(evaluated, trained, scenes, tmp_path):
    output = Path(shutil.copytree(evaluated, tmp_path / "again"))
    images = {path: path.stat().st_mtime_ns for path in (output / "sets").rglob("*.png")}
    command = ["evaluate", "--data", str(scenes), "--output", str(output), "--metrics", METRICS]
    assert main([*command, "--model", str(trained)]) == 0
    assert {path: path.stat().st_mtime_ns for path in images} == images
    results = [result for result in read_results(output / "results.jsonl") if result.system == "trained step 6"]
    assert len(results) == 8
    for first, second in zip(results[:4], results[4:], strict=True):
        assert (first.metric, first.value, first.protocol) == (second.metric, second.value, second.protocol)


def test_images_of_another_system_are_evaluated_by_the_same_protocol(evaluated, scenes, tmp_path):
    """The checkpoint's own pictures under another name score what they scored."""
    listed = tmp_path / "captions.jsonl"
    assert main(["evaluate", "--data", str(scenes), "--write_captions", str(listed)]) == 0
    drawn = evaluated / "sets" / "trained-step-6" / "images"
    (tmp_path / "theirs").mkdir()
    for line, image in zip(listed.read_text().splitlines(), sorted(drawn.iterdir()), strict=True):
        shutil.copy(image, tmp_path / "theirs" / f"{json.loads(line)['id']}.png")
    command = ["evaluate", "--data", str(scenes), "--output", str(tmp_path / "out"), "--metrics", METRICS]
    assert main([*command, "--images", str(tmp_path / "theirs"), "--system", "OP-GAN"]) == 0
    theirs = read_results(tmp_path / "out" / "results.jsonl")
    assert {result.system for result in theirs} == {"OP-GAN"}
    assert values(tmp_path / "out" / "results.jsonl", "OP-GAN") == values(evaluated / "results.jsonl", "trained step 6")
    # One protocol, so that one table holds both.
    assert main(["compare", str(evaluated / "results.jsonl"), str(tmp_path / "out" / "results.jsonl")]) == 0


def test_captions_that_are_written_already_stay(scenes, tmp_path, capsys):
    listed = tmp_path / "captions.jsonl"
    listed.write_text("mine")
    assert main(["evaluate", "--data", str(scenes), "--write_captions", str(listed)]) == 2
    assert "is there already" in capsys.readouterr().err
    assert listed.read_text() == "mine"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "give one of --model, --images and --real, not none"),
        (["--real", "true", "--images", "x"], "not --images and --real"),
        (["--real", "true", "--metrics", "fidd"], "unknown metric 'fidd'"),
        (["--real", "true", "--count", "9999"], "count is 9999; it should be 1 to 40"),
        (["--real", "true", "--metrics", "clip-score", "--encoder", "clap"], "unknown dual encoder 'clap'"),
        (["--real", "true", "--metrics", "is"], "is: the extractor gives no logits; it should be a classifier"),
        (
            ["--real", "true", "--metrics", "fid", "--extractor", "inception-v3-tf", "--reference-split", "train2014"],
            "pt_inception-2015-12-05",
        ),
        (["--real", "true", "--metrics", "fid"], "fid would compare the real images of val2014 with themselves"),
        (["--real", "true", "--metrics", "contrastive-accuracy"], "needs at least 100 images, but there are 40"),
        (["--real", "true", "--metrics", "r-precision"], "99 captions of other images, but some have"),
        (["--real", "true", "--count", "0"], "count is 0; it should be 1 to 40"),
        (["--real", "true", "--size", "1000000"], "--size is 1000000; it should be 8 to 2048 pixels"),
        (["--images", "/nowhere", "--metrics", "clip-score"], "/nowhere"),
        (["--model", "/nowhere/at/all"], "/nowhere/at/all"),
        (["--real", "true", "--batch-size", "0"], "--batch-size is 0; it should be at least 1"),
        (["--real", "true", "--layout", "coco", "--split", "test2014"], "test2014"),
        (["--real", "true", "--layout", "cub200"], ". val2014 is the default validation split; --split names another"),
        (["--real", "true", "--layout", "cub"], "--layout is 'cub'; it should be one of coco, localized-narratives, "),
    ],
)
def test_mistakes_are_one_line(scenes, tmp_path, capsys, arguments, said):
    assert main(["evaluate", "--data", str(scenes), "--output", str(tmp_path / "out"), *arguments]) == 2
    errors = capsys.readouterr().err.strip().splitlines()
    assert said in errors[-1]
    assert not (tmp_path / "out" / "results.jsonl").exists()


def test_real_photographs_go_through_the_coco_path(tmp_path):
    """On the photographs of a COCO folder, without downloads: this tests the code path, not the values."""
    folder = os.environ.get("XMCGAN_COCO")
    if not folder:
        pytest.skip("XMCGAN_COCO does not name a folder with val2014/ and annotations/ of COCO 2014")
    scenes_networks = ["--extractor", "scenes-dual-encoder", "--encoder", "scenes-dual-encoder"]
    command = ["evaluate", "--data", folder, "--real", "true", "--output", str(tmp_path), "--size", "64"]
    detector = ["--detector", "scenes-presence", "--count", "110", "--metrics", "r-precision,clip-score,soa"]
    assert main([*command, *scenes_networks, *detector]) == 0
    results = read_results(tmp_path / "results.jsonl")
    assert [result.protocol["data"] for result in results] == ["coco14"] * 4


def test_a_retrained_model_is_not_evaluated_by_its_former_images(evaluated, trained, scenes, tmp_path, capsys):
    """Another run at the same path with the same number of steps: known by its weights."""
    from safetensors.torch import load_file

    from xmcgan.inference.model_files import save_tensors

    output, run = shutil.copytree(evaluated, tmp_path / "evaluations"), shutil.copytree(trained, tmp_path / "trained")
    path = run / "checkpoints/step-00000006/generator.safetensors"
    weights = load_file(path)
    save_tensors(weights | {"stem.bias": weights["stem.bias"] + 1}, path)
    settings = output / "sets/trained-step-6/settings.json"
    settings.write_text(settings.read_text().replace(str(trained), str(run)))
    before = (output / "results.jsonl").read_bytes()
    command = ["evaluate", "--data", str(scenes), "--output", str(output), "--metrics", "clip-score"]
    assert main([*command, "--model", str(run)]) == 2
    assert "images with other settings: generator_sha256 was" in capsys.readouterr().err
    assert (output / "results.jsonl").read_bytes() == before


def test_nothing_is_generated_for_results_that_cannot_be_added_to(trained, scenes, tmp_path, capsys):
    output = tmp_path / "out"
    output.mkdir()
    (output / "results.jsonl").write_text('{"cut')
    command = ["evaluate", "--model", str(trained), "--data", str(scenes), "--output", str(output)]
    assert main([*command, "--metrics", "clip-score"]) == 2
    assert "results.jsonl ends with an incomplete line" in capsys.readouterr().err
    assert [path.name for path in output.iterdir()] == ["results.jsonl"]


def test_metrics_of_the_training_images_show_the_closest_pairs(evaluated, trained, scenes, tmp_path, capsys):
    output = shutil.copytree(evaluated, tmp_path / "out")
    command = ["evaluate", "--model", str(trained), "--data", str(scenes), "--output", str(output)]
    assert main([*command, "--metrics", "authenticity"]) == 0
    page = output / "neighbours" / "trained-step-6.html"
    assert f"{page} shows the closest pairs" in capsys.readouterr().out
    text = page.read_text()
    assert text.count("<figure><div>") + text.count('<figure class="copied">') == 24
    assert text.count('class="strip"') == 2  # between two captions, and between two seeds
    found = [result for result in read_results(output / "results.jsonl") if result.metric == "authenticity"]
    assert [(result.samples, result.protocol["training"]) for result in found] == [(40, "coco train2014")]


def test_truncation_and_statistics_of_batch_norm_are_in_the_protocol(trained, scenes, tmp_path):
    """Results with and without them must not share a column."""
    from dataclasses import replace

    from xmcgan import Pipeline
    from xmcgan.cli.evaluate import Data, Images, Networks, find_source, protocol_of

    pipe = Pipeline.from_pretrained(trained, device="cpu")
    plain = find_source(Images(model=str(trained)), Data(scenes), Networks(), pipe)
    assert {"truncation", "batch_norm"}.isdisjoint(protocol_of(plain))
    pipe.config = replace(pipe.config, training=replace(pipe.config.training, batch_norm_batches=50))
    changed = find_source(Images(model=str(trained), truncation=0.5), Data(scenes), Networks(), pipe)
    found = protocol_of(changed)
    assert (found["truncation"], found["batch_norm"]) == (0.5, "re-estimated over 50 batches")
    theirs = find_source(Images(images=tmp_path, trained_with="vgg19, clip"), Data(scenes), Networks(), None)
    assert protocol_of(theirs)["trained_with"] == "clip, vgg19"


def test_what_is_done_is_written_when_a_later_metric_fails(evaluated, trained, scenes, tmp_path, monkeypatch):
    import xmcgan.evaluation.evaluate as module

    def failing(metric, inputs):
        if metric == "fid":
            raise ValueError("fid fails")
        return compute_metric(metric, inputs)

    compute_metric = module.compute_metric
    monkeypatch.setattr(module, "compute_metric", failing)
    output = shutil.copytree(evaluated, tmp_path / "out")
    (output / "results.jsonl").unlink()
    command = ["evaluate", "--model", str(trained), "--data", str(scenes), "--output", str(output)]
    assert main([*command, "--metrics", "clip-score,fid"]) == 2
    assert list(values(output / "results.jsonl", "trained step 6")) == ["clip-score"]


def test_real_images_prepared_for_another_size_or_fit_are_refused(trained, scenes, tmp_path, capsys):
    from xmcgan.cli.evaluate import Data
    from xmcgan.cli.evaluate_images import refuse_prepared_otherwise
    from xmcgan.data.images import ImageTransform
    from xmcgan.data.layouts import read_records
    from xmcgan.evaluation.features import Reference

    prepared = tmp_path / "prepared"
    command = ["data", "prepare", "scenes", "--source", str(scenes), "--output", str(prepared), "--splits", "val2014"]
    assert main([*command, "--size", "32", "--fit", "crop", "--workers", "1"]) == 0
    arguments = ["evaluate", "--data", str(prepared), "--output", str(tmp_path / "out"), "--metrics", "fid"]
    assert main([*arguments, "--model", str(trained)]) == 2
    said = capsys.readouterr().err
    assert f"{prepared} was prepared with --size 32, but --size is 64" in said
    assert "accept it as it is with --resize true" in said
    assert not (tmp_path / "out" / "sets").exists()  # before any image is generated

    records = read_records(prepared, "coco", "val2014")
    with pytest.raises(ValueError, match="was prepared with --fit crop, but --fit is squash"):
        refuse_prepared_otherwise(Data(prepared), 32, ["authenticity"], records)
    refuse_prepared_otherwise(Data(prepared), 32, ["clip-score"], records)  # compares with no real image
    refuse_prepared_otherwise(Data(prepared, resize=True), 32, ["fid"], records)
    # Accepted, it is another protocol.
    protocols = [
        Reference(records, ImageTransform(size, fit), tmp_path, "coco val2014").protocol()
        for size, fit in ((32, "crop"), (64, "squash"))
    ]
    assert "reference_prepared_size" not in protocols[0]
    assert (protocols[1]["reference_prepared_size"], protocols[1]["reference_prepared_fit"]) == (32, "crop")
