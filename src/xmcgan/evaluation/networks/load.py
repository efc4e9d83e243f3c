"""Networks that judge, by name, each with the weights it is given.

``weights`` is a local file of weights (the Inceptions, torchvision's detectors), a folder of transformers or a name on
the Hugging Face hub (CLIP, DINOv2, DETR, RT-DETR, which have a default there), or the folder of a trained dual encoder.
The scenes' judges come with the package and take none. ``device`` is where a network computes; the scenes' judges and
trained dual encoders are so small that they stay on the CPU. A name's module is imported when the name is asked for.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch

from xmcgan.evaluation.networks.preparation import Resize
from xmcgan.evaluation.networks.protocols import Detector, DualEncoder, FeatureExtractor

Weights = Path | str | None
Device = torch.device | str


def load_feature_extractor(name: str, weights: Weights = None, *, device: Device = "cpu") -> FeatureExtractor:
    """A feature extractor by name: one of FEATURE_EXTRACTORS, or the path of a trained dual encoder.

    Raises:
        ValueError: on an unknown name, or weights that are missing, damaged or another network's.
        FileNotFoundError: if there is no such file of weights.
    """
    name, weights = folder_as_name(name, weights, FEATURE_EXTRACTORS)
    check_name(name, FEATURE_EXTRACTORS, "feature extractor")
    return FEATURE_EXTRACTORS[name](name, weights, device)


def load_dual_encoder(name: str, weights: Weights = None, *, device: Device = "cpu") -> DualEncoder:
    """A dual encoder by name: one of DUAL_ENCODERS, or the path of a trained one.

    Raises:
        ValueError: on an unknown name, or weights that are missing, damaged or another network's.
    """
    name, weights = folder_as_name(name, weights, DUAL_ENCODERS)
    check_name(name, DUAL_ENCODERS, "dual encoder")
    return DUAL_ENCODERS[name](name, weights, device)


def load_detector(name: str, weights: Weights = None, *, device: Device = "cpu") -> Detector:
    """A detector by name: one of DETECTORS. A function of one's own is a detection.FunctionDetector.

    Raises:
        ValueError: on an unknown name, or weights that are missing, damaged or another network's.
        FileNotFoundError: if there is no such file of weights.
    """
    check_name(name, DETECTORS, "detector")
    return DETECTORS[name](name, weights, device)


def check_name(name: str, those: dict[str, Callable], kind: str) -> None:
    if name not in those:
        raise ValueError(f"{kind} {name!r} is unknown; it can be {', '.join(those)}")


def folder_as_name(name: str, weights: Weights, those: dict[str, Callable]) -> tuple[str, Weights]:
    """A path in a name's place is the folder of a trained dual encoder."""
    return ("folder", name) if name not in those and Path(name).is_dir() else (name, weights)


def inception_tf(name: str, weights: Weights, device: Device, *, how: Resize) -> FeatureExtractor:
    from xmcgan.evaluation.networks.inception import inception_v3_tf

    return inception_v3_tf(name, as_path(weights), how=how, device=device)


def inception_torchvision(name: str, weights: Weights, device: Device, *, how: Resize) -> FeatureExtractor:
    from xmcgan.evaluation.networks.inception import inception_v3_torchvision

    return inception_v3_torchvision(name, as_path(weights), how=how, device=device)


def dinov2(name: str, weights: Weights, device: Device) -> FeatureExtractor:
    from xmcgan.evaluation.networks.dinov2 import DINOV2, DinoV2

    return DinoV2(name, weights or DINOV2, device=device)


def clip(name: str, weights: Weights, device: Device):
    from xmcgan.evaluation.networks.clip import CLIP, Clip

    return Clip(name, weights or CLIP, device=device)


def trained_folder(name: str, weights: Weights, _device: Device):
    from xmcgan.evaluation.networks.dual_encoder import load_dual_encoder_folder

    if weights is None:
        raise ValueError(f"{name} needs the folder of a dual encoder, as xmcgan train-dual-encoder writes it")
    return load_dual_encoder_folder(Path(weights))


def scenes_dual_encoder(name: str, weights: Weights, _device: Device):
    from xmcgan.evaluation.networks.dual_encoder import load_scenes_dual_encoder

    refuse_weights(name, weights)
    return load_scenes_dual_encoder()


def scenes_presence(name: str, weights: Weights, _device: Device) -> Detector:
    from xmcgan.evaluation.networks.presence import load_scenes_presence

    refuse_weights(name, weights)
    return load_scenes_presence()


def torchvision_detector(name: str, weights: Weights, device: Device) -> Detector:
    from xmcgan.evaluation.networks.detection import TorchvisionDetector

    return TorchvisionDetector(name, as_path(weights), device=device)


def detr(name: str, weights: Weights, device: Device, *, default: str) -> Detector:
    from xmcgan.evaluation.networks.detection import TransformersDetector

    return TransformersDetector(name, weights or default, device=device)


def as_path(weights: Weights) -> Path | None:
    return None if weights is None else Path(weights)


def refuse_weights(name: str, weights: Weights) -> None:
    if weights is not None:
        raise ValueError(f"{name} comes with the package and takes no weights, not {weights}")


FEATURE_EXTRACTORS: dict[str, Callable[[str, Weights, Device], FeatureExtractor]] = {
    "inception-v3-tf": partial(inception_tf, how="legacy-tensorflow"),  # as FID was first published
    "inception-v3-tf-antialiased": partial(inception_tf, how="antialiased"),  # as clean-fid
    "inception-v3-tf-legacy-pytorch": partial(inception_tf, how="legacy-pytorch"),  # as pytorch-fid
    "inception-v3-torchvision": partial(inception_torchvision, how="legacy-pytorch"),
    "inception-v3-torchvision-antialiased": partial(inception_torchvision, how="antialiased"),
    "dinov2": dinov2,
    "clip": clip,
    "scenes-dual-encoder": scenes_dual_encoder,
    "folder": trained_folder,
}

DUAL_ENCODERS: dict[str, Callable[[str, Weights, Device], DualEncoder]] = {
    "clip": clip,
    "scenes-dual-encoder": scenes_dual_encoder,
    "folder": trained_folder,
}

DETECTORS: dict[str, Callable[[str, Weights, Device], Detector]] = {
    "fasterrcnn_resnet50_fpn_v2": torchvision_detector,
    "maskrcnn_resnet50_fpn_v2": torchvision_detector,
    "retinanet_resnet50_fpn_v2": torchvision_detector,
    "fasterrcnn_mobilenet_v3_large_fpn": torchvision_detector,
    "fasterrcnn_mobilenet_v3_large_320_fpn": torchvision_detector,
    "rt-detr": partial(detr, default="PekingU/rtdetr_r50vd"),
    "detr": partial(detr, default="facebook/detr-resnet-50"),
    "scenes-presence": scenes_presence,
}
