"""The generator's noise from a seed, the same to the last bit on every device, in Python and in a browser.

``philox``: Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011), then Box-Muller.

- key: the seed's lower 32 bits, its upper 32 bits; counter of block j: (j, 0, 0, 0); a block is four 32-bit words.
- Words (x, y) of a block, in order, give two normals, r cos(a) and r sin(a), with r = sqrt(-2 ln u),
  u = (x + 1/2) / 2^32 and a = 2 pi (y + 1/2) / 2^32 - pi/4. Normals 4j to 4j + 3 come from block j.
- Everything is float64 and uses only +, -, *, / and sqrt, which IEEE 754 defines to the last bit: logarithm, sine
  and cosine are the polynomials below, not a library's. The last step rounds to float32.

tests/golden/noise.json holds test vectors; examples/browser/noise.js is the same in JavaScript.

``numpy`` is the noise used before the first release: NumPy's PCG64 and ziggurat.
"""

from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

Noise = Literal["philox", "numpy"]

NOISE: Noise = "philox"
"""The default kind."""

MAX_SEED = 2**53 - 1
"""Up to this seed, JavaScript and JSON represent every whole number exactly."""

MULTIPLIERS = np.array([0xD2511F53, 0xCD9E8D57], dtype=np.uint64)
WEYL = np.array([0x9E3779B9, 0xBB67AE85], dtype=np.uint64)
ROUNDS = 10
LOW, HALF = np.uint64(0xFFFFFFFF), np.uint64(32)

LN_2, HALF_PI = 0.6931471805599453, 1.5707963267948966
LOG_TERMS = [1 / odd for odd in range(21, 2, -2)]  # artanh: z^10 / 21 + ... + z / 3
SIN_TERMS = [1 / 355687428096000, -1 / 1307674368000, 1 / 6227020800, -1 / 39916800, 1 / 362880, -1 / 5040, 1 / 120,
             -1 / 6]  # fmt: skip
COS_TERMS = [1 / 20922789888000, -1 / 87178291200, 1 / 479001600, -1 / 3628800, 1 / 40320, -1 / 720, 1 / 24, -1 / 2]


def seeded_noise(seeds: Sequence[int], dim: int, kind: Noise = NOISE, truncation: float = 1.0) -> Tensor:
    """z ~ N(0, truncation^2 I), float32, on the CPU: noise_BZ, one row per seed, which depends only on that seed.

    Args:
        kind: ``philox``, or ``numpy`` for the images of earlier versions.
        truncation: factor from 0 to 1: 1 is what the generator was trained with; smaller ones give images that are more
            alike and closer to its mean (the truncation trick of Karras et al., CVPR 2019, on z, whose mean is 0).

    Raises:
        ValueError: if a seed is not 0 to ``MAX_SEED`` (``numpy``: negative), or the kind or truncation is invalid.
    """
    if kind not in get_args(Noise):
        raise ValueError(f"noise is {kind!r}; it can be {', '.join(get_args(Noise))}")
    if not 0 <= truncation <= 1:
        raise ValueError(f"truncation is {truncation}; it should be 0 to 1")
    for seed in seeds:
        if seed < 0:
            raise ValueError(f"seed is {seed}; it should be at least 0")
        if seed > MAX_SEED and kind == "philox":
            raise ValueError(f"seed is {seed}; it should be at most {MAX_SEED} (2^53 - 1)")
    if kind == "numpy":
        rows = [np.random.default_rng(seed).standard_normal(dim, dtype=np.float32) for seed in seeds]
        return torch.from_numpy(np.stack(rows) * np.float32(truncation))
    blocks = -(-dim // 4)
    keys = np.array([[seed & 0xFFFFFFFF, seed >> 32] for seed in seeds], dtype=np.uint64)
    words = philox(np.arange(blocks, dtype=np.uint64), keys)
    normals = box_muller(words[..., 0::2], words[..., 1::2]).reshape(len(keys), 4 * blocks)
    return torch.from_numpy((normals[:, :dim] * truncation).astype(np.float32))


def philox(blocks: np.ndarray, keys: np.ndarray) -> np.ndarray:
    """Philox4x32-10 of the counters (block, 0, 0, 0) under B keys (B, 2): words (B, blocks, 4), uint64 below 2^32."""
    counters = np.zeros((len(keys), len(blocks), 4), dtype=np.uint64)
    counters[..., 0] = blocks
    return philox_rounds(counters, keys[:, None])


def philox_rounds(words: np.ndarray, keys: np.ndarray) -> np.ndarray:
    """Ten rounds on counters (..., 4) with keys (..., 2): two 32 x 32-bit products and a new key per round."""
    for number in range(ROUNDS):
        key = keys + np.uint64(number) * WEYL & LOW
        product = words[..., 0::2] * MULTIPLIERS
        high, low = product >> HALF, product & LOW
        words = np.stack(
            [high[..., 1] ^ words[..., 1] ^ key[..., 0], low[..., 1], high[..., 0] ^ words[..., 3] ^ key[..., 1],
             low[..., 0]], axis=-1,
        )  # fmt: skip
    return words


def box_muller(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Two independent normals (..., 2), float64, from two 32-bit words: the radius from x, the angle from y."""
    radius = np.sqrt(-2.0 * logarithm((x.astype(np.float64) + 0.5) / 4294967296.0))
    quarter, within = y >> np.uint64(30), y & np.uint64(0x3FFFFFFF)
    angle = ((within.astype(np.float64) + 0.5) / 1073741824.0 - 0.5) * HALF_PI  # -pi/4 to pi/4
    square = angle * angle
    sine = angle + angle * (polynomial(SIN_TERMS, square))
    cosine = 1.0 + polynomial(COS_TERMS, square)
    # Each quarter turn: (cos, sin) becomes (-sin, cos).
    turned = quarter % np.uint64(2) == 1
    first, second = np.where(turned, -sine, cosine), np.where(turned, cosine, sine)
    sign = np.where(quarter >= 2, -1.0, 1.0) * radius
    return np.stack([sign * first, sign * second], axis=-1)


def logarithm(u: np.ndarray) -> np.ndarray:
    """The natural logarithm of 0 < u < 1: u = m 2^e with 0.7 < m < 1.5, and ln m = 2 artanh((m - 1) / (m + 1))."""
    mantissa, exponent = np.frexp(u)  # 0.5 <= mantissa < 1
    small = mantissa < 0.7071067811865476
    mantissa, exponent = np.where(small, 2.0 * mantissa, mantissa), np.where(small, exponent - 1, exponent)
    s = (mantissa - 1.0) / (mantissa + 1.0)
    doubled = 2.0 * s
    return exponent * LN_2 + (doubled + doubled * polynomial(LOG_TERMS, s * s))


def polynomial(terms: Sequence[float], z: np.ndarray) -> np.ndarray:
    """terms[0] z^n + ... + terms[n - 1] z, by Horner's rule."""
    value = terms[0] * z
    for term in terms[1:]:
        value = (value + term) * z
    return value
