"""The state that every page needs: the open study, its folder, templates and limits."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fastapi import HTTPException, Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from xmcgan.runtime.rate_limit import RateLimit
from xmcgan.study.records import Study
from xmcgan.study.settings import Settings
from xmcgan.study.storage import Database

HERE = Path(__file__).parent
STATIC = HERE / "static"
TEMPLATES = Environment(loader=FileSystemLoader(HERE / "templates"), autoescape=True, undefined=StrictUndefined)


@dataclass(frozen=True)
class Site:
    """A study that is being served.

    Args:
        url: address at which annotators reach the server, for the links that the administrator makes.
    """

    folder: Path
    database: Database
    study: Study
    settings: Settings
    admin_token_hash: str
    url: str
    requests: RateLimit = field(default_factory=lambda: RateLimit(60, 20))  # per link
    guesses: RateLimit = field(default_factory=lambda: RateLimit(30, 0.5))  # unknown links, per address
    logins: RateLimit = field(default_factory=lambda: RateLimit(10, 0.1))  # administrator logins, per address

    @property
    def pictures(self) -> Path:
        """The folder of pictures."""
        return self.folder / "pictures"

    @property
    def https(self) -> bool:
        """Whether annotators reach the server by HTTPS."""
        return self.url.startswith("https://")

    def page(self, request: Request, template: str, status: int = 200, **values: Any) -> HTMLResponse:
        """A page from a template."""
        text = TEMPLATES.get_template(template).render(study=self.study, settings=self.settings, **values)
        return HTMLResponse(text, status)

    def limit_annotator(self, request: Request, token: str) -> None:
        """Refuses a link that is used faster than a person could."""
        refuse(self.requests, token)

    def limit_guess(self, request: Request) -> None:
        """Refuses an address that guesses links."""
        refuse(self.guesses, address(request))

    def limit_login(self, request: Request) -> None:
        """Refuses an address that guesses the administrator's token."""
        refuse(self.logins, address(request))


def refuse(limit: RateLimit, key: str) -> None:
    """Raises 429 if a limit is exceeded."""
    if limit.take(key):
        raise HTTPException(429, "too many requests; wait a little", headers={"retry-after": "5"})


def address(request: Request) -> str:
    """The address that a request comes from."""
    return request.client.host if request.client else "unknown"
