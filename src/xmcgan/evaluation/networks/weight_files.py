"""The weight files of networks that judge: which bits they are, and errors that name them."""

import hashlib
import textwrap
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path


def weights_sha256(files: Sequence[Path]) -> str:
    """SHA-256 over the content of weight files, in hexadecimal; of several, over their names and hashes."""
    hashes = {}
    for path in files:
        with path.open("rb") as file:
            hashes[path.name] = hashlib.file_digest(file, "sha256").hexdigest()
    if len(hashes) == 1:
        return next(iter(hashes.values()))
    lines = "".join(f"{digest}  {name}\n" for name, digest in sorted(hashes.items()))  # as sha256sum prints them
    return hashlib.sha256(lines.encode()).hexdigest()


def given_file(path: Path | None, name: str, published: str) -> Path:
    """The local weight file of a network.

    Args:
        name: of the network, for errors.
        published: what its owner publishes, and where.

    Raises:
        ValueError: if no path is given.
        FileNotFoundError: if there is no such file.
    """
    if path is None:
        raise ValueError(f"{name} needs a local file of weights; nothing is downloaded here. Its owner: {published}")
    if not path.is_file():
        raise FileNotFoundError(f"no weights of {name} at {path}. Its owner: {published}")
    return path


@contextmanager
def fitting(path: Path, name: str) -> Generator[None]:
    """Around a network's ``load_state_dict``.

    Raises:
        ValueError: naming the file, and the first tensors that do not fit.
    """
    try:
        yield
    except RuntimeError as error:
        reason = textwrap.shorten(str(error), 400)
        raise ValueError(f"{path} does not hold the weights of {name}: {reason}") from None
