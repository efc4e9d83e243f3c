"""Scenes: the synthetic data set of small drawn pictures, with captions and narratives."""

from xmcgan.data.records import Narrative
from xmcgan.scenes.captions import describe
from xmcgan.scenes.draw import Drawing, Shape, draw_scene, render_scene
from xmcgan.scenes.narratives import narrate
from xmcgan.scenes.scene import (
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
from xmcgan.scenes.write import write_scenes

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
    "describe",
    "draw_scene",
    "narrate",
    "render_scene",
    "sample_scene",
    "write_scenes",
]
