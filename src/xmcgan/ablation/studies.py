"""The studies: lists of configurations that differ in one thing, and the paper's results for them.

Numbers are the paper's (arXiv:2101.04702, Tables 4 to 6 and Figure 5), measured on COCO-14 at 256 px. Where we know
only the paper's order and not its numbers, the order is a ``Claim``.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from xmcgan.config import Config, LossConfig, PenaltyConfig, check, flatten, from_dict, to_dict, unflatten


@dataclass(frozen=True)
class Row:
    """One configuration of a study.

    Args:
        name: name in tables and figures.
        config: the study's base with one change.
        paper: the paper's value of each metric, as printed.
    """

    name: str
    config: Config
    paper: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Claim:
    """The paper's claim that one row is better than another in a metric."""

    metric: str
    better: str
    worse: str


@dataclass(frozen=True)
class Study:
    """Rows that are compared with each other.

    Args:
        question: what the study asks, in a sentence.
        claims: orders that the paper states without numbers; ``all_claims`` adds the orders that its numbers imply.
        remark: what else the paper says.
    """

    name: str
    title: str
    question: str
    rows: tuple[Row, ...]
    claims: tuple[Claim, ...] = ()
    remark: str = ""

    def all_claims(self) -> tuple[Claim, ...]:
        """The paper's order of pairs of rows, from its numbers and its words."""
        from xmcgan.evaluation.metric_names import LOWER_IS_BETTER  # loads torch; names of studies do not need it

        found = []
        for metric in dict.fromkeys(name for row in self.rows for name in row.paper):
            known = [(float(row.paper[metric]), row.name) for row in self.rows if metric in row.paper]
            known.sort(reverse=metric not in LOWER_IS_BETTER)
            found += [
                Claim(metric, better, worse)
                for place, (value, better) in enumerate(known)
                for other, worse in known[place + 1 :]
                if value != other
            ]
        return tuple(dict.fromkeys([*found, *self.claims]))


def table_4(base: Config) -> Study:
    """The contrastive losses, alone and together."""
    own = base.losses
    weights = {name: getattr(own, name) or 1.0 for name in ("sentence", "word", "image_discriminator", "image_encoder")}
    encoder = encoder_of(own)
    none = replace(
        own, sentence=0.0, word=0.0, image_discriminator=0.0, image_encoder=0.0, encoder="vgg19", encoder_weights=None
    )

    def row(name: str, *parts: str, fid: str | None = None) -> Row:
        losses = replace(none, **{part: weights[part] for part in parts})
        if "image_encoder" in parts:
            losses = replace(losses, **encoder)
        return Row(name, replace(base, losses=losses), {} if fid is None else {"fid": fid})

    rows = (
        row("none", fid="39.28"),
        row("sentence", "sentence", fid="19.25"),
        row("word", "word", fid="24.38"),
        row("image D", "image_discriminator", fid="29.71"),
        row("image encoder", "image_encoder"),
        row("sentence + word", "sentence", "word", fid="14.25"),
        row("image D + encoder", "image_discriminator", "image_encoder", fid="21.14"),
        row("sentence + word + encoder", "sentence", "word", "image_encoder"),
        row("all", *weights),
    )
    best = "sentence + word + encoder"
    return Study(
        "table-4",
        "The contrastive losses",
        "What does each contrastive loss bring, alone and with the others? (paper, Table 4)",
        rows,
        tuple(Claim("fid", best, each.name) for each in rows if each.name != best),
        f"In the paper {best} has the best FID; adding image D improves IS and the alignment with the text further. "
        "The paper's encoder is VGG-19.",
    )


def encoder_of(losses: LossConfig) -> dict[str, Any]:
    """The frozen image encoder of a study: the recipe's, or EfficientNet-Lite0, whose weights come with a package."""
    if losses.image_encoder:
        return {"encoder": losses.encoder, "encoder_weights": losses.encoder_weights}
    return {"encoder": "efficientnet-lite0", "encoder_weights": None}


def table_5(base: Config) -> Study:
    """Plain against attentional self-modulation."""
    rows = tuple(
        Row(kind, replace(base, generator=replace(base.generator, modulation=kind)))
        for kind in ("plain", "attentional")
    )
    metrics = ("fid", "is", "r-precision", "soa-c", "soa-i")
    return Study(
        "table-5",
        "Self-modulation",
        "Does self-modulation with attention to the words beat the plain one? (paper, Table 5)",
        rows,
        tuple(Claim(metric, "attentional", "plain") for metric in metrics),
        "In the paper attentional self-modulation is better by every metric.",
    )


def table_6(base: Config) -> Study:
    """The image-encoder loss: contrastive against L2 in the same features."""
    weight = base.losses.image_encoder or 1.0

    def row(name: str, **losses: Any) -> Row:
        return Row(name, replace(base, losses=replace(base.losses, **losses)))

    without = row("no encoder", image_encoder=0.0, encoder="vgg19", encoder_weights=None)
    rows = (
        without,
        *(
            row(name, image_encoder=weight, image_encoder_loss=kind, **encoder_of(base.losses))
            for name, kind in (("L2", "l2"), ("contrastive", "contrastive"))
        ),
    )
    return Study(
        "table-6",
        "The image-encoder loss",
        "Is a contrastive loss in a frozen encoder's features better than their L2 distance? (paper, Table 6)",
        rows,
        (Claim("fid", "contrastive", "L2"),),
        "In the paper the contrastive loss in VGG-19's features is better than the L2 perceptual loss.",
    )


def figure_5(base: Config) -> Study:
    """Extra projection layers before the contrastive losses."""
    papers = {
        0: {"fid": "12.61", "contrastive-accuracy": "76.56"},
        1: {},
        2: {"fid": "19.42", "contrastive-accuracy": "88.55"},
    }
    check(
        base.discriminator.kind != "frozen-features",
        "discriminator.kind is frozen-features, which has no projection layers; figure-5 needs contrastive or combined",
    )
    rows = tuple(
        Row(
            f"{layers} layer{'' if layers == 1 else 's'}",
            replace(base, discriminator=replace(base.discriminator, head_layers=layers)),
            paper,
        )
        for layers, paper in papers.items()
    )
    return Study(
        "figure-5",
        "Projection layers",
        "Do extra layers before the contrastive losses help? (paper, Figure 5)",
        rows,
        remark="In the paper two layers raise the contrastive accuracy on generated images and make the FID worse: the "
        "discriminator overfits the contrastive task.",
    )


def trace(base: Config) -> Study:
    """The trace loss of narratives (not in the paper)."""
    rows = tuple(
        Row(f"trace {weight:g}", replace(base, losses=replace(base.losses, trace=weight)))
        for weight in (0.0, 1.0, 10.0)
    )
    return Study(
        "trace",
        "The trace loss",
        "Do mouse traces on the word-region attention help? (the paper's future work)",
        rows,
    )


def techniques(base: Config) -> Study:
    """Each training technique alone on top of the recipe (not in the paper)."""

    def row(name: str, **sections: dict[str, Any]) -> Row:
        changed = {section: replace(getattr(base, section), **fields) for section, fields in sections.items()}
        return Row(name, replace(base, **changed))

    relativistic = replace(base.losses, adversarial="relativistic")
    rows = (
        Row("recipe", base),
        row("translation", augmentation={"translation": 0.125}),
        row(
            "adaptive translation",
            augmentation={"translation": 0.125, "adaptive_target": 0.6, "adaptive_images": 50_000},
        ),
        row("cutout", augmentation={"cutout": 0.5}),
        row("sentence noise", augmentation={"sentence_noise": 0.1}),
        row("mismatched captions", losses={"mismatched": 0.5}),
        row("diversity", losses={"diversity": 1.0}),
        row("R1", penalties={"r1": 1.0, "every": 4}),
        row("matching-aware penalty", penalties={"matching_aware": 2.0, "every": 4}),
        Row("relativistic, R1 + R2", replace(base, losses=relativistic, penalties=PenaltyConfig(r1=1.0, r2=1.0))),
        row("frozen features", discriminator={"kind": "frozen-features"}),
        row("both discriminators", discriminator={"kind": "combined"}),
        row("both, each with contrastive losses", discriminator={"kind": "combined", "frozen_contrastive": True}),
        row("bilinear modulation", generator={"modulation_upsampling": "bilinear"}),
        row("EMA by images", training={"ema_half_life": 10_000}),
        row("batch-norm statistics", training={"batch_norm_batches": 20}),
        row("learning-rate decay", training={"lr_decay_from": 0.7}),
    )
    return Study(
        "techniques",
        "Training techniques",
        "What does each technique bring on top of the recipe?",
        rows,
    )


STUDIES: dict[str, Callable[[Config], Study]] = {
    "table-4": table_4,
    "table-5": table_5,
    "table-6": table_6,
    "figure-5": figure_5,
    "trace": trace,
    "techniques": techniques,
}


def study_from_file(name: str, content: Any, base: Config) -> Study:
    """A custom study, from a JSON file.

    The file holds ``{"title": ..., "question": ..., "rows": [{"name": ..., "changes": {"losses.word": 0}}, ...]}``;
    ``changes`` are settings by dotted name that differ from the recipe's.

    Args:
        name: the file's name, for errors.

    Raises:
        ValueError: naming the row and what is wrong with it.
    """
    check(
        isinstance(content, dict) and isinstance(content.get("rows"), list), f"{name} should hold an object with rows"
    )
    plain, rows = flatten(to_dict(base)), []
    for number, each in enumerate(content["rows"], 1):
        where = f"{name}, row {number}"
        valid = isinstance(each, dict) and isinstance(each.get("name"), str) and isinstance(each.get("changes"), dict)
        check(valid, f"{where} should have a name, and changes by dotted name")
        unknown = [setting for setting in each["changes"] if setting not in plain]
        check(not unknown, f"{where} changes {', '.join(unknown)}, which the configuration does not have")
        try:
            config = from_dict(unflatten(plain | each["changes"]))
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from error
        rows.append(Row(each["name"], config))
    check(len(rows) >= 2, f"{name} has {len(rows)} rows; a study compares at least 2")
    names = [row.name for row in rows]
    check(len(set(names)) == len(names), f"{name} has two rows with the same name")
    return Study("own", str(content.get("title", name)), str(content.get("question", "")), tuple(rows))
