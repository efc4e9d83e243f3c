"""``xmcgan study serve``."""

from pathlib import Path


def serve(
    study: Path,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    database: str | None = None,
    url: str | None = None,
) -> int:
    """Serve a study to annotators, until Ctrl-C. An answer is on disk before the page moves on.

    Args:
        study: its folder.
        host: address to listen on; 0.0.0.0 means all addresses.
        port: port to listen on.
        database: URL of the study's database, if it is not the file in the folder.
        url: address at which annotators reach the server, if a proxy changes it; https:// makes cookies secure.

    Examples:
        xmcgan study serve studies/coco
        xmcgan study serve studies/coco --database postgresql://study@localhost/coco --url https://study.example.org
    """
    try:
        from xmcgan.study.server.app import open_site
        from xmcgan.study.server.app import serve as run
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] not in (
            "alembic", "fastapi", "jinja2", "python_multipart", "sqlalchemy", "starlette", "uvicorn",
        ):  # fmt: skip
            raise
        raise ValueError(f"{error.name} is not installed; studies need pip install 'xmcgan[study]'") from None
    if not 0 <= port <= 65535:
        raise ValueError(f"--port is {port}; it should be 0 to 65535")
    site = open_site(study, database_url=database, url=url or f"http://{host}:{port}")
    print(
        f"{site.study.name}: {site.url}/a/TOKEN for annotators, {site.url}/admin for you. Ctrl-C stops it.", flush=True
    )
    run(site, host=host, port=port)
    return 0
