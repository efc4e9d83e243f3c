"""A Dask cluster as an executor, by the address of its scheduler.

Dask starts workers on a batch system (dask-jobqueue), on Kubernetes (dask-kubernetes) and in clouds
(dask-cloudprovider), or by hand with ``dask scheduler`` and ``dask worker ADDRESS``. If a worker is lost, Dask gives
its tasks to another one.
"""

from collections.abc import Generator
from concurrent.futures import Executor
from contextlib import contextmanager

import PIL

from xmcgan import __version__

_FEWEST = 8  # tasks at a time if a cluster has fewer threads, such as one that grows on demand


@contextmanager
def dask_executor(address: str, *, timeout: float = 30.0) -> Generator[tuple[Executor, int]]:
    """An executor on the workers of a cluster, and how many tasks to run at a time.

    Args:
        address: the scheduler's address, such as ``tcp://10.0.0.1:8786``.
        timeout: seconds to wait for it.

    Raises:
        ValueError: if the package distributed is missing, or workers have other versions of this library or Pillow.
        ConnectionError: if no scheduler answers.
        ChildProcessError: if several workers died of the same images.
    """
    try:
        from distributed import Client
        from distributed.scheduler import KilledWorker
    except ImportError as error:
        raise ValueError("a cluster needs the package distributed: pip install 'xmcgan[cluster]'") from error
    try:
        client = Client(address, timeout=timeout, set_as_default=False)
    except (OSError, TimeoutError) as error:
        raise ConnectionError(f"no Dask scheduler answers at {address}: {error}") from error
    with client:
        for worker, found in client.run(_versions).items():
            if found != _versions():
                raise ValueError(f"the worker {worker} has {found}; this process has {_versions()}")
        threads = sum(client.nthreads().values())
        try:
            yield client.get_executor(pure=False), max(threads, _FEWEST)
        except KilledWorker as error:
            raise ChildProcessError(f"{error} The same command resumes from here") from error


def _versions() -> str:
    return f"xmcgan {__version__}, Pillow {PIL.__version__}"
