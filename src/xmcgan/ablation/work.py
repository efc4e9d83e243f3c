"""Executes the runs of an ablation on one or several devices and processes; they can be resumed at any time."""

import multiprocessing
import os
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path

from xmcgan.ablation.plan import Plan, Run, read_plan, steps_of
from xmcgan.config import Config, DialectName
from xmcgan.data.layouts import read_records
from xmcgan.data.records import Record
from xmcgan.runtime.files import read_json, write_json
from xmcgan.runtime.locks import locked_folder
from xmcgan.runtime.progress import say

STOPPED = 130
"""Exit status after a signal."""


@cache
def records_of(
    data: str, layout: str, split: str, traces: bool, dialect: DialectName | None = None
) -> Sequence[Record]:
    """The records of a split, cached because rows share them."""
    return read_records(data, layout, split, annotations=traces, dialect=dialect)


def training_records(config: Config) -> Sequence[Record]:
    """The records that a row is trained on."""
    dataset = config.dataset
    return records_of(config.data, dataset.layout, dataset.split, config.losses.trace > 0, dataset.dialect)


def held_out_records(config: Config) -> Sequence[Record]:
    """The records that a row is evaluated on."""
    dataset = config.dataset
    return records_of(config.data, dataset.layout, dataset.validation_split, False, dataset.dialect)


def work(
    output: Path, device: str = "auto", rows: Sequence[str] = (), retry: bool = False, reuse: Sequence[Path] = ()
) -> int:
    """Executes, one after another, the runs that are neither done nor taken by another process.

    Args:
        rows: only these rows, by name; all unless given.
        retry: also execute runs that failed before.
        reuse: folders of other ablations, whose results are reused for equal runs.

    Returns:
        0, or ``STOPPED`` after a signal.
    """
    plan = read_plan(output)
    for run in plan.runs():
        if (rows and run.row.name not in rows) or is_done(plan, run, retry=retry):
            continue
        try:
            with locked_folder(output / "locks" / run.name, "worked on"):
                if is_done(plan, run, retry=retry):
                    continue  # another process has just finished this run
                if not finish(plan, run, device, reuse):
                    return STOPPED
        except FileExistsError:
            continue  # another process is working on this run
    return 0


def is_done(plan: Plan, run: Run, *, retry: bool) -> bool:
    """Whether a run has a final outcome; with ``retry``, a failure is not final."""
    path = plan.outcome_file(run)
    return path.is_file() and not (retry and read_json(path).get("status") == "failed")


def finish(plan: Plan, run: Run, device: str, reuse: Sequence[Path] = ()) -> bool:
    """Trains a run to its end and writes its outcome; an error in training is an outcome too.

    Returns:
        True if it ended, False if a signal stopped it.

    Raises:
        OSError: on a fault of the machine, such as a full disk; this is not an outcome.
    """
    from xmcgan.ablation.outcome import write_outcome
    from xmcgan.ablation.reuse import reused_outcome
    from xmcgan.ablation.run import failed_run, train_run

    reused = reused_outcome(plan, run, planned_steps(plan, run, device), reuse) if reuse else None
    if reused is not None:
        say(f"{run.row.name}, seed {run.seed} is that of {reused.reused}")
        write_outcome(plan.outcome_file(run), reused)
        return True
    say(f"{run.row.name}, seed {run.seed}")
    config = run.row.config
    try:
        steps = planned_steps(plan, run, device)
        outcome = train_run(plan, run, steps, device, training_records(config), held_out_records(config))
    except (ValueError, RuntimeError) as error:  # TrainingDiverged and CUDA's out of memory are RuntimeErrors
        outcome = failed_run(run, error, device)
        say(f"{run.row.name}, seed {run.seed} failed: {outcome.error}")
    if outcome is None:
        return False
    write_outcome(plan.outcome_file(run), outcome)
    return True


def planned_steps(plan: Plan, run: Run, device: str) -> int:
    """The steps of a run; if the budget is a time, all rows are timed once."""
    if plan.budget.minutes is None:
        return steps_of(plan, run.row)
    path = plan.output / "steps.json"
    with locked_folder(plan.output / "locks" / "steps", "timed", wait=True):  # rows are timed one after another
        if not path.is_file():
            write_json(path, time_rows(plan, device))
    return read_json(path)[run.row.name]["steps"]


def time_rows(plan: Plan, device: str) -> dict[str, dict[str, float]]:
    """Seconds per step of every row on a device, and the steps that follow from the budget."""
    from xmcgan.ablation.run import measure_step
    from xmcgan.runtime.device import resolve_device

    found: dict[str, dict[str, float]] = {}
    for row in plan.study.rows:
        seconds = measure_step(row.config, training_records(row.config), resolve_device(device))
        found[row.name] = {"seconds_a_step": seconds, "steps": steps_of(plan, row, seconds)}
        say(f"{row.name}: {seconds:.3f} s a step, {found[row.name]['steps']:,} steps")
    return found


def work_on(
    output: Path, devices: Sequence[str], rows: Sequence[str] = (), retry: bool = False, reuse: Sequence[Path] = ()
) -> int:
    """``work`` in one process for each device; in this process if there is one device.

    Returns:
        the largest exit status.
    """
    if len(devices) == 1:
        return work(output, devices[0], rows, retry, reuse)
    threads = max(1, (os.cpu_count() or 1) // len(devices))
    context = multiprocessing.get_context("spawn")
    processes = [
        context.Process(target=work_in_process, args=(output, device, rows, retry, reuse, threads), name=device)
        for device in devices
    ]
    for process in processes:
        process.start()
    for process in processes:
        while process.is_alive():
            with suppress(KeyboardInterrupt):  # the processes got the signal too, and save
                process.join()
    return max(abs(process.exitcode or 0) for process in processes)


def work_in_process(
    output: Path, device: str, rows: Sequence[str], retry: bool, reuse: Sequence[Path], threads: int
) -> None:
    """``work`` with a share of the machine's threads, in a process of its own."""
    import torch

    if device == "cpu":
        torch.set_num_threads(threads)
    raise SystemExit(work(output, device, rows, retry, reuse))
