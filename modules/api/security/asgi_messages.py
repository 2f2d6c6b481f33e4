"""Drops, repeats and answers the messages of a request, for middleware that reads its body."""

from __future__ import annotations

import asyncio
import contextlib

from starlette.responses import JSONResponse
from starlette.types import Message, Receive, Scope, Send

from modules.core.errors import Busy

_DRAIN_S = 10.0


async def drain(receive: Receive) -> None:
    """Read and drop the rest of a body for a while: many clients read an answer only when they have sent everything."""

    async def read_to_the_end() -> None:
        while (await receive()).get("more_body", False):
            pass

    with contextlib.suppress(asyncio.TimeoutError):
        await asyncio.wait_for(read_to_the_end(), _DRAIN_S)


async def refuse(
    scope: Scope, receive: Receive, send: Send, status: int, name: str, sentence: str
) -> None:
    """Answer with an error in A1111's format, and end the connection."""
    body = {"error": name, "detail": sentence, "body": "", "errors": sentence}
    headers = {"connection": "close"}
    if status == Busy.status_code:
        headers["retry-after"] = str(Busy.retry_after_s)
    await JSONResponse(body, status, headers)(scope, receive, send)


def replay(body: bytes, receive: Receive) -> Receive:
    """Return a `receive` that delivers the body again, then what follows it."""
    is_sent = False

    async def receive_again() -> Message:
        nonlocal is_sent
        if is_sent:
            return await receive()
        is_sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    return receive_again
