"""One pass over images, many metrics: what a result holds, the cache of real features, and what chance scores."""

import io
import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F

from ranks import as_ranks
from xmcgan.data.images import ImageTransform
from xmcgan.data.records import Record
from xmcgan.evaluation.asking import Asking
from xmcgan.evaluation.chosen_networks import EvaluationNetworks
from xmcgan.evaluation.evaluate import evaluate
from xmcgan.evaluation.features import Reference
from xmcgan.evaluation.image_set import Request
from xmcgan.evaluation.metric_names import METRICS
from xmcgan.evaluation.networks.detection import FunctionDetector
from xmcgan.evaluation.networks.detections import Detections
from xmcgan.evaluation.networks.protocols import ImageFeatures
from xmcgan.evaluation.results import Result, to_line
from xmcgan.metrics.exact_questions import TASKS, Question, Rules, Wanted
from xmcgan.runtime import distributed

TRANSFORM = ImageTransform(8)
COUNT = 200


class MeanColours:
    """A feature extractor by hand: the mean of each channel and of each quarter's red; five classes of brightness."""

    name, dim, weights_sha256, protocol = "mean-colours", 7, "0" * 64, {"resize": "none"}

    def __init__(self):
        self.images_seen = 0

    def __call__(self, images_B3HW):
        self.images_seen += len(images_B3HW)
        x = images_B3HW.float() / 255
        features = torch.cat([x.mean((2, 3)), F.adaptive_avg_pool2d(x[:, 0], 2).flatten(1)], dim=1)
        return ImageFeatures(features, features[:, :5] * 10)


class ByNumber:
    """A dual encoder that reads the number an image or a caption stands for, each a direction of its own."""

    name, dim, weights_sha256, protocol = "by-number", COUNT, "1" * 64, {}

    def encode_images(self, images_B3HW):
        return F.one_hot(images_B3HW[:, 0, 0, 0].long(), COUNT).float()

    def encode_captions(self, captions):
        return F.one_hot(torch.tensor([int(caption.split()[-1]) for caption in captions]), COUNT).float()


class AlwaysDogs:
    """Detects a brown dog (COCO's 18) in the left half of dark images, and nothing in bright ones."""

    name, weights_sha256, protocol, detectable = "dogs", "2" * 64, {"confidence": "0.5"}, frozenset({3, 18})
    floor, shape = 0.0, SimpleNamespace(colours=("brown",))

    def __call__(self, images_B3HW):
        return self.categories(self.detect_objects(images_B3HW))

    def categories(self, detections):
        return [set(each.categories_N.tolist()) for each in detections]

    def detect_objects(self, images_B3HW):
        box = torch.tensor([[0.0, 0.0, 0.5, 1.0]])
        dog = Detections(box, torch.tensor([18]), torch.tensor([0.95]), ("brown",))
        nothing = Detections(box[:0], torch.tensor([], dtype=torch.long), torch.tensor([]), ())
        return [dog if image.float().mean() < 128 else nothing for image in images_B3HW]


DOGS = AlwaysDogs()

NETWORKS = EvaluationNetworks(MeanColours(), ByNumber(), DOGS, DOGS, MeanColours())

DOG, BROWN_DOG = Wanted(18), Wanted(18, 1, "brown")

ASKING = Asking(
    "by hand",
    Rules(),
    lambda _: [
        Question("single-object", (DOG,)),
        Question("two-objects", (DOG, Wanted(3))),
        Question("counting", (DOG,), (DOG,)),
        Question("colour", (BROWN_DOG,)),
        Question("position", (DOG._replace(side="left"),)),
        Question("colour-attribution", (BROWN_DOG, Wanted(3, 1, "red"))),
    ],
)

DATA = {"data": "numbers"}

ALL = tuple(name for name in METRICS if name not in ("is-star", "diversity"))
"""The metrics that these images and captions have values of; the other two have tests of their own."""


def picture(number, seed=0):
    """An image whose first pixel says its number."""
    pixels = np.random.default_rng((seed, number)).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    pixels[0, 0, 0] = number
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG")
    return Record(buffer.getvalue(), ("a dog",), str(number))


PICTURES = [picture(number) for number in range(COUNT)]
REQUESTS = [
    Request(f"{number}-0", str(number), f"two dogs left of a dog with number {number}", number)
    for number in range(COUNT)
]


def reference(tmp_path, images=None):
    return Reference(images or [picture(n, seed=1) for n in range(COUNT)], TRANSFORM, tmp_path / "cache", "set val")


def evaluated(tmp_path, images=PICTURES, requests=REQUESTS, metrics=ALL, networks=NETWORKS, protocol=DATA, **settings):
    return evaluate(
        images,
        requests,
        transform=TRANSFORM,
        networks=networks,
        metrics=metrics,
        system="ours",
        protocol=protocol,
        reference=reference(tmp_path),
        training=Reference([picture(n, seed=2) for n in range(COUNT)], TRANSFORM, tmp_path / "cache", "set train"),
        asking=ASKING,
        progress=False,
        **settings,
    )


def values(results: list[Result]) -> dict[str, float]:
    return {result.metric: result.value for result in results}


def test_every_metric_is_one_result_with_its_protocol(tmp_path):
    results = evaluated(tmp_path)
    assert [result.metric for result in results] == list(ALL)
    for result in results:
        assert result.system == "ours"
        assert result.samples == COUNT
        assert result.protocol["data"] == "numbers"
        assert result.protocol["image_size"] == 8
        assert len(result.protocol["weights_sha256"]) == 64
    protocols = {result.metric: result.protocol for result in results}
    assert protocols["fid"]["reference"] == "set val"
    assert protocols["fid"]["network"] == "mean-colours"
    assert protocols["is"]["splits"] == 10
    assert protocols["r-precision"]["network"] == "by-number"
    assert "reference" not in protocols["r-precision"]
    assert protocols["soa-c"]["network"] == "dogs"
    assert protocols["authenticity"]["training"] == "set train"
    assert "training" not in protocols["fid"]
    assert protocols["exact-colour"]["questions"] == "by hand"
    assert protocols["o-fid"]["crops"].startswith("objects of dogs")
    assert not any("precision" in protocol for protocol in protocols.values())
    assert json.dumps(values(results))


def test_the_result_does_not_depend_on_the_batch_size(tmp_path):
    one, other = (values(evaluated(tmp_path, batch_size=size)) for size in (7, 50))
    for metric, value in one.items():
        assert value == pytest.approx(other[metric], rel=1e-10, abs=1e-12), metric


def test_images_of_their_captions_score_highest_and_shuffled_captions_chance(tmp_path):
    right = values(evaluated(tmp_path, metrics=["r-precision", "contrastive-accuracy"]))
    assert right == {"r-precision": 1.0, "contrastive-accuracy": 1.0}
    order = np.random.default_rng(0).permutation(COUNT)
    shuffled = values(evaluated(tmp_path, images=[PICTURES[k] for k in order], metrics=["r-precision"]))
    assert shuffled["r-precision"] < 0.05  # by chance 0.01


def test_objects_are_looked_for_where_the_caption_names_them(tmp_path):
    bright = [TRANSFORM(image).float().mean() >= 128 for image in PICTURES]
    soa = values(evaluated(tmp_path, metrics=["soa-c", "soa-i"]))
    assert soa["soa-c"] == pytest.approx(1 - sum(bright) / COUNT)
    # Categories that the detector does not know are left out.
    benches = [request._replace(caption=f"a dog on a bench with number {k}") for k, request in enumerate(REQUESTS)]
    assert values(evaluated(tmp_path, requests=benches, metrics=["soa-i"]))["soa-i"] == soa["soa-i"]
    listed = [request._replace(category=18 if k % 2 else 3) for k, request in enumerate(REQUESTS)]
    found = [not bright[k] for k in range(COUNT) if k % 2]
    assert values(evaluated(tmp_path, requests=listed, metrics=["soa-c"]))["soa-c"] == pytest.approx(np.mean(found) / 2)


def test_exact_questions_are_answered_by_the_objects_found(tmp_path):
    dark = float(np.mean([TRANSFORM(image).float().mean() < 128 for image in PICTURES]))
    found = values(evaluated(tmp_path, metrics=["exact", *(f"exact-{task}" for task in TASKS)]))
    expected = dict.fromkeys(TASKS, dark) | {"two-objects": 0.0, "colour-attribution": 0.0}
    assert found == pytest.approx({"exact": dark * 4 / 6} | {f"exact-{task}": expected[task] for task in TASKS})


def test_captions_of_scenes_are_asked_where_nothing_else_is_said(tmp_path):
    class RedCars(AlwaysDogs):
        shape = SimpleNamespace(colours=("red",))

        def detect_objects(self, images_B3HW):
            car = Detections(torch.tensor([[0.0, 0.5, 0.4, 0.9]]), torch.tensor([3]), torch.tensor([0.95]), ("red",))
            return [car] * len(images_B3HW)

    captions = ["a red car on a street", "a blue car on a street", "a red car on the right on a street"]
    results = evaluate(
        PICTURES[:3],
        [request._replace(caption=caption) for request, caption in zip(REQUESTS, captions, strict=False)],
        transform=TRANSFORM,
        networks=EvaluationNetworks(boxes=RedCars()),
        metrics=["exact-single-object", "exact-colour", "exact-position"],
        system="ours",
        protocol={},
        progress=False,
    )
    assert [result.value for result in results] == pytest.approx([1, 2 / 3, 0])
    assert all(result.protocol["questions"].startswith("captions of Scenes by rule") for result in results)


def test_counting_alignment_counts_the_objects_found(tmp_path):
    # "two dogs left of a dog": 3; found are 1 in dark images, none in bright ones
    dark = float(np.mean([TRANSFORM(image).float().mean() < 128 for image in PICTURES]))
    assert values(evaluated(tmp_path, metrics=["counting-alignment"])) == pytest.approx(
        {"counting-alignment": 2 * dark + 3 * (1 - dark)}
    )


def test_copies_of_training_images_are_not_authentic(tmp_path):
    copies = [picture(number, seed=2) for number in range(COUNT)]
    assert values(evaluated(tmp_path, images=copies, metrics=["authenticity"])) == {"authenticity": 0.0}
    found = values(evaluated(tmp_path, metrics=["authenticity", "ct-score"]))
    assert 0.35 < found["authenticity"] < 0.65
    assert abs(found["ct-score"]) < 3


def test_diversity_is_measured_within_captions(tmp_path):
    pairs = [request._replace(caption=f"a dog with number {k // 2}") for k, request in enumerate(REQUESTS)]
    same = [PICTURES[k // 2] for k in range(COUNT)]
    assert values(evaluated(tmp_path, same, pairs, ["diversity"]))["diversity"] == pytest.approx(0, abs=1e-12)
    assert values(evaluated(tmp_path, PICTURES, pairs, ["diversity"]))["diversity"] > 0.001


def test_a_calibrated_inception_score_needs_a_classifier_whose_temperature_is_known(tmp_path):
    with pytest.raises(ValueError, match="no temperature is known that calibrates mean-colours"):
        evaluated(tmp_path, metrics=["is-star"])
    named = MeanColours()
    named.name = "inception-v3-tf"
    found = values(evaluated(tmp_path, metrics=["is", "is-star"], networks=EvaluationNetworks(named)))
    assert found["is-star"] > found["is"]  # a temperature below 1 sharpens


def test_a_network_that_training_has_seen_is_marked(tmp_path):
    named = MeanColours()
    named.name = "resnet50 by hand"
    trained = {"data": "numbers", "trained_with": "minilm, resnet50"}
    networks = EvaluationNetworks(named, ByNumber())
    results = evaluated(tmp_path, metrics=["fid", "r-precision"], networks=networks, protocol=trained)
    assert [result.protocol.get("seen_in_training") for result in results] == [True, None]


def test_half_precision_is_recorded(tmp_path):
    networks = EvaluationNetworks(MeanColours(), precision="bfloat16")
    (result,) = evaluated(tmp_path, metrics=["fid"], networks=networks)
    assert result.protocol["precision"] == "bfloat16"
    assert result.value == pytest.approx(values(evaluated(tmp_path, metrics=["fid"]))["fid"], rel=0.05)


def test_real_features_are_computed_once_and_anew_when_anything_changes(tmp_path):
    real = []
    for number in range(COUNT):
        path = tmp_path / f"{number}.png"
        path.write_bytes(picture(number, seed=1).image)
        real.append(Record(path, ("a dog",), str(number)))

    def run(extractor, size=8, images=real):
        return evaluate(
            PICTURES,
            REQUESTS,
            transform=TRANSFORM,
            networks=EvaluationNetworks(extractor),
            metrics=["fid"],
            system="ours",
            protocol={},
            reference=Reference(images, ImageTransform(size), tmp_path / "cache", "val"),
            progress=False,
        )[0].value

    extractor = MeanColours()
    first = run(extractor)
    assert extractor.images_seen == 2 * COUNT
    assert run(extractor) == first
    assert extractor.images_seen == 3 * COUNT  # the drawn ones alone
    run(extractor, size=16)
    assert extractor.images_seen == 5 * COUNT
    Image.new("RGB", (8, 8), "white").save(tmp_path / "0.png")
    assert run(extractor) != first
    assert extractor.images_seen == 7 * COUNT
    other = MeanColours()
    other.weights_sha256 = "f" * 64
    run(other)
    assert other.images_seen == 2 * COUNT


def test_mistakes_are_named(tmp_path):
    with pytest.raises(ValueError, match="unknown metric fidd"):
        evaluated(tmp_path, metrics=["fidd"])
    with pytest.raises(ValueError, match=r"r-precision: EvaluationNetworks\.encoder is None"):
        evaluated(tmp_path, metrics=["r-precision"], networks=EvaluationNetworks(MeanColours()))
    with pytest.raises(ValueError, match="exact: presence gives no boxes"):
        evaluated(tmp_path, metrics=["exact"], networks=EvaluationNetworks(boxes=FunctionDetector("presence", set, {})))
    with pytest.raises(ValueError, match="authenticity: training is missing"):
        evaluate(
            PICTURES,
            REQUESTS,
            transform=TRANSFORM,
            networks=NETWORKS,
            metrics=["authenticity"],
            system="ours",
            protocol={},
            progress=False,
        )
    with pytest.raises(ValueError, match="199 images but 200 requests"):
        evaluated(tmp_path, images=PICTURES[1:])
    with pytest.raises(ValueError, match="reference is missing"):
        evaluate(
            PICTURES, REQUESTS, transform=TRANSFORM, networks=NETWORKS, metrics=["fid"], system="ours", protocol={}
        )


@pytest.mark.parametrize("side", ["encode_images", "encode_captions"])
def test_features_that_are_nan_are_an_error_and_no_number(tmp_path, side):
    class Broken(ByNumber):
        pass

    setattr(Broken, side, lambda self, inputs: getattr(super(Broken, self), side)(inputs) * float("nan"))
    broken = EvaluationNetworks(MeanColours(), Broken(), DOGS, DOGS, MeanColours())
    with pytest.raises(ValueError, match="by-number gives NaN or infinite features"):
        evaluated(tmp_path, metrics=("r-precision",), networks=broken)


def test_a_broken_image_is_named(tmp_path):
    path = tmp_path / "broken.png"
    path.write_bytes(PICTURES[0].image[:60])
    with pytest.raises(ValueError, match=r"broken\.png"):
        evaluated(tmp_path, images=[*PICTURES[:-1], Record(path, ("a dog",), "x")], metrics=["r-precision"])


def write_lines(folder):
    """What this rank finds, a line for each metric."""
    with distributed.process_group(torch.device("cpu")):
        results = evaluated(folder, batch_size=30)
        lines = [to_line(replace(result, seconds=0.0)) for result in results]
        (folder / f"lines-{distributed.rank()}.txt").write_text("\n".join(lines))


@pytest.mark.filterwarnings("ignore:This process")  # is multi-threaded, says Python of torch's idle threads
def test_two_processes_give_the_same_lines_as_one(tmp_path):
    for ranks in (1, 2):
        (tmp_path / str(ranks)).mkdir()
    write_lines(tmp_path / "1")
    assert as_ranks(2, write_lines, tmp_path / "2") == [0, 0]
    lines = [(tmp_path / name).read_text() for name in ("1/lines-0.txt", "2/lines-0.txt", "2/lines-1.txt")]
    assert lines[0] == lines[1] == lines[2]


def test_settings_do_not_depend_on_the_images(tmp_path):
    """Otherwise two systems could not stand in one column."""
    other = [picture(number, seed=3) for number in range(COUNT)]
    one, two = ({r.metric: r.protocol for r in evaluated(tmp_path, images=images)} for images in (PICTURES, other))
    assert one == two
