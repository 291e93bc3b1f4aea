"""Why a provider's call failed, as one sentence without secrets, and whether to try again.

Vendor exceptions are read by their shape (status code, body, cause), not by their class: the three
official libraries agree on it, and none of them has to be installed for the others to work.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from pgv_jax.texts.unicode import visible

_CONTEXT = re.compile(
    r"context[ _]?(length|window|size)|maximum context|prompt is too long|too many tokens"
    r"|input token count|exceeds? the (available )?context",
    re.IGNORECASE,
)
_FILTER = re.compile(r"content[ _](filter|policy|management)|safety system", re.IGNORECASE)
_KEY = re.compile(r"api[ _]key[ _](not valid|invalid|expired)|(invalid|incorrect) api key", re.I)
_UNSERVED = re.compile(r"no endpoints found", re.I)
"""A router's words (with 404) where no server behind it takes a request's fields."""
_QUOTA = re.compile(r"insufficient_quota|exceeded your current quota|billing", re.IGNORECASE)
_RETRY_DELAY = re.compile(r"retryDelay\W+(\d+(?:\.\d+)?)s")
_TRANSIENT = {408, 409, 425, 429}
_OVERLOADED = {429, 503, 529}
_UNREACHABLE = {"ConnectError", "ConnectTimeout", "ConnectionRefusedError", "gaierror"}
_BROKEN = {
    *("APIConnectionError", "CloseError", "DecodingError", "NetworkError", "ProxyError"),
    *("ReadError", "RemoteProtocolError", "WriteError"),
}
_CUT_OFF = {
    *("ClientOSError", "ClientPayloadError", "ClientResponseError", "ConnectionResetError"),
    *("ServerDisconnectedError",),
}
"""Broken after it stood; the openai library calls some of aiohttp's own timeouts of connecting."""
_BAD_ADDRESS = {"UnsupportedProtocol", "InvalidURL", "LocalProtocolError"}


class GarbledReply(Exception):
    """The endpoint answered 200 with something that is not its own format (cut short, HTML)."""


class Redirected(Exception):
    """The endpoint sends a request on to another address, which is the message; it is not asked."""


@dataclass(frozen=True)
class Endpoint:
    """Whom a client talks to, for sentences; ``secrets`` are blotted out of every one."""

    url: str = field(repr=False)
    model: str
    key_env: str | None
    secrets: tuple[str, ...] = field(default=(), repr=False)
    roomier: str = ""
    """How the server is given room for longer requests, where the user can."""

    @property
    def host(self) -> str:
        """The address without user, password and query, which may carry a key."""
        return public_url(self.url)

    def clean(self, text: Any, longest: int = 300) -> str:
        """``text`` on one line, without secrets; what a terminal may obey is spelled out."""
        line = visible(str(text))
        for secret in self.secrets:
            if secret:
                line = line.replace(secret, "***")
        return line if len(line) <= longest else line[: longest - 3] + "..."


@dataclass(frozen=True, slots=True)
class Failure:
    """One failed try. ``billed``: the provider may have charged for it; ``retry_after`` seconds."""

    kind: str
    sentence: str
    transient: bool = False
    billed: bool = False
    overloaded: bool = False
    answered: bool = True
    retry_after: float = 0.0


def public_url(url: str) -> str:
    """``url`` without user, password, query and fragment."""
    parts = urlsplit(url)
    netloc = parts.netloc.rpartition("@")[2]
    return urlunsplit((parts.scheme, netloc, parts.path.rstrip("/"), "", ""))


def describe_failure(error: BaseException, endpoint: Endpoint) -> Failure | None:
    """What went wrong at ``endpoint``; None for an error that is not the endpoint's doing."""
    if isinstance(error, GarbledReply):
        sentence = f"{endpoint.host} sent a reply that is none: {endpoint.clean(error, 120)}."
        return Failure("exhausted", sentence, transient=True, billed=True)
    status = _status(error)
    if status is not None:
        return _of_status(status, error, endpoint)
    links = _chain(error)
    for link in links:
        if isinstance(link, Redirected):
            return _redirected(endpoint.clean(public_url(str(link)), 120), endpoint)
    names = {type(link).__name__ for link in links}
    if "TooManyRedirects" in names:
        return _redirected("itself, again and again", endpoint)
    if names & _BAD_ADDRESS:
        sentence = (
            f"{endpoint.host or 'An empty base_url'} is not an address that can be asked "
            f"({endpoint.clean(error, 120)}); base_url must look like https://host/v1."
        )
        return Failure("host", sentence, answered=False)
    if names & _UNREACHABLE and not names & _CUT_OFF:
        sentence = (
            f"{endpoint.host} cannot be reached; check base_url, the network and that the server "
            "runs."
        )
        return Failure("host", sentence, transient=True, answered=False)
    if any("Timeout" in name for name in names) and not names & _CUT_OFF:
        sentence = f"{endpoint.host} did not answer in time; raise the timeout if it is slow."
        return Failure("exhausted", sentence, transient=True, billed=True, answered=False)
    if names & (_BROKEN | _CUT_OFF):
        sentence = f"{endpoint.host} broke the connection off."
        return Failure("exhausted", sentence, transient=True, billed=True, answered=False)
    return None


def _redirected(target: str, endpoint: Endpoint) -> Failure:
    sentence = (
        f"{endpoint.host} sends requests on to {target}; that is not followed. If it is right, "
        "name the last address as base_url."
    )
    return Failure("host", sentence)


def of_reply_error(body: Mapping[str, Any], endpoint: Endpoint) -> Failure:
    """An error that came inside a reply of status 200, as routers in front of models send them."""
    code = body.get("code")
    status = code if isinstance(code, int) and 400 <= code < 600 else 500
    raw = _raw(body)
    return _sentence(status, endpoint.clean(_message(body) or raw), raw, 0.0, endpoint)


def _of_status(status: int, error: BaseException, endpoint: Endpoint) -> Failure:
    body = getattr(error, "body", None)
    if body is None:
        body = getattr(error, "details", None)
    message = _message(body) or getattr(error, "message", None) or str(error)
    raw = _raw(body) if body is not None else str(message)
    return _sentence(status, endpoint.clean(message), raw, _retry_after(error, raw), endpoint)


def _raw(body: Any) -> str:
    """A body as one text to search for words in."""
    try:
        return json.dumps(body, default=str)
    except RecursionError:
        return "a body that is nested too deep"


def _sentence(
    status: int, message: str, raw: str, retry_after: float, endpoint: Endpoint
) -> Failure:
    host, said = endpoint.host, f"({status}: {message})"
    if not 400 <= status < 600:
        sentence = (
            f"{host} answers with a status that no model's server has {said}; check base_url."
        )
        return Failure("host", sentence, transient=True, answered=False)
    if status in (401, 403) or (status == 400 and _KEY.search(raw)):
        source = f"in {endpoint.key_env}" if endpoint.key_env else "(none was sent)"
        return Failure("key", f"{host} refused the key {source} {said}; set a valid one.")
    if status == 402 or (status in (400, 429) and _QUOTA.search(raw)):
        return Failure("quota", f"The account at {host} has no credit left {said}; top it up.")
    if status in _TRANSIENT or status >= 500:
        overloaded = status in _OVERLOADED
        sentence = f"{host} {'is overloaded' if overloaded else 'failed'} {said}."
        return Failure(
            "exhausted", sentence, transient=True, overloaded=overloaded, retry_after=retry_after
        )
    if _CONTEXT.search(raw):
        ways = f", or {endpoint.roomier}" if endpoint.roomier else ""
        sentence = (
            f"The request is too long for '{endpoint.model}' {said}; shorten the history or lower "
            f"max_tokens{ways}."
        )
        return Failure("context", sentence)
    if _FILTER.search(raw):
        return Failure(
            "content_filter", f"The content filter of {host} refused the request {said}."
        )
    missing = status == 404 and not _UNSERVED.search(raw)
    if missing and "model" not in raw.lower():
        sentence = f"{host} has no chat endpoint {said}; base_url usually ends in /v1."
        return Failure("host", sentence)
    if missing or "model_not_found" in raw:
        sentence = f"Model '{endpoint.model}' is unknown to {host} {said}; choose one it serves."
        return Failure("model", sentence)
    sentence = (
        f"{host} refused the request {said}; a field that '{endpoint.model}' does not take can be "
        "left out with the client's `omit` option."
    )
    return Failure("request", sentence)


def _status(error: BaseException) -> int | None:
    for name in ("status_code", "code"):
        value = vars(error).get(name)  # the vendors' own; aiohttp has a property for something else
        if isinstance(value, int) and 100 <= value < 1000 and not 200 <= value < 300:
            return value
    return None


def _message(body: Any) -> str | None:
    if isinstance(body, list) and len(body) == 1:
        body = body[0]
    if not isinstance(body, Mapping):
        return body if isinstance(body, str) and body.strip() else None
    inner = body.get("error")
    if isinstance(inner, Mapping):
        body = inner
    elif isinstance(inner, str):
        return inner
    message = body.get("message") or body.get("detail")  # FastAPI's own word for it
    if isinstance(message, list):  # and its list of what is wrong in a body
        found = [m.get("msg") for m in message if isinstance(m, Mapping)]
        message = "; ".join(text for text in found if isinstance(text, str)) or None
    return message if isinstance(message, str) else None


def _retry_after(error: BaseException, raw: str) -> float:
    """Seconds of Retry-After (number or date), of its millisecond form, or Google's retryDelay."""
    headers = getattr(getattr(error, "response", None), "headers", None) or {}
    for name, scale in (("retry-after-ms", 1e-3), ("retry-after", 1.0)):
        value = headers.get(name)
        if value is None:
            continue
        try:
            seconds = float(value) * scale
        except ValueError:
            try:
                seconds = parsedate_to_datetime(value).timestamp() - time.time()
            except (ValueError, OverflowError):
                continue
        if seconds == seconds:  # not NaN
            return max(0.0, seconds)
    match = _RETRY_DELAY.search(raw)
    return float(match.group(1)) if match else 0.0


def _chain(error: BaseException) -> list[BaseException]:
    links: list[BaseException] = []
    link: BaseException | None = error
    while link is not None and link not in links:
        links.append(link)
        link = link.__cause__ or link.__context__
    return links
