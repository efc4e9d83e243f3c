"""The named recipes. A recipe is a ``Config``; a variant of it is ``dataclasses.replace``."""

from dataclasses import replace

from xmcgan.config import (
    AugmentationConfig,
    Config,
    DatasetConfig,
    DiscriminatorConfig,
    GeneratorConfig,
    LossConfig,
    TextConfig,
    TrainingConfig,
)

COCO14_256 = Config(
    # 1000 epochs of 82,783 images, of which a step reads two batches of 256.
    training=TrainingConfig(steps=161_686, prefetch=2)
)

SCENES_64 = Config(
    image_size=64,
    data="data/scenes-64",
    # A mirrored scene would make "left of" false.
    dataset=DatasetConfig(flip=False, workers=0),
    # All of MiniLM's six layers would make "left" and "right" nearly one (docs/log.md).
    text=TextConfig(encoder="minilm", layers=4, cache_mb=512),
    generator=GeneratorConfig(width=8, noise_dim=64),
    discriminator=DiscriminatorConfig(width=16),
    losses=LossConfig(image_encoder=0.0),
    # For minutes on a CPU: more and larger steps of fewer images than the paper's (docs/log.md).
    training=TrainingConfig(
        steps=900,
        batch_size=24,
        discriminator_steps=1,
        discriminator_lr=1.2e-3,
        generator_lr=6e-4,
        ema_decay=0.99,
        ema_warmup=True,
        precision="float32",
        log_every=25,
        sample_every=100,
        checkpoint_every=200,
    ),
)

# The paper's discriminator for the text, a second one on frozen features, and a wider generator. For as many images
# its FID, diversity and R-precision are better than those of SCENES_64 (docs/log.md, 2026-11-28).
SCENES_64_PLUS = replace(
    SCENES_64,
    generator=replace(SCENES_64.generator, width=16, modulation_upsampling="bilinear"),
    discriminator=replace(SCENES_64.discriminator, kind="combined"),
    losses=replace(SCENES_64.losses, sentence=2.0, word=2.0, mismatched=0.5, diversity=1.0),
    training=replace(SCENES_64.training, ema_half_life=2_000, ema_warmup=False, batch_norm_batches=50),
)

SCENES_64_FROZEN = replace(
    SCENES_64,
    text=replace(SCENES_64.text, max_length=20),
    generator=GeneratorConfig(width=24, noise_dim=64, modulation_upsampling="bilinear"),
    discriminator=DiscriminatorConfig(kind="frozen-features", channels=64, upsampling=2),
    augmentation=AugmentationConfig(translation=0.125),
    losses=LossConfig(
        sentence=0.3, word=0.3, image_discriminator=0.1, image_encoder=0.0, mismatched=0.5, diversity=1.0
    ),
    # 1.17 million images: 6.5 minutes on an H100, as the model in the box was trained (docs/log.md, 2026-11-27).
    training=TrainingConfig(
        steps=9_160,
        batch_size=128,
        discriminator_steps=1,
        discriminator_lr=5e-4,
        generator_lr=5e-4,
        beta1=0.0,
        beta2=0.99,
        ema_half_life=30_000,
        batch_norm_batches=100,
        lr_decay_from=0.7,
        precision="auto",
        log_every=25,
        sample_every=100,
        checkpoint_every=200,
    ),
)

FLOWERS_64 = replace(
    SCENES_64,
    data="data/flowers102",
    dataset=DatasetConfig(layout="flowers102", split="train", validation_split="test", workers=0),
    text=TextConfig(encoder="minilm", max_length=32, cache_mb=512),
    training=replace(
        SCENES_64.training, steps=10_000, ema_decay=0.998, sample_every=500, checkpoint_every=500, log_every=50
    ),
)

# The techniques of scenes-64-frozen at the cost of a CPU: a narrow generator, and images not enlarged (docs/log.md,
# 2026-11-27).
FLOWERS_64_PLUS = replace(
    SCENES_64_FROZEN,
    data=FLOWERS_64.data,
    dataset=FLOWERS_64.dataset,
    text=FLOWERS_64.text,
    generator=replace(SCENES_64_FROZEN.generator, width=8),
    discriminator=replace(SCENES_64_FROZEN.discriminator, upsampling=1),
    training=replace(
        SCENES_64_FROZEN.training, steps=10_000, batch_size=24, sample_every=500, checkpoint_every=500, log_every=50
    ),
)

RECIPES: dict[str, Config] = {
    "coco14-256": COCO14_256,
    "coco14-128": replace(COCO14_256, image_size=128),
    "ln-coco-256": replace(
        COCO14_256,
        data="data/ln-coco",
        dataset=DatasetConfig(layout="localized-narratives", split="train2017", validation_split="val2017"),
        text=TextConfig(max_length=64),
    ),
    "ln-openimages-256": replace(
        COCO14_256,
        data="data/ln-openimages",
        dataset=DatasetConfig(layout="localized-narratives", split="train", validation_split="validation"),
        text=TextConfig(max_length=64),
    ),
    "scenes-64": SCENES_64,
    "scenes-64-plus": SCENES_64_PLUS,
    "scenes-64-frozen": SCENES_64_FROZEN,
    "scenes-128": replace(SCENES_64, image_size=128, data="data/scenes-128"),
    "scenes-narratives-64": replace(
        SCENES_64,
        dataset=replace(SCENES_64.dataset, layout="localized-narratives"),
        text=replace(SCENES_64.text, max_length=64),
    ),
    "scenes-256": replace(SCENES_64, image_size=256, data="data/scenes-256"),
    "flowers-64": FLOWERS_64,
    "flowers-64-plus": FLOWERS_64_PLUS,
    "cub-64": replace(FLOWERS_64, data="data/cub200", dataset=replace(FLOWERS_64.dataset, layout="cub200")),
    "cub-256": replace(
        COCO14_256,
        data="data/cub200",
        dataset=DatasetConfig(layout="cub200", split="train", validation_split="test"),
        text=TextConfig(max_length=32),
        # 1000 epochs of the 8,855 images of trainvalclasses.txt.
        training=replace(COCO14_256.training, steps=17_295),
    ),
    "flickr8k-64": replace(
        FLOWERS_64,
        data="data/flickr8k",
        dataset=replace(FLOWERS_64.dataset, layout="flickr8k", validation_split="dev"),
        text=replace(FLOWERS_64.text, max_length=24),
    ),
}
