"""Checkpoints: one folder each, written atomically, as safetensors and JSON only.

``step-00000400/`` holds ``config.json`` and ``generator.safetensors`` (the EMA generator that ``Pipeline`` loads), and
``training/`` with everything needed to resume exactly.
"""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Adam

from xmcgan.config import Config
from xmcgan.inference.model_files import (
    GENERATOR_FILE,
    checkpoints,
    load,
    read_tensors,
    require,
    save_generator,
    save_tensors,
    tensors,
)
from xmcgan.model.build import AnyDiscriminator
from xmcgan.model.generator import Generator
from xmcgan.runtime.field_types import shortened
from xmcgan.runtime.files import atomic_folder, make_folder, read_object, restore_former, write_json
from xmcgan.training.ema import EMA

EVALUATION_FILE = "evaluation.json"


def save_checkpoint(
    runs: Path,
    step: int,
    config: Config,
    text_dim: int,
    *,
    generator: Generator,
    discriminator: AnyDiscriminator,
    ema: EMA[Generator],
    generator_optimizer: Adam,
    discriminator_optimizer: Adam,
    log: dict[str, Any] | None = None,
    strength: dict[str, Any] | None = None,
) -> Path:
    """Write ``runs/step-...`` and return it; the folder gets its name only when it is complete."""
    folder = runs / f"step-{step:08d}"
    if folder.exists():
        return folder  # a resumed run reaches this step again with the same bits
    optimizers = {"generator": generator_optimizer, "discriminator": discriminator_optimizer}
    with atomic_folder(folder, flush=True) as partial:
        training = make_folder(partial / "training")
        save_generator(partial, ema.network, config, text_dim, step)
        save_tensors(tensors(generator), training / "generator.safetensors")
        save_tensors(tensors(discriminator), training / "discriminator.safetensors")
        save_tensors(adam_state(generator_optimizer, generator), training / "generator_optimizer.safetensors")
        save_tensors(
            adam_state(discriminator_optimizer, discriminator), training / "discriminator_optimizer.safetensors"
        )
        described = {
            "step": step,
            "ema_updates": ema.updates,
            "log": log,
            "augmentation": strength,
            "optimizer_tensors": {name: count_tensors(optimizer) for name, optimizer in optimizers.items()},
        }
        write_json(training / "state.json", described)
    return folder


def save_best(
    folder: Path, evaluation: dict[str, Any], generator: Generator, config: Config, text_dim: int, step: int
) -> None:
    """Replace ``folder`` by a generator and its evaluation; ``remove_leftovers`` cleans up after a crash."""
    with atomic_folder(folder, flush=True, replace=True) as partial:
        save_generator(partial, generator, config, text_dim, step)
        write_json(partial / EVALUATION_FILE, evaluation)


def read_best(folder: Path) -> dict[str, Any] | None:
    """The evaluation written by ``save_best``, or None if there is none yet."""
    path = folder / EVALUATION_FILE
    if not path.is_file():
        return None
    evaluation = read_object(path, "step", "values", "score")
    if type(evaluation["score"]) not in (int, float):
        raise ValueError(f"{path} is damaged: score is {shortened(evaluation['score'])}; it should be a number")
    return evaluation


def load_checkpoint(
    folder: Path,
    *,
    generator: Generator,
    discriminator: AnyDiscriminator,
    ema: EMA[Generator],
    generator_optimizer: Adam,
    discriminator_optimizer: Adam,
) -> int:
    """Load a checkpoint into networks, EMA and optimisers in place; return its step.

    Raises:
        ValueError: naming the file that is missing, damaged or does not fit.
    """
    training = folder / "training"
    load(ema.network, folder / GENERATOR_FILE)
    load(generator, training / "generator.safetensors")
    load(discriminator, training / "discriminator.safetensors")
    state = read_state(folder)
    counts = state.get("optimizer_tensors", {})  # checkpoints of older versions have none
    for name, optimizer, network in (
        ("generator", generator_optimizer, generator),
        ("discriminator", discriminator_optimizer, discriminator),
    ):
        load_adam_state(optimizer, network, training / f"{name}_optimizer.safetensors", count=counts.get(name))
    ema.updates = state["ema_updates"]
    return state["step"]


def read_state(folder: Path) -> dict[str, Any]:
    """The numbers of a checkpoint that are not tensors.

    Raises:
        ValueError: naming the file and the number that is damaged.
    """
    path = folder / "training" / "state.json"
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: the checkpoint is not whole")
    state = read_object(path, "ema_updates", "step")
    counts = state.get("optimizer_tensors", {})
    numbers = {"ema_updates": state["ema_updates"], "step": state["step"]}
    if not isinstance(counts, dict):
        found = f"optimizer_tensors is {shortened(counts)}"
        raise ValueError(f"{path} is damaged: {found}; it should be a number by optimizer")
    for name, value in (numbers | counts).items():
        if type(value) is not int or not 0 <= value < 2**53:
            raise ValueError(f"{path} is damaged: {name} is {shortened(value)}; it should be a whole number")
    if f"step-{state['step']:08d}" != folder.name:
        raise ValueError(f"{path} is damaged: step is {state['step']}, but the folder is {folder.name}")
    return state


def load_unwritten_log(folder: Path) -> dict[str, Any] | None:
    """The sums that the log had not written when a checkpoint was saved; None for a checkpoint of an older version."""
    unwritten, path = read_state(folder).get("log"), folder / "training" / "state.json"
    if unwritten is None:
        return None
    require(unwritten, {"sums", "count"}, path)
    sums, count = unwritten["sums"], unwritten["count"]
    if not isinstance(sums, dict) or any(type(value) not in (int, float) for value in (*sums.values(), count)):
        raise ValueError(f"{path} is damaged: log should hold the sum of each loss, and a count")
    return unwritten


def load_strength(folder: Path) -> dict[str, Any]:
    """The state of the augmentation's adaptive strength (``AdaptiveStrength.load``).

    Raises:
        ValueError: naming the file, if it has none.
    """
    strength = read_state(folder).get("augmentation")
    if not isinstance(strength, dict):
        raise ValueError(
            f"{folder / 'training' / 'state.json'} has no strength of the augmentation, which "
            "augmentation.adaptive_target needs"
        )
    return strength


def keep_newest(runs: Path, count: int) -> None:
    """Remove all but the newest ``count`` checkpoints; 0 keeps all."""
    for folder in checkpoints(runs)[: -count or None] if count else []:
        # Rename first, so that an interrupted removal leaves nothing that looks like a checkpoint.
        removed = folder.rename(folder.with_name(f".removed-{folder.name}"))
        shutil.rmtree(removed)


def remove_leftovers(output: Path) -> None:
    """Clean up after interrupted saves and removals in a run's folder; the former ``best`` is restored."""
    restore_former(output / "best")
    for pattern in ("checkpoints/.partial-step-*", "checkpoints/.removed-step-*", ".partial-best", ".former-best"):
        for folder in output.glob(pattern):
            shutil.rmtree(folder)


def parameters_of(optimizer: Adam, network: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    """Named parameters of the network that the optimiser updates."""
    known = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
    return ((name, parameter) for name, parameter in network.named_parameters() if id(parameter) in known)


def adam_state(optimizer: Adam, network: nn.Module) -> dict[str, Tensor]:
    """Adam's moments and step counts, keyed by parameter name."""
    return {
        f"{name}/{key}": value.detach().cpu().contiguous()
        for name, parameter in parameters_of(optimizer, network)
        for key, value in optimizer.state[parameter].items()
    }


ADAM_STATE = ("step", "exp_avg", "exp_avg_sq")


def count_tensors(optimizer: Adam) -> int:
    """Number of tensors in an optimizer's state."""
    return sum(len(state) for state in optimizer.state.values())


def check_adam_state(saved: dict[str, Tensor], known: set[str], path: Path, count: int | None) -> None:
    """Refuses a file with tensors of another network, an incomplete parameter, or fewer tensors than were saved.

    Args:
        known: names of the optimizer's parameters.
        count: tensors that were saved; None if the checkpoint does not record it.
    """
    names = {name.rpartition("/")[0] for name in saved}
    if names - known:
        raise ValueError(f"{path} belongs to another network: it holds {min(names - known)}")
    incomplete = [name for name in sorted(names) if any(f"{name}/{key}" not in saved for key in ADAM_STATE)]
    if incomplete:
        raise ValueError(f"{path} is damaged: of {incomplete[0]} it does not hold all of {', '.join(ADAM_STATE)}")
    if count is not None and len(saved) != count:
        raise ValueError(f"{path} is damaged: it holds {len(saved)} tensors, but {count} were saved")


def load_adam_state(optimizer: Adam, network: nn.Module, path: Path, *, count: int | None = None) -> None:
    """The inverse of ``adam_state``; moments get the device and memory format of their parameter.

    Args:
        count: tensors that were saved; None if the checkpoint does not record it.

    Raises:
        ValueError: naming the file, and what is missing, unexpected, or of another shape.
    """
    saved = {name: tensor for name, tensor in read_tensors(path).items() if "/" in name}  # others: a network's
    check_adam_state(saved, {name for name, _ in parameters_of(optimizer, network)}, path, count)
    for name, parameter in parameters_of(optimizer, network):
        state = optimizer.state[parameter]
        for key in ADAM_STATE:
            if f"{name}/{key}" not in saved:
                continue  # the parameter had no gradient yet
            value = saved[f"{name}/{key}"]
            if key != "step" and value.shape != parameter.shape:
                raise ValueError(
                    f"{path} does not fit the network that its configuration describes: {name}/{key} has shape "
                    f"{tuple(value.shape)}; it should be {tuple(parameter.shape)}"
                )
            state[key] = value if key == "step" else torch.empty_like(parameter, requires_grad=False).copy_(value)
        if "step" in state and optimizer.defaults["fused"]:
            state["step"] = state["step"].to(parameter.device)
