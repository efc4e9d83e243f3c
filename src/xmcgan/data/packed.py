"""Records in one block of memory, so that worker processes share them.

A forked worker shares its parent's memory until either writes to it, and merely using a Python object writes its
reference count. With lists of strings, every worker would end up with its own copy of all captions. Here they are bytes
in two arrays, whose pages nobody writes to; a record is made on access and freed afterwards.
"""

import operator
import pickle
from array import array
from collections.abc import Iterable, Sequence
from typing import overload

from xmcgan.data.records import Record


class PackedRecords(Sequence[Record]):
    """An immutable sequence of records, as bytes.

    Args:
        records: the records, in order; they are not kept.
    """

    def __init__(self, records: Iterable[Record]):
        content, ends = bytearray(), array("Q")
        for record in records:
            # Plain pickle of our own objects, in memory only.
            content += pickle.dumps(tuple(record), protocol=pickle.HIGHEST_PROTOCOL)
            ends.append(len(content))
        self._content, self._ends = bytes(content), ends

    def __len__(self) -> int:
        return len(self._ends)

    @overload
    def __getitem__(self, index: int) -> Record: ...
    @overload
    def __getitem__(self, index: slice) -> list[Record]: ...
    def __getitem__(self, index: int | slice) -> Record | list[Record]:
        """The record at an index."""
        if isinstance(index, slice):
            return [self[each] for each in range(*index.indices(len(self)))]
        position = range(len(self))[operator.index(index)]
        start = self._ends[position - 1] if position else 0
        return Record(*pickle.loads(memoryview(self._content)[start : self._ends[position]]))
