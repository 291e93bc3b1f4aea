"""The HTTP client under a vendor's library: whom it trusts, and where it never goes."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from typing import Any
from urllib.request import getproxies

from pgv_jax.errors import PgvError
from pgv_jax.llm.failures import Redirected
from pgv_jax.llm.providers.formats import vendor_library

CHARACTER_SETS = ("utf-8", "utf8", "us-ascii", "ascii", "iso-8859-1", "windows-1252")


def http_client(kind: Callable[..., Any], url: str, here: bool = False) -> Any:
    """An HTTP client for ``url``; ``kind`` is httpx2's ``AsyncClient`` or a library's form of it.

    It uses the environment's certificates, and its proxies unless the server is ``here`` in this
    process, and follows redirects within one address: elsewhere the prompts would travel along, and
    so would a key in a header of a vendor's own.

    Raises:
        PgvError: certificates or proxies of the environment cannot be used.
    """
    hooks = {"request": [_stay_at_home()], "response": [_as_text]}
    bad_address = vendor_library("httpx2", "openai").InvalidURL
    try:
        return kind(
            verify=_certificates(url),
            follow_redirects=True,
            event_hooks=hooks,
            trust_env=not here,
        )
    # an address that is none, a scheme that is none, a package that SOCKS needs
    except (bad_address, ValueError, ImportError) as error:
        raise PgvError(
            f"The proxies that the environment names cannot be used ({type(error).__name__}); look "
            "at http_proxy, https_proxy and all_proxy, in small letters and in capitals."
        ) from None


def names_socks() -> bool:
    """Whether the environment names a SOCKS proxy, which aiohttp does not know how to use."""
    return any(address.lower().startswith("socks") for address in getproxies().values())


def unreadable_certificates(error: OSError) -> PgvError:
    """What to say where the environment's certificates cannot be read."""
    return PgvError(
        f"The certificates for https cannot be read ({error.strerror or error}); look at the "
        "variables SSL_CERT_FILE and SSL_CERT_DIR."
    )


def _certificates(url: str) -> ssl.SSLContext:
    try:
        return vendor_library("httpx2", "openai").create_ssl_context()
    except OSError as error:
        if url.lower().startswith("http://"):
            return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # trusts nobody, and is not asked
        raise unreadable_certificates(error) from None


async def _as_text(response: Any) -> None:
    """Read a body as UTF-8 unless it is in one of the usual character sets.

    JSON is UTF-8, and under some names (``hex``, ``undefined``) Python cannot read text at all.
    """
    if (response.charset_encoding or CHARACTER_SETS[0]).lower() not in CHARACTER_SETS:
        kind = response.headers["content-type"].partition(";")[0]
        response.headers["content-type"] = f"{kind}; charset=utf-8"


def _stay_at_home() -> Callable[[Any], Any]:
    """Called before each request, also of a redirect: all must go where the first one went."""
    home: tuple[Any, ...] = ()

    async def stay(request: Any) -> None:
        nonlocal home
        address = (request.url.scheme, request.url.host, request.url.port)
        home = home or address
        if address != home:
            raise Redirected(str(request.url))

    return stay
