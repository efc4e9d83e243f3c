"""Starting from a model's weights instead of random ones (``training.init``): fine-tuning."""

from pathlib import Path
from typing import Any

from torch import Tensor

from xmcgan.config import Config, DiscriminatorConfig, differences, flatten, from_dict, to_dict
from xmcgan.inference.model_files import (
    DISCRIMINATOR_FILE,
    GENERATOR_FILE,
    check_finite,
    find_model,
    load,
    read_description,
    read_tensors,
)
from xmcgan.model.build import AnyDiscriminator
from xmcgan.runtime.field_types import check
from xmcgan.training.state import TrainingState

GENERATOR_SETTINGS = ("image_size", "text.encoder", "text.layers", "generator.")
"""Dotted names, or their beginnings, of settings that determine the generator's shapes and what its inputs mean."""

DISCRIMINATOR_SETTINGS = ("discriminator.",)

PATHS = ("discriminator.encoder_weights",)
"""Settings that are paths of files, which differ between machines."""

NETWORKS = {
    "contrastive": ("the paper's discriminator", ("width", "head_layers")),
    "frozen": ("the discriminator on frozen features", ("channels", "upsampling")),
}
"""The networks of a discriminator, by their names in ``CombinedDiscriminator``: in words, and what determines each."""

PREFIXES = {
    "contrastive": {"contrastive": ""},
    "frozen-features": {"frozen": ""},
    "combined": {"contrastive": "contrastive.", "frozen": "frozen."},
}
"""For each ``discriminator.kind`` its networks, and what the names of their weights begin with."""

CONTRASTIVE_HEADS = tuple(f"network.{name}_projection." for name in ("region", "image", "sentence"))
"""Layers on frozen features that only some discriminators have."""


def architecture(source: str) -> dict[str, Any]:
    """The settings that a run should share with the model it starts from, under their dotted names.

    Raises:
        FileNotFoundError: if there is no such model.
        ValueError: if its config.json is damaged.
    """
    settings = flatten(to_dict(model_config(find_model(source))))
    shared = GENERATOR_SETTINGS + DISCRIMINATOR_SETTINGS
    return {name: value for name, value in settings.items() if name.startswith(shared) and name not in PATHS}


def load_initial_weights(state: TrainingState, config: Config, source: str) -> str:
    """Loads a model's generator, and its discriminator if it has one that fits, into a state before its first step.

    The average starts at the loaded generator; the optimizers start afresh.

    Args:
        source: a name in the package, a run, a checkpoint, a saved pipeline, or a hub name.

    Returns:
        one line for the user: what was loaded, and what starts at random.

    Raises:
        FileNotFoundError: if there is no such model.
        ValueError: if its generator has other settings than ``config`` (they are named), or a file is damaged.
    """
    folder = find_model(source)
    changes = differences(config, model_config(folder))
    own = {name: values for name, values in changes.items() if name.startswith(GENERATOR_SETTINGS)}
    if own:
        why = "; ".join(f"{name} is {here}, that model has {there}" for name, (here, there) in own.items())
        right = " ".join(f"--{name} {there}" for name, (_, there) in own.items())
        raise ValueError(f"training.init {source} does not fit this run: {why}. Give {right}, or another model")
    load(state.generator, folder / GENERATOR_FILE)
    state.ema.network.load_state_dict(state.generator.state_dict())
    path = discriminator_file(folder)
    if path is None:
        return f"the generator starts from {source}, which has no discriminator; that starts from random weights"
    other = [name for name in changes if name.startswith(DISCRIMINATOR_SETTINGS) and name not in PATHS]
    if not other:
        load(state.discriminator, path)
        return f"generator and discriminator start from {source}"
    shared, complete = load_shared_networks(
        state.discriminator, path, config.discriminator, model_config(folder).discriminator
    )
    differs = f"({', '.join(other)} {'differs' if len(other) == 1 else 'differ'})"
    if not shared:
        return f"the generator starts from {source}, the discriminator from random weights {differs}"
    line = f"{', '.join(['generator', *shared[:-1]])} and {shared[-1]} start from {source}"
    return line if complete else f"{line}, the rest of the discriminator from random weights {differs}"


def load_shared_networks(
    discriminator: AnyDiscriminator, path: Path, own: DiscriminatorConfig, model: DiscriminatorConfig
) -> tuple[list[str], bool]:
    """Loads the networks that two different discriminators have in common, with contrastive heads if both have them.

    Returns:
        the networks in words, and whether every weight was loaded.

    Raises:
        ValueError: if the file does not fit its own configuration, or a weight is not finite.
    """
    ours, tensors = discriminator.state_dict(), read_tensors(path)
    loaded: dict[str, Tensor] = {}
    shared = []
    for network, (words, settings) in NETWORKS.items():
        prefix, theirs = (PREFIXES[kind].get(network) for kind in (own.kind, model.kind))
        if prefix is None or theirs is None or any(getattr(own, each) != getattr(model, each) for each in settings):
            continue
        shared.append(words)
        for name in (name.removeprefix(prefix) for name in ours if name.startswith(prefix)):
            source = theirs + name
            if source not in tensors and network == "frozen" and name.startswith(CONTRASTIVE_HEADS):
                continue
            check(source in tensors, f"{path} lacks {source}, which its configuration describes")
            check_finite(source, tensors[source], path)
            loaded[prefix + name] = tensors[source]
    try:
        discriminator.load_state_dict(ours | loaded)
    except RuntimeError as error:
        raise ValueError(f"{path} does not fit the network that its configuration describes: {error}") from None
    return shared, loaded.keys() == ours.keys()


def discriminator_file(folder: Path) -> Path | None:
    """Where a saved model or a checkpoint holds its discriminator, if it has one."""
    places = folder / DISCRIMINATOR_FILE, folder / "training" / DISCRIMINATOR_FILE
    return next((path for path in places if path.is_file()), None)


def model_config(folder: Path) -> Config:
    """The configuration that a model was trained with."""
    description = read_description(folder)
    try:
        return from_dict(description["config"])
    except (ValueError, TypeError) as error:
        raise ValueError(f"{folder / 'config.json'} describes no model of this version: {error}") from error
