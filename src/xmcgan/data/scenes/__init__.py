"""Scenes: the embedded data set of little flat-drawn pictures, with captions and narratives."""

from xmcgan.data.records import Narrative
from xmcgan.data.scenes.draw import Drawing, Shape, contact_sheet, draw_scene, render_scene
from xmcgan.data.scenes.language import describe, narrate
from xmcgan.data.scenes.scene import (
    BACKGROUNDS,
    COLOURS,
    KINDS,
    OUTDOOR_WEATHERS,
    SPLITS,
    Scene,
    SceneObject,
    World,
    sample_scene,
)
from xmcgan.data.scenes.write import write_scenes

__all__ = [
    "BACKGROUNDS",
    "COLOURS",
    "KINDS",
    "OUTDOOR_WEATHERS",
    "SPLITS",
    "Drawing",
    "Narrative",
    "Scene",
    "SceneObject",
    "Shape",
    "World",
    "contact_sheet",
    "describe",
    "draw_scene",
    "narrate",
    "render_scene",
    "sample_scene",
    "write_scenes",
]
