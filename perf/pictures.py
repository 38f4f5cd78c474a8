"""The pictures of the page and of `zqueue top` in docs/images, taken of a real broker under load.

    python perf/pictures.py                        all of them: five minutes, for the whole history
    python perf/pictures.py --minutes 1.2 --to /tmp/pictures

It needs `chromium` on the PATH, and textual (`pip install '.[top]'`). Look at the pictures before
you commit them.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import re
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from pictures_app import app, call_hook, index, make_thumbnail, send_mail, write_report  # noqa: E402

from tests.metrics.browser import Browser  # noqa: E402
from zqueue.metrics.poller import Poller  # noqa: E402
from zqueue.testing import Broker, Processes, free_port  # noqa: E402
from zqueue.top.viewer import TopApp  # noqa: E402

APP = Path(__file__).with_name("pictures_app.py")
URL = "tcp://127.0.0.1:5555"
"""Where a reader's own broker is: pictures show it."""

WIDE, DESK, PHONE = (1720, 1000), (1280, 900), (390, 844)
"""The first two are as high as the page is."""

FONTS = "Inter, system-ui, sans-serif"
"""A server has none that a reader's desk would show."""

FONT_FACE = re.compile(r"@font-face \{.*?\}", re.DOTALL)
"""In drawings of a terminal: they would be asked for elsewhere, which no document does."""

TOP_S = 65
"""For the last minute of `zqueue top`, which has no history but its own."""


def send(stop: threading.Event) -> None:
    """Load that comes and goes, until it is to stop."""
    began, month = time.monotonic(), 0
    with app:
        while not stop.wait(0.1):
            second = time.monotonic() - began
            index.send_many([{"id": i} for i in range(random.randrange(600, 800))])
            send_mail.send_many([f"user-{i}@example.org" for i in range(random.randrange(5, 20))])
            if second % 12 < 5:
                make_thumbnail.send_many(range(random.randrange(6, 9)))
            if random.random() < 0.03:
                write_report.send(month := month + 1)
            if second % 25 < 6:
                call_hook.send({"url": "https://example.org"} if random.random() < 0.8 else {})


@contextmanager
def shop(minutes: float) -> Iterator[str]:
    """A broker, workers and their sidecar that have been busy for so long; the page's address."""
    stop, folder = threading.Event(), Path(tempfile.mkdtemp(prefix="pictures-"))
    processes = Processes(folder)
    load = threading.Thread(target=send, args=(stop,))
    try:
        Broker(processes, URL)
        tasks = folder.parent / "shop" / "tasks.py"  # Its path is to be seen in a traceback.
        tasks.parent.mkdir(exist_ok=True)
        tasks.write_text(APP.read_text())
        for count, queues in (("4", "mail,thumbnails,reports,hooks"), ("1", "events")):
            processes.zqueue("worker", str(tasks), "-p", count, "--url", URL, "-Q", queues)
        listen = f"127.0.0.1:{free_port()}"
        processes.zqueue("metrics", "--listen", listen, "--url", URL)
        load.start()
        time.sleep(60 * minutes)
        yield f"http://{listen}"
    finally:
        stop.set()
        if load.is_alive():
            load.join()
        processes.end()


def take_page(url: str, to: Path) -> None:
    """The page: dark on a wide desk; light, whole and with a traceback; on a phone."""
    with tempfile.TemporaryDirectory() as folder:
        browser = Browser(Path(folder))
        try:
            for name, size, scheme in (
                ("page-dark", WIDE, "dark"), ("page-light", DESK, "light"),
                ("page-phone", PHONE, "dark"),
            ):  # fmt: skip
                with browser.page(*size, prefers_color_scheme=scheme) as page:
                    page.open(url)
                    page.wait("document.querySelectorAll('#workers tbody tr').length === 5")
                    page(f"document.body.style.fontFamily = {json.dumps(FONTS)}")
                    page("document.querySelector('#windows input[value=\"60\"]').click()")
                    if name == "page-light":
                        page("document.querySelector('#dead tbody button').click()")
                        page.wait("document.querySelector('#dead pre') !== null")
                    page.wait("document.fonts.ready.then(() => true)")
                    page.screenshot(to / f"{name}.png", whole=size is not PHONE)
        finally:
            browser.end()


async def take_top(to: Path) -> None:
    """`zqueue top`: its workers, and one of them."""
    poller = Poller(URL)
    poller.start()
    top = TopApp([poller])
    async with top.run_test(size=(120, 16)) as pilot:
        await asyncio.sleep(TOP_S)
        for name, lines, keys in (("top", 16, ("3", "down")), ("top-worker", 26, ("enter",))):
            await pilot.resize_terminal(120, lines)
            await pilot.press(*keys)
            await asyncio.sleep(2)
            drawn = top.export_screenshot(title="zqueue top")
            (to / f"{name}.svg").write_text(FONT_FACE.sub("", drawn))
    poller.stop(2)


def main() -> None:
    """Take all of them."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--minutes", type=float, default=5.5, help="how long to be busy before")
    parser.add_argument("--to", type=Path, default=ROOT / "docs" / "images", help="where to")
    options = parser.parse_args()
    options.to.mkdir(parents=True, exist_ok=True)
    with shop(options.minutes) as url:
        take_page(url, options.to)
        asyncio.run(take_top(options.to))
    print("\n".join(sorted(path.name for path in options.to.iterdir())))


if __name__ == "__main__":
    main()
