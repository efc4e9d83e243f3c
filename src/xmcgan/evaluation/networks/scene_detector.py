"""The detector of Scenes: boxes, kinds and colours of the objects in a picture.

An anchor-free network (Zhou et al., Objects as Points, arXiv 1904.07850): each object is a peak at its centre in the
heatmap of its kind, with the box and the colour read at the peak. Works for Scenes only, not for photographs.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from xmcgan.evaluation.networks.detections import Detections, categories_above
from xmcgan.evaluation.networks.folder import SHIPPED, load_network, read_folder
from xmcgan.evaluation.networks.image_network import CHUNK, to_network_size

SCENES_DETECTOR = SHIPPED / "scenes-detector"

STRIDE = 4
"""Side in pixels of one cell of the heatmaps."""

CONFIDENCE, FLOOR = 0.5, 0.1
"""Lowest scores at which a category counts as detected for SOA, and at which an object is returned at all."""

OVERLAP = 0.5
"""Of two objects whose boxes' intersection over union is above this, the less confident is dropped."""

MOST_OBJECTS = 16


@dataclass(frozen=True)
class SceneDetectorShape:
    """Categories, colours and sizes of the network.

    Args:
        categories: COCO ids by category name, in the order of the heatmaps.
        colours: names of colours, in the order of the outputs.
        image_size: side in pixels to which images are resized, a multiple of 16.
        width: channels of the first stage.
    """

    categories: dict[str, int] = field(default_factory=dict)
    colours: tuple[str, ...] = ()
    image_size: int = 64
    width: int = 16

    def __post_init__(self):
        if not self.categories or not self.colours:
            raise ValueError("categories or colours are empty; a detector needs at least one of each")
        if self.image_size < 16 or self.image_size % 16:
            raise ValueError(f"image_size is {self.image_size}; it should be a multiple of 16")
        object.__setattr__(self, "colours", tuple(self.colours))  # config.json holds a list


class Heads(NamedTuple):
    """Outputs of the network on its grid of H x W cells."""

    kinds_BKHW: Tensor  # logits of the centre of an object of each kind
    places_B4HW: Tensor  # centre relative to the cell (x, y, in cells), then log of width and height in cells
    colours_BCHW: Tensor  # logits


def convolution(in_channels: int, channels: int, *, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    """Convolution, batch norm and ReLU."""
    return nn.Sequential(
        nn.Conv2d(in_channels, channels, kernel, stride=stride, padding=kernel // 2, bias=False),
        nn.BatchNorm2d(channels),
        nn.ReLU(inplace=True),
    )


class Residual(nn.Module):
    """x + convolution(x)."""

    def __init__(self, channels: int):
        super().__init__()
        self.convolution = convolution(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.convolution(x)


class SceneDetectorNetwork(nn.Module):
    """images_B3HW in [-1, 1] -> :class:`Heads` on a grid of a quarter of the resolution.

    Three resolutions, joined from the coarsest to the finest: the coarsest sees whole objects, the finest locates
    them.
    """

    def __init__(self, shape: SceneDetectorShape):
        super().__init__()
        w = shape.width
        self.kinds, self.colours = len(shape.categories), len(shape.colours)
        self.fine = nn.Sequential(
            convolution(3, w, kernel=5, stride=2), convolution(w, 2 * w, stride=2), Residual(2 * w), Residual(2 * w)
        )
        self.middle = nn.Sequential(convolution(2 * w, 4 * w, stride=2), Residual(4 * w))
        self.coarse = nn.Sequential(convolution(4 * w, 6 * w, stride=2), Residual(6 * w))
        self.to_middle = convolution(6 * w, 4 * w, kernel=1)
        self.join_middle = Residual(4 * w)
        self.to_fine = convolution(4 * w, 2 * w, kernel=1)
        self.join_fine = Residual(2 * w)
        self.heads = nn.Sequential(convolution(2 * w, 4 * w), nn.Conv2d(4 * w, self.kinds + 4 + self.colours, 1))
        last = self.heads[-1]
        assert isinstance(last, nn.Conv2d)
        assert last.bias is not None
        nn.init.constant_(last.bias[: self.kinds], -4.0)  # centres are rare: start with a probability of 2 %

    def forward(self, images_B3HW: Tensor) -> Heads:
        fine = self.fine(images_B3HW)
        middle = self.middle(fine)
        coarse = self.coarse(middle)
        middle = self.join_middle(middle + F.interpolate(self.to_middle(coarse), scale_factor=2.0))
        fine = self.join_fine(fine + F.interpolate(self.to_fine(middle), scale_factor=2.0))
        return Heads(*self.heads(fine).split([self.kinds, 4, self.colours], dim=1))


class SceneDetector:
    """A trained detector of Scenes; implements detections.ObjectDetector and protocols.Detector."""

    floor = FLOOR

    def __init__(self, network: SceneDetectorNetwork, shape: SceneDetectorShape, *, name: str, sha256: str):
        self.network = network.eval().requires_grad_(False).to(memory_format=torch.channels_last)
        self.shape, self.name, self.weights_sha256 = shape, name, sha256
        self.detectable = frozenset(shape.categories.values())
        self.protocol = {
            "resize": f"bilinear-antialiased {shape.image_size}",
            "confidence": str(CONFIDENCE),
            "nms": f"over all categories {OVERLAP}",
        }

    def __call__(self, images_B3HW: Tensor) -> list[set[int]]:
        """uint8 pixels (B, 3, H, W) of any size to the COCO ids of the categories detected in each."""
        return self.categories(self.detect_objects(images_B3HW))

    def categories(self, detections: Sequence[Detections]) -> list[set[int]]:
        """The COCO ids of the categories that count as detected in each image."""
        return categories_above(detections, CONFIDENCE)

    @torch.no_grad()
    def detect_objects(self, images_B3HW: Tensor) -> list[Detections]:
        """uint8 pixels (B, 3, H, W) of any size to the objects in each; they are resized to the network's size."""
        found: list[Detections] = []
        for chunk in images_B3HW.split(CHUNK):
            found += decode(self.network(to_network_size(chunk, self.shape.image_size)), self.shape)
        return found


def decode(heads: Heads, shape: SceneDetectorShape) -> list[Detections]:
    """Objects at the peaks of the heatmaps, without those that overlap a more confident one."""
    scores_BKHW = heads.kinds_BKHW.float().sigmoid()
    peaks_BKHW = scores_BKHW == F.max_pool2d(scores_BKHW, 3, stride=1, padding=1)
    _, kinds, height, width = scores_BKHW.shape
    ids = torch.tensor(list(shape.categories.values()))
    found = []
    for scores_KHW, peaks_KHW, places_4HW, colours_CHW in zip(
        scores_BKHW, peaks_BKHW, heads.places_B4HW.float(), heads.colours_BCHW, strict=True
    ):
        candidates = (scores_KHW * peaks_KHW).flatten()
        scores_N, positions_N = candidates.topk(min(2 * MOST_OBJECTS, len(candidates)))
        kept = scores_N >= FLOOR
        scores_N, positions_N = scores_N[kept], positions_N[kept]
        kinds_N, cells_N = positions_N // (height * width), positions_N % (height * width)
        x_N, y_N, w_N, h_N = places_4HW.flatten(1)[:, cells_N]
        centres_N2 = torch.stack([cells_N % width + x_N, cells_N // width + y_N], 1)
        halves_N2 = torch.stack([w_N, h_N], 1).clamp(max=4.0).exp() / 2
        cells = torch.tensor([width, height, width, height])
        boxes_N4 = (torch.cat([centres_N2 - halves_N2, centres_N2 + halves_N2], 1) / cells).clamp(0, 1)
        colours_N = colours_CHW.flatten(1)[:, cells_N].argmax(0)
        names = tuple(shape.colours[number] for number in colours_N.tolist())
        found.append(without_overlaps(Detections(boxes_N4, ids[kinds_N], scores_N, names)))
    assert kinds == len(ids)
    return found


def without_overlaps(detections: Detections) -> Detections:
    """Drop each object that overlaps a more confident one of any category: nothing in Scenes hides half of another."""
    overlaps_NN = box_overlaps(detections.boxes_N4, detections.boxes_N4)
    kept: list[int] = []
    for number in range(len(overlaps_NN)):
        if not kept or overlaps_NN[number, kept].max() <= OVERLAP:
            kept.append(number)
    return detections.select(torch.tensor(kept[:MOST_OBJECTS], dtype=torch.long))


def box_overlaps(a_N4: Tensor, b_M4: Tensor) -> Tensor:
    """Intersection over union (N, M) of boxes given by left, top, right and bottom; 0 for empty boxes."""
    corner_NM2 = torch.maximum(a_N4[:, None, :2], b_M4[None, :, :2])
    inner_NM = (torch.minimum(a_N4[:, None, 2:], b_M4[None, :, 2:]) - corner_NM2).clamp(min=0).prod(2)
    area_N, area_M = ((box[:, 2:] - box[:, :2]).clamp(min=0).prod(1) for box in (a_N4, b_M4))
    union_NM = area_N[:, None] + area_M[None] - inner_NM
    return torch.where(union_NM > 0, inner_NM / union_NM.clamp(min=1e-12), 0.0)


def load_scene_detector_folder(folder: Path | str) -> SceneDetector:
    """Load a detector written by ``xmcgan train-evaluators``.

    Raises:
        FileNotFoundError: if the configuration or the weights are missing.
        ValueError: if a file is damaged, or describes another kind of network.
    """
    folder = Path(folder)
    description = read_folder(folder, "scene-detector")
    shape = SceneDetectorShape(**description["shape"])
    network = load_network(lambda: SceneDetectorNetwork(shape), folder, description)
    return SceneDetector(network, shape, name=description["name"], sha256=description["weights_sha256"])


def load_scenes_detector() -> SceneDetector:
    """Load the detector of Scenes that ships with the package (docs/evaluators.md)."""
    return load_scene_detector_folder(SCENES_DETECTOR)
