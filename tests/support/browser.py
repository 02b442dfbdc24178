"""A real browser, headless: Chromium over its debugging pipe, without a driver and without a port."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"),
    *(
        "--disable-background-networking",
        "--disable-extensions",
        "--remote-debugging-pipe",
        "--hide-scrollbars",
    ),
)


class Browser:
    """One page of a browser.

    Attributes:
        errors: what its console said that is an error or a warning, and exceptions that no script caught.
        requests: the addresses that it fetched.
    """

    def __init__(self, to: int, of: int) -> None:
        self._to, self._of, self._rest, self._number, self._session = to, of, b"", 0, ""
        self.errors: list[str] = []
        self.requests: list[str] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """The answer of the browser to a call."""
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": params}
        message |= {"sessionId": self._session} if self._session else {}
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while (answer := self._next()).get("id") != self._number:
            self._note(answer)
        assert "error" not in answer, (method, answer["error"])
        return answer["result"]

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            piece = os.read(self._of, 1 << 20)
            assert piece, "the browser has closed its pipe"
            self._rest += piece
        line, _, self._rest = self._rest.partition(b"\0")
        return json.loads(line)

    def _note(self, event: dict[str, Any]) -> None:
        method, params = event.get("method"), event.get("params", {})
        if method == "Log.entryAdded" and params["entry"]["level"] in {"error", "warning"}:
            self.errors.append(params["entry"]["text"])
        if method == "Runtime.exceptionThrown":
            self.errors.append(str(params["exceptionDetails"]))
        if method == "Runtime.consoleAPICalled" and params["type"] in {"error", "warning", "assert"}:
            self.errors.append(str(params["args"]))
        if method == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])

    def open(self, path: Path) -> None:
        """Open a file, and wait until it is loaded and no picture is being drawn."""
        self.call("Page.navigate", url=path.absolute().as_uri())
        self.run(
            "new Promise(done => document.readyState === 'complete' ? done() : addEventListener('load', done))"
        )
        self.run(
            "new Promise(done => { const look = () => typeof vegaEmbed === 'undefined' || "
            "document.querySelectorAll('figure.drawn').length === charts.length || performance.now() > 20000 ? done() : setTimeout(look, 20); look(); })"
        )

    def run(self, script: str) -> Any:
        """The value of an expression, of which a promise is awaited."""
        answer = self.call(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True, userGesture=True
        )
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def look(self, width: int, height: int = 900, scheme: str = "light", media: str = "") -> None:
        """Set the size of the window in pixels, the colour scheme, and what the page is shown on ("print")."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.call("Emulation.setEmulatedMedia", media=media, features=features)

    def press(self, key: str, code: int) -> None:
        """Press a key."""
        for kind in ("keyDown", "keyUp"):
            text = {"text": "\r"} if key == "Enter" and kind == "keyDown" else {}
            self.call(
                "Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code, **text
            )

    def picture(self, path: Path, *, whole: bool = False) -> None:
        """Write what is seen as PNG."""
        data = self.call("Page.captureScreenshot", captureBeyondViewport=whole)["data"]
        path.write_bytes(base64.b64decode(data))


@contextmanager
def browser(folder: Path) -> Iterator[Browser]:
    """A browser whose files are in a folder."""
    assert CHROMIUM
    to_read, to = os.pipe()
    of, of_write = os.pipe()
    # Chromium reads its file descriptor 3 and writes 4
    command = f'exec 3<&{to_read} 4>&{of_write}; exec "$@"'
    process = subprocess.Popen(
        ["/bin/bash", "-c", command, "bash", CHROMIUM, *FLAGS, f"--user-data-dir={folder}"],
        pass_fds=(to_read, of_write),
        stderr=subprocess.DEVNULL,
    )
    os.close(to_read)
    os.close(of_write)
    try:
        yield Browser(to, of)
    finally:
        os.close(to)
        process.terminate()
        process.wait(20)
        os.close(of)
