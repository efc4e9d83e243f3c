"""A real PostgreSQL of the machine's own binaries, for as long as a test session lasts."""

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path


def missing() -> str | None:
    """Why there can be no PostgreSQL here; None if there can."""
    if binaries() is None:
        return "no initdb and pg_ctl on this machine"
    if os.getuid() == 0 and unprivileged() is None:
        return "PostgreSQL does not run as root, and there is no user postgres or nobody"
    return None


def binaries() -> Path | None:
    """The folder of initdb and pg_ctl: on the path, or where Debian puts them."""
    on_path = shutil.which("initdb")
    folders = [Path(on_path).resolve().parent] if on_path else []
    folders += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((folder for folder in folders if all((folder / name).exists() for name in ("initdb", "pg_ctl"))), None)


def unprivileged() -> str | None:
    """A user that PostgreSQL may run as when we are root."""
    return next((name for name in ("postgres", "nobody") if known(name)), None)


def known(name: str) -> bool:
    try:
        return bool(pwd.getpwnam(name))
    except KeyError:
        return False


@contextmanager
def postgres(*, durable: bool = False) -> Generator[str]:
    """Yields the URL of a server's ``postgres`` database; the server stops, and its files go, at the end.

    Args:
        durable: whether commits wait for the disk, as they do by default; tests are faster without.
    """
    folder = Path(tempfile.mkdtemp(prefix="xmcgan-postgres-"))
    user = unprivileged() if os.getuid() == 0 else None
    identity = {} if user is None else {"user": user, "group": pwd.getpwnam(user).pw_gid, "extra_groups": []}
    if user is not None:
        shutil.chown(folder, user)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    at = binaries()
    assert at is not None

    def call(program: str, *arguments: str) -> None:
        subprocess.run([at / program, *arguments], check=True, cwd=folder, stdout=subprocess.DEVNULL, **identity)

    data = str(folder / "data")
    options = f"-p {port} -c listen_addresses=127.0.0.1 -k {folder} -c max_connections=100"
    try:
        call("initdb", "-D", data, "-U", "tester", "--auth", "trust", "--no-sync", "-E", "UTF8")
        quick = "" if durable else " -c fsync=off -c synchronous_commit=off -c full_page_writes=off"
        call("pg_ctl", "-D", data, "-o", options + quick, "-w", "-l", str(folder / "log"), "start")
        try:
            yield f"postgresql://tester@127.0.0.1:{port}/postgres"
        finally:
            call("pg_ctl", "-D", data, "-m", "immediate", "-w", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
