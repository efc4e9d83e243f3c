"""Train a dual encoder on captioned images."""

import shutil
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from xmcgan.data.images import Fit, ImageTransform
from xmcgan.data.records import Record
from xmcgan.data.stream import ExampleBatch, random
from xmcgan.evaluation.networks.dual_encoder import (
    PADDING,
    DualEncoderNetwork,
    DualEncoderShape,
    Exchange,
    TrainedDualEncoder,
    Vocabulary,
)
from xmcgan.evaluation.networks.folder import read_folder
from xmcgan.evaluation.networks.frozen_images import FeatureHead, FrozenImages
from xmcgan.losses.contrastive import symmetric_cross_entropy
from xmcgan.training.evaluators.fitting import (
    EXCHANGED,
    MISMATCHED,
    Fitting,
    Loss,
    batched,
    check_counts,
    claimed,
    finish,
    fit,
    image_precision,
    load_pixels,
    pixel_stream,
    save_weights,
    settings_of,
)
from xmcgan.training.evaluators.frozen_features import FEATURES_FOLDER, feature_stream


def train_dual_encoder(
    output: Path,
    records: Sequence[Record],
    held_out: Sequence[Record],
    *,
    shape: DualEncoderShape,
    fitting: Fitting,
    vocabulary: int = 20_000,
    exchanged: Sequence[Sequence[str]] = (),
    candidates: int = 100,
    progress: bool = True,
) -> dict[str, Any]:
    """Train a dual encoder with CLIP's loss (symmetric NT-Xent) and measure its retrieval accuracy on held-out images.

    Writes ``weights.safetensors`` (float16 matrices), ``config.json`` (networks, vocabulary, training, retrieval
    accuracy) and ``log.jsonl`` under ``output``. An evaluator already trained with the same settings and data is kept.
    Features of a frozen image network are computed once, and kept under ``output`` until the training is finished.

    Args:
        output: folder of the evaluator.
        records: captioned images to train on.
        held_out: other captioned images, at least ``candidates``.
        vocabulary: maximum number of words; the most frequent ones are kept.
        exchanged: groups of words, such as left and right, that make hard negative captions: see :class:`Exchange`.
        candidates: number of captions from which retrieval chooses.

    Returns:
        ``retrieval_top1``, ``candidates``, and the number of held-out ``images``.

    Raises:
        ValueError, FileExistsError: if there are too few images, or ``output`` is in use or has other settings or data.
    """
    check_counts(records, held_out, fitting, candidates)
    words = Vocabulary.from_captions((caption for record in records for caption in record.captions), size=vocabulary)
    frozen = None if shape.image_network is None else FrozenImages(shape.image_network, shape.image_size)
    settings = settings_of("dual-encoder", shape, fitting, records, held_out) | {
        "candidates": candidates,
        "most_words": vocabulary,
        "exchanged": [list(kind) for kind in exchanged],
        **({} if frozen is None else {"image_network_sha256": frozen.sha256}),
    }
    exchange = Exchange(exchanged, words)
    with claimed(output, settings) as finished:
        if finished:
            return read_folder(output, "dual-encoder")["measured"]
        torch.manual_seed(fitting.seed)
        network = DualEncoderNetwork(shape, len(words))
        examples = pixel_stream(records, shape.image_size, fitting)
        stream = examples if frozen is None else feature_stream(frozen, network, examples, fitting, output, progress)

        def loss_of(inputs: Tensor, batch: ExampleBatch) -> Loss:
            return matching_loss(network, words, exchange if exchanged else None, shape.words, fitting, inputs, batch)

        fit(network, loss_of, stream, fitting, output, progress=progress)
        sha256 = save_weights(network, output)
        encoder = TrainedDualEncoder(network, shape, words, name=output.name, sha256=sha256, frozen=frozen)
        measured = measure(encoder, held_out, candidates, fitting)
        finish(output, settings | {"vocabulary": words.words, "weights_sha256": sha256, "measured": measured})
        shutil.rmtree(output / FEATURES_FOLDER, ignore_errors=True)
        return read_folder(output, "dual-encoder")["measured"]


def measure(
    encoder: TrainedDualEncoder, held_out: Sequence[Record], candidates: int, fitting: Fitting
) -> dict[str, float | int]:
    """The retrieval accuracy on held-out images, and the numbers of candidates and images."""
    found = retrieval_accuracy(encoder, held_out, candidates=candidates, fit=fitting.fit, seed=fitting.seed)
    return {"retrieval_top1": round(found, 4), "candidates": candidates, "images": len(held_out)}


def matching_loss(
    network: DualEncoderNetwork,
    words: Vocabulary,
    exchange: Exchange | None,
    length: int,
    fitting: Fitting,
    inputs: Tensor,
    batch: ExampleBatch,
) -> Loss:
    """Symmetric NT-Xent of images and captions, plus a loss on hard negative captions if ``exchange`` is given."""
    words_BT = words(batch.captions, length=length)
    words_BT = words_BT[:, (words_BT != PADDING).any(0)]
    # Text network and head stay in float32: their matrices are too small for bfloat16 to be faster.
    with nullcontext() if isinstance(network.image, FeatureHead) else image_precision(fitting, inputs.device):
        images_BF = network.image(inputs)
    scores_BB = network.scores(images_BF.float(), network.text(words_BT.to(inputs.device)))
    contrast = symmetric_cross_entropy(scores_BB)
    if exchange is None:
        return Loss(contrast.loss, contrast.accuracy)
    generators = [random(fitting.seed, EXCHANGED, number) for number in batch.numbers]
    wrong_BT = exchange(words_BT, generators)
    wrong_BB = network.scores(images_BF.float(), network.text(wrong_BT.to(inputs.device)))
    changed_B = (wrong_BT != words_BT).any(1).to(inputs.device)
    negative_B = F.softplus(wrong_BB.diagonal() - scores_BB.diagonal()) * changed_B
    return Loss(contrast.loss + negative_B.mean(), contrast.accuracy)


def retrieval_accuracy(
    encoder: TrainedDualEncoder, records: Sequence[Record], *, candidates: int = 100, fit: Fit = "squash", seed: int = 0
) -> float:
    """Fraction of captions that match their image better than ``candidates - 1`` captions of random other images.

    Captions are incomplete, so a caption of another image can be true as well, and 1 cannot be reached.
    """
    transform = ImageTransform(encoder.shape.image_size, fit)
    images_NF = torch.cat([encoder.encode_images(load_pixels(batch, transform)) for batch in batched(records)])
    captions_MF = encoder.encode_captions([caption for record in records for caption in record.captions])
    counts = np.array([len(record.captions) for record in records])
    first = np.concatenate([[0], counts.cumsum()[:-1]])
    correct, generator = 0, random(seed, MISMATCHED, 0)
    for number, image_F in enumerate(images_NF):
        scores_M = captions_MF @ image_F
        for own in range(first[number], first[number] + counts[number]):
            others = generator.choice(len(records) - 1, candidates - 1, replace=False)
            others += others >= number
            others = first[others] + generator.integers(counts[others])
            correct += bool((scores_M[own] > scores_M[others]).all())
    return correct / len(captions_MF)
