"""The glossary: each figure's word, its unit and its meaning, told once.

The page, ``zqueue top``, the help texts of the exposition and docs/metrics.md take their words from
here. A figure that grows is a rate where its column says ``/s``, and else the total since the start
of the process that counts it.
"""

from __future__ import annotations

from typing import NamedTuple


class Term(NamedTuple):
    """One figure."""

    word: str
    """As people read it."""
    unit: str
    """Empty for what has none."""
    means: str
    """A sentence or two."""


QUEUES = {
    "ready": Term("ready", "tasks", "Tasks that wait for a worker."),
    "delayed": Term(
        "delayed", "tasks", "Tasks that wait for their time: a delay, or the next attempt."
    ),
    "due": Term("next due", "s", "How long until the first delayed task is ready."),
    "leased": Term(
        "leased", "tasks", "Tasks delivered to workers and not yet settled: running, or next there."
    ),
    "oldest": Term("oldest", "s", "How long the oldest ready task has waited."),
    "in": Term("in", "tasks", "Tasks accepted, from producers and from the plain lane."),
    "out": Term("out", "tasks", "Tasks done, failed, or sent out on the plain lane."),
    "failed": Term(
        "failed", "tasks", "Tasks that failed and are not tried again. (Failures count each run.)"
    ),
    "wait": Term("wait", "s", "Time from the broker's accepting a task to its first delivery."),
    "servers": Term("workers", "", "Workers that serve the queue."),
    "bytes": Term("bytes", "bytes", "Bytes of tasks in the queue."),
    "tasks_max": Term("bound", "tasks", "Most tasks that the queue may hold."),
    "bytes_max": Term("bound in bytes", "bytes", "Most bytes of tasks that the queue may hold."),
    "withheld": Term(
        "withheld", "batches", "Batches whose confirms wait for room. Above 0: the queue is full."
    ),
    "full": Term("full", "", "The queue is at its bound: producers wait for room."),
    "paused": Term("paused", "", "The queue delivers no tasks until somebody resumes it."),
    "draining": Term(
        "draining", "", "The queue accepts no new tasks, and delivers those that it holds."
    ),
    "batch": Term("batch", "tasks", "Tasks in a batch as it was published."),
}

COUNTERS = {
    "published": Term("published", "tasks", "Tasks accepted from producers."),
    "ingested": Term("ingested", "tasks", "Tasks accepted from the plain lane."),
    "delivered": Term("delivered", "tasks", "Tasks given to workers; again each time."),
    "egressed": Term("egressed", "tasks", "Tasks sent out on the plain lane."),
    "retried": Term("retried", "tasks", "Tasks that failed or ran too long, to be tried again."),
    "redelivered": Term(
        "redelivered", "tasks", "Tasks ready again because their worker was lost or timed out."
    ),
    "returned": Term("returned", "tasks", "Tasks ready again because a worker gave them back."),
    "cancelled": Term("cancelled", "tasks", "Tasks not run, or ended, because somebody asked."),
    "expired": Term("expired", "tasks", "Tasks that were too old when it was their turn."),
    "dead": Term("dead", "tasks", "Tasks that became dead letters."),
    "replayed": Term("replayed", "tasks", "Dead letters that became tasks again."),
    "deduplicated": Term("deduplicated", "tasks", "Tasks not taken: another one had their key."),
    "duplicates": Term("duplicates", "batches", "Batches sent again that the broker had already."),
    "postponed": Term("postponed", "batches", "Batches that came to a full queue, to come again."),
    "refused": Term("refused", "batches", "Batches refused."),
    "stale": Term("stale", "tasks", "Tasks settled by a worker whose lease was lost."),
    "garbage": Term("garbage", "messages", "Malformed messages."),
    "forbidden": Term("forbidden", "messages", "Messages that a key does not allow."),
    "results": Term("results", "tasks", "Results sent to producers."),
    "results_lost": Term("results lost", "tasks", "Results whose producer was gone."),
    "workers_lost": Term("workers lost", "", "Workers that died or stopped their heartbeats."),
}

TASKS = {
    "run": Term("run", "s", "Time from a handler's start to its end."),
    "total": Term(
        "total", "s", "Time from sending a task to its handler's end, without the network's."
    ),
    "ended": Term("ended", "runs", "Runs of handlers that ended, well or not."),
    "done": Term("done", "runs", "Runs that ended well."),
    "failures": Term("failures", "runs", "Runs that failed, also those that are tried again."),
}

DEAD = {
    "letters": Term("letters", "", "Dead letters of this kind that the broker keeps."),
    "kept": Term("dead letters", "", "Dead letters that the broker keeps."),
    "evicted": Term("evicted", "", "Dead letters that made room for newer ones, and are gone."),
    "dropped": Term("dropped", "", "Dead letters that somebody dropped."),
    "error": Term("error", "", "The type of the error."),
    "reason": Term(
        "reason", "", "Why it is dead. failed: the handler raised; timeout, crashed: it ran too "
        "long, or its workers died; malformed: its body cannot be read; expired: it was too old.",
    ),
    "first": Term("first", "time", "When the oldest of them was set aside."),
    "last": Term("last", "time", "When the newest of them was set aside."),
    "text": Term("text", "", "What the newest error said."),
}  # fmt: skip

PROCESSES = {
    "busy": Term("busy", "%", "Share of the last 10 s that a worker spent in handlers."),
    "history": Term("last minute", "", "A value for each second of the last minute."),
    "strip": Term(
        "ran", "", "What a worker ran in each second of the last minute, by task: the "
        "higher, the more of that second.",
    ),
    "running": Term(
        "running", "s", "The task that a worker runs, for how long, and how far it says it is."
    ),
    "in_flight": Term("in flight", "tasks", "Tasks delivered to a worker and not yet settled."),
    "credit": Term("credit", "tasks", "Most tasks that a worker allows to be in flight to it."),
    "cpu": Term("cpu", "cores", "Processor cores in use, over the last 10 s."),
    "cpu_s": Term("processor time", "s", "Processor time, user and system."),
    "busy_s": Term("busy time", "s", "Time spent in handlers."),
    "rss": Term("memory", "bytes", "Resident memory of a process."),
    "processes": Term("processes", "", "Worker processes that a supervisor keeps."),
    "restarts": Term("restarts", "", "Worker processes that ended and were replaced."),
    "pauses": Term("pauses", "", "Pauses of a process for its garbage collector."),
    "longest": Term("longest", "s", "The longest of them."),
    "every": Term("every", "s", "Half of the pauses began sooner after the one before."),
}  # fmt: skip

BROKERS = {
    "uptime": Term("up", "s", "Time since the broker started."),
    "held": Term("held", "bytes", "Bytes of tasks in all queues."),
    "held_max": Term("held at most", "bytes", "Most bytes of tasks in all queues together."),
    "producers": Term("producers", "", "Connected producers."),
    "workers": Term("workers", "", "Connected workers."),
    "confirm": Term("confirm", "s", "Time from sending a batch to its confirm."),
    "commit": Term("commit", "s", "Time from beginning to store something to its being stored."),
    "disk_bytes": Term("on disk", "bytes", "Bytes of all files of the data dir."),
    "live_bytes": Term("stored", "bytes", "Bytes stored of what is not over."),
    "segments": Term("segments", "", "Files that hold something that is not over."),
    "disk_full": Term("disk full", "", "The disk is full: the broker accepts nothing new."),
    "loss_window": Term(
        "loss window", "s", "What was confirmed so short before a power cut may be lost."
    ),
    "moved": Term("moved", "entries", "Entries moved to free files."),
    "broker_draining": Term("broker draining", "", "The broker stops: it accepts nothing new."),
    "recovering": Term("recovering", "", "Tasks are still being found in the data dir."),
}

EXPOSED = {
    "up": Term("answers", "", "1 while the broker answers."),
    "broker_info": Term("broker info", "", "Identity and version of the broker."),
    "worker_info": Term("worker info", "", "Version and queues of the worker."),
    "store_info": Term("store info", "", "Durability level, and the data dir."),
    "batches_made": Term("batches made", "batches", "Batches put in reused or in new memory."),
    "longest_pause": Term("longest pause", "s", "The longest pause since the start."),
    "unlisted": Term("unlisted queues", "", "Queues that are not listed one by one."),
    "polls": Term("polls", "", "Queries of the sidecar to the broker."),
    "poll_failures": Term("poll failures", "", "Queries without an answer."),
    "poll": Term("poll", "s", "How long the last query took."),
}
"""What is of use to Prometheus only."""

GROUPS = {
    "queues": QUEUES,
    "counters of queues and brokers": COUNTERS,
    "tasks": TASKS,
    "dead letters": DEAD,
    "processes": PROCESSES,
    "brokers": BROKERS,
    "Prometheus alone": EXPOSED,
}

GLOSSARY: dict[str, Term] = {key: term for terms in GROUPS.values() for key, term in terms.items()}


def means(key: str) -> str:
    """What a figure means, as a sentence or two."""
    return GLOSSARY[key].means


def word(key: str, more: str = "") -> str:
    """The word for a figure, with what follows it: ``/s`` for its rate, `` p99``."""
    return GLOSSARY[key].word + more


def as_markdown() -> str:
    """All of it, for docs/metrics.md."""
    lines = ["| | unit | |", "| --- | --- | --- |"]
    for group, terms in GROUPS.items():
        lines.append(f"| *{group}* | | |")
        lines += [f"| {term.word} | {term.unit} | {term.means} |" for term in terms.values()]
    return "\n".join(lines)
