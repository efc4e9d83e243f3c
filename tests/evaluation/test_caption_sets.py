"""Which captions each metric is computed of."""

from pathlib import Path

import pytest

from xmcgan.data.records import Record
from xmcgan.evaluation.caption_sets import SEEDS, caption_sets
from xmcgan.evaluation.image_set import Request

REQUESTS = [Request(f"{k}-0", str(k), f"a dog number {k}", k) for k in range(3)]
LISTED = [Request("listed", "0", "a dog on grass", 0, 18)]
RECORDS = [
    Record(Path("a"), ("A dog.", "a cat"), "a"),
    Record(Path("b"), ("a dog",), "b"),
    Record(Path("c"), ("a bus",), "c"),
]
METRICS = ["fid", "soa-c", "exact", "diversity"]


def sets(**changes):
    chosen = {"requests": REQUESTS, "listed": LISTED, "records": RECORDS, "scenes": False, "real": False, "seed": 0}
    return {each.name: each for each in caption_sets(METRICS, **(chosen | changes))}


def test_each_metric_has_its_captions():
    found = sets()
    assert {name: each.metrics for name, each in found.items()} == {
        "": ["fid"],
        "soa": ["soa-c"],
        "geneval": ["exact"],
        "seeds": ["diversity"],
    }
    assert found[""].requests == REQUESTS
    assert found["geneval"].asking.questions_of(found["geneval"].requests[0])
    seeds = found["seeds"].requests  # one caption is shared by two images
    assert {request.caption for request in seeds} == {"A dog."}
    assert len({request.seed for request in seeds}) == len({request.id for request in seeds}) == len(seeds) == SEEDS
    assert len(sets(records=RECORDS[1:])["seeds"].requests) == 3 * SEEDS  # none is shared: the first captions


def test_scenes_ask_their_own_questions_and_random_captions_serve_without_lists():
    found = sets(scenes=True, listed=[])
    assert found[""].metrics == ["fid", "soa-c", "exact"]
    assert set(found) == {"", "seeds"}


def test_real_images_have_equal_captions_but_no_prompts():
    found = sets(real=True)
    assert "geneval" not in found
    assert [request.image_id for request in found["seeds"].requests] == ["a", "b"]
    assert found["seeds"].protocol == sets()["seeds"].protocol  # so that both can stand in one column
    with pytest.raises(ValueError, match="captions that several images share"):
        sets(real=True, records=RECORDS[1:])
