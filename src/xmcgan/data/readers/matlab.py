"""Reads arrays of whole numbers from a MATLAB file (Level 5, as MATLAB has written them since 1996)."""

import struct
import zlib
from collections.abc import Iterator

import numpy as np

_HEADER = 128  # bytes: text, then the version and the byte order

_COMPRESSED, _MATRIX = 15, 14  # types of elements

_NUMBERS = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
"""The NumPy type of an element's values, by the element's type."""

_NUMERIC_CLASSES = range(6, 16)  # of arrays: double, single and the integers; not cells, structures or texts

_LARGEST = 1 << 26  # bytes of a decompressed array; more means damage or an attack


def whole_numbers(content: bytes) -> dict[str, list[int]]:
    """The values of each array of whole numbers in a MATLAB file, by the array's name, in column order.

    Raises:
        ValueError: if it is another kind of file, damaged, or an array holds fractions; the message is meant to follow
            the file's name.
    """
    order = {b"IM": "<", b"MI": ">"}.get(content[_HEADER - 2 : _HEADER])
    if order is None or not content.startswith(b"MATLAB 5.0"):
        raise ValueError("is not a MATLAB 5.0 file")
    try:
        arrays = [_array(data, order) for kind, data in _elements(content[_HEADER:], order) if kind == _MATRIX]
        return {name: [int(value) for value in values] for name, values in filter(None, arrays)}
    except (struct.error, zlib.error, ValueError, OverflowError, IndexError) as error:
        raise ValueError(f"is damaged: {error}") from error


def _elements(content: bytes, order: str) -> Iterator[tuple[int, bytes]]:
    """Type and data of each element; compressed ones are decompressed."""
    at = 0
    while at < len(content):
        kind, size = struct.unpack_from(f"{order}II", content, at)
        start = at + 8
        if kind >> 16:  # a small element: its size is in the upper half of the type, its data where the size would be
            kind, size, start = kind & 0xFFFF, kind >> 16, at + 4
        data = content[start : start + size]
        if len(data) != size:
            raise ValueError(f"an element of {size} bytes is cut short")
        at = start + size
        if kind == _COMPRESSED:
            decompressor = zlib.decompressobj()
            yield from _elements(decompressor.decompress(data, _LARGEST), order)
        else:
            yield kind, data
            at += -at % 8


def _array(data: bytes, order: str) -> tuple[str, np.ndarray] | None:
    """Name and values of an array; None if it does not hold numbers."""
    parts = list(_elements(data, order))
    if len(parts) < 4:
        raise ValueError("an array lacks its flags, dimensions, name or values")
    (_, flags), _, (_, name), (kind, values) = parts[:4]
    if struct.unpack_from(f"{order}I", flags)[0] & 0xFF not in _NUMERIC_CLASSES:
        return None
    if kind not in _NUMBERS:
        raise ValueError(f"the values of an array are of the unknown type {kind}")
    numbers = np.frombuffer(values, f"{order}{_NUMBERS[kind]}")
    if not np.all(np.isfinite(numbers)) or np.any(numbers != np.trunc(numbers)):
        raise ValueError("an array holds values that are not whole numbers")
    return name.decode("latin-1"), numbers
