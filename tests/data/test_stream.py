"""The stream of examples: order, ranks, resumption, captions, mirroring, noise."""

import multiprocessing
import subprocess
import sys
from collections import Counter
from itertools import islice

import numpy as np
import pytest
import torch
from PIL import Image

from xmcgan.data.images import ImageTransform, to_images
from xmcgan.data.layouts import read_records
from xmcgan.data.records import Record
from xmcgan.data.stream import ORDER, ExampleStream, load_batches, noise, random, shuffled

RECORDS = 24


@pytest.fixture
def records(scenes) -> list[Record]:
    return read_records(scenes, "coco", "train2014")


def stream_of(records, seed=0, flip=True, size=16) -> ExampleStream:
    return ExampleStream(records, ImageTransform(size), seed=seed, flip=flip)


def first_examples(records, count, *, batch_size=4, workers=0, start=0, **settings):
    """Pixels, captions and numbers of ``count`` examples as training gets them, in one list."""
    batches = load_batches(stream_of(records, **settings), start=start, batch_size=batch_size, workers=workers)
    taken = list(islice(batches, -(-count // batch_size)))
    rows = [row for batch in taken for row in zip(batch.pixels, batch.captions, batch.numbers, strict=True)]
    return rows[:count]


def assert_same(one, other):
    assert [row[1:] for row in one] == [row[1:] for row in other]
    assert all(torch.equal(left[0], right[0]) for left, right in zip(one, other, strict=True))


@pytest.mark.parametrize(("batch_size", "workers"), [(1, 0), (7, 0), (5, 2)])
def test_examples_do_not_depend_on_workers_or_batch_size(records, batch_size, workers):
    count = 2 * RECORDS + 5
    reference = first_examples(records, count)
    assert_same(first_examples(records, count, batch_size=batch_size, workers=workers), reference)


@pytest.mark.parametrize(("start", "workers"), [(4, 0), (RECORDS, 0), (RECORDS + 7, 0), (6, 2)])
def test_stream_resumes_exactly(records, start, workers):
    reference = first_examples(records, start + 12)
    assert_same(first_examples(records, 12, start=start, workers=workers), reference[start:])


@pytest.mark.parametrize("workers", [0, 2])
def test_ranks_share_every_batch(records, workers):
    """Rank k of 3 has the k-th part of each; together they are the batches of one, so nothing is lost or read twice."""
    parts = [
        list(islice(load_batches(stream_of(records), start=6, batch_size=6, workers=workers, part=(rank, 3)), 5))
        for rank in range(3)
    ]
    whole = list(islice(load_batches(stream_of(records), start=6, batch_size=6, workers=0), 5))
    for number, batch in enumerate(whole):
        shared = [each[number] for each in parts]
        assert [len(each.numbers) for each in shared] == [2, 2, 2]
        assert [n for each in shared for n in each.numbers] == batch.numbers
        assert [caption for each in shared for caption in each.captions] == batch.captions
        assert torch.equal(torch.cat([each.pixels for each in shared]), batch.pixels)


def test_epoch_is_complete_when_the_number_of_ranks_changes(records):
    """Two batches by 4 ranks, then by 2, then by 1: each record once in 24 examples."""
    seen: list[bytes] = []
    for start, ranks, count in ((0, 4, 2), (8, 2, 2), (16, 1, 2)):
        for rank in range(ranks):
            stream = stream_of(records, flip=False, size=64)
            batches = load_batches(stream, start=start, batch_size=4, workers=0, part=(rank, ranks))
            seen += [pixels.numpy().tobytes() for batch in islice(batches, count) for pixels in batch.pixels]
    assert len(seen) == len(set(seen)) == RECORDS


def test_a_batch_without_equal_parts_is_refused(records):
    with pytest.raises(ValueError, match="a batch of 4 cannot be divided into 3 equal parts"):
        next(load_batches(stream_of(records), start=0, batch_size=4, workers=0, part=(0, 3)))


def test_examples_do_not_depend_on_access_order(records):
    stream, again = stream_of(records), stream_of(records)
    numbers = [70, 3, 30, 4, 29, 3]
    forward = {number: again[number] for number in sorted(set(numbers))}
    for number in numbers:
        example = stream[number]
        assert example.caption == forward[number].caption
        assert torch.equal(example.pixels, forward[number].pixels)


def test_numbers_are_consecutive(records):
    assert [number for _, _, number in first_examples(records, 50, start=3)] == list(range(3, 53))


def marked(tmp_path, count=11, captions=3) -> list[Record]:
    """Records whose every pixel is their number, left half darker by 100; and captions that say it too."""
    made = []
    for number in range(count):
        pixels = np.full((8, 8, 3), 100 + 10 * number, dtype=np.uint8)
        pixels[:, :4] -= 100
        Image.fromarray(pixels).save(tmp_path / f"{number}.png")
        made.append(Record(tmp_path / f"{number}.png", tuple(f"{number} {k}" for k in range(captions)), str(number)))
    return made


def record_of(pixels) -> int:
    return (int(pixels.max()) - 100) // 10


def test_every_record_once_an_epoch_in_a_new_order(tmp_path):
    records = marked(tmp_path)
    seen = [record_of(row[0]) for row in first_examples(records, 44, size=8)]
    epochs = [seen[start : start + 11] for start in range(0, 44, 11)]
    assert all(sorted(epoch) == list(range(11)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 4


def test_another_seed_another_order_other_captions_and_flips(tmp_path):
    records = marked(tmp_path)
    one, other = (first_examples(records, 33, size=8, seed=seed) for seed in (0, 1))
    assert [record_of(row[0]) for row in one] != [record_of(row[0]) for row in other]
    assert [row[1].split()[1] for row in one] != [row[1].split()[1] for row in other]
    assert [mirrored(row[0]) for row in one] != [mirrored(row[0]) for row in other]


def test_captions_are_the_images_own_and_all_of_them_are_used(tmp_path):
    records = marked(tmp_path)
    examples = first_examples(records, 11 * 20, size=8)
    assert all(int(caption.split()[0]) == record_of(pixels) for pixels, caption, _ in examples)
    assert {caption for _, caption, _ in examples} == {caption for record in records for caption in record.captions}
    shares = Counter(caption.split()[1] for _, caption, _ in examples)
    assert min(shares.values()) > 50  # of 220, where chance gives 73 each


def mirrored(pixels) -> bool:
    return bool(pixels[0, 0, 0] > pixels[0, 0, -1])


def test_half_of_the_images_are_mirrored(tmp_path):
    flips = [mirrored(row[0]) for row in first_examples(marked(tmp_path), 400, size=8)]
    assert 160 < sum(flips) < 240
    assert len({tuple(flips[start : start + 11]) for start in range(0, 396, 11)}) > 30  # and not always the same


def test_no_image_is_mirrored_without_flip(tmp_path):
    records = marked(tmp_path)
    plain = first_examples(records, 100, size=8, flip=False)
    assert not any(mirrored(row[0]) for row in plain)
    # Order and captions are drawn apart from the flips.
    assert [row[1:] for row in plain] == [row[1:] for row in first_examples(records, 100, size=8)]


def test_an_empty_data_set_is_refused():
    with pytest.raises(ValueError, match="no records"):
        stream_of([])


def test_noise_is_a_function_of_seed_and_number():
    together = noise(3, [5, 6, 1000], 8)
    assert together.shape == (3, 8)
    assert together.dtype == torch.float32
    assert torch.equal(noise(3, [1000], 8)[0], together[2])
    assert not torch.equal(noise(4, [5], 8)[0], together[0])
    assert len({tuple(row.tolist()) for row in together}) == 3


def test_noise_is_standard_normal():
    values = noise(0, range(2000), 8)
    assert abs(values.mean()) < 0.03
    assert abs(values.std() - 1) < 0.03


def test_images_are_in_minus_one_to_one():
    assert to_images(torch.tensor([0, 255], dtype=torch.uint8)).tolist() == [-1.0, 1.0]
    assert to_images(torch.tensor([127, 128], dtype=torch.uint8)).sum().abs() < 1e-6


def test_damaged_image_in_a_worker_is_named(tmp_path):
    records = marked(tmp_path, count=2)
    records[1].image.write_bytes(b"damaged")
    before = set(multiprocessing.active_children())
    with pytest.raises(ValueError, match=r"1\.png cannot be read as an image") as kept:
        first_examples(records, 8, workers=1)
    # The traceback of a kept error would keep the worker, which Python could not end at its exit.
    assert kept.value
    assert set(multiprocessing.active_children()) <= before


FORGETFUL = """
import sys
from pathlib import Path
from xmcgan.data.images import ImageTransform
from xmcgan.data.layouts import read_records
from xmcgan.data.stream import ExampleStream, load_batches

records = read_records(Path(sys.argv[1]), "coco", "train2014")
stream = ExampleStream(records, ImageTransform(16), seed=0, flip=False)
batches = load_batches(stream, start=0, batch_size=2, workers=1)
print(next(batches).numbers)
"""


def test_a_script_that_never_closes_the_batches_ends(scenes):
    """Its worker ignores SIGTERM, by which Python would end it."""
    run = subprocess.run(
        [sys.executable, "-c", FORGETFUL, str(scenes)], capture_output=True, text=True, timeout=60, check=True
    )
    assert run.stdout == "[0, 1]\n"
    assert not run.stderr


def test_the_order_is_that_of_numpys_permutation():
    """Runs resume at the same examples as before the order was held in 4 bytes a record."""
    for count in (1, 2, 1000, 70_001):
        for epoch in range(3):
            expected = random(7, ORDER, epoch).permutation(count)
            assert np.array_equal(shuffled(count, 7, epoch), expected)
