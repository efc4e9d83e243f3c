"""The application: routes, limits and errors put together."""

from pathlib import Path

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, Response
from fastapi.staticfiles import StaticFiles
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError, OperationalError
from starlette.exceptions import HTTPException

from xmcgan import __version__
from xmcgan.study.server.admin import admin_routes
from xmcgan.study.server.annotate import annotator_routes
from xmcgan.study.server.security import Guard
from xmcgan.study.server.site import STATIC, Site
from xmcgan.study.storage import migrate, open_database, read_study, reading, sqlite_url
from xmcgan.study.tables import STUDY


def open_site(folder: Path, *, database_url: str | None = None, url: str = "http://127.0.0.1:8000") -> Site:
    """Opens a study to be served, and migrates its tables to this version.

    Raises:
        ValueError: if there is no study, or its pictures are elsewhere.
    """
    if not (folder / "pictures").is_dir():
        raise ValueError(f"{folder} is not a study's folder; `xmcgan study create` makes one")
    if database_url is None and not (folder / "study.sqlite").is_file():
        raise ValueError(f"{folder} has no study.sqlite; name the study's --database")
    database = open_database(database_url or sqlite_url(folder))
    with reading(database) as connection:
        read_study(connection)  # before anything is changed: it may be another program's database
    migrate(database)
    with reading(database) as connection:
        study, settings = read_study(connection)
        token_hash = connection.execute(select(STUDY.c.admin_token_hash)).scalar_one()
    return Site(folder, database, study, settings, token_hash, url.rstrip("/"))


def create_app(site: Site) -> FastAPI:
    """The application of a study."""
    app = FastAPI(
        title=f"Study: {site.study.name}",
        version=__version__,
        docs_url=None,  # these pages load scripts from elsewhere
        redoc_url=None,
        openapi_url="/openapi.json",
    )
    app.add_middleware(Guard, https=site.https)
    app.include_router(annotator_routes(site))
    app.include_router(admin_routes(site))
    app.mount("/static", StaticFiles(directory=STATIC))

    @app.get("/", response_class=HTMLResponse)
    def home(request: Request) -> Response:
        """The page for visitors without a personal link."""
        return site.page(request, "message.html", title=site.study.name, text="Please use the personal link that you "
                         "were sent. Without it, there is nothing to see here.")  # fmt: skip

    @app.get("/health")
    def health() -> dict[str, str]:
        """Whether the server reaches its database."""
        with reading(site.database) as connection:
            read_study(connection)
        return {"status": "ok"}

    add_errors(app, site)
    return app


def add_errors(app: FastAPI, site: Site) -> None:
    """Errors as a page for people and as JSON for the script."""

    @app.exception_handler(HTTPException)
    def refused(request: Request, error: HTTPException) -> Response:
        if request.url.path.startswith("/api/") or "text/html" not in request.headers.get("accept", ""):
            return JSONResponse({"detail": error.detail}, error.status_code, error.headers)
        text = f"{str(error.detail)[:1].upper()}{str(error.detail)[1:]}."
        response = site.page(request, "message.html", error.status_code, title="This did not work", text=text)
        response.headers.update(error.headers or {})
        return response

    @app.exception_handler(RequestValidationError)
    def invalid(request: Request, error: RequestValidationError) -> Response:
        # Without the values: NaN and infinity have no JSON. A path that is not a valid token is not a page of ours.
        first = error.errors()[0]
        place = [str(part) for part in first["loc"]]
        if place[0] == "path":
            return refused(request, HTTPException(404, "there is no such page"))
        return JSONResponse({"detail": f"{'.'.join(place)}: {first['msg']}"}, 422)

    @app.exception_handler(IntegrityError)
    def conflict(request: Request, error: IntegrityError) -> Response:
        return JSONResponse({"detail": "this conflicts with what is stored; try again"}, 409)

    @app.exception_handler(OperationalError)
    def unavailable(request: Request, error: OperationalError) -> Response:
        return JSONResponse({"detail": "the database is not available; try again"}, 503, {"retry-after": "2"})


def serve(site: Site, *, host: str, port: int) -> None:
    """Serves a study until it is interrupted."""
    import uvicorn

    # No access log: it would hold personal links and addresses.
    uvicorn.run(create_app(site), host=host, port=port, access_log=False, log_level="warning", server_header=False)
