"""Narratives of scenes: timed, and traced over what they name."""

import re

from scene_words import WORDS
from xmcgan.scenes import (
    SceneObject,
    narrate,
    sample_scene,
)
from xmcgan.scenes.scene import stream


def test_narratives_are_long_timed_and_traced_over_what_they_name():
    circled = 0
    for i in range(250):
        scene = sample_scene(0, "val", i)
        told = narrate(scene, stream(0, "val", i, "narrative"))
        assert 30 <= len(told.caption.split()) <= 70
        assert 2 <= len(re.findall(r"\.(?: |$)", told.caption)) <= 6
        assert told.caption == " ".join(said.words for said in told.utterances)
        assert not re.search(r"\ba [aeiou]|\ban [^aeiou]|  | ,|None|[{}]", told.caption, re.IGNORECASE)
        ends = [0.0, *(said.end for said in told.utterances)]
        assert all(end <= said.start + 1e-6 < said.end for end, said in zip(ends, told.utterances, strict=False))
        for stroke in told.strokes:
            times = [point.t for point in stroke]
            assert times == sorted(times)
            assert told.utterances[0].start <= times[0]
            assert times[-1] <= told.utterances[-1].end
            assert all(-0.15 < point.x < 1.15 and -0.15 < point.y < 1.15 for point in stroke)
        # While a thing is first named, the mouse is on its box.
        for thing in scene.objects:
            assert any(_on_box(stroke, thing) for stroke in told.strokes), (told.caption, thing)
        if len(scene.objects) == 1:
            circled += _named_while_circled(told, scene.objects[0])
    assert circled >= 80


def _on_box(stroke, thing: SceneObject) -> bool:
    return all(
        abs(p.x - thing.x) <= 0.6 * thing.width + 0.011 and abs(p.y - thing.y) <= 0.6 * thing.height + 0.011
        for p in stroke
    )


def _named_while_circled(told, thing: SceneObject) -> bool:
    stroke = next(stroke for stroke in told.strokes if _on_box(stroke, thing))
    said = [u.words for u in told.utterances if u.end > stroke[0].t + 1e-6 and u.start < stroke[-1].t - 1e-6]
    words = re.sub(r"[.,]", "", " ".join(said).lower())
    assert re.search(WORDS[thing.kind], words), (told.caption, words)
    return True
