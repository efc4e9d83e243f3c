"""The sets of captions of one evaluation: random ones, SOA's lists, GenEval's prompts, and several seeds of each."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field

from xmcgan.data.records import Record
from xmcgan.evaluation.asking import Asking, geneval_asking, geneval_prompts, geneval_requests
from xmcgan.evaluation.image_set import Request, caption_id
from xmcgan.evaluation.metric_names import DIVERSITY, EXACT, OBJECTS
from xmcgan.evaluation.results import Setting

SEEDS, SEEDED = 8, 200
"""For diversity: images per caption, and number of captions."""


@dataclass(frozen=True)
class CaptionSet:
    """Captions whose images are evaluated together.

    Args:
        name: the set's name; empty for the main one.
        requests: the captions.
        metrics: the metrics that are computed on their images.
        protocol: how the captions were chosen.
        asking: how exact questions are asked of them; None for the default.
    """

    name: str
    requests: list[Request]
    metrics: list[str]
    protocol: dict[str, Setting]
    asking: Asking | None = field(default=None)


def caption_sets(
    metrics: Sequence[str],
    *,
    requests: list[Request],
    listed: list[Request],
    records: Sequence[Record],
    scenes: bool,
    real: bool,
    seed: int,
) -> list[CaptionSet]:
    """Distribute metrics over sets of captions; sets without a metric are left out.

    Args:
        requests: a random caption of each image.
        listed: captions of the official SOA lists, or none.
        records: the data set, for captions that several images share.
        scenes: whether the captions are from Scenes, so that exact questions can be made from them.
        real: whether real images are evaluated: none show GenEval's prompts, and their diversity is measured on images
            with equal captions.
    """
    own: dict[str, list[str]] = {"": [], "soa": [], "geneval": [], "seeds": []}
    for name in metrics:
        if name in OBJECTS and listed:
            own["soa"].append(name)
        elif name in EXACT and not scenes:
            own["geneval"].append(name)
        elif name in DIVERSITY:
            own["seeds"].append(name)
        else:
            own[""].append(name)
    sets = [CaptionSet("", requests, own[""], {"captions": f"a random caption an image, seed {seed}"})]
    sets.append(CaptionSet("soa", listed, own["soa"], {"captions": "official SOA lists"}))
    if own["geneval"] and not real:
        prompts = geneval_prompts()
        chosen = geneval_requests(prompts, seed=seed)
        protocol: dict[str, Setting] = {
            "captions": f"{len(prompts)} prompts, {len(chosen) // len(prompts)} images each"
        }
        sets.append(CaptionSet("geneval", chosen, own["geneval"], protocol, geneval_asking(prompts)))
    if own["seeds"]:
        sets.append(equal_captions(records, own["seeds"]) if real else seeded(requests, records, own["seeds"]))
    return [each for each in sets if each.metrics]


def seeded(requests: Sequence[Request], records: Sequence[Record], metrics: list[str]) -> CaptionSet:
    """Several seeds of each caption that real images share; of the first captions if none is shared."""
    shared = shared_captions(records)
    chosen = {own[0].caption: own[0] for own in shared} or {request.caption: request for request in requests}
    several = [
        request._replace(id=f"{request.id}-seed-{k}", seed=number + k * 1_000_003)
        for number, request in enumerate(list(chosen.values())[:SEEDED])
        for k in range(SEEDS)
    ]
    return CaptionSet("seeds", several, metrics, several_images(several, shared=bool(shared)))


def equal_captions(records: Sequence[Record], metrics: list[str]) -> CaptionSet:
    """Real images of captions that several images have.

    Raises:
        ValueError: if no caption occurs twice.
    """
    several = [request for own in shared_captions(records)[:SEEDED] for request in own]
    if not several:
        raise ValueError("diversity of real images needs captions that several images share; there are none")
    return CaptionSet("seeds", several, metrics, several_images(several, shared=True))


def shared_captions(records: Sequence[Record]) -> list[list[Request]]:
    """The captions that several images have, compared without capitals and full stops, with those images."""
    places: dict[str, dict[str, Request]] = {}
    for record in records:
        for number, caption in enumerate(record.captions):
            own = places.setdefault(plain(caption), {})
            own.setdefault(record.id, Request(caption_id(record, number), record.id, caption, 0))
    return [list(own.values()) for own in places.values() if len(own) > 1]


def several_images(requests: Sequence[Request], *, shared: bool) -> dict[str, Setting]:
    """The protocol of several images of each caption: real and generated images of equal captions can be compared."""
    texts = sorted({plain(request.caption) for request in requests})
    return {
        "captions": "captions that several real images share" if shared else f"{SEEDS} seeds of each caption",
        "captions_sha256": hashlib.sha256("\n".join(texts).encode()).hexdigest(),
    }


def plain(caption: str) -> str:
    """A caption in lower case, without the full stop."""
    return " ".join(caption.lower().split()).rstrip(".")
