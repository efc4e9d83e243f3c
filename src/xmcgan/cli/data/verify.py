"""``xmcgan data verify``."""

import sys

from xmcgan.runtime.progress import ProgressBar


def verify(source: str, *, splits: list[str] | None = None, decode: bool = False) -> int:
    """Check prepared data: the SHA-256 of every shard, and which records of damaged ones cannot be read.

    Exits with 1 if anything is damaged.

    Args:
        source: a folder that ``xmcgan data prepare`` wrote, or its URL.
        splits: the splits to check; by default all.
        decode: decode every image, even in shards whose checksum is right.

    Examples:
        xmcgan data verify data/coco14
    """
    from xmcgan.data.prepared import verify as verifying
    from xmcgan.data.prepared.manifest import read_manifest

    manifest = read_manifest(source)
    known = manifest["splits"]
    if wrong := [split for split in splits or () if split not in known]:
        raise ValueError(f"--splits has {wrong[0]!r}; {source} has {', '.join(known)}")
    found = False
    for split in splits or known:
        with ProgressBar(total=known[split]["records"], desc=split, unit="record", leave=False) as bar:
            damaged = list(verifying.verify(source, split, decode=decode, progress=bar.update))
        found = found or bool(damaged)
        for each in damaged:
            print(each, file=sys.stderr)
        shards, records = len(known[split]["shards"]), known[split]["records"]
        state = f"{len(damaged):,} damaged" if damaged else "all as the manifest says"
        print(f"{split}: {shards:,} shards, {records:,} records: {state}")
    return int(found)
