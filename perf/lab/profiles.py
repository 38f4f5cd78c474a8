"""Profiles of a component: where processor time, memory and calls go.

The component is measured once more, under a tool that slows it down, so none of these figures is
compared with any other. Processor time is sampled from outside (py-spy), in all processes at
once; memory (memray) and calls (viztracer) are noted within each process: see `watch`.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from peers.processes import end_group, end_with_parent

from .watch.sitecustomize import FOLDER, KIND, MEMORY, TRACE, TRACE_ENTRIES, role_of

CPU = "cpu"
TOOLS = {CPU: "py-spy", MEMORY: "memray", TRACE: "viztracer"}
KINDS = tuple(TOOLS)

SAMPLES_PER_S = 250
HOT = 20
SCRIPT = Path(__file__).parents[1] / "report.py"

LOADING = "<frozen importlib"
"""Where this is on the stack a module is being loaded, which is no part of the work."""

Hot = dict[str, list[tuple[str, float]]]
"""By process: places in the code and their parts, the largest first."""


class ProfileFailed(Exception):
    """A tool did not do its work."""


def lacks(kind: str) -> str:
    """What is missing for a profile, and how to get it; empty if nothing is."""
    tool = TOOLS[kind]
    found = _sampler() if kind == CPU else importlib.util.find_spec(tool)
    how = "pip install -r perf/requirements.txt"
    return "" if found else f"--profile {kind} needs {tool}: {how}"


def _sampler() -> str | None:
    beside = Path(sys.executable).with_name(TOOLS[CPU])
    return str(beside) if beside.exists() else shutil.which(TOOLS[CPU])


def take(component: str, kind: str, folder: Path) -> dict[str, Any]:
    """Profile a component; the files, to be opened in a viewer, go to ``folder/profiles``.

    Returns ``component``, ``kind``, ``files``; ``how`` to view them; ``hot`` places, and what
    their parts are parts ``of``. Raises `ProfileFailed`.
    """
    into = folder / "profiles"
    into.mkdir(parents=True, exist_ok=True)
    taker = {CPU: _take_cpu, MEMORY: _take_memory, TRACE: _take_trace}[kind]
    profile = taker(component, into)
    files = [f"profiles/{name}" for name in profile.pop("files")]
    return {"component": component, "kind": kind, "files": files, **profile}


def _measure(component: str, scale: str, *tool: str, **more: str) -> None:
    command = [*tool, sys.executable, str(SCRIPT), component, "--only-measure", "--scale", scale,
               "--runs", "1"]  # fmt: skip
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(
            command, stdout=said, stderr=said, env={**os.environ, **more}, process_group=0,
            preexec_fn=end_with_parent,
        )  # fmt: skip
        try:
            code = process.wait()
        finally:
            end_group(process, 10)
        if code:
            said.seek(0)
            last = said.read().decode(errors="replace").strip().splitlines()[-1:]
            raise ProfileFailed(f"no profile of {component}: {''.join(last) or code}")


# --- processor time ---


def _take_cpu(component: str, into: Path) -> dict[str, Any]:
    name = f"{component}-cpu.speedscope.json"
    _measure(
        component, "quick", str(_sampler()), "record", "--subprocesses", "--nonblocking",
        "--format", "speedscope", "--rate", str(SAMPLES_PER_S), "--output", str(into / name), "--",
    )  # fmt: skip
    return {
        "files": [name], "of": "by function itself",
        "how": f"Open it in speedscope (https://www.speedscope.app). {SAMPLES_PER_S} samples a "
               "second of every thread that was at work, in all processes; parts are without the "
               "loading of modules.",
        "hot": hot_samples(json.loads((into / name).read_text())),
    }  # fmt: skip


def hot_samples(speedscope: dict[str, Any]) -> Hot:
    """By process, the functions that were at work themselves, and their part of its samples.

    A stack begins with the commands of its process and of those that started it.
    """
    frames = speedscope["shared"]["frames"]
    counts: dict[str, Counter[str]] = {}
    for profile in speedscope["profiles"]:
        for stack, weight in zip(profile["samples"], profile["weights"], strict=True):
            commands = [f["name"] for i in stack if (f := frames[i])["name"].startswith("process ")]
            files = [frames[i].get("file") or "" for i in stack]
            if not files[-1] or any(LOADING in file for file in files):
                continue
            where = place(frames[stack[-1]]["name"], files[-1])
            role = role_of(commands[-1] if commands else "")
            counts.setdefault(role, Counter())[where] += weight
    return _parts(counts)


def place(function: str, file: str) -> str:
    """A function and its file, as short as can be told apart."""
    for mark, kept in (("/site-packages/", ""), ("/zqueue/", "zqueue/"), ("/perf/", "perf/")):
        _, found, after = file.rpartition(mark)
        if found:
            return f"{function} ({kept}{after})"
    return f"{function} ({Path(file).name})" if file else function


def _parts(counts: dict[str, Counter[str]]) -> Hot:
    return {
        role: [(where, n / total) for where, n in counter.most_common(HOT)]
        for role, counter in counts.items()
        if (total := sum(counter.values()))
    }


# --- memory and calls ---


@contextlib.contextmanager
def _watched(component: str, kind: str, ending: str) -> Iterator[list[tuple[str, Path]]]:
    """Measure the component with all its processes watched; the role and file of each."""
    with tempfile.TemporaryDirectory(prefix="zqueue-perf-") as folder:
        watch = Path(__file__).with_name("watch")
        path = os.pathsep.join([str(watch), *filter(None, [os.environ.get("PYTHONPATH")])])
        _measure(component, "probe", **{KIND: kind, FOLDER: folder, "PYTHONPATH": path})
        files = sorted(Path(folder).glob(f"*{ending}"))
        yield [(file.stem.rpartition("-")[0], file) for file in files]


def _take_memory(component: str, into: Path) -> dict[str, Any]:
    import memray

    files: list[str] = []
    counts: dict[str, Counter[str]] = {}
    with _watched(component, MEMORY, ".bin") as recordings:
        for role, recorded in recordings:
            name = f"{component}-memory-{recorded.stem.replace(' ', '-')}.html"
            subprocess.run(
                [sys.executable, "-m", "memray", "flamegraph", "--force", "--output",
                 str(into / name), str(recorded)],
                check=True, capture_output=True,
            )  # fmt: skip
            files.append(name)
            with memray.FileReader(recorded) as reader:
                for record in reader.get_high_watermark_allocation_records(merge_threads=True):
                    stack = record.stack_trace()
                    if not any(LOADING in file for _, file, _ in stack):
                        where = place(*stack[0][:2]) if stack else "outside of Python"
                        counts.setdefault(role, Counter())[where] += record.size
    return {
        "files": files, "of": "by place of allocation",
        "how": "Open them in a browser. Parts are of the memory that a process had allocated when "
               "that was most, without that of its modules.",
        "hot": _parts(counts),
    }  # fmt: skip


def _take_trace(component: str, into: Path) -> dict[str, Any]:
    files: list[str] = []
    with _watched(component, TRACE, ".json") as recordings:
        for _, recorded in recordings:
            files.append(f"{component}-trace-{recorded.stem.replace(' ', '-')}.json")
            shutil.copy(recorded, into / files[-1])
    return {
        "files": files, "of": "", "hot": {},
        "how": "Open them in Perfetto (https://ui.perfetto.dev). Every call of the last "
               f"{TRACE_ENTRIES:,} of each process. Tracing makes small functions look slow.",
    }  # fmt: skip
