"""Profiles of a component: where processor time, memory and calls go.

The component is measured once more, under a tool that slows it down, so none of these figures is
compared with any other. Processor time is sampled from outside (py-spy), in all processes at
once; memory (memray) and calls (viztracer) are noted within each process: see `watch`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, TypedDict

from ..errors import ZQueueError
from ..net.processes import start_python
from . import watch
from .components import CATALOGUE, measurer
from .lab import Lab
from .optional import need, need_program
from .result import Component
from .scale import PROBE, QUICK

CPU = "cpu"
KINDS = (CPU, watch.MEMORY, watch.TRACE)

SAMPLES_PER_S = 250
HOT = 20
SETTLE_S = 10.0

ROLES = (
    ("bench/floor.py", "raw pyzmq"),
    ("zqueue/broker.py", "broker"),
    ("zqueue/worker.py", "worker"),
    ("zqueue/supervisor.py", "supervisor"),
)
"""Whose stack it is, by a file on it."""

HERE = "the measuring process"

LOADING = "<frozen importlib"
"""Where this is on the stack a module is being loaded, which is no part of the work."""

WAITING = ("lock.acquire", "select.", "poll.poll", "Poller.poll", "time.sleep", "socket.recv",
           "posix.read", "posix.waitpid", "fork_exec")  # fmt: skip
"""Calls that a trace holds and that take no processor time: what their names contain."""

Hot = list[tuple[str, float]]
"""Places in the code and their parts, the largest first."""


class Profile(TypedDict):
    """What a profile found."""

    component: str
    kind: str
    files: list[str]
    """To be opened in a viewer; relative to the report."""
    how: str
    """Which viewer, and what the tool saw."""
    of: str
    """What the parts are parts of."""
    hot: dict[str, Hot]
    """By process."""


def check(kinds: Iterable[str]) -> None:
    """Raise `ConfigError`, saying how to get it, if a profile's tool is not installed."""
    for kind in kinds:
        if kind == CPU:
            need_program("py-spy", f"--profile {kind}")
        else:
            need("memray" if kind == watch.MEMORY else "viztracer", f"--profile {kind}")


def take(component: str, kind: str, folder: Path, progress: Callable[[str], None]) -> Profile:
    """Profile a component; the files go to ``folder/profiles``. Raises `ZQueueError`."""
    into = folder / "profiles"
    into.mkdir(parents=True, exist_ok=True)
    progress(f"{component}: {kind} profile")
    taker = {CPU: _take_cpu, watch.MEMORY: _take_memory, watch.TRACE: _take_trace}[kind]
    profile = taker(component, into)
    profile["files"] = [f"profiles/{name}" for name in profile["files"]]
    return profile


def _measure(component: str, scale: Any) -> None:
    lab = Lab(Component(component), scale, lambda text: None, CATALOGUE[component].role,
              with_memory=False)  # fmt: skip
    measurer(component)(lab)


# --- processor time ---


def _take_cpu(component: str, into: Path) -> Profile:
    name = f"{component}-cpu.speedscope.json"
    program = (
        f"import sys; sys.path[:] = {sys.path!r}; from {__name__} import subject_main; "
        "subject_main()"
    )
    command = [
        need_program("py-spy", "--profile cpu"), "record", "--subprocesses", "--nonblocking",
        "--format", "speedscope", "--rate", str(SAMPLES_PER_S), "--output", str(into / name),
        "--", sys.executable, "-c", program, component,
    ]  # fmt: skip
    with tempfile.TemporaryFile() as said:
        process = start_python(
            __name__, "execute_main", *command, stdout=said, stderr=said, process_group=0
        )
        try:
            process.wait()
        finally:
            _end_group(process)
        said.seek(0)
        text = said.read().decode(errors="replace")
    if process.returncode or not (into / name).exists():
        last = (text.strip().splitlines() or ["it said nothing"])[-1]
        raise ZQueueError(f"py-spy could not take a profile of {component}: {last}")
    return {
        "component": component, "kind": CPU, "files": [name], "of": "by function itself",
        "how": f"Open it in speedscope (https://www.speedscope.app). {SAMPLES_PER_S} samples a "
               "second of every thread that was at work, in all processes; parts are without the "
               "loading of modules.",
        "hot": hot_samples(json.loads((into / name).read_text())),
    }  # fmt: skip


def execute_main() -> None:
    """Become the program that the arguments name."""
    os.execv(sys.argv[1], sys.argv[1:])


def subject_main() -> None:
    """The process that is sampled: measures one component once."""
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    _measure(sys.argv[1], dataclasses.replace(QUICK, runs=1))


def _end_group(process: subprocess.Popen[bytes]) -> None:
    """End whatever is left of a process group: the process and what it started."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
            pause = threading.Event()
            for _ in range(int(SETTLE_S / 0.05)):
                process.poll()
                os.killpg(process.pid, 0)
                pause.wait(0.05)
    process.wait()


def hot_samples(speedscope: dict[str, Any]) -> dict[str, Hot]:
    """By process, the functions that were at work themselves, and their part of its samples.

    A stack without any file is that of a process that does not run Python yet.
    """
    frames = speedscope["shared"]["frames"]
    counts: dict[str, Counter[str]] = {}
    for profile in speedscope["profiles"]:
        for stack, weight in zip(profile["samples"], profile["weights"], strict=True):
            files = [frames[i].get("file") or "" for i in stack]
            if not any(files) or any(LOADING in file for file in files):
                continue
            where = place(frames[stack[-1]]["name"], files[-1])
            counts.setdefault(role_of(files), Counter())[where] += weight
    return _parts(counts)


def role_of(files: Iterable[str]) -> str:
    """Which process a stack is of, by the files on it."""
    there = list(files)
    for end, role in ROLES:
        if any(file.endswith(end) for file in there):
            return role
    return HERE


def place(function: str, file: str) -> str:
    """A function and its file, as short as can be told apart."""
    for mark, kept in (("/site-packages/", ""), ("/zqueue/", "zqueue/")):
        _, found, after = file.rpartition(mark)
        if found:
            return f"{function} ({kept}{after})"
    return f"{function} ({Path(file).name})" if file else function


def _parts(counts: dict[str, Counter[str]]) -> dict[str, Hot]:
    parts = {}
    for role, counter in counts.items():
        total = sum(counter.values())
        parts[role] = [(where, n / total) for where, n in counter.most_common(HOT) if total]
    return parts


# --- memory and calls ---


@contextlib.contextmanager
def _watched(component: str, kind: str) -> Iterator[Path]:
    """Measure the component with all its processes watched; the folder where they saved it."""
    with tempfile.TemporaryDirectory(prefix="zqueue-bench-") as folder:
        with watch.ordered(kind, Path(folder)), watch.watching(CATALOGUE[component].role):
            _measure(component, PROBE)
        yield Path(folder)


def _take_memory(component: str, into: Path) -> Profile:
    memray = need("memray", "--profile memory")
    files: list[str] = []
    counts: dict[str, Counter[str]] = {}
    with _watched(component, watch.MEMORY) as folder:
        for recorded in sorted(folder.glob("*.bin")):
            role = recorded.stem.partition("-")[0]
            name = f"{component}-memory-{recorded.stem}.html"
            subprocess.run(
                [sys.executable, "-m", "memray", "flamegraph", "--force", "--output",
                 str(into / name), str(recorded)],
                check=True, capture_output=True,
            )  # fmt: skip
            files.append(name)
            with memray.FileReader(recorded) as reader:
                for record in reader.get_high_watermark_allocation_records(merge_threads=True):
                    stack = record.stack_trace()
                    if any(LOADING in file for _, file, _ in stack):
                        continue
                    where = place(*stack[0][:2]) if stack else "outside of Python"
                    counts.setdefault(role, Counter())[where] += record.size
    return {
        "component": component, "kind": watch.MEMORY, "files": files,
        "of": "by place of allocation",
        "how": "Open them in a browser. Parts are of the memory that a process had allocated when "
               "that was most, without that of its modules.",
        "hot": _parts(counts),
    }  # fmt: skip


def _take_trace(component: str, into: Path) -> Profile:
    files: list[str] = []
    counts: dict[str, Counter[str]] = {}
    with _watched(component, watch.TRACE) as folder:
        for recorded in sorted(folder.glob("*.json")):
            role = recorded.stem.partition("-")[0]
            name = f"{component}-trace-{recorded.stem}.json"
            text = recorded.read_text()
            (into / name).write_text(text)
            files.append(name)
            events = json.loads(text)["traceEvents"]
            counts.setdefault(role, Counter()).update(self_times(events))
    return {
        "component": component, "kind": watch.TRACE, "files": files, "of": "by function itself",
        "how": "Open them in Perfetto (https://ui.perfetto.dev). Every call of the last "
               f"{watch.TRACE_ENTRIES:,} of each process; parts are without waiting and the "
               "loading of modules. Tracing makes small functions look slow.",
        "hot": _parts(counts),
    }  # fmt: skip


def self_times(events: Iterable[dict[str, Any]]) -> Counter[str]:
    """Time that each function of a trace spent itself, without what it called.

    Waiting is left out, and so are calls in the course of loading a module.
    """
    taken: Counter[str] = Counter()
    calls = [event for event in events if event.get("ph") == "X"]
    calls.sort(key=lambda event: (event["tid"], event["ts"], -event["dur"]))
    above: list[tuple[Any, float, str]] = []
    for event in calls:
        begin, end = event["ts"], event["ts"] + event["dur"]
        while above and (above[-1][0] != event["tid"] or above[-1][1] <= begin):
            above.pop()
        name = _short(event["name"])
        if LOADING in event["name"] or (above and not above[-1][2]):
            name = ""  # And whatever it calls.
        taken[name] += event["dur"]
        if above:
            taken[above[-1][2]] -= event["dur"]
        above.append((event["tid"], end, name))
    return Counter(
        {name: us for name, us in taken.items() if name and not any(w in name for w in WAITING)}
    )


def _short(name: str) -> str:
    """``function (file:line)`` as `place` writes it."""
    function, bracket, rest = name.partition(" (")
    return place(function, rest.rpartition(":")[0]) if bracket and ":" in rest else name
