"""The whole configuration of a run as frozen dataclasses.

A recipe is a Config; a variant of it is ``dataclasses.replace``. Every field is a flag, ``--training.batch-size 64``.
The sections are in ``sections`` and ``techniques``; here is what joins them, and the checks that need several.
"""

import dataclasses
import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from xmcgan.config.sections import (
    CONTRASTIVE_LOSSES,
    DatasetConfig,
    DialectName,
    DiscriminatorConfig,
    EvaluationConfig,
    GeneratorConfig,
    Layout,
    LossConfig,
    TextConfig,
    TrainingConfig,
)
from xmcgan.config.techniques import AugmentationConfig, PenaltyConfig
from xmcgan.runtime.field_types import check, check_fields, shortened

__all__ = [
    "CONTRASTIVE_LOSSES",
    "AugmentationConfig",
    "Config",
    "DatasetConfig",
    "DialectName",
    "DiscriminatorConfig",
    "EvaluationConfig",
    "GeneratorConfig",
    "Layout",
    "LossConfig",
    "PenaltyConfig",
    "TextConfig",
    "TrainingConfig",
    "check",
    "differences",
    "flatten",
    "from_dict",
    "suggestion",
    "to_dict",
    "unflatten",
]


@dataclass(frozen=True)
class Config:
    """Everything that decides a run.

    Args:
        image_size: side of the images in pixels: 64, 128 or 256.
        data: the data folder.
    """

    image_size: Literal[64, 128, 256] = 256
    data: str = "data/coco14"
    dataset: DatasetConfig = field(default_factory=DatasetConfig)
    text: TextConfig = field(default_factory=TextConfig)
    generator: GeneratorConfig = field(default_factory=GeneratorConfig)
    discriminator: DiscriminatorConfig = field(default_factory=DiscriminatorConfig)
    augmentation: AugmentationConfig = field(default_factory=AugmentationConfig)
    losses: LossConfig = field(default_factory=LossConfig)
    penalties: PenaltyConfig = field(default_factory=PenaltyConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)

    def __post_init__(self):
        losses = self.losses
        if any(getattr(losses, name) for name in CONTRASTIVE_LOSSES):
            check(
                self.training.batch_size >= 2,
                f"training.batch_size is {self.training.batch_size}, but a contrastive loss tells an example from the "
                "others of its batch: it should be at least 2, or every weight under losses 0",
            )
        check(self.training.batch_size >= 1, f"training.batch_size is {self.training.batch_size}; at least 1")
        check(
            losses.encoder_weights is None or losses.image_encoder > 0,
            "losses.encoder_weights names a file, but losses.image_encoder is 0: the encoder would not be used",
        )
        check(
            losses.encoder == "vgg19" or losses.image_encoder > 0,
            f"losses.encoder is {losses.encoder}, but losses.image_encoder is 0: the encoder would not be used",
        )
        check(
            losses.image_encoder_loss == "contrastive" or losses.image_encoder > 0,
            f"losses.image_encoder_loss is {losses.image_encoder_loss}, but losses.image_encoder is 0",
        )
        check(
            losses.adversarial == "hinge" or self.augmentation.adaptive_target is None,
            "augmentation.adaptive_target needs the sign of a logit, which means nothing where losses.adversarial is "
            f"{losses.adversarial}: only differences of logits matter there",
        )
        check(
            not (self.penalties.active and self.training.compile),
            f"training.compile is true, but penalties.{next(iter(self.penalties.active), '')} needs the gradient of a "
            "gradient, which compiled networks do not have",
        )
        check(
            losses.trace == 0 or self.dataset.layout in ("localized-narratives", "webdataset"),
            f"losses.trace is {losses.trace}, but dataset.layout is {self.dataset.layout}, which has no mouse traces",
        )
        check(
            not self.training.checkpoint_activations or self.discriminator.kind == "contrastive",
            f"training.checkpoint_activations is true, but discriminator.kind is {self.discriminator.kind}, which "
            "cannot recompute its activations; it should be false",
        )
        check(self.dataset.workers >= 0, f"dataset.workers is {self.dataset.workers}; 0 reads in the training process")


def to_dict(config: Config) -> dict[str, Any]:
    """The configuration as nested plain values."""
    return dataclasses.asdict(config)


def from_dict(values: Any, kind: Any = Config, prefix: str = "") -> Any:
    """A configuration from nested plain values, as ``to_dict`` gives them.

    Raises:
        ValueError: on a field that does not exist, with the nearest one that does, or a value of another type.
    """
    check(isinstance(values, dict), f"{prefix[:-1] or 'config'} is {shortened(values)}; it should be settings by name")
    sections: dict[str, Any] = {each.name: each.default_factory for each in dataclasses.fields(kind)}
    arguments = {}
    for name, value in values.items():
        if name not in sections:  # not with ``check``, which would search for the nearest name every time
            raise ValueError(f"unknown setting {prefix + name!r}{suggestion(name, sections)}")
        nested = dataclasses.is_dataclass(sections[name])  # a plain field has no factory
        arguments[name] = from_dict(value, sections[name], f"{prefix}{name}.") if nested else value
    check_fields(kind, arguments, prefix)
    return kind(**arguments)


def suggestion(name: str, accepted: Any) -> str:
    """A hint at the nearest accepted name."""
    close = difflib.get_close_matches(name, list(accepted), n=1)
    return f"; did you mean {close[0]!r}?" if close else f"; there is {', '.join(accepted)}"


def differences(one: Config, other: Config) -> dict[str, tuple[Any, Any]]:
    """The dotted names of the fields in which two configurations differ, with both values."""
    first, second = flatten(to_dict(one)), flatten(to_dict(other))
    return {name: (first[name], second[name]) for name in first if first[name] != second[name]}


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested values under dotted names."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        flat |= flatten(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return flat


def unflatten(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Values under dotted names as nested ones, the inverse of ``flatten``."""
    nested: dict[str, Any] = {}
    for name, value in flat.items():
        *sections, last = name.split(".")
        target = nested
        for section in sections:
            target = target.setdefault(section, {})
        target[last] = value
    return nested
