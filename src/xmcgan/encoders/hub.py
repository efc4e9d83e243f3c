"""Models of the Hugging Face hub that are in its cache, whole or only in part."""

from collections.abc import Sequence
from pathlib import Path


def cached_folder(name: str, files: Sequence[str], revision: str | None = None) -> Path | None:
    """The folder of a hub model in the local cache that holds all these files; None if one is missing.

    The hub's own look-up refuses a copy whose files were downloaded one by one, although all that is needed is there.
    """
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        found = [try_to_load_from_cache(name, file, revision=revision) for file in files]
    except (HFValidationError, ValueError, OSError):
        return None
    folders = {Path(path).parent for path in found if isinstance(path, str)}
    return folders.pop() if len(folders) == 1 and all(isinstance(path, str) for path in found) else None
