"""A server that refuses a JSON schema is asked for text instead, and that is said once."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from pgv_jax.llm.cache import identity_of
from pgv_jax.llm.client import Client, ClientError, Completion, Request, schema_of

log = logging.getLogger(__name__)


class StructuredClient:
    """``client``, which may not know JSON schemas; ``refused`` is True once it refused one.

    A request with a schema that fails as wrong (a status such as 400) is sent again without. If
    that succeeds, the schema was the reason, and later requests do not carry one.
    """

    def __init__(self, client: Client):
        self.model = client.model
        self.identity: Mapping[str, Any] = identity_of(client)
        self.refused = False
        self._client = client

    async def complete(self, request: Request) -> list[Completion]:
        """As ``client.complete``."""
        if schema_of(request) is None:
            return await self._client.complete(request)
        plain = replace(request, response_format=None)
        if self.refused:
            return await self._client.complete(plain)
        try:
            return await self._client.complete(request)
        except ClientError as error:
            if error.kind != "request":
                raise
            completions = await self._client.complete(plain)
            if not self.refused:
                log.warning(
                    "'%s' refuses a JSON schema for its answers (%s) It is asked for text from "
                    "now on; set answers=text to ask so from the start.",
                    *(self.model, error),
                )
            self.refused = True
            return completions
