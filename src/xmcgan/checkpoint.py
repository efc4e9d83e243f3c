"""Checkpoints: a folder each, written whole or not at all, safetensors and JSON only.

``step-00000400/`` holds ``config.json`` and ``generator.safetensors`` (the averaged generator: what ``Pipeline``
loads), and ``training/`` with all that a run needs to go on as if it had never stopped.
"""

import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.optim import Adam

from xmcgan import __version__
from xmcgan.config import Config, from_dict, to_dict
from xmcgan.ema import EMA
from xmcgan.model.discriminator import Discriminator
from xmcgan.model.generator import Generator

GENERATOR_FILE = "generator.safetensors"
CONFIG_FILE = "config.json"
EVALUATION_FILE = "evaluation.json"


def build_generator(config: Config, text_dim: int) -> Generator:
    """The generator of a configuration, with fresh weights."""
    return Generator(
        image_size=config.image_size,
        width=config.generator.width,
        text_dim=text_dim,
        noise_dim=config.generator.noise_dim,
        stem=config.generator.stem,
        modulation=config.generator.modulation,
        rho_0=config.generator.rho_0,
    )


def build_discriminator(config: Config, text_dim: int) -> Discriminator:
    """The discriminator of a configuration, with fresh weights."""
    return Discriminator(
        image_size=config.image_size,
        width=config.discriminator.width,
        text_dim=text_dim,
        head_layers=config.discriminator.head_layers,
    )


def save_generator(folder: Path, generator: Generator, config: Config, text_dim: int, step: int) -> None:
    """Writes a drawing generator and its configuration into an existing folder."""
    save_file(tensors(generator), folder / GENERATOR_FILE)
    description = {
        "library": "xmcgan",
        "version": __version__,
        "step": step,
        "text_dim": text_dim,
        "config": to_dict(config),
    }
    (folder / CONFIG_FILE).write_text(json.dumps(description, indent=2) + "\n")


def load_generator(folder: Path) -> tuple[Generator, Config, int]:
    """The averaged generator of a folder, in evaluation mode, with its configuration and training step.

    Raises:
        FileNotFoundError: if the folder is not one.
        ValueError: if a file in it is damaged, or not of this library; it is named.
    """
    description = read_description(folder)
    try:
        config = from_dict(description["config"])
        generator = build_generator(config, description["text_dim"])
    except (ValueError, TypeError) as error:
        raise ValueError(f"{folder / CONFIG_FILE} describes no model of this version: {error}") from error
    load(generator, folder / GENERATOR_FILE)
    return generator.eval().requires_grad_(False), config, description["step"]


def read_description(folder: Path) -> dict[str, Any]:
    """The content of config.json."""
    path = folder / CONFIG_FILE
    if not path.is_file():
        raise FileNotFoundError(f"{folder} is not a model of this library: it has no {CONFIG_FILE}")
    description = read_json(path)
    if not isinstance(description, dict) or description.get("library") != "xmcgan":
        raise ValueError(f"{path} does not describe a model of this library")
    require(description, {"config", "text_dim", "step"}, path)
    return description


def read_json(path: Path) -> Any:
    """The content of a JSON file, or a clear error."""
    try:
        return json.loads(path.read_bytes())
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not JSON: {error}") from error


def require(content: Any, keys: set[str], path: Path) -> None:
    """Refuses a JSON file that lacks one of these keys."""
    if not isinstance(content, dict) or keys - content.keys():
        raise ValueError(f"{path} is damaged: it should hold {', '.join(sorted(keys))}")


def save_checkpoint(
    runs: Path,
    step: int,
    config: Config,
    text_dim: int,
    *,
    generator: Generator,
    discriminator: Discriminator,
    ema: EMA[Generator],
    generator_optimizer: Adam,
    discriminator_optimizer: Adam,
) -> Path:
    """Writes ``runs/step-...`` and returns it; until it is whole it has another name, and is no checkpoint."""
    folder = runs / f"step-{step:08d}"
    if folder.exists():
        return folder  # a run passes through a step once, and resumed ones give the same bits
    partial = runs / f".partial-{folder.name}"
    shutil.rmtree(partial, ignore_errors=True)
    training = partial / "training"
    training.mkdir(parents=True)
    save_generator(partial, ema.network, config, text_dim, step)
    save_file(tensors(generator), training / "generator.safetensors")
    save_file(tensors(discriminator), training / "discriminator.safetensors")
    save_file(adam_state(generator_optimizer, generator), training / "generator_optimizer.safetensors")
    save_file(adam_state(discriminator_optimizer, discriminator), training / "discriminator_optimizer.safetensors")
    (training / "state.json").write_text(json.dumps({"step": step, "ema_updates": ema.updates}) + "\n")
    for path in [*partial.rglob("*"), partial]:
        flush_to_disk(path)
    partial.rename(folder)
    flush_to_disk(runs)
    return folder


def save_best(
    folder: Path, evaluation: dict[str, Any], generator: Generator, config: Config, text_dim: int, step: int
) -> None:
    """Makes ``folder`` a generator to draw with, and what it was measured to be worth; the one there goes.

    A crash between the two renames leaves the folder away, and both generators beside it under other names.
    """
    partial, former = folder.with_name(f".partial-{folder.name}"), folder.with_name(f".former-{folder.name}")
    for leftover in (partial, former):
        shutil.rmtree(leftover, ignore_errors=True)
    partial.mkdir(parents=True)
    save_generator(partial, generator, config, text_dim, step)
    (partial / EVALUATION_FILE).write_text(json.dumps(evaluation, indent=2) + "\n")
    for path in [*partial.iterdir(), partial]:
        flush_to_disk(path)
    if folder.exists():
        folder.rename(former)
    partial.rename(folder)
    flush_to_disk(folder.parent)
    shutil.rmtree(former, ignore_errors=True)


def read_best(folder: Path) -> dict[str, Any] | None:
    """What the generator that ``save_best`` wrote was measured to be worth; None where there is none yet."""
    path = folder / EVALUATION_FILE
    if not path.is_file():
        return None
    evaluation = read_json(path)
    require(evaluation, {"step", "values", "score"}, path)
    return evaluation


def load_checkpoint(
    folder: Path,
    *,
    generator: Generator,
    discriminator: Discriminator,
    ema: EMA[Generator],
    generator_optimizer: Adam,
    discriminator_optimizer: Adam,
) -> int:
    """Puts a checkpoint into the parts of a run, in place, and returns its step."""
    training = folder / "training"
    load(ema.network, folder / GENERATOR_FILE)
    load(generator, training / "generator.safetensors")
    load(discriminator, training / "discriminator.safetensors")
    load_adam_state(generator_optimizer, generator, training / "generator_optimizer.safetensors")
    load_adam_state(discriminator_optimizer, discriminator, training / "discriminator_optimizer.safetensors")
    state = read_json(training / "state.json")
    require(state, {"ema_updates", "step"}, training / "state.json")
    ema.updates = state["ema_updates"]
    return state["step"]


def checkpoints(runs: Path) -> list[Path]:
    """The whole checkpoints of a run, oldest first."""
    found = (folder for folder in runs.glob("step-*") if re.fullmatch(r"step-\d{8,}", folder.name))
    return sorted(found, key=lambda folder: int(folder.name.removeprefix("step-")))


def newest_checkpoint(runs: Path) -> Path | None:
    """The checkpoint of the highest step, if there is one."""
    return next(reversed(checkpoints(runs)), None)


def keep_newest(runs: Path, count: int) -> None:
    """Removes all checkpoints but the newest ``count``; 0 keeps all."""
    for folder in checkpoints(runs)[: -count or None] if count else []:
        # Renamed first, so that a removal cut short leaves nothing that looks like a checkpoint.
        doomed = folder.rename(folder.with_name(f".removed-{folder.name}"))
        shutil.rmtree(doomed)


def remove_leftovers(runs: Path) -> None:
    """Removes what an interrupted saving or removing left; none of it is a checkpoint."""
    for pattern in (".partial-step-*", ".removed-step-*"):
        for folder in runs.glob(pattern):
            shutil.rmtree(folder)


def tensors(network: nn.Module) -> dict[str, Tensor]:
    """A network's parameters and buffers, contiguous, on the CPU."""
    return {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}


def load(network: nn.Module, path: Path) -> None:
    """Loads a network's parameters and buffers in place."""
    state = read_tensors(path)
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        raise ValueError(f"{path} does not fit the network that its configuration describes: {error}") from None


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file, or a clear error."""
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: the checkpoint is not whole")
    try:
        return load_file(path)
    except SafetensorError as error:
        raise ValueError(f"{path} is damaged: {error}") from error


def parameters_of(optimizer: Adam, network: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    """The named parameters that an optimiser of this network updates."""
    known = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
    return ((name, parameter) for name, parameter in network.named_parameters() if id(parameter) in known)


def adam_state(optimizer: Adam, network: nn.Module) -> dict[str, Tensor]:
    """Adam's moments and step counts under the names of the parameters."""
    return {
        f"{name}/{key}": value.detach().cpu().contiguous()
        for name, parameter in parameters_of(optimizer, network)
        for key, value in optimizer.state[parameter].items()
    }


def load_adam_state(optimizer: Adam, network: nn.Module, path: Path) -> None:
    """The inverse of ``adam_state``: moments take the device and memory layout of their parameter."""
    saved = read_tensors(path)
    for name, parameter in parameters_of(optimizer, network):
        state = optimizer.state[parameter]
        for key in ("step", "exp_avg", "exp_avg_sq"):
            if f"{name}/{key}" not in saved:
                continue  # a parameter that has had no gradient yet
            value = saved[f"{name}/{key}"]
            if key != "step" and value.shape != parameter.shape:
                raise ValueError(
                    f"{path} does not fit the network that its configuration describes: {name}/{key} has shape "
                    f"{tuple(value.shape)}, not {tuple(parameter.shape)}"
                )
            state[key] = value if key == "step" else torch.empty_like(parameter, requires_grad=False).copy_(value)
        if "step" in state and optimizer.defaults["fused"]:
            state["step"] = state["step"].to(parameter.device)


def flush_to_disk(path: Path) -> None:
    """Waits until a file or a folder's entries are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
