"""A refusal in the form that the API's own clients read."""

from __future__ import annotations

from typing import Any

from starlette.responses import JSONResponse

OPENAI_TYPES = {401: "authentication_error", 404: "not_found_error", 413: "request_too_large"}
ANTHROPIC_TYPES = {**OPENAI_TYPES, 500: "api_error", 502: "api_error", 504: "timeout_error"}


class RefusalError(Exception):
    """A request that is answered with an error of ours: a status and one sentence."""

    def __init__(self, status: int, message: str, code: str | None = None):
        super().__init__(message)
        self.status, self.message, self.code = status, message, code


def refusal(form: str, error: RefusalError, headers: dict[str, str] | None = None) -> JSONResponse:
    """The error as ``form`` writes it: openai, anthropic, or rerank (Cohere and Jina)."""
    fault = "server_error" if error.status >= 500 else "invalid_request_error"
    body: dict[str, Any]
    if form == "anthropic":
        kind = ANTHROPIC_TYPES.get(error.status, "invalid_request_error")
        body = {"type": "error", "error": {"type": kind, "message": error.message}}
    elif form == "rerank":
        body = {"message": error.message, "detail": error.message}
    else:
        kind = OPENAI_TYPES.get(error.status, fault)
        about = {"message": error.message, "type": kind, "param": None, "code": error.code}
        body = {"error": about}
    return JSONResponse(body, error.status, headers)
