"""Errors in the format that image clients expect: {"error": {"message", "type", "param", "code"}}."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

TYPES = {401: "authentication_error", 404: "not_found_error", 429: "rate_limit_error"}


class Json(Response):
    """JSON in ASCII, so that a lone surrogate in a field's name cannot break the response."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        """The body of the response."""
        return json.dumps(content, ensure_ascii=True, allow_nan=False, separators=(",", ":")).encode()


class ApiError(Exception):
    """An error that is the response to a request.

    Args:
        status: HTTP status.
        message: one sentence: what is wrong, and what is valid.
        param: the field that is wrong.
        code: the kind of error, for programs.
        retry_after: seconds after which a client should try again; 0 leaves it out.
    """

    def __init__(
        self, status: int, message: str, *, param: str | None = None, code: str | None = None, retry_after: int = 0
    ):
        super().__init__(message)
        self.status, self.message, self.param, self.code, self.retry_after = status, message, param, code, retry_after

    def response(self) -> Response:
        """As an HTTP response."""
        headers = {"Retry-After": str(self.retry_after)} if self.retry_after else {}
        if self.status == 401:
            headers["WWW-Authenticate"] = "Bearer"
        return error_response(self.status, self.message, self.param, self.code, headers)


def error_response(
    status: int, message: str, param: str | None, code: str | None, headers: Mapping[str, str] | None = None
) -> Response:
    """The response for an error."""
    kind = TYPES.get(status, "invalid_request_error" if status < 500 else "server_error")
    content = {"error": {"message": message, "type": kind, "param": param, "code": code}}
    return Json(content, status_code=status, headers=dict(headers or {}))


def install(app: FastAPI) -> None:
    """Gives every error of an application this format."""

    @app.exception_handler(ApiError)
    async def own(_: Request, error: ApiError) -> Response:
        return error.response()

    @app.exception_handler(RequestValidationError)
    async def validation(_: Request, error: RequestValidationError) -> Response:
        return validation_response(error.errors())

    @app.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> Response:
        message = {
            404: f"there is nothing at {request.url.path}",
            405: f"{request.url.path} does not take {request.method}",
        }.get(error.status_code, str(error.detail))
        code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code)
        return error_response(error.status_code, message, None, code, error.headers)

    @app.exception_handler(Exception)
    async def unexpected(_: Request, error: Exception) -> Response:
        return error_response(500, f"the server failed: {type(error).__name__}", None, "internal_error")


def validation_response(errors: Sequence[Mapping[str, Any]]) -> Response:
    """The response to an invalid body; it names the first mistake."""
    first = errors[0]
    place = [str(part) for part in first["loc"] if part != "body"]
    if first["type"] == "json_invalid":
        return error_response(400, "the body is not valid JSON", None, "invalid_json")
    if not place and first["type"] == "value_error":  # fields that do not go together
        return error_response(400, str(first["ctx"]["error"]), None, "invalid_value")
    if not place:
        return error_response(
            400, "the body should be a JSON object (Content-Type: application/json)", None, "invalid_body"
        )
    param = ".".join(place)
    message, code = f"{param}: {first['msg'][0].lower()}{first['msg'][1:]}", "invalid_value"
    if first["type"] == "missing":
        message, code = f"{param} is missing", "missing_field"
    elif first["type"] == "extra_forbidden":
        message, code = f"unknown field {param}", "unknown_field"
    elif first["type"] == "value_error":
        message = f"{param}: {first['ctx']['error']}"
    return error_response(400, message, param, code)
