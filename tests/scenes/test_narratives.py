"""Narratives of scenes: timed, and traced over what they name."""

import re

from scene_words import WORDS
from xmcgan.scenes import (
    Scene,
    SceneObject,
    narrate,
    sample_scene,
)
from xmcgan.scenes.scene import stream


def test_narratives_are_long_timed_and_traced_over_what_they_name():
    circled = 0
    for i in range(250):
        scene = sample_scene(0, "val", i)
        narrative = narrate(scene, stream(0, "val", i, "narrative"))
        assert 30 <= len(narrative.caption.split()) <= 70
        assert 2 <= len(re.findall(r"\.(?: |$)", narrative.caption)) <= 6
        assert narrative.caption == " ".join(utterance.words for utterance in narrative.utterances)
        assert not re.search(r"\ba [aeiou]|\ban [^aeiou]|  | ,|None|[{}]", narrative.caption, re.IGNORECASE)
        ends = [0.0, *(utterance.end for utterance in narrative.utterances)]
        pairs = zip(ends, narrative.utterances, strict=False)
        assert all(end <= utterance.start + 1e-6 < utterance.end for end, utterance in pairs)
        for stroke in narrative.strokes:
            times = [point.t for point in stroke]
            assert times == sorted(times)
            assert narrative.utterances[0].start <= times[0]
            assert times[-1] <= narrative.utterances[-1].end
            assert all(-0.15 < point.x < 1.15 and -0.15 < point.y < 1.15 for point in stroke)
        # While a thing is first named, the mouse is on its box.
        for thing in scene.objects:
            assert any(_on_box(stroke, thing) for stroke in narrative.strokes), (narrative.caption, thing)
        if len(scene.objects) == 1:
            circled += _named_while_circled(narrative, scene.objects[0])
    assert circled >= 80


def _on_box(stroke, thing: SceneObject) -> bool:
    return all(
        abs(p.x - thing.x) <= 0.6 * thing.width + 0.011 and abs(p.y - thing.y) <= 0.6 * thing.height + 0.011
        for p in stroke
    )


def _named_while_circled(narrative, thing: SceneObject) -> bool:
    stroke = next(stroke for stroke in narrative.strokes if _on_box(stroke, thing))
    spoken = [u.words for u in narrative.utterances if u.end > stroke[0].t + 1e-6 and u.start < stroke[-1].t - 1e-6]
    words = re.sub(r"[.,]", "", " ".join(spoken).lower())
    assert re.search(WORDS[thing.kind], words), (narrative.caption, words)
    return True


def test_what_has_no_part_and_no_side_is_said_to_be_of_its_colour():
    bench = SceneObject("bench", "red", 0.22, 0.6, 0.4, 0.2, False, False)  # between the left and the middle
    for index in range(5):
        said = narrate(Scene("field", None, "clear", (bench,), 1), stream(0, "val", index, "narrative")).caption
        assert re.search(r"\bthe red bench is red in color\.", said, re.IGNORECASE), said
