"""Mouse traces: where each word was pointed at."""

import numpy as np
import pytest

from xmcgan.data.records import Narrative, TracePoint, Utterance
from xmcgan.data.traces import region_map, trace_maps, word_targets

NARRATIVE = Narrative(
    "a red car under the sky",
    (Utterance("a red car", 0.0, 1.0), Utterance("under", 2.0, 2.5), Utterance("the sky", 4.0, 5.0)),
    ((TracePoint(0.03, 0.97, 0.5),), (TracePoint(0.97, 0.03, 4.5),)),
)
REGIONS = 256


def peak(region_R: np.ndarray) -> tuple[int, int]:
    """Row and column of the largest share."""
    return divmod(int(region_R.argmax()), 16)


def test_utterance_map_follows_the_mouse():
    spans, maps = trace_maps(NARRATIVE.caption, NARRATIVE)
    assert spans.tolist() == [[0, 9], [16, 23]]  # nothing was pointed at while "under" was said
    assert [peak(each) for each in maps] == [(15, 0), (0, 15)]
    assert maps.sum(1) == pytest.approx([1, 1], abs=1e-6)


def test_a_mirrored_picture_has_mirrored_traces():
    maps, mirrored = trace_maps(NARRATIVE.caption, NARRATIVE)[1], trace_maps(NARRATIVE.caption, NARRATIVE, flip=True)[1]
    grid = maps.reshape(-1, 16, 16)
    assert mirrored.reshape(-1, 16, 16) == pytest.approx(grid[:, :, ::-1], abs=1e-6)


def test_points_outside_are_clamped_or_dropped():
    near = NARRATIVE._replace(strokes=((TracePoint(-0.05, 1.06, 0.5), TracePoint(2.0, 0.5, 0.6)),))
    spans, (seen,) = trace_maps(near.caption, near)
    assert spans.tolist() == [[0, 9]]
    assert peak(seen) == (15, 0)
    assert seen.reshape(16, 16)[:, 8:].sum() < 1e-6
    far = NARRATIVE._replace(strokes=((TracePoint(0.5, 1.07, 0.5), TracePoint(-0.07, 0.5, 0.6)),))
    assert trace_maps(far.caption, far).maps_UR.shape == (0, REGIONS)


def test_circles_are_filled_evenly():
    angles = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    circle = np.stack([0.5 + 0.2 * np.cos(angles), 0.5 + 0.2 * np.sin(angles), angles], axis=1)
    grid = region_map(circle, flip=False).reshape(16, 16)
    assert grid == pytest.approx(grid[::-1, ::-1], abs=1e-6)
    assert grid[3:13, 3:13].sum() > 0.9


def test_repeated_words_are_found_in_order_and_others_left_out():
    narrative = Narrative(
        "a car and a car",
        (Utterance("a  car", 0, 1), Utterance("a boat", 1, 2), Utterance("a car", 3, 4)),
        ((TracePoint(0.1, 0.1, 0.5), TracePoint(0.5, 0.5, 1.5), TracePoint(0.9, 0.9, 3.5)),),
    )
    spans, maps = trace_maps(narrative.caption, narrative)
    assert spans.tolist() == [[0, 5], [10, 15]]
    assert peak(maps[0])[0] < 4 < 12 < peak(maps[1])[0]


@pytest.mark.parametrize("strokes", [(), ((),)])
def test_a_narrative_without_a_trace_has_no_maps(strokes):
    spans, maps = trace_maps(NARRATIVE.caption, NARRATIVE._replace(strokes=strokes))
    assert spans.shape == (0, 2)
    assert maps.shape == (0, REGIONS)


def test_word_pieces_take_the_map_of_their_utterance():
    maps = trace_maps(NARRATIVE.caption, NARRATIVE)
    #           [CLS]   a       red     car     under    the       sky      [SEP]
    spans = [[0, 0], [0, 1], [2, 5], [6, 9], [10, 15], [16, 19], [20, 23], [0, 0]]
    targets = word_targets([maps, None], np.array([spans, spans]))
    assert targets.shape == (2, 8, REGIONS)
    assert targets[0].sum(1) == pytest.approx([0, 1, 1, 1, 0, 1, 1, 0], abs=1e-6)
    assert [peak(targets[0, word]) for word in (3, 6)] == [(15, 0), (0, 15)]
    assert not targets[1].any()


def test_a_piece_over_two_utterances_takes_its_share_of_both():
    maps = trace_maps(NARRATIVE.caption, NARRATIVE)
    targets = word_targets([maps], np.array([[[6, 19]]]))[0, 0]
    assert targets == pytest.approx((maps.maps_UR[0] + maps.maps_UR[1]) / 2, abs=1e-6)


def test_a_batch_without_a_usable_point_is_warned_of():
    spans_BT2 = np.array([[[0, 0], [0, 5]]])
    with pytest.warns(UserWarning, match="no word of this batch has a usable trace point: its trace loss is 0"):
        assert not word_targets([None], spans_BT2).any()
