"""MATLAB files as SciPy writes them, and damaged ones."""

import random
import struct
from contextlib import suppress
from io import BytesIO

import numpy as np
import pytest
from scipy.io import savemat

from damage import damaged_bytes
from xmcgan.data.readers.matlab import whole_numbers


def mat(arrays: dict, *, compressed: bool = True) -> bytes:
    stream = BytesIO()
    savemat(stream, arrays, do_compression=compressed)
    return stream.getvalue()


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("kind", ["uint8", "uint16", "int32", "float64"])
def test_arrays_of_whole_numbers(kind, compressed):
    arrays = {"trnid": np.array([[3, 1, 200]], kind), "x": np.array([[7]], kind), "empty": np.zeros((0, 0), kind)}
    content = mat({**arrays, "title": "a text", "cells": np.array([[1, "b"]], object)}, compressed=compressed)
    assert whole_numbers(content) == {"trnid": [3, 1, 200], "x": [7], "empty": []}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is not a MATLAB 5.0 file"),
        (b"MATLAB 7.3 MAT-file" + bytes(200), "is not a MATLAB 5.0 file"),
        (mat({"a": np.arange(9)})[:-5], "is damaged"),
        (mat({"a": np.array([0.5])}), "not whole numbers"),
        (
            mat({})[:128] + struct.pack("<IIQ", 14, 8, 6),
            "is damaged: an array lacks its flags, dimensions, name or val",
        ),
    ],
)
def test_other_files_are_refused(content, message):
    with pytest.raises(ValueError, match=message):
        whole_numbers(content)


def test_random_damage_is_a_value_error():
    for seed in range(500):
        chance = random.Random(seed)
        content = mat({"trnid": np.arange(40), "valid": np.arange(5)}, compressed=chance.random() < 0.5)
        with suppress(ValueError):
            whole_numbers(damaged_bytes(content, chance))
