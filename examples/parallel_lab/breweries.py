"""Count the breweries of a state through a web service that gives them in pages."""

import asyncio
import json
import os
from typing import Any
from urllib.parse import urlencode, urlsplit

ADDRESS = "BREWERIES"
"""The environment variable that holds the service's address."""

PER_PAGE = 200


async def count(state: str) -> dict[str, Any]:
    """Return the state and its number of breweries, having read one page after the other until one is empty."""
    found = number = 0
    while True:
        number += 1
        query = urlencode({"by_state": state, "per_page": PER_PAGE, "page": number})
        breweries = await get(f"{os.environ[ADDRESS]}/v1/breweries?{query}")
        if not breweries:
            return {"state": state, "brewery_count": found}
        found += len(breweries)


async def get(url: str) -> Any:
    """Return what a page says in JSON. Raises ConnectionError if there is none.

    In earnest one takes a library, such as httpx or aiohttp; this one can do just what is needed here.
    """
    place = urlsplit(url)
    reader, writer = await asyncio.open_connection(place.hostname, place.port)
    try:
        writer.write(f"GET {place.path}?{place.query} HTTP/1.0\r\nHost: {place.netloc}\r\n\r\n".encode())
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    finally:
        writer.close()
        await writer.wait_closed()
    status = head.partition(b"\r\n")[0].decode()
    if status.split()[1:2] != ["200"]:
        raise ConnectionError(f"{url}: {status}")
    return json.loads(body)
