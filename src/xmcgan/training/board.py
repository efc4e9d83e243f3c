"""Curves for TensorBoard, written event by event, so that a full disk ends the curves and not the training."""

import io
import os
import socket
import time
from pathlib import Path

from tensorboard.compat.proto.event_pb2 import Event, SessionLog  # ty: ignore[missing-module-member]
from tensorboard.compat.proto.summary_pb2 import Summary  # ty: ignore[missing-module-member]
from tensorboard.summary.writer.record_writer import RecordWriter

from xmcgan.runtime.files import WriteFailed, append_content, make_folder
from xmcgan.runtime.progress import say


class Board:
    """An event file of scalars.

    Args:
        folder: folder of the event files; each start of a run adds one.
        step: the step that training starts from; TensorBoard hides later steps in earlier files.
    """

    def __init__(self, folder: Path, step: int):
        name = f"events.out.tfevents.{int(time.time()):010d}.{socket.gethostname()}.{os.getpid()}.{time.time_ns()}"
        self.path: Path | None = folder / name
        start = Event(wall_time=time.time(), step=step + 1, session_log=SessionLog(status=SessionLog.START))
        self.write([Event(wall_time=time.time(), file_version="brain.Event:2"), start])

    def add(self, step: int, values: dict[str, float]) -> None:
        """Adds a point to the curve of each name."""
        scalars = [Summary.Value(tag=name, simple_value=value) for name, value in values.items()]
        self.write([Event(wall_time=time.time(), step=step, summary=Summary(value=[each])) for each in scalars])

    def write(self, events: list[Event]) -> None:
        """Adds events to the file; if that fails, no more curves are written."""
        if self.path is None:
            return
        content = io.BytesIO()
        records = RecordWriter(content)
        for event in events:
            records.write(event.SerializeToString())
        try:
            make_folder(self.path.parent)
            append_content(self.path, content.getvalue())
        except WriteFailed as error:
            self.path = None
            say(f"TensorBoard's curves end here; log.jsonl goes on: {error}")
