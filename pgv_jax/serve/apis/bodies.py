"""The body of a request: as text and as an object, up to a limit."""

from __future__ import annotations

from typing import Any

from starlette.requests import ClientDisconnect, Request

from pgv_jax.serve.apis.json_text import parsed_object
from pgv_jax.serve.refusals import RefusalError


async def read_json(request: Request, most: int) -> tuple[str, dict[str, Any]]:
    """The body's text and the object in it.

    RefusalError: 413 above ``most`` bytes, 400 for what is no JSON object.
    """
    declared = request.headers.get("content-length", "0")
    size = int(declared) if declared.isdigit() else 0
    blocks: list[bytes] = []
    if size <= most:
        size = 0
        try:
            async for block in request.stream():
                size += len(block)
                if size > most:
                    break
                blocks.append(block)
        except ClientDisconnect:
            raise RefusalError(400, "The body ended early.") from None
    if size > most:
        raise RefusalError(413, f"The body is larger than {most} bytes, the server's limit.")
    try:
        return parsed_object(b"".join(blocks).decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise RefusalError(400, f"The body is no JSON object: {str(error)[:200]}.") from None
