"""A small stand-in for a public web service: lists of breweries in pages, each answered after the same time.

Run by hand, it serves until Ctrl-C, and says how the others find it.
"""

import argparse
import json
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

BREWERIES = {"district_of_columbia": 24, "maryland": 131, "new_york": 467, "virginia": 288}
"""How many there are in each state. These numbers are made up."""

LONGEST_PAGE = 200


def page(state: str, number: int, length: int) -> list[dict[str, str]]:
    """Return the breweries on a page; pages count from 1, and behind the last one they are empty."""
    length = min(length, LONGEST_PAGE)
    names = range(BREWERIES.get(state, 0))[(number - 1) * length : number * length]
    return [{"name": f"Brewery {name}", "state": state} for name in names]


class Service(ThreadingHTTPServer):
    """Answers on this computer alone; each answer takes `latency` seconds. `most` requests were waiting at one time."""

    daemon_threads = True

    def __init__(self, latency: float) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.address = f"http://127.0.0.1:{self.server_port}"
        self.most = 0
        self._waiting = 0
        self._latency = latency
        self._lock = threading.Lock()

    def keep_waiting(self) -> None:
        """Let pass what an answer takes."""
        with self._lock:
            self._waiting += 1
            self.most = max(self.most, self._waiting)
        time.sleep(self._latency)
        with self._lock:
            self._waiting -= 1


class Answer(BaseHTTPRequestHandler):
    """The answer to one request."""

    server: Service

    def do_GET(self) -> None:
        """Send a page."""
        self.server.keep_waiting()
        asked = urlsplit(self.path)
        query = {key: values[0] for key, values in parse_qs(asked.query).items()}
        if asked.path != "/v1/breweries" or "by_state" not in query:
            self.send_error(404)
            return
        found = page(query["by_state"], int(query.get("page", 1)), int(query.get("per_page", 50)))
        body = json.dumps(found).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def serving(latency: float) -> Iterator[Service]:
    """Serve until the block ends."""
    with Service(latency) as service:
        thread = threading.Thread(target=service.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield service
        finally:
            service.shutdown()
            thread.join()


def main() -> None:
    """Serve until Ctrl-C."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--latency", type=float, default=0.2, metavar="SECONDS", help="how long each answer takes")
    with serving(parser.parse_args().latency) as service:
        print(f"export BREWERIES={service.address}", flush=True)
        with suppress(KeyboardInterrupt):
            signal.pause()


if __name__ == "__main__":
    main()
