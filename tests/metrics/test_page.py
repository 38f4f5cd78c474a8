"""The page, in a real browser."""

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

from tests.system.harness import (
    APPS,
    QUICK,
    BarePeer,
    Broker,
    Processes,
    Record,
    bare,
    free_port,
)
from tests.system.harness import wait_until as wait
from zqueue.app import App
from zqueue.client.ask import Asker, control
from zqueue.metrics.glossary import GLOSSARY
from zqueue.metrics.site import load_page

from .browser import Browser, Page
from .fake_stats import (
    FakeSidecar,
    fake_sidecar,
    made_broker,
    made_queue,
    made_task,
    made_worker,
)

PAGE_BYTES_MAX = 96_000
SHIFT_MAX = 1e-4
"""Of the window's area, times how far it moved: 10 words of a table that move by a word."""

HOSTILE = '<img src=x onerror="window.harmed=1">'

MODE = "document.querySelector('#feed')?.dataset.mode"


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


# --- with fake statistics ---


Show = Callable[..., FakeSidecar]


@pytest.fixture(scope="module")
def sidecar() -> Iterator[FakeSidecar]:
    with fake_sidecar() as sidecar:
        yield sidecar


@pytest.fixture
def show(page: Page, sidecar: FakeSidecar) -> Iterator[Show]:
    """Opens the page with these brokers. A snapshot that the sidecar shows later is there at
    once."""

    def show(*brokers: dict[str, Any]) -> FakeSidecar:
        sidecar.show(*brokers)
        page.open(sidecar.url)
        page.wait(f"{MODE} === 'live'")
        return sidecar

    yield show
    page.open("about:blank")
    sidecar.streams, sidecar.every_s = True, 1.0


def test_it_is_one_file_of_reasonable_size_that_makes_no_markup_from_data():
    text = load_page().body.decode()
    assert len(text.encode()) < PAGE_BYTES_MAX
    assert "innerHTML" not in text
    assert "insertAdjacentHTML" not in text
    assert set(re.findall(r"https?://[^\s\"'>]+", text)) == {"http://www.w3.org/2000/svg"}


def test_a_healthy_broker(page, show):
    show(made_broker())
    assert "Healthy" in page.text("#banner")
    assert page("document.title").startswith("Healthy")
    assert figure(page, "In") == "13.4k/s"
    assert page.text("[data-fact='Held'] dd") == "12.0 MiB"
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


def test_a_queue_has_an_address(page, show):
    events = made_queue("events", ready=1234)
    workers = [made_worker(1, queues=["events"]), made_worker(2, queues=["other"])]
    sidecar = show(made_broker(queues=[events, made_queue("other")], workers=workers))
    assert page("document.querySelector('#queue').hidden") is True
    page(
        "[...document.querySelectorAll('#queues a')].find((a) => a.innerText === 'events').click()"
    )
    page.wait("!document.querySelector('#queue').hidden")
    assert page("location.hash") == "#queue=events"
    said = page.text("#queue")
    assert "1,234" in said
    assert "Served by 1 worker" in said
    assert "zqueue queue peek events" in said
    assert page("document.querySelectorAll('#queue dd').length") == page("QUEUES.length - 1")
    sidecar.show(made_broker(queues=[made_queue("other")]))
    page.wait("document.querySelector('#queue').innerText.includes('is not there')")
    page("document.querySelector('#queue a').click()")
    page.wait("document.querySelector('#queue').hidden")
    page("location.hash = 'queue=%E0%A4%A'")
    page.wait("document.querySelector('#queue').hidden")
    assert page.errors == []


def test_a_figure_that_makes_no_sense_does_not_stop_the_page(page, show):
    sidecar = show()
    every = [None, "x", 7, [], {}, [None], ["x"], {"10": None}, {"10": 1}]
    for number, nonsense in enumerate(every):
        queue = made_queue(f"q{number}", history=nonsense, wait_ms=nonsense, counters=nonsense)
        broken = made_broker(queues=[queue], gc={"broker": {"pause_ms": nonsense}}, dead=nonsense)
        sidecar.show(broken)
        page.wait(f"document.querySelector('#queues tbody')?.innerText.includes('q{number}')")
        assert page.errors == [], nonsense


def test_the_page_is_never_wider_than_the_screen(page, show):
    long = "a-long-name-" * 8
    show(
        made_broker(
            queues=[made_queue(long, state="full"), made_queue("events")],
            workers=[made_worker(1, host=long)], tasks=[made_task(long)],
            conditions=[{"kind": "full", "queue": long, "text": "no room " * 30}],
        )
    )  # fmt: skip
    for width in (320, 390, 768, 1280):
        page.resize(width, 844)
        assert page("document.documentElement.scrollWidth") <= width
        assert page("document.querySelector('#queues .scroll').scrollWidth") > width - 60


CUT = """\
[...document.querySelectorAll("main *")].filter((one) => {
  const { overflowY, contentVisibility } = getComputedStyle(one);
  return one.clientHeight > 60 && one.scrollHeight > one.clientHeight + 2 && overflowY !== "visible"
    || contentVisibility === "auto";
}).map((one) => one.outerHTML)
"""
"""Parts of which not all is seen, or not until somebody scrolls there."""


@pytest.mark.parametrize("width", [390, 1280])
def test_names_are_read_and_in_out_and_failed_are_seen_at_once(page, show, width):
    show(made_broker())
    page.resize(width, 844)
    places = page(
        "[...document.querySelectorAll('#queues thead tr:last-child th')].map((head) => {"
        "const box = head.getBoundingClientRect();"
        "return [head.innerText, box.left, box.right]})"
    )
    by_name = {name: (left, right) for name, left, right in places}
    assert by_name["Queue"][1] - by_name["Queue"][0] > 100
    order = sorted(by_name, key=lambda name: by_name[name])
    for name in ("In/s", "Out/s", "Failed/s"):
        assert by_name[name][1] < width
    assert width > 390 or order[:4] == ["Queue", "In/s", "Out/s", "Failed/s"]


def test_labels_are_words_of_the_glossary(page, show):
    show(made_broker())
    words = {term.word for term in GLOSSARY.values()} | {"cpu"}
    names = {"queue", "task", "worker", "supervisor", "queues", "gc max", "p50", "p95", "p99"}
    for table in ("QUEUES", "TASKS", "DEAD", "WORKERS", "SUPERVISORS"):
        labels = page(f"{table}.map((column) => column.label.replace(/\\/s$/, '').toLowerCase())")
        assert set(labels) - words - names == set(), table
    facts = page("FACTS.map(([name]) => name.replace(/ (p50|p99|max)$/, '').toLowerCase())")
    assert set(facts) - words == set()


def test_prints_and_pictures_of_the_whole_page_are_whole(page, show):
    """Nothing scrolls up and down but the page, and whoever prints gets all rows."""
    show(big_broker())
    lines = "document.querySelectorAll('#workers tbody tr').length"
    assert page(lines) == page("ROWS_SHOWN")
    page("document.querySelector('#workers .more-rows button').click()")
    assert page(lines) == page("ROWS_MAX")
    page("document.querySelector('#workers .more-rows button').click()")
    page("dispatchEvent(new Event('beforeprint'))")
    assert page(lines) == page("ROWS_MAX")
    for media in ("screen", "print"):
        page.call("Emulation.setEmulatedMedia", media=media)
        assert page(CUT) == [], media
    page("dispatchEvent(new Event('afterprint'))")
    assert page(lines) == page("ROWS_SHOWN")


def test_what_a_worker_ran_is_drawn_in_the_colours_of_its_tasks(page, show):
    strip = {"tasks": {"index": "0" * 57 + "189", "lost": "0" * 59 + "3"}, "failed": "0" * 59 + "1"}
    broker = made_broker(workers=[made_worker(1, strip=strip), made_worker(2, strip=None)])
    show(broker)
    drawn, _ = page(
        "[...document.querySelectorAll('#workers .strip')].map((one) => [...one.children].map("
        "(path) => [path.getAttribute('d'), path.style.fill]))"
    )
    index = page("document.querySelector('#tasks .swatch').style.background")
    assert drawn[0] == ["M57 9h1v-1h-1zM58 9h1v-8h-1zM59 9h1v-9h-1z", index]
    assert drawn[1] == ["M59 0h1v-3h-1z", "var(--soft)"]
    assert drawn[2][0] == "M59 10h1v-1h-1z"
    tip = "document.querySelector('#workers td:has(.strip)').dataset.tip"
    assert page(tip) == "In the last minute: index 2.0 s, lost 0.3 s"


def big_broker(shift: int = 0) -> dict[str, Any]:
    """As many of everything as a sidecar tells. With another shift, all figures are others."""
    return made_broker(
        queues=[made_queue(f"queue-{i:03}", seed=i + shift, rate=100.0) for i in range(500)],
        tasks=[made_task(f"task_{i:03}", seed=i + shift) for i in range(500)],
        workers=[made_worker(i, gc={"count": i + shift, "max_ms": shift}) for i in range(500)],
        other_queues=20,
        uptime_s=shift,
    )


def test_two_rows_of_one_name_are_both_shown_and_go(page, show):
    twin = {"pid": 1, "host": "node", "processes": 2, "restarts": 0}
    sidecar = show(made_broker(supervisors=[twin, twin]))
    lines = "document.querySelectorAll('#supervisors tbody tr').length"
    assert page(lines) == 2
    broker = made_broker(supervisors=[twin])
    sidecar.show(broker)
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
    sidecar.show(brokers[1])
    page.wait("document.querySelector('#queues tbody td:nth-child(2)').innerText.trim() === '1'")
    assert list(rows(page, "queues")) == ["a", "b", "c"]
    page.point("header")
    page.wait("document.querySelector('#queues tbody td').innerText.trim() === 'c'")


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
        sidecar.show(broker)
        page.wait(f"feed.snapshot.brokers[0].cpu === {shift / 4}")
        page("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    assert page("shifted") < SHIFT_MAX
    page("document.querySelector('#banner').style.display = 'none'")
    page.wait(f"shifted > {SHIFT_MAX}")


def test_brokers_have_tabs(page, show):
    full = [{"kind": "full", "queue": "mail", "text": "x"}]
    show(made_broker(producers=3), made_broker(url="tcp://10.0.0.7:1", conditions=full))
    assert page("document.title").startswith("Queue full: mail")
    assert "Healthy" in page.text("#banner")
    page("document.querySelector('#tabs [aria-selected=true]').focus()")
    page.press("ArrowRight")
    assert "tcp://10.0.0.7:1" in page.text("#where")
    assert "Queue full: mail" in page.text("#banner")
    assert page("document.activeElement.ariaSelected") == "true"


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
    sidecar.show(later)
    page.wait("document.querySelector('#banner').innerText.includes('2,000')")
    assert page.text("#spoken") == "Queue full: mail"
    assert page("heard.length") == 0


LATER = "feed.at -= MS, feed.streamTried -= MS, 0"
"""So much time has passed since the page had a snapshot, and since it tried the stream."""


def test_it_polls_where_streams_are_refused(page, show, sidecar):
    sidecar.streams = False
    sidecar.show(made_broker())
    page.open(sidecar.url)
    page.wait(f"{MODE} === 'polling'")
    assert "polling" in page.text("#feed")
    assert figure(page, "In") == "13.4k/s"
    sidecar.streams = True
    page(LATER.replace("MS", "STREAM_AGAIN_MS"))
    page.wait(f"{MODE} === 'live'")


def test_a_silent_stream_is_left(page, show):
    sidecar = show(made_broker())
    sidecar.every_s = 3600.0
    sidecar.show(made_broker(uptime_s=1.5))  # The wait that had begun is over.
    page.wait("feed.snapshot.brokers[0].uptime_s === 1.5")
    page(LATER.replace("MS", "STALE_MS"))
    page.wait(f"{MODE} === 'polling'")
    sidecar.end_streams()


def test_before_there_is_a_broker_and_before_there_are_workers(page, show):
    problem = {"kind": "no-broker", "queue": "", "text": "No broker answers at x."}
    sidecar = show({"url": "x", "state": "waiting", "seen_s": None, "conditions": [problem]})
    assert "zqueue broker --bind x" in page.text("#absent")
    assert page("document.title").startswith("No broker")
    sidecar.show(made_broker(workers=[], conditions=[{**problem, "kind": "no-workers"}]))
    page.wait("document.title.startsWith('No workers')")
    assert "zqueue worker APP" in page.text("#workers")


# --- with a real broker, real workers and a real sidecar ---


class Pool:
    """A broker, two workers and their sidecar."""

    def __init__(self, folder: Path) -> None:
        self.processes = Processes(folder)
        self.broker = Broker(self.processes, f"ipc://{folder}/b", (*QUICK, "--queue-tasks", "100"))
        self.workers = self.processes.zqueue(
            "worker", str(APPS / "jobs.py"), "-p", "2", "--url", self.broker.url
        )
        self.listen = f"127.0.0.1:{free_port()}"
        self.url = f"http://{self.listen}"
        self.start_sidecar()
        wait(lambda: len(self.stats()["workers"]) == 2, what=lambda: list(self.processes.shown()))

    def start_sidecar(self) -> None:
        self.sidecar = self.processes.zqueue(
            "metrics", "--listen", self.listen, "--url", self.broker.url
        )
        wait(self.is_up, what=lambda: f"a sidecar: {self.sidecar.err}")

    def is_up(self) -> bool:
        assert self.sidecar.is_running(), f"the sidecar ended: {self.sidecar.err}"
        try:
            return "workers" in self.stats()
        except OSError:
            return False

    def stats(self) -> dict[str, Any]:
        """The broker's part of the snapshot."""
        with urllib.request.urlopen(f"{self.url}/api/stats.json", timeout=5) as answer:
            (broker,) = json.load(answer)["brokers"]
        found: dict[str, Any] = broker
        return found


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pool]:
    folder = tmp_path_factory.mktemp("pool")
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if name.startswith("ZQUEUE_"):
                patch.delenv(name)
        patch.setenv("RECORD", str(Record(folder / "record").path))
        patch.chdir(folder)  # No option comes from a file that lies about.
        made = Pool(folder)
    try:
        yield made
    finally:
        made.processes.end()


def open_live(page: Page, pool: Pool) -> None:
    page.open(pool.url)
    page.wait(f"{MODE} === 'live'")


def wait_for_banner(page: Page, *words: str) -> None:
    text = "document.querySelector('#banner').innerText"
    page.wait(" && ".join(f"{text}.includes({json.dumps(word)})" for word in words))


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


def agree(page: Page, pool: Pool) -> bool:
    """Whether what the page shows is what the sidecar serves."""
    stats = pool.stats()
    queues, tasks, workers = (rows(page, name) for name in ("queues", "tasks", "workers"))
    count = lambda value: page(f"count({value})")  # noqa: E731
    millis = lambda value: page(f"millis({json.dumps(value)})")  # noqa: E731
    return (
        {q["name"]: [count(q["ready"]), count(q["leased"])] for q in stats["queues"]}
        == {name: [row[1], row[3]] for name, row in queues.items()}
        and {t["name"]: [millis(t["run_ms"]["300"]["p99"]), count(t["done"])]
             for t in stats["tasks"]} == {name: [row[6], row[10]] for name, row in tasks.items()}
        and {f"{w['host']}/{w['pid']}" for w in stats["workers"]} == set(workers)
        and sum(t["done"] for t in stats["tasks"]) > 0
    )  # fmt: skip


def test_the_page_shows_what_the_sidecar_serves(page, pool):
    open_live(page, pool)
    page("document.querySelector('#windows input[value=\"300\"]').click()")
    stop = threading.Event()
    load = threading.Thread(target=send_for, args=(pool.broker.url, stop))
    load.start()
    try:
        page.wait("parseFloat(document.querySelector('[data-figure=Out] .value').innerText) > 0")
        page.wait("document.querySelector('[data-figure=Failed] .value.bad') !== null")
    finally:
        stop.set()
        load.join()
    pool.broker.wait_idle()
    wait(lambda: agree(page, pool), what="the page and /api/stats.json agree")
    page.wait("!document.querySelector('#heat .plot').hidden")


def test_dead_letters_and_the_traceback_of_the_newest(page, pool):
    control(pool.broker.url, "drop", "")  # Those of other tests.
    open_live(page, pool)
    page.wait("document.querySelector('#dead tbody tr') === null")
    with App(pool.broker.url) as app:

        @app.task
        def fail(text: str) -> None:
            raise NotImplementedError

        fail.send("<b>no</b>")
    page.wait("document.querySelector('#dead tbody button') !== null")
    _, error, _, _, reason, *_ = rows(page, "dead")["fail"]
    assert (error, reason) == ("ValueError", "failed")
    page("document.querySelector('#dead tbody button').click()")
    page.wait("document.querySelector('#dead pre')?.innerText.includes('in fail')")
    assert "ValueError: <b>no</b>" in page.text("#dead .letter")
    assert "zqueue dlq show" in page.text("#dead .letter")
    control(pool.broker.url, "drop", "")
    page.wait("document.querySelector('#dead tbody tr') === null")
    assert "in fail" in page.text("#dead pre"), "who reads it goes on reading"
    page("document.querySelector('#dead .close').click()")
    page.wait("document.querySelector('#dead').hidden")


def test_a_full_and_a_paused_queue_and_a_broker_that_goes_and_returns(page, pool):
    with bare(zmq.DEALER, pool.broker.url) as dealer:
        peer = BarePeer(dealer)
        for _ in range(110):
            peer.publish("narrow", b"\x91\x01")
        open_live(page, pool)
        wait_for_banner(page, "Queue full", "narrow")
        assert "full" in rows(page, "queues")["narrow"][0]
        assert "narrow" in page("document.title")
        with Asker(pool.broker.url) as asker:
            asker.control("pause", "narrow")
        wait_for_banner(page, "Paused", "narrow")
    pool.broker.process.kill()
    wait_for_banner(page, "No broker")
    page.wait("document.querySelector('#feed').innerText.includes('broker gone')")
    assert float(page("getComputedStyle(document.querySelector('#data')).opacity")) < 1
    pool.broker.start()
    wait_for_banner(page, "Healthy")
    page.wait("document.querySelectorAll('#workers tbody tr').length === 2")
    assert page("getComputedStyle(document.querySelector('#data')).opacity") == "1"


def test_the_sidecar_goes_and_comes_back(page, pool):
    open_live(page, pool)
    pool.sidecar.kill()
    page.wait(f"{MODE} === 'gone'")
    assert re.fullmatch(r"sidecar gone since \d\d:\d\d:\d\d", page.text("#feed").strip())
    assert page("document.title").startswith("Sidecar gone")
    assert page("document.body.classList.contains('stale')")
    pool.start_sidecar()
    page.wait(f"{MODE} === 'live'", timeout=40)
    assert not page("document.body.classList.contains('stale')")
