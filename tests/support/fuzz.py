"""Random damage to the files that commands read, and what must come of it: the right result, or one line."""

import os
import random
import resource
import signal
import traceback
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from damage import damaged_bytes, damaged_json
from fuzz_targets import Target

SECONDS, MEGABYTES, LONGEST = 60, 1500, 4000
"""The most that a case may take, and the length of its message."""

NOBODY = 65534


class Wrong(NamedTuple):
    """A case with another outcome than the right result or one line."""

    seed: int
    target: str
    file: str
    damage: str
    outcome: str


class Outcomes(NamedTuple):
    """How cases ended, by target: ``same``, ``other`` (a result of files that are still sound), ``refused``."""

    counts: Counter[tuple[str, str]]
    wrong: list[Wrong]


class TooLong(Exception):
    """A case took longer than SECONDS."""


def fuzz(targets: Sequence[Target], cases: int, seed: int) -> Outcomes:
    """Damages a file of a target, reads, and puts the file back, case after case; case k has seed ``seed + k``."""
    outcomes = Outcomes(Counter(), [])
    sound = {target.name: target.read(target.folder) for target in targets}
    signal.signal(signal.SIGALRM, too_long)
    for number in range(seed, seed + cases):
        chance = random.Random(number)
        target = targets[number % len(targets)]
        files = sorted(path for path in target.folder.rglob("*") if path.is_file() and path.name != ".lock")
        path = chance.choice(files)
        content, mode, before = path.read_bytes(), path.stat().st_mode, snapshot(target, path)
        kind = damage(path, content, chance)
        try:
            ended = outcome(target, path, kind, sound[target.name])
            if ended in ("same", "other", "refused") and snapshot(target, path) != before:
                ended = "another file was changed"
        finally:
            restore(target, path, content, mode)
        outcomes.counts[target.name, ended if ended in ("same", "other", "refused") else "wrong"] += 1
        if ended not in ("same", "other", "refused"):
            outcomes.wrong.append(Wrong(number, target.name, str(path.relative_to(target.folder)), kind, ended))
    return outcomes


def too_long(_number: Any, _frame: Any) -> None:
    raise TooLong


def damage(path: Path, content: bytes, chance: random.Random) -> str:
    """Damages a file in one of several ways; names it."""
    kinds = ["bytes", "cut", "empty", "longer", "zeros", "missing", "folder", "permission", "another file"]
    kinds += ["json"] * 6 if path.suffix in (".json", ".jsonl") else []
    kinds += ["tensor names"] * 3 if path.suffix == ".safetensors" else []
    kind = chance.choice([*kinds, "bytes", "bytes"])
    match kind:
        case "bytes":
            path.write_bytes(damaged_bytes(content, chance))
        case "json":
            path.write_bytes(damaged_json(flat(content, path), chance))
        case "tensor names":
            path.write_bytes(renamed(content, chance))
        case "cut":
            path.write_bytes(content[: chance.randrange(len(content) + 1)])
        case "empty":
            path.write_bytes(b"")
        case "longer":
            path.write_bytes(content + chance.randbytes(chance.choice((1, 8, 5000))))
        case "zeros":
            at = chance.randrange(len(content) + 1)
            path.write_bytes(content[:at] + bytes(len(content) - at))
        case "another file":
            path.write_bytes(chance.choice((b"[" * 100_000, b"{}", b"[]", b"null", b"\xff\xfe\x00", b"7\n" * 9)))
        case "permission":
            path.chmod(0)
        case _:
            path.unlink()
            if kind == "folder":
                path.mkdir()
    return kind


def flat(content: bytes, path: Path) -> bytes:
    """A JSON file on one line, or lines of JSON as they are."""
    import json

    return json.dumps(json.loads(content)).encode() if path.suffix == ".json" else content


def renamed(content: bytes, chance: random.Random) -> bytes:
    """A safetensors file in whose header one tensor has another name, type, shape or place."""
    import json

    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    names = [name for name in header if name != "__metadata__"]
    name, other = chance.choice(names), chance.choice(names)
    match chance.randrange(6):
        case 0:
            header[f"{name}x"] = header.pop(name)
        case 1:
            header[name], header[other] = header[other], header[name]
        case 2:
            header[name]["shape"] = chance.choice(([10**12], [], [-1], [2**63], ["x"], header[other]["shape"]))
        case 3:
            header[name]["dtype"] = chance.choice(("I64", "F16", "BF16", "BOOL", "Q9", 3))
        case 4:
            del header[name]
        case _:
            header[name]["data_offsets"] = chance.choice(([0, 0], [0, 10**15], [8, 4], header[other]["data_offsets"]))
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + content[8 + length :]


def outcome(target: Target, path: Path, kind: str, sound: Any) -> str:
    """How reading ended: ``same``, ``other``, ``refused``, or what is wrong with it."""
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    signal.alarm(SECONDS)
    try:
        with unprivileged(kind == "permission"):
            found = target.read(target.folder)
    except TooLong:
        return f"took more than {SECONDS} s"
    except (ValueError, OSError, TypeError) as error:
        ended = message_fault(str(error), path, target.names)
    except BaseException:
        ended = "".join(traceback.format_exc().splitlines(keepends=True)[-7:])
    else:
        exact = path.suffix in target.exact and kind not in ("permission", "missing")
        ended = "same" if found == sound else "a wrong result" if exact and found is not None else "other"
    finally:
        signal.alarm(0)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory) / 1024
    return ended if grown < MEGABYTES else f"took {grown:.0f} MB"


def message_fault(message: str, path: Path, names: Sequence[str]) -> str:
    """``refused`` if a message names the file, or the folder that lacks it, and is not too long."""
    if len(message) > LONGEST:
        return f"a message of {len(message)} letters: {message[:200]}"
    if any(name in message for name in (path.name, str(path.parent), str(path.parent.parent), *names)):
        return "refused"
    return f"the message does not name the file: {message}"


@contextmanager
def unprivileged(wanted: bool) -> Iterator[None]:
    """Gives up root's right to read everything, where the process is root's."""
    if not wanted or os.geteuid() != 0:
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


def snapshot(target: Target, damaged: Path) -> dict[str, bytes]:
    """The content of every other file, but those that reading may change."""
    files = (path for path in target.folder.rglob("*") if path.is_file() and path != damaged)
    return {str(path): path.read_bytes() for path in files if not path.name.endswith((".lock", *target.writes))}


def restore(target: Target, path: Path, content: bytes, mode: int) -> None:
    """Puts the file back as it was."""
    if path.is_dir():
        path.rmdir()
    path.unlink(missing_ok=True)
    path.write_bytes(content)
    path.chmod(mode)
