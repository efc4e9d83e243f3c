"""The folder of a run: what it was started with, and whether it may be continued."""

import hashlib
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

from xmcgan.config import Config, EvaluationConfig, differences, from_dict, to_dict
from xmcgan.data.records import Record
from xmcgan.inference.model_files import newest_checkpoint
from xmcgan.runtime.files import read_json, write_json
from xmcgan.runtime.folders import refuse_changed, refuse_foreign
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
"""Settings that may change on resume. None changes what the next step computes, but for the rounding of another device,
compiler or kernel (``training.device``, ``.compile``, ``.fused``, ``.tf32``, ``.channels_last``)."""


def open_run_folder(output: Path, config: Config, records: Sequence[Record]) -> Path | None:
    """The checkpoint that a run goes on from, if there is one; the folder is then this run's (``claim_run_folder``)."""
    claim_run_folder(output, config, records)
    remove_leftovers(output / "checkpoints")
    return newest_checkpoint(output / "checkpoints")


def claim_run_folder(output: Path, config: Config, records: Sequence[Record]) -> None:
    """Writes the configuration beside a new run, or checks that a run there is the same one.

    Raises:
        ValueError: naming the settings that differ, or if the data are others.
    """
    path = output / "config.json"
    lines = (line for record in records for line in (record.id, *record.captions))
    data = {"records": len(records), "sha256": hashlib.sha256("\n".join(lines).encode()).hexdigest()}
    if not path.exists():
        refuse_foreign(output, "a training run")
        output.mkdir(parents=True, exist_ok=True)
        write_json(path, {"config": to_dict(config), "data": data})
        return
    known = read_json(path)
    if not isinstance(known, dict) or not {"config", "data"} <= known.keys():
        raise ValueError(f"{path} is not a training run's; choose another --output")
    changes = differences(from_dict(known["config"]), config)
    refuse_changed(
        output,
        "a run with other settings",
        {name: values for name, values in changes.items() if name not in MAY_CHANGE},
        "Choose another --output, or delete that one",
    )
    if known["data"] != data:
        raise ValueError(
            f"{output} holds a run on other data: {known['data']['records']} records then, {len(records)} now, or "
            f"others of the same number. Choose another --output, give the same --data, or delete the run"
        )
    write_json(path, {"config": to_dict(config), "data": data})
