"""The folder of a run: its configuration, and the check that it can be resumed."""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import fields
from pathlib import Path
from typing import Any

from xmcgan.config import Config, EvaluationConfig, differences, from_dict, to_dict
from xmcgan.data.prepared.shards import ShardedRecords
from xmcgan.data.records import Record, text_digest
from xmcgan.inference.model_files import CONFIG_FILE, newest_checkpoint
from xmcgan.runtime.files import read_json, write_json
from xmcgan.runtime.folders import refuse_changed, refuse_foreign
from xmcgan.runtime.locks import locked_folder
from xmcgan.training.checkpoint import remove_leftovers

MAY_CHANGE = {
    "data",
    "dataset.workers",
    "dataset.pin_memory",
    "text.cache_mb",
    "training.checkpoint_activations",
    "training.channels_last",
    "training.compile",
    "training.fused",
    "training.tf32",
    "training.prefetch",
    "training.device",
    "training.steps",
    "training.log_every",
    "training.sample_every",
    "training.checkpoint_every",
    "training.keep_checkpoints",
}
MAY_CHANGE |= {f"evaluation.{field.name}" for field in fields(EvaluationConfig)}
"""Settings that may change on resume. They do not change the next step, except that ``training.steps`` moves the
learning-rate decay (``lr_decay_from`` below 1), and that another device, compiler or kernel rounds differently
(``training.device``, ``.compile``, ``.fused``, ``.tf32``, ``.channels_last``)."""


def open_run_folder(output: Path, config: Config, records: Sequence[Record], lock: ExitStack) -> Path | None:
    """Claim the folder for this run (``check_run_folder``); return the checkpoint to resume from, if there is one.

    Args:
        lock: holds the folder's lock until it is closed.

    Raises:
        FileExistsError: if another process trains into the folder.
    """
    description = describe_run(config, records)
    check_run_folder(output, config, description["data"])
    lock.enter_context(locked_folder(output, "trained into"))
    write_json(output / CONFIG_FILE, description)
    remove_leftovers(output)
    return newest_checkpoint(output / "checkpoints")


def describe_run(config: Config, records: Sequence[Record]) -> dict[str, Any]:
    """The content of a run's config.json: its settings, and a hash of what it is trained on."""
    prepared = isinstance(records, ShardedRecords)  # whose manifest may hold the hash
    digest = records.digest() if prepared else text_digest((record.id, record.captions) for record in records)
    data = {"records": len(records), "sha256": digest}
    return {"config": to_dict(config), "data": data}


def check_run_folder(output: Path, config: Config, data: dict[str, Any]) -> None:
    """Check that the folder is new, or holds a run with the same settings and data. Nothing is written.

    Raises:
        ValueError: naming the settings that differ, or if the data differ.
    """
    path = output / CONFIG_FILE
    if not path.exists():
        refuse_foreign(output, "a training run")
        return
    known = read_json(path)
    if not isinstance(known, dict) or not {"config", "data"} <= known.keys():
        raise ValueError(f"{path} was not written by a training run; choose another --output")
    try:
        changes = differences(from_dict(known["config"]), config)
    except ValueError as error:
        raise ValueError(f"{path} holds no settings of this version: {error}; choose another --output") from error
    refuse_changed(
        output,
        "a run with other settings",
        {name: values for name, values in changes.items() if name not in MAY_CHANGE},
        "Choose another --output, or delete that one",
    )
    if known["data"] != data:
        former = known["data"].get("records", "other") if isinstance(known["data"], dict) else "other"
        raise ValueError(
            f"{output} holds a run on other data: it had {former} records, there are {data['records']} "
            "now, or their ids or captions differ. Choose another --output, give the same --data, or delete the run"
        )
