"""Noise of a seed: the published generator, an independent formula, and the same bits in JavaScript."""

import json
import math
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch

from xmcgan.inference.noise import MAX_SEED, box_muller, philox_rounds, seeded_noise

ROOT = Path(__file__).parents[2]
GOLDEN = json.loads((ROOT / "tests/golden/noise.json").read_text())


@pytest.mark.parametrize(
    ("counter", "key", "words"),
    [  # the known answers that come with Random123, the authors' library
        ([0] * 4, [0] * 2, "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
        ([0xFFFFFFFF] * 4, [0xFFFFFFFF] * 2, "408f276d 41c83b0e a20bc7c6 6d5451fd"),
        (
            [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344],
            [0xA4093822, 0x299F31D0],
            "d16cfe09 94fdcceb 5001e420 24126ea1",
        ),
    ],
)
def test_philox_gives_the_published_answers(counter, key, words):
    found = philox_rounds(np.array(counter, dtype=np.uint64), np.array(key, dtype=np.uint64))
    assert " ".join(f"{int(word):08x}" for word in found) == words


def test_normals_are_box_mullers():
    """Against numpy's own logarithm, sine and cosine, at random words and at the ends of every quarter."""
    rng = np.random.default_rng(0)
    ends = [0, 1, 2**30 - 1, 2**30, 2**31 - 1, 2**31, 3 * 2**30, 2**32 - 1]
    x, y = (np.concatenate([rng.integers(0, 2**32, 10_000), ends]).astype(np.uint64) for _ in range(2))
    radius = np.sqrt(-2 * np.log((x + 0.5) / 2**32))
    angle = 2 * np.pi * (y + 0.5) / 2**32 - np.pi / 4
    expected = np.stack([radius * np.cos(angle), radius * np.sin(angle)], -1)
    np.testing.assert_allclose(box_muller(x, y), expected, rtol=0, atol=1e-14)


def test_the_published_vectors():
    for vector in GOLDEN["vectors"]:
        noise = seeded_noise([vector["seed"]], GOLDEN["dim"], truncation=vector["truncation"])[0].numpy()
        assert [f"{bits:08x}" for bits in noise.view(np.uint32)] == vector["float32"], vector["seed"]
        np.testing.assert_array_equal(noise, np.array(vector["noise"], dtype=np.float32))


SCRIPT = """
import { readFileSync } from "node:fs";
import { seededNoise } from "./noise.js";
const asked = JSON.parse(readFileSync(0, "utf8"));
const bits = ([seed, truncation]) => [...new Uint32Array(seededNoise(seed, 66, truncation).buffer)];
const refused = [-1, 0.5, 2 ** 53, "7"].filter((seed) => { try { seededNoise(seed, 4) } catch { return true } });
console.log(JSON.stringify([asked.map(bits), refused.length]));
"""


@pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")
def test_a_browser_computes_the_same_bits():
    rng = np.random.default_rng(1)
    asked = [(vector["seed"], vector["truncation"]) for vector in GOLDEN["vectors"]]
    asked += [
        (int(seed), float(share)) for seed, share in zip(rng.integers(0, 2**53, 300), rng.random(300), strict=True)
    ]
    answer = subprocess.run(
        ["node", "--input-type=module", "--eval", SCRIPT],
        input=json.dumps(asked), capture_output=True, text=True, cwd=ROOT / "examples/browser", check=False, timeout=60,
    )  # fmt: skip
    assert answer.returncode == 0, answer.stderr
    found, refused = json.loads(answer.stdout)
    for (seed, truncation), bits in zip(asked, found, strict=True):
        own = seeded_noise([seed], 66, truncation=truncation)[0].numpy().view(np.uint32)
        assert own.tolist() == bits, (seed, truncation)
    assert refused == 4


def test_noise_depends_only_on_the_seed():
    together = seeded_noise([7, 0, 2**40], 8)
    assert together.shape == (3, 8)
    assert together.dtype == torch.float32
    assert torch.equal(seeded_noise([2**40], 8)[0], together[2])
    assert torch.equal(seeded_noise([7], 5)[0], together[0, :5])  # a narrower generator sees the same numbers
    many = seeded_noise(range(3000), 8)
    assert abs(many.mean()) < 0.02
    assert abs(many.std() - 1) < 0.02
    assert abs(many.pow(4).mean() - 3) < 0.3
    correlation = torch.corrcoef(many.T) - torch.eye(8)
    assert correlation.abs().max() < 4.5 / math.sqrt(3000)


def test_truncation_scales():
    full = seeded_noise([3], 16)
    torch.testing.assert_close(seeded_noise([3], 16, truncation=0.5), full / 2, rtol=0, atol=0)
    assert not seeded_noise([3], 16, truncation=0).any()


def test_the_noise_of_earlier_versions():
    """As numpy has it, with the first value written down when it was the only kind."""
    noise = seeded_noise([0, 5], 8, "numpy")
    expected = np.random.default_rng(5).standard_normal(8, dtype=np.float32)
    np.testing.assert_array_equal(noise[1].numpy(), expected)
    assert noise[0, 0].item() == pytest.approx(FIRST_OF_SEED_0, abs=1e-7)
    assert not torch.equal(noise, seeded_noise([0, 5], 8))


FIRST_OF_SEED_0 = 1.1176221  # numpy.random.default_rng(0).standard_normal(dtype="float32")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([1, -2], 8), "seed is -2; it should be at least 0"),
        (([MAX_SEED + 1], 8), "seed is 9007199254740992; it should be at most 9007199254740991"),
        (([0], 8, "torch"), "noise is 'torch'; it can be philox, numpy"),
        (([0], 8, "philox", 1.5), "truncation is 1.5; it should be 0 to 1"),
        (([0], 8, "philox", math.nan), "truncation is nan"),
    ],
)
def test_what_is_out_of_range_is_named(arguments, message):
    with pytest.raises(ValueError, match=message.replace("(", r"\(")):
        seeded_noise(*arguments)
