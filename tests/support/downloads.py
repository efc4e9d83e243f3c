"""A folder as img2dataset leaves it."""

import io
import json
import tarfile
from pathlib import Path

from PIL import Image


def downloaded(root: Path, shard: int, count: int) -> None:
    """A shard of it: tar with jpg, txt and json; parquet and statistics beside it. Images have 4 x 3 pixels."""
    root.mkdir(parents=True, exist_ok=True)
    image = io.BytesIO()
    Image.new("RGB", (4, 3), (40 * shard, 90, 200)).save(image, "JPEG")
    with tarfile.open(root / f"{shard:05d}.tar", "w") as tar:
        for number in range(count):
            key = f"{shard:05d}{number:04d}"
            about = {"url": f"https://example.org/{key}.jpg", "caption": f"cat {key}", "key": key, "status": "success",
                     "error_message": None, "width": 4, "height": 3, "original_width": 400, "original_height": 300,
                     "exif": "{}", "sha256": "00"}  # fmt: skip
            members = {"jpg": image.getvalue(), "txt": f"cat {key}".encode(), "json": json.dumps(about).encode()}
            for suffix, content in members.items():
                member = tarfile.TarInfo(f"{key}.{suffix}")
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
    (root / f"{shard:05d}.parquet").write_bytes(b"the metadata of all, failed ones too")
    stats = {"count": count + 3, "successes": count, "failed_to_download": 3, "failed_to_resize": 0}
    (root / f"{shard:05d}_stats.json").write_text(json.dumps(stats))
