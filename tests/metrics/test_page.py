"""zqueue/metrics/page.html, in a real browser."""

from __future__ import annotations

import json
import os
import re
import threading
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import zmq

from tests.system.harness import APPS, QUICK, BarePeer, Broker, Process, Processes, bare, free_port
from tests.system.harness import wait_until as wait
from zqueue.app import App
from zqueue.ask import Asker

from .browser import Browser, Page
from .made_up import (
    PAGE,
    Sidecar,
    made_broker,
    made_queue,
    made_snapshot,
    made_task,
    made_up_sidecar,
    made_worker,
)

PAGE_BYTES_MAX = 70_000
UPDATE_MS_MAX = 50.0
SHIFT_MAX = 1e-4
"""Of the window's area, times how far it moved: 10 words of a table that move by a word."""
CONTRAST_MIN = 4.5
"""WCAG 2.2, level AA, for text of ordinary size."""

HOSTILE = '<img src=x onerror="window.harmed=1">'

MODE = "document.querySelector('#feed')?.dataset.mode"

LOWEST_CONTRAST = """\
(() => {
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const channels = (colour) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const light = (colour) => {
    const [r, g, b] = channels(colour).map((c) =>
      (c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const colour = getComputedStyle(at).backgroundColor;
      if (channels(colour)[3] === 255) return colour;
    }
    throw new Error("no background");
  };
  let lowest = [99, "nothing"];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const text = walker.currentNode, element = text.parentElement;
    if (!text.data.trim() || !element.checkVisibility() || element.matches("script, noscript"))
      continue;
    const a = light(getComputedStyle(element).color), b = light(ground(element));
    const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (contrast < lowest[0]) lowest = [contrast, text.data];
  }
  return lowest;
})()
"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    started = Browser(tmp_path_factory.mktemp("chromium"))
    try:
        yield started
    finally:
        started.end()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page on a wide screen. Whatever it is shown, it makes no error and asks nobody else."""
    with browser.page() as page:
        yield page
        page("1")  # What it has to say is heard.
        hosts = {re.sub(r"(://[^/]+).*", r"\1", url) for url in page.requests}
        assert len([host for host in hosts if not host.startswith(("data:", "about:"))]) <= 1
        # A sidecar that goes away or refuses is what some tests are about.
        refused = re.compile("network: Failed to load resource: .*(net::ERR_|status of 503)")
        assert not [said for said in page.errors if not refused.match(said)]


CELLS = """\
[...document.querySelectorAll("#TABLE tbody tr")].map((tr) => [...tr.cells].map((td) => {
  const words = [], walker = document.createTreeWalker(td, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const text = walker.currentNode;
    if (text.data.trim() && !text.parentElement.closest("[hidden]")) words.push(text.data.trim());
  }
  return words.join(" ");
}))
"""


def rows(page: Page, table: str) -> dict[str, list[str]]:
    """What a table says, in sight or not, by the first word."""
    cells: list[list[str]] = page(CELLS.replace("TABLE", table))
    return {row[0].split()[0]: row for row in cells}


def figure(page: Page, name: str) -> str:
    """One of the headline figures."""
    return page.text(f"[data-figure='{name}'] .value")


# --- with made-up figures ---


ShowMade = Callable[..., Sidecar]


@pytest.fixture
def show(page: Page) -> Iterator[ShowMade]:
    """Shows snapshots of made-up brokers; one that is changed is shown within moments."""
    with made_up_sidecar(lambda: made_snapshot()) as sidecar:

        def show(*brokers: dict[str, Any]) -> Sidecar:
            sidecar.snapshot = lambda: made_snapshot(*brokers)
            page.open(sidecar.url)
            page.wait(f"{MODE} === 'live'")
            return sidecar

        yield show
        page.open("about:blank")


def test_it_is_one_file_of_reasonable_size_that_makes_no_markup_from_data():
    text = PAGE.read_text()
    assert len(text.encode()) < PAGE_BYTES_MAX
    assert "innerHTML" not in text
    assert "insertAdjacentHTML" not in text
    assert set(re.findall(r"https?://[^\s\"'>]+", text)) == {"http://www.w3.org/2000/svg"}


def test_all_is_well(page, show):
    show(made_broker())
    assert "All well" in page.text("#banner")
    assert page("document.title").startswith("All well")
    assert figure(page, "In") == "13.4k/s"
    assert figure(page, "Memory") == "12.0 MiB"
    assert len(rows(page, "queues")) == 5
    assert len(rows(page, "workers")) == 8


def test_strings_of_strangers_are_shown_as_text(page, show):
    broker = made_broker(
        url=f"tcp://{HOSTILE}:1", host=HOSTILE, version=HOSTILE,
        tasks=[made_task(HOSTILE, queue=HOSTILE)],
        workers=[made_worker(1, host=HOSTILE, queues=[HOSTILE], version=HOSTILE, running={
            "task": HOSTILE, "for_s": 2, "progress": [1, HOSTILE]})],
        queues=[made_queue(HOSTILE, state=HOSTILE)],
        conditions=[{"kind": HOSTILE, "queue": HOSTILE, "text": HOSTILE}],
    )  # fmt: skip
    show(broker, made_broker(url=HOSTILE))
    for place in ("#tabs", "#where", "#banner", "#queues", "#tasks", "#workers"):
        assert HOSTILE in page.text(place), place
    page.point("#tasks tbody td")
    page.wait("!document.querySelector('#tip').hidden")
    assert page.text("#tip") == HOSTILE
    assert page("document.title").startswith(HOSTILE)
    assert page("document.querySelectorAll('img').length") == 0
    assert page("window.harmed") is None


@pytest.mark.parametrize("nonsense", [None, "x", 7, [], {}, [None], ["x"], {"10": None}, {"10": 1}])
def test_a_figure_that_makes_no_sense_does_not_stop_the_page(page, show, nonsense):
    queue = made_queue("q", history=nonsense, wait_ms=nonsense, counters=nonsense)
    broker = made_broker(queues=[queue], gc={"broker": {"pause_ms": nonsense}}, dead=nonsense)
    show(broker)
    assert "q" in rows(page, "queues")


@pytest.mark.parametrize("scheme", ["dark", "light"])
def test_text_can_be_read(page, show, scheme):
    full = made_queue("full", state="full", failed={"10": 3.0, "60": 3.0, "300": 3.0})
    conditions = [{"kind": kind, "queue": "q", "text": "x"} for kind in ("full", "paused")]
    page.prefer(prefers_color_scheme=scheme)
    show(made_broker(queues=[full, made_queue("q", state="paused")], conditions=conditions))
    contrast, words = page(LOWEST_CONTRAST)
    assert contrast >= CONTRAST_MIN, words
    ground = page("getComputedStyle(document.body).backgroundColor")
    assert (int(re.findall(r"\d+", ground)[0]) < 128) == (scheme == "dark")


def test_the_theme_can_be_chosen_and_is_remembered(page, show):
    page.prefer(prefers_color_scheme="light")
    sidecar = show(made_broker())
    page("document.querySelector('#theme').click()")
    assert page("document.documentElement.dataset.theme") == "dark"
    dark = page("getComputedStyle(document.body).backgroundColor")
    page.open(sidecar.url)
    page.wait(f"{MODE} === 'live'")
    assert page("getComputedStyle(document.body).backgroundColor") == dark


@pytest.mark.parametrize("width", [320, 390, 768, 1280])
def test_the_page_is_never_wider_than_the_screen(page, show, width):
    page.resize(width, 844)
    long = "a-long-name-" * 8
    show(
        made_broker(
            queues=[made_queue(long, state="full"), made_queue("events")],
            workers=[made_worker(1, host=long)], tasks=[made_task(long)],
            conditions=[{"kind": "full", "queue": long, "text": "no room " * 30}],
        )
    )  # fmt: skip
    assert page("document.documentElement.scrollWidth") <= width
    assert page("document.querySelector('#queues .scroll').scrollWidth") > width - 60


def big_broker(shift: int = 0) -> dict[str, Any]:
    """As many of everything as a sidecar tells. With another shift, all figures are others."""
    return made_broker(
        queues=[made_queue(f"queue-{i:03}", seed=i + shift, rate=100.0) for i in range(500)],
        tasks=[made_task(f"task_{i:03}", seed=i + shift) for i in range(500)],
        workers=[made_worker(i, gc={"count": i + shift, "max_ms": shift}) for i in range(500)],
        other_queues=20,
        uptime_s=shift,
    )


def test_a_big_pool_is_shown_quickly(page, show):
    """From the text of a snapshot to a page that is laid out; the least, as others compute too."""
    sidecar = show(big_broker())
    assert len(rows(page, "queues")) == 100
    assert "and 420 more" in page.text("#queues")
    page("(window.plain = render, render = () => { plain(); document.body.offsetHeight }, 0)")
    took = []
    for shift in range(1, 8):
        broker = big_broker(shift)
        sidecar.snapshot = lambda broker=broker: made_snapshot(broker)
        page.wait(f"feed.snapshot.brokers[0].uptime_s === {shift}")
        took.append(page("performance.getEntriesByName('update')[0].duration"))
    assert min(took) < UPDATE_MS_MAX, took


def test_two_rows_of_one_name_are_both_shown_and_go(page, show):
    twin = {"pid": 1, "host": "node", "processes": 2, "restarts": 0}
    sidecar = show(made_broker(supervisors=[twin, twin]))
    lines = "document.querySelectorAll('#supervisors tbody tr').length"
    assert page(lines) == 2
    broker = made_broker(supervisors=[twin])
    sidecar.snapshot = lambda: made_snapshot(broker)
    page.wait(f"{lines} === 1")


def test_rows_can_be_found_and_sorted(page, show):
    show(big_broker())
    page(
        "(() => { const box = document.querySelector('#workers input'); box.value = 'node-7/';"
        "box.dispatchEvent(new Event('input')) })()"
    )
    assert set(rows(page, "workers")) == {f"node-7/{4000 + i}" for i in range(192, 224)}
    head = "document.querySelector('#queues thead tr:last-child th:nth-child(2) button')"
    page(f"{head}.click()")
    depth = [int(row[1].replace(",", "")) for row in rows(page, "queues").values()]
    assert depth == sorted(depth, reverse=True)
    assert page(f"{head}.closest('th').ariaSort") == "descending"
    page(f"{head}.click()")
    depth = [int(row[1].replace(",", "")) for row in rows(page, "queues").values()]
    assert depth == sorted(depth)


def test_nothing_moves_away_under_the_mouse(page, show):
    names = ["a", "b", "c"]
    brokers = [
        made_broker(
            queues=[made_queue(name, ready=n) for name, n in zip(names, depths, strict=True)]
        )
        for depths in ([3, 2, 1], [1, 2, 3])
    ]
    sidecar = show(brokers[0])
    page("document.querySelector('#queues thead tr:last-child th:nth-child(2) button').click()")
    assert list(rows(page, "queues")) == ["a", "b", "c"]
    page.point("#queues tbody td")
    sidecar.snapshot = lambda: made_snapshot(brokers[1])
    page.wait("document.querySelector('#queues tbody td:nth-child(2)').innerText.trim() === '1'")
    assert list(rows(page, "queues")) == ["a", "b", "c"]
    page.point("header")
    page.wait("document.querySelector('#queues tbody td').innerText.trim() === 'c'")


def test_the_window_is_chosen_by_the_keyboard(page, show):
    broker = made_broker()
    broker["in"] = {"10": 10.0, "60": 60.0, "300": 300.0}
    show(broker)
    assert figure(page, "In") == "10.0/s"
    page("document.querySelector('#windows input:checked').focus()")
    page.press("ArrowRight")
    assert figure(page, "In") == "60.0/s"
    page.press("ArrowRight")
    assert figure(page, "In") == "300/s"


def test_nothing_jumps_when_figures_change(page, show):
    """As the browser itself sees it: a longer number moves in its cell, and nothing else moves."""
    page.resize(1600, 3000)

    def made(shift: int) -> dict[str, Any]:
        queues = [made_queue(name, seed=shift, rate=10.0**shift) for name in ("events", "mail")]
        return made_broker(queues=queues, cpu=shift / 4, uptime_s=10.0**shift)

    sidecar = show(made(0))
    page(
        "(window.shifted = 0, new PerformanceObserver((list) => {"
        "for (const shift of list.getEntries()) shifted += shift.value"
        "}).observe({ type: 'layout-shift' }), 0)"
    )
    for shift in range(1, 6):
        broker = made(shift)
        sidecar.snapshot = lambda broker=broker: made_snapshot(broker)
        page.wait(f"feed.snapshot.brokers[0].cpu === {shift / 4}")
        page("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    assert page("shifted") < SHIFT_MAX
    page("document.querySelector('#banner').style.display = 'none'")
    page.wait(f"shifted > {SHIFT_MAX}")


def test_brokers_have_tabs(page, show):
    full = [{"kind": "full", "queue": "mail", "text": "x"}]
    show(made_broker(producers=3), made_broker(url="tcp://10.0.0.7:1", conditions=full))
    assert page("document.title").startswith("Queue full: mail")
    assert "All well" in page.text("#banner")
    page("document.querySelector('#tabs [aria-selected=true]').focus()")
    page.press("ArrowRight")
    assert "tcp://10.0.0.7:1" in page.text("#where")
    assert "Queue full: mail" in page.text("#banner")
    assert page("document.activeElement.ariaSelected") == "true"


def test_every_figure_explains_itself(page, show):
    show(made_broker())
    unexplained = page(
        "[...document.querySelectorAll('.figure, thead button, dl > div, h2')]"
        ".filter((one) => !one.closest('[data-tip]') && one.tagName !== 'H2')"
        ".map((one) => one.innerText)"
    )
    assert unexplained == []
    page("document.querySelector('[data-figure=\"Wait p99\"]').focus()")
    assert "99 of 100 tasks" in page.text("#tip")
    page.press("Escape")
    assert page("document.querySelector('#tip').hidden")


def test_the_heat_map_tells_its_figures(page, show):
    broker = made_broker()
    show(broker)
    page("document.querySelector('.heat').focus()")
    page.press("ArrowUp")
    column = broker["heatmap"]["columns"][-1]
    total = page(f"count({sum(column)})")
    assert page.text("#tip").endswith(f"of {total}")
    page.point(".heat", 0.5, 0.5)
    page.wait("!document.querySelector('#tip').hidden")
    assert re.search(r"\d+:\d+:\d+ – .*\n.*: [\d,]+ tasks? of", page.text("#tip"))


def test_what_screen_readers_hear_is_said_once(page, show):
    """A sentence with figures in it changes every second; what is read out does not."""
    broker = made_broker(conditions=[{"kind": "full", "queue": "mail", "text": "holds 1,000"}])
    sidecar = show(broker)
    page(
        "(window.heard = [], new MutationObserver((all) => heard.push(...all))"
        ".observe(document.querySelector('#spoken'), { childList: true, subtree: true }), 0)"
    )
    later = made_broker(conditions=[{"kind": "full", "queue": "mail", "text": "holds 2,000"}])
    sidecar.snapshot = lambda: made_snapshot(later)
    page.wait("document.querySelector('#banner').innerText.includes('2,000')")
    assert page.text("#spoken") == "Queue full: mail"
    assert page("heard.length") == 0


def test_it_polls_where_streams_are_refused(page, show):
    with made_up_sidecar(lambda: made_snapshot(made_broker())) as sidecar:
        sidecar.streams = False
        page.requests.clear()
        page.open(sidecar.url)
        page.wait(f"{MODE} === 'polling'")
        assert "polling" in page.text("#feed")
        assert figure(page, "In") == "13.4k/s"
        sidecar.streams = True
        page.wait(f"{MODE} === 'live'")


def test_a_silent_stream_is_left(page, show):
    sidecar = show(made_broker())
    sidecar.every_s = 3600.0
    page.wait(f"{MODE} === 'polling'")
    sidecar.streams = False


def test_no_brokers(page, show):
    show()
    assert "watches no broker" in page.text("#banner")


# --- with a real broker, real workers and a real sidecar ---


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No option comes from the environment or from a file that lies about."""
    for name in list(os.environ):
        if name.startswith("ZQUEUE_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("RECORD", str(tmp_path / "record"))
    monkeypatch.chdir(tmp_path)


class RealSidecar:
    """A `zqueue metrics` process."""

    def __init__(self, processes: Processes, *urls: str) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._processes = processes
        self._options = [word for url in urls for word in ("--url", url)]
        self.process: Process
        self.start()

    def start(self) -> None:
        self.process = self._processes.zqueue(
            "metrics", "--listen", f"127.0.0.1:{self.port}", *self._options
        )
        wait(self.is_up, what=lambda: f"a sidecar: {self.process.err}")

    def is_up(self) -> bool:
        assert self.process.is_running(), f"the sidecar ended: {self.process.err}"
        try:
            return bool(self.stats())
        except OSError:
            return False

    def stats(self) -> dict[str, Any]:
        with urllib.request.urlopen(f"{self.url}/api/stats.json", timeout=5) as answer:
            told: dict[str, Any] = json.load(answer)
            return told


def open_live(page: Page, sidecar: RealSidecar) -> None:
    page.open(sidecar.url)
    page.wait(f"{MODE} === 'live'")


def wait_for_banner(page: Page, *words: str) -> None:
    text = "document.querySelector('#banner').innerText"
    page.wait(" && ".join(f"{text}.includes({json.dumps(word)})" for word in words))


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"ipc://{tmp_path}/b"


@pytest.fixture
def broker(processes: Processes, url: str) -> Broker:
    return Broker(processes, url, (*QUICK, "--queue-tasks", "100"))


def start_workers(processes: Processes, broker: Broker, count: int) -> Process:
    pool = processes.zqueue(
        "worker", str(APPS / "jobs.py"), "-p", str(count), "--url", broker.url
    )  # fmt: skip
    wait(lambda: len(broker.worker_pids()) == count, what=lambda: f"workers: {pool.err}")
    return pool


def send_for(url: str, stop: threading.Event) -> None:
    """Load: tasks that succeed, and a few that fail."""
    with App(url) as app:

        @app.task
        def add(a: int) -> int:
            raise NotImplementedError

        @app.task
        def fail(text: str) -> None:
            raise NotImplementedError

        while not stop.wait(0.01):
            add.send_many(range(50))
            fail.send("no")


def agree(page: Page, sidecar: RealSidecar) -> bool:
    """Whether what the page shows is what the sidecar tells."""
    (told,) = sidecar.stats()["brokers"]
    queues, tasks, workers = (rows(page, name) for name in ("queues", "tasks", "workers"))
    count = lambda value: page(f"count({value})")  # noqa: E731
    millis = lambda value: page(f"millis({json.dumps(value)})")  # noqa: E731
    return (
        {q["name"]: [count(q["ready"]), count(q["leased"])] for q in told["queues"]}
        == {name: row[1:3] for name, row in queues.items()}
        and {t["name"]: [millis(t["run_ms"]["300"]["p99"]), count(t["done"])]
             for t in told["tasks"]} == {name: [row[6], row[10]] for name, row in tasks.items()}
        and {f"{w['host']}/{w['pid']}" for w in told["workers"]} == set(workers)
        and sum(t["done"] for t in told["tasks"]) > 0
    )  # fmt: skip


def test_the_page_shows_what_the_sidecar_tells(page, processes, broker):
    start_workers(processes, broker, 2)
    sidecar = RealSidecar(processes, broker.url)
    open_live(page, sidecar)
    page("document.querySelector('#windows input[value=\"300\"]').click()")
    stop = threading.Event()
    load = threading.Thread(target=send_for, args=(broker.url, stop))
    load.start()
    try:
        page.wait("parseFloat(document.querySelector('[data-figure=Out] .value').innerText) > 0")
        page.wait("document.querySelector('[data-figure=Failed] .value.bad') !== null")
    finally:
        stop.set()
        load.join()
    broker.wait_idle()
    wait(lambda: agree(page, sidecar), what="the page and /api/stats.json agree")
    page.wait("!document.querySelector('#heat .plot').hidden")
    assert page("performance.getEntriesByName('update')[0].duration") < UPDATE_MS_MAX


def test_from_no_broker_to_one_that_is_well_and_back(page, processes, url):
    sidecar = RealSidecar(processes, url)
    open_live(page, sidecar)
    wait_for_banner(page, "No broker")
    assert "zqueue broker" in page.text("#absent")
    assert page("document.title").startswith("No broker")
    broker = Broker(processes, url, QUICK)
    wait_for_banner(page, "No workers")
    assert "zqueue worker APP" in page.text("#workers")
    start_workers(processes, broker, 1)
    wait_for_banner(page, "All well")
    assert len(rows(page, "workers")) == 1
    broker.process.kill()
    wait_for_banner(page, "No broker")
    assert float(page("getComputedStyle(document.querySelector('#data')).opacity")) < 1
    broker.start()
    wait_for_banner(page, "All well")
    assert page("getComputedStyle(document.querySelector('#data')).opacity") == "1"


def test_a_full_and_a_paused_queue(page, processes, broker):
    sidecar = RealSidecar(processes, broker.url)
    with bare(zmq.DEALER, broker.url) as dealer:
        peer = BarePeer(dealer)
        for _ in range(110):
            peer.publish("narrow", b"\x91\x01")
        open_live(page, sidecar)
        wait_for_banner(page, "Queue full", "narrow")
        assert "full" in rows(page, "queues")["narrow"][0]
        assert "narrow" in page("document.title") or "No workers" in page("document.title")
        with Asker(broker.url) as asker:
            asker.control("pause", "narrow")
        wait_for_banner(page, "Paused", "narrow")


def test_the_sidecar_goes_and_comes_back(page, processes, broker):
    sidecar = RealSidecar(processes, broker.url)
    open_live(page, sidecar)
    sidecar.process.kill()
    page.wait(f"{MODE} === 'gone'")
    assert re.fullmatch(r"sidecar gone since \d\d:\d\d:\d\d", page.text("#feed").strip())
    assert page("document.title").startswith("Sidecar gone")
    assert page("document.body.classList.contains('stale')")
    sidecar.start()
    page.wait(f"{MODE} === 'live'", timeout=40)
    assert not page("document.body.classList.contains('stale')")
