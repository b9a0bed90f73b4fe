"""Answers of the server, as JSON."""

import json
from typing import Any


def answer(content: Any, status: int = 200, *, close: bool = False) -> Any:
    """A response with JSON, which has no NaN in it."""
    from starlette.responses import Response

    text = json.dumps(content, allow_nan=False, separators=(",", ":"))
    return Response(text, status, {"connection": "close"} if close else None, "application/json")


def refusal(status: int, reason: str, *, close: bool = False) -> Any:
    """A response that says in one sentence why there is no answer; `close` ends the connection, of which a body may be left."""
    return answer({"error": reason}, status, close=close)
