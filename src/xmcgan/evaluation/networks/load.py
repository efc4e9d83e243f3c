"""Load evaluation networks by name.

``weights`` is a local file (Inception, torchvision detectors, EfficientNet-Lite); a transformers folder or Hugging Face
hub name (CLIP, DINOv2, DETR, RT-DETR, each with a default); or the folder of a trained dual encoder. The weights of
EfficientNet-Lite come with packages; the networks of Scenes ship with this one and take none. Networks run on
``device``, except those of Scenes and trained dual encoders, which are so small that they stay on the CPU. Modules are
imported on demand.
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
    """Load a feature extractor: a name in FEATURE_EXTRACTORS, or the path of a trained dual encoder.

    Raises:
        ValueError: on an unknown name, or weights that are missing, damaged or belong to another network.
        FileNotFoundError: if the weight file does not exist.
    """
    name, weights = resolve_folder(name, weights, FEATURE_EXTRACTORS)
    check_name(name, FEATURE_EXTRACTORS, "feature extractor")
    return FEATURE_EXTRACTORS[name](name, weights, device)


def load_dual_encoder(name: str, weights: Weights = None, *, device: Device = "cpu") -> DualEncoder:
    """Load a dual encoder: a name in DUAL_ENCODERS, or the path of a trained one.

    Raises:
        ValueError: on an unknown name, or weights that are missing, damaged or belong to another network.
    """
    name, weights = resolve_folder(name, weights, DUAL_ENCODERS)
    check_name(name, DUAL_ENCODERS, "dual encoder")
    return DUAL_ENCODERS[name](name, weights, device)


def load_detector(name: str, weights: Weights = None, *, device: Device = "cpu") -> Detector:
    """Load a detector: a name in DETECTORS. To use your own function, wrap it in detection.FunctionDetector.

    Raises:
        ValueError: on an unknown name, or weights that are missing, damaged or belong to another network.
        FileNotFoundError: if the weight file does not exist.
    """
    check_name(name, DETECTORS, "detector")
    return DETECTORS[name](name, weights, device)


def check_name(name: str, loaders: dict[str, Callable], kind: str) -> None:
    if name not in loaders:
        raise ValueError(f"unknown {kind} {name!r}; it can be {', '.join(loaders)}")


def resolve_folder(name: str, weights: Weights, loaders: dict[str, Callable]) -> tuple[str, Weights]:
    """Treat the path of an existing folder as a trained dual encoder."""
    return ("folder", name) if name not in loaders and Path(name).is_dir() else (name, weights)


def inception_tf(name: str, weights: Weights, device: Device, *, mode: Resize) -> FeatureExtractor:
    from xmcgan.evaluation.networks.inception import inception_v3_tf

    return inception_v3_tf(name, as_path(weights), mode=mode, device=device)


def inception_spatial(name: str, weights: Weights, device: Device) -> FeatureExtractor:
    from xmcgan.evaluation.networks.spatial_inception import spatial_inception_v3_tf

    return spatial_inception_v3_tf(name, as_path(weights), device=device)


def inception_torchvision(name: str, weights: Weights, device: Device, *, mode: Resize) -> FeatureExtractor:
    from xmcgan.evaluation.networks.inception import inception_v3_torchvision

    return inception_v3_torchvision(name, as_path(weights), mode=mode, device=device)


def dinov2(name: str, weights: Weights, device: Device) -> FeatureExtractor:
    from xmcgan.evaluation.networks.dinov2 import DINOV2, DinoV2

    return DinoV2(name, weights or DINOV2, device=device)


def efficientnet(name: str, weights: Weights, device: Device) -> FeatureExtractor:
    from xmcgan.evaluation.networks.efficientnet import EfficientNetExtractor, packaged_extractor

    if weights is None and torch.device(device).type == "cpu":
        return packaged_extractor(name)
    return EfficientNetExtractor(name, as_path(weights), device=device)


def clip(name: str, weights: Weights, device: Device):
    from xmcgan.evaluation.networks.clip import CLIP, Clip

    return Clip(name, weights or CLIP, device=device)


def trained_folder(name: str, weights: Weights, _device: Device):
    from xmcgan.evaluation.networks.dual_encoder import load_dual_encoder_folder

    if weights is None:
        raise ValueError(f"{name}: weights are missing; give a folder written by `xmcgan train-dual-encoder`")
    return load_dual_encoder_folder(Path(weights))


def scenes_dual_encoder(name: str, weights: Weights, _device: Device):
    from xmcgan.evaluation.networks.dual_encoder import load_scenes_dual_encoder

    refuse_weights(name, weights)
    return load_scenes_dual_encoder()


def scenes_presence(name: str, weights: Weights, _device: Device) -> Detector:
    from xmcgan.evaluation.networks.presence import load_scenes_presence

    refuse_weights(name, weights)
    return load_scenes_presence()


def scenes_detector(name: str, weights: Weights, _device: Device) -> Detector:
    from xmcgan.evaluation.networks.scene_detector import load_scenes_detector

    refuse_weights(name, weights)
    return load_scenes_detector()


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
        raise ValueError(f"{name} ships with the package and takes no weights, but weights is {weights}")


FEATURE_EXTRACTORS: dict[str, Callable[[str, Weights, Device], FeatureExtractor]] = {
    "inception-v3-tf": partial(inception_tf, mode="legacy-tensorflow"),  # as in the original FID
    "inception-v3-tf-antialiased": partial(inception_tf, mode="antialiased"),  # as in clean-fid
    "inception-v3-tf-legacy-pytorch": partial(inception_tf, mode="legacy-pytorch"),  # as in pytorch-fid
    "inception-v3-tf-spatial": inception_spatial,  # sFID
    "inception-v3-torchvision": partial(inception_torchvision, mode="legacy-pytorch"),
    "inception-v3-torchvision-antialiased": partial(inception_torchvision, mode="antialiased"),
    "dinov2": dinov2,
    "efficientnet-lite0": efficientnet,  # training uses lite0, but never lite1 and lite2
    "efficientnet-lite1": efficientnet,
    "efficientnet-lite2": efficientnet,
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
    "scenes-detector": scenes_detector,
    "scenes-presence": scenes_presence,
}
