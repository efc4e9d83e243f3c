"""Weight files of evaluation networks: their SHA-256, and errors that name the file."""

import hashlib
import textwrap
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path


def weights_sha256(files: Sequence[Path]) -> str:
    """Hexadecimal SHA-256 of a weight file, or of the names and hashes of several."""
    hashes = {}
    for path in files:
        with path.open("rb") as file:
            hashes[path.name] = hashlib.file_digest(file, "sha256").hexdigest()
    if len(hashes) == 1:
        return next(iter(hashes.values()))
    lines = "".join(f"{digest}  {name}\n" for name, digest in sorted(hashes.items()))  # the format of sha256sum
    return hashlib.sha256(lines.encode()).hexdigest()


def require_weight_file(path: Path | None, name: str, published: str) -> Path:
    """Check that the local weight file of a network exists.

    Args:
        name: name of the network, for errors.
        published: the published file and its URL, for errors.

    Raises:
        ValueError: if no path is given.
        FileNotFoundError: if the file does not exist.
    """
    if path is None:
        raise ValueError(f"{name} needs a local weight file; it is not downloaded automatically. Get it: {published}")
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist; it should hold the weights of {name}. Get them: {published}")
    return path


@contextmanager
def loading_errors(path: Path, name: str) -> Generator[None]:
    """Make errors of ``load_state_dict`` name the weight file.

    Raises:
        ValueError: naming the file and the first tensors that do not fit.
    """
    try:
        yield
    except RuntimeError as error:
        reason = textwrap.shorten(str(error), 400)
        raise ValueError(f"{path} does not hold the weights of {name}: {reason}") from None
