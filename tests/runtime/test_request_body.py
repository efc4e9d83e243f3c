"""A body is read whole, or refused: too long, too slow, cut off."""

import asyncio

import pytest

from xmcgan.runtime.request_body import BodyRefused, read_body, replayed


def channel(*messages):
    """A ``receive`` that gives messages, and then waits for ever; what it has left to give."""
    left = list(messages)

    async def receive():
        if not left:
            await asyncio.Event().wait()
        return left.pop(0)

    return receive, left


def part(body: bytes, *, more: bool = True):
    return {"type": "http.request", "body": body, "more_body": more}


def read(receive, *, most=10, seconds=5.0):
    return asyncio.run(read_body(receive, most=most, seconds=seconds))


def test_a_body_in_parts_is_read_to_its_end():
    receive, left = channel(part(b"12345"), part(b""), part(b"67890", more=False), {"type": "http.disconnect"})
    assert read(receive) == b"1234567890"
    assert len(left) == 1


def test_a_longer_body_is_refused_at_the_limit():
    receive, left = channel(part(b"123456"), part(b"78901"), part(b"more"))
    with pytest.raises(BodyRefused, match="larger than 10 bytes") as refused:
        read(receive)
    assert (refused.value.status, refused.value.code, len(left)) == (413, "body_too_large", 1)


def test_a_body_that_does_not_arrive_is_refused():
    receive, _ = channel(part(b"1"))
    with pytest.raises(BodyRefused, match=r"did not arrive within 0\.05 s") as refused:
        read(receive, seconds=0.05)
    assert refused.value.status == 408


def test_a_body_that_is_cut_off_is_no_body():
    receive, _ = channel(part(b"1"), {"type": "http.disconnect"})
    with pytest.raises(BodyRefused) as refused:
        read(receive)
    assert refused.value.status == 499


def test_what_was_read_is_given_once_and_then_what_comes():
    receive, _ = channel({"type": "http.disconnect"})
    again = replayed(b"body", receive)

    async def both():
        return [await again(), await again()]

    first, second = asyncio.run(both())
    assert first == part(b"body", more=False)
    assert second["type"] == "http.disconnect"
