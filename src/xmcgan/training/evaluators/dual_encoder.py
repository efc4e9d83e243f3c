"""A dual encoder, trained on any captioned images."""

from collections.abc import Sequence
from dataclasses import asdict
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
from xmcgan.losses.contrastive import symmetric_cross_entropy
from xmcgan.training.evaluators.fitting import (
    EXCHANGED,
    MISMATCHED,
    Fitting,
    Loss,
    already_there,
    batched,
    check_counts,
    data_of,
    finish,
    fit,
    image_precision,
    pixels_of,
    save_weights,
)


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
    """Trains a dual encoder with symmetric InfoNCE (CLIP's loss) and measures it on images that it has not seen.

    Writes ``weights.safetensors`` (float16 matrices), ``config.json`` (networks, vocabulary, training, retrieval
    accuracy) and ``log.jsonl`` under ``output``; a finished one of the same settings and data is left as it is.

    Args:
        records: what is trained on.
        held_out: other images, at least as many as ``candidates``.
        vocabulary: the most words that are told apart, the commonest of the captions.
        exchanged: kinds of words, such as left and right. With them each caption is also told from itself with one word
            put for another of its kind: see :class:`Exchange`.
        candidates: captions among which that of an image is to be found.

    Returns:
        what was measured: ``retrieval_top1``, ``candidates``, and how many ``images`` were held out.

    Raises:
        ValueError: if there are too few images, or ``output`` holds something else; it says what.
    """
    check_counts(records, held_out, fitting, candidates)
    words = Vocabulary.from_captions((caption for record in records for caption in record.captions), size=vocabulary)
    settings = {
        "kind": "dual-encoder",
        "shape": asdict(shape),
        "fitting": asdict(fitting),
        "candidates": candidates,
        "most_words": vocabulary,
        "exchanged": [list(kind) for kind in exchanged],
        "data": data_of(records),
        "held_out": data_of(held_out),
    }
    exchange = Exchange(exchanged, words)
    if already_there(output, settings):
        return read_folder(output, "dual-encoder")["measured"]
    torch.manual_seed(fitting.seed)
    network = DualEncoderNetwork(shape, len(words))

    def loss_of(images_B3HW: Tensor, batch: ExampleBatch) -> Loss:
        return matching_loss(network, words, exchange if exchanged else None, shape.words, fitting, images_B3HW, batch)

    fit(network, loss_of, records, shape.image_size, fitting, output, progress=progress)
    sha256 = save_weights(network, output)
    encoder = TrainedDualEncoder(network, shape, words, name=output.name, sha256=sha256)
    found = retrieval_accuracy(encoder, held_out, candidates=candidates, fit=fitting.fit, seed=fitting.seed)
    measured = {"retrieval_top1": round(found, 4), "candidates": candidates, "images": len(held_out)}
    finish(output, settings | {"vocabulary": words.words, "weights_sha256": sha256, "measured": measured})
    return read_folder(output, "dual-encoder")["measured"]


def matching_loss(
    network: DualEncoderNetwork,
    words: Vocabulary,
    exchange: Exchange | None,
    length: int,
    fitting: Fitting,
    images_B3HW: Tensor,
    batch: ExampleBatch,
) -> Loss:
    """Symmetric InfoNCE of images and captions; with ``exchange`` also each caption against its mistaken form."""
    words_BT = words(batch.captions, length=length)
    words_BT = words_BT[:, (words_BT != PADDING).any(0)]
    with image_precision(fitting, images_B3HW.device):
        images_BF = network.image(images_B3HW)
    # The text network's matrices are so small that half precision would not speed them up.
    scores_BB = network.scores(images_BF.float(), network.text(words_BT.to(images_B3HW.device)))
    contrast = symmetric_cross_entropy(scores_BB)
    if exchange is None:
        return Loss(contrast.loss, contrast.accuracy)
    generators = [random(fitting.seed, EXCHANGED, number) for number in batch.numbers]
    wrong_BT = exchange(words_BT, generators)
    wrong_BB = network.scores(images_BF.float(), network.text(wrong_BT.to(images_B3HW.device)))
    has_mistake_B = (wrong_BT != words_BT).any(1).to(images_B3HW.device)
    mistaken_B = F.softplus(wrong_BB.diagonal() - scores_BB.diagonal()) * has_mistake_B
    return Loss(contrast.loss + mistaken_B.mean(), contrast.accuracy)


def retrieval_accuracy(
    encoder: TrainedDualEncoder, records: Sequence[Record], *, candidates: int = 100, fit: Fit = "squash", seed: int = 0
) -> float:
    """How often a caption of an image is nearer to it than captions of other images, all captions asked once.

    Each is put beside ``candidates - 1`` captions, one each of random other images. Several may be true of the image,
    as captions leave things unsaid: 1 is out of reach.
    """
    transform = ImageTransform(encoder.shape.image_size, fit)
    images_NF = torch.cat([encoder.encode_images(pixels_of(batch, transform)) for batch in batched(records)])
    captions_MF = encoder.encode_captions([caption for record in records for caption in record.captions])
    counts = np.array([len(record.captions) for record in records])
    first = np.concatenate([[0], counts.cumsum()[:-1]])
    right, generator = 0, random(seed, MISMATCHED, 0)
    for number, image_F in enumerate(images_NF):
        scores_M = captions_MF @ image_F
        for own in range(first[number], first[number] + counts[number]):
            others = generator.choice(len(records) - 1, candidates - 1, replace=False)
            others += others >= number
            others = first[others] + generator.integers(counts[others])
            right += bool((scores_M[own] > scores_M[others]).all())
    return right / len(captions_MF)
