"""Detectors against direct calls of torchvision and transformers with random weights; official ids; functions.

The true weights are not part of the project and were not run.
"""

import hashlib
import json
import shutil
from pathlib import Path

import pytest
import torch
import torchvision
from PIL import Image
from torch import Tensor
from transformers import (
    DetrConfig,
    DetrForObjectDetection,
    DetrImageProcessorPil,
    ResNetConfig,
    RTDetrConfig,
    RTDetrForObjectDetection,
    RTDetrImageProcessorPil,
    RTDetrResNetConfig,
)

from xmcgan.encoders.text import quiet_transformers
from xmcgan.evaluation.networks.detection import CATEGORIES, FunctionDetector, TorchvisionDetector, TransformersDetector
from xmcgan.evaluation.networks.load import DETECTORS, load_detector

TORCHVISION = "fasterrcnn_mobilenet_v3_large_320_fpn"
PERSON, CAT, DOG, TOOTHBRUSH = 1, 17, 18, 90


def images(count: int = 2, size: int = 64) -> Tensor:
    return torch.randint(256, (count, 3, size, size), dtype=torch.uint8)


def test_categories_match_coco():
    assert len(CATEGORIES) == 80
    some = [CATEGORIES[name] for name in ("person", "cat", "dog", "stop sign", "hair drier", "toothbrush")]
    assert some == [PERSON, CAT, DOG, 13, 89, TOOTHBRUSH]
    assert not set(CATEGORIES.values()) & {12, 26, 29, 30, 45, 66, 68, 69, 71, 83}  # the numbers of nothing


@pytest.fixture(scope="module")
def torchvision_state() -> dict[str, Tensor]:
    """Finds the same in every box: the cat with 0.6, the dog with 0.3."""
    torch.manual_seed(3)
    state = torchvision.models.get_model(TORCHVISION, weights=None, weights_backbone=None).state_dict()
    head = "roi_heads.box_predictor.cls_score"
    state[f"{head}.weight"].zero_()
    state[f"{head}.bias"].fill_(-20)
    state[f"{head}.bias"][[CAT, DOG, 0]] = torch.tensor([0.6, 0.3, 0.1]).log()
    return state


@pytest.fixture(scope="module")
def torchvision_file(torchvision_state, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "detector.pth"
    torch.save(torchvision_state, path)
    return path


def test_torchvision_counts_confidence_above_half(torchvision_file):
    detector = load_detector(TORCHVISION, torchvision_file)
    assert detector(images(2)) == [{CAT}, {CAT}]
    assert detector.weights_sha256 == hashlib.sha256(torchvision_file.read_bytes()).hexdigest()
    assert detector.name == TORCHVISION
    assert detector.protocol == {
        "squash": "pil-bilinear 256",
        "resize": "bilinear shorter side 320",
        "confidence": "0.5",
        "nms": "per category 0.5",
    }


def test_torchvision_matches_direct_call(tmp_path):
    """With weights whose output depends on the image, on images squashed as in the official code."""
    network = torchvision.models.get_model(TORCHVISION, weights=None, weights_backbone=None).eval()
    generator = torch.Generator().manual_seed(4)
    for name, weight in network.named_parameters():
        if weight.dim() == 4 or "cls_score.weight" in name:
            scale = 0.05 if "cls_score" in name else (2 / weight[0].numel()) ** 0.5
            weight.data = torch.randn(weight.shape, generator=generator) * scale
    torch.save(network.state_dict(), tmp_path / "looking.pth")
    tints = torch.tensor([[1, 1, 1], [1, 0, 0], [0, 1, 0], [0, 0, 1]], dtype=torch.uint8)
    wide = images(4, 50)[..., :30, :].repeat_interleave(6, 2).repeat_interleave(6, 3) * tints[..., None, None]
    seen = []
    for image in wide:
        picture = torchvision.transforms.functional.to_pil_image(image).resize((256, 256), Image.Resampling.BILINEAR)
        with torch.no_grad():
            found = network([torchvision.transforms.functional.to_tensor(picture)])[0]
        seen.append(set(found["labels"][found["scores"] > 0.5].tolist()) & set(CATEGORIES.values()))
    assert len(set(map(frozenset, seen))) > 1, "all look alike to the network: the test would not see a difference"
    assert TorchvisionDetector(TORCHVISION, tmp_path / "looking.pth")(wide) == seen


def test_torchvision_without_squashing(torchvision_file):
    detector = TorchvisionDetector(TORCHVISION, torchvision_file, size=None)
    sizes = []
    detector.network.register_forward_pre_hook(lambda _network, given: sizes.extend(x.shape for x in given[0]))
    detector(images(10, 40))
    assert sizes == [(3, 40, 40)] * 10
    assert detector.protocol["squash"] == "none"


@pytest.mark.parametrize("name", [name for name, load in DETECTORS.items() if "fpn" in name])
def test_missing_weights_error_names_the_url(name, tmp_path):
    with pytest.raises(ValueError, match=rf"{name} needs a local weight file.*https://download\.pytorch\.org/.*pth"):
        load_detector(name)
    with pytest.raises(FileNotFoundError, match=rf"nowhere\.pth does not exist; it should hold the weights of {name}"):
        load_detector(name, tmp_path / "nowhere.pth")


def test_torchvision_rejects_other_weights(torchvision_state, tmp_path):
    torch.save(
        {key: value for key, value in torchvision_state.items() if "roi_heads" not in key}, tmp_path / "less.pth"
    )
    with pytest.raises(ValueError, match=rf"less\.pth does not hold the weights of {TORCHVISION}: .*roi_heads"):
        load_detector(TORCHVISION, tmp_path / "less.pth")
    (tmp_path / "damaged.pth").write_bytes(b"PK\x03\x04 cut short")
    with pytest.raises(ValueError, match=r"damaged\.pth cannot be read as a state dict"):
        load_detector(TORCHVISION, tmp_path / "damaged.pth")


DETR_NAMES = dict.fromkeys(range(91), "N/A") | {number: name for name, number in CATEGORIES.items()}
"""The labels of facebook/detr-resnet-50 are the official ids."""
YOLO_NAMES = dict(enumerate(CATEGORIES)) | {
    3: "motorbike",
    4: "aeroplane",
    57: "sofa",
    58: "pottedplant",
    60: "diningtable",
    62: "tvmonitor",
}
"""The labels of PekingU/rtdetr_r50vd count the 80 categories from 0, some under other names."""


def quiet_save(folder: Path, model, processor) -> Path:
    with quiet_transformers():
        model.save_pretrained(folder)
        processor.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def detr_folder(tmp_path_factory) -> Path:
    torch.manual_seed(5)
    backbone = ResNetConfig(
        embedding_size=8, hidden_sizes=[8, 8], depths=[1, 1], layer_type="basic", out_features=["stage2"]
    )
    shape = DetrConfig(
        backbone_config=backbone,
        d_model=16,
        encoder_layers=1,
        decoder_layers=1,
        encoder_ffn_dim=16,
        decoder_ffn_dim=16,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        num_queries=10,
        id2label=DETR_NAMES,
    )
    model = DetrForObjectDetection(shape)
    with torch.no_grad():
        model.class_labels_classifier.weight.normal_(std=3)
    processor = DetrImageProcessorPil(size={"shortest_edge": 64, "longest_edge": 96})
    return quiet_save(tmp_path_factory.mktemp("models") / "detr", model, processor)


@pytest.fixture(scope="module")
def rt_detr_folder(tmp_path_factory) -> Path:
    torch.manual_seed(6)
    backbone = RTDetrResNetConfig(
        embedding_size=8,
        hidden_sizes=[8, 8, 8, 8],
        depths=[1, 1, 1, 1],
        layer_type="basic",
        out_features=["stage2", "stage3", "stage4"],
    )
    shape = RTDetrConfig(
        backbone_config=backbone,
        encoder_hidden_dim=32,
        encoder_in_channels=[8, 8, 8],
        encoder_ffn_dim=16,
        encoder_attention_heads=2,
        d_model=32,
        num_queries=10,
        decoder_in_channels=[32, 32, 32],
        decoder_ffn_dim=16,
        decoder_layers=1,
        decoder_attention_heads=2,
        num_denoising=0,
        id2label=YOLO_NAMES,
    )
    model = RTDetrForObjectDetection(shape)
    with torch.no_grad():
        for weight in (model.model.enc_score_head.weight, model.model.decoder.class_embed[0].weight):
            weight.normal_(std=1)
        model.model.decoder.class_embed[0].bias.zero_()
    processor = RTDetrImageProcessorPil(size={"height": 64, "width": 64})
    return quiet_save(tmp_path_factory.mktemp("models") / "rt_detr", model, processor)


@pytest.mark.parametrize("name", ["detr", "rt-detr"])
def test_transformers_matches_direct_call(name, request):
    """Scores worked out from the logits: a softmax with a class for nothing, or a sigmoid a category."""
    folder = request.getfixturevalue(name.replace("-", "_") + "_folder")
    detector = load_detector(name, folder)
    assert isinstance(detector, TransformersDetector)
    pictures = images(4, 256)
    seen = []
    for image in pictures:
        inputs = detector.processor(torchvision.transforms.functional.to_pil_image(image), return_tensors="pt")
        with torch.no_grad():
            logits = detector.model(**inputs).logits[0]
        if name == "detr":
            scores, labels = logits.softmax(-1)[:, :-1].max(-1)
            sure = {label for score, label in zip(scores.tolist(), labels.tolist(), strict=True) if score > 0.5}
        else:
            best = logits.sigmoid().flatten().topk(10)
            sure = {place % 80 for score, place in zip(best.values, best.indices.tolist(), strict=True) if score > 0.5}
        names = {DETR_NAMES[label] if name == "detr" else list(CATEGORIES)[label] for label in sure}
        seen.append({CATEGORIES[name] for name in names - {"N/A"}})
    assert any(seen), "the network is sure of nothing: the test would not see a difference"
    assert detector(pictures) == seen
    assert detector.protocol["confidence"] == "0.5"
    assert detector.protocol["nms"] == "none"
    assert detector.protocol["squash"] == "pil-bilinear 256"
    assert (
        detector.protocol["resize"]
        == {
            "detr": "pil-bilinear shorter side 64",
            "rt-detr": "pil-bilinear 64 x 64",
        }[name]
    )
    assert detector.weights_sha256 == hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()


@pytest.mark.parametrize("name", ["detr", "rt-detr"])
def test_labels_map_to_official_ids_by_name(name, request):
    detector = load_detector(name, request.getfixturevalue(name.replace("-", "_") + "_folder"))
    assert isinstance(detector, TransformersDetector)
    places = {"detr": (1, 17, 63, 72, 90), "rt-detr": (0, 15, 57, 62, 79)}[name]
    assert [detector.official[place] for place in places] == [PERSON, CAT, 63, 72, TOOTHBRUSH]
    assert sorted(detector.official.values()) == sorted(CATEGORIES.values())


def test_detectors_of_other_categories_are_rejected(detr_folder, tmp_path):
    for change, message in (
        (
            {17: "LABEL_17"},
            r"detr is not a detector of COCO's 80 categories: .*unknown names \['LABEL_17'\].*lacks \['cat'\]",
        ),
        ({17: "N/A"}, r"lacks \['cat'\]"),
    ):
        folder = shutil.copytree(detr_folder, tmp_path / "detr", dirs_exist_ok=True)
        config = json.loads((folder / "config.json").read_text())
        names = {**config["id2label"], **{str(label): name for label, name in change.items()}}
        (folder / "config.json").write_text(json.dumps({**config, "id2label": names}))
        with pytest.raises(ValueError, match=message):
            load_detector("detr", folder)


def test_other_model_types_are_rejected(encoder_folder, tmp_path):
    with pytest.raises(ValueError, match="has model_type 'bert'; it should be detr or rt_detr"):
        load_detector("detr", encoder_folder)
    with pytest.raises(ValueError, match="PekingU/rtdetr_r50vd is not a local folder and cannot be downloaded"):
        load_detector("rt-detr")


def test_function_detector():
    """Detects a cat in red images."""
    detector = FunctionDetector(
        "red", lambda image: [CAT] if image[0].float().mean() > 128 else [], {"threshold": "128"}
    )
    two = torch.zeros(2, 3, 8, 8, dtype=torch.uint8)
    two[1, 0] = 255
    assert detector(two) == [set(), {CAT}]
    with pytest.raises(ValueError, match=r"should be torch\.uint8"):
        detector(two.float())


@pytest.mark.parametrize("wrong", [0, 12, 91, "cat"])
def test_function_detector_rejects_unknown_categories(wrong):
    detector = FunctionDetector("wrong", lambda _image: [CAT, wrong], {})
    with pytest.raises(ValueError, match=rf"wrong detected \[{wrong!r}\]; it should return official COCO category ids"):
        detector(images())


@pytest.mark.parametrize("name", [TORCHVISION, "detr", "rt-detr"])
def test_objects_are_boxes_relative_to_the_image(name, request):
    fixture = "torchvision_file" if name == TORCHVISION else name.replace("-", "_") + "_folder"
    detector = load_detector(name, request.getfixturevalue(fixture))
    pictures = images(2, 40)
    found = detector.detect_objects(pictures)
    assert len(found) == 2
    for each in found:
        assert each.colours is None
        assert set(each.categories_N.tolist()) <= detector.detectable
        assert (each.scores_N >= detector.floor).all()
        assert (each.scores_N.diff() <= 0).all()
        assert ((each.boxes_N4 >= 0) & (each.boxes_N4 <= 1)).all()
        assert (each.boxes_N4[:, :2] <= each.boxes_N4[:, 2:]).all()
    assert detector.categories(found) == detector(pictures)
