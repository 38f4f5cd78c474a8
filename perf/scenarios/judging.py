"""What a run found: counts, percentiles, and whether what must hold does."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from lab.measure import percentile, percentiles

from scenarios.plans import Scenario, Span
from scenarios.site import Post, Seen

SENT_MIB_MAX = 64
"""The gateway holds no more of all bodies and batches together."""


class Found(NamedTuple):
    """What one run found."""

    scenario: Scenario
    seconds: float
    asked: int
    posts: Sequence[Post]
    noted: Counter[int]
    seen: Sequence[Seen]
    reader_bytes: tuple[int, int] = (0, 0)
    """What the slow reader has sent and read."""


class Check(NamedTuple):
    """Something that must hold."""

    text: str
    found: float
    wanted: str
    holds: bool
    timed: bool = False
    """Whether it depends on how busy the machine is."""


def rows(found: Found) -> list[tuple[str, str]]:
    """Figures: counts and percentiles, all latencies from when a post was due."""
    accepted = [post for post in found.posts if post.status == 202]
    statuses = Counter(post.status for post in found.posts)
    late = percentiles(1e3 * (post.sent - post.due) for post in found.posts)
    latency = percentiles(post.latency_ms for post in accepted)
    refused = [post.due for post in found.posts if post.status != 202]
    events = [f"{text} at {at * found.seconds:.1f}" for at, text, _ in found.scenario.events]
    doubled = sum(times - 1 for times in found.noted.values())
    return [
        ("events, s", ", ".join(events) or "none"),
        ("posts", f"{found.asked:,}"),
        ("answers, by status", ", ".join(f"{s}: {n:,}" for s, n in sorted(statuses.items()))),
        ("refused, first and last due, s",
         f"{min(refused):.1f}, {max(refused):.1f}" if refused else "none"),
        ("accepted, p50, p95, p99, most, ms",
         ", ".join(f"{latency[name]:.1f}" for name in latency)),
        ("accepted, p50, p99, before and after, ms",
         ", ".join(f"{_late(found, span, p):.1f}"
                   for span in (found.scenario.before, found.scenario.after) for p in (50, 99))),
        ("sent late, p50, p95, p99, most, ms", ", ".join(f"{late[name]:.1f}" for name in late)),
        ("run twice, as at-least-once allows", f"{doubled:,}"),
        ("run, though refused or not answered",
         f"{len(found.noted.keys() - {post.number for post in accepted}):,}"),
    ]  # fmt: skip


def checks(found: Found) -> list[Check]:
    """What must hold: exact counts, and ratios within the run."""
    posts, scenario = found.posts, found.scenario
    accepted = {post.number for post in posts if post.status == 202}
    refused = [post for post in posts if post.status in (429, 503)]
    tail = [post for post in _within(found, (0.9, 1.0)) if post.status != 202]
    made = [
        _none("not answered", found.asked - len(accepted) - len(refused)),
        _none("accepted, and lost", len(accepted - found.noted.keys())),
        _none("refused without Retry-After", sum(not post.said for post in refused)),
        _none("not accepted, of the last tenth", len(tail), timed=True),
    ]
    full = sum(post.status == 429 for post in posts)
    if scenario.refused:
        made.append(Check("429: the queue is full", full, "≥ 1", full >= 1))
    elif not scenario.durable:
        made.append(_none("refused", len(refused), timed=True))
    before, after = _late(found, scenario.before, 50), _late(found, scenario.after, 50)
    made.append(_at_most("p50 after / before", after / before, scenario.slower_max))
    if scenario.reads_slowly:
        sent, read = found.reader_bytes
        made.append(Check("bytes that the slow reader got", read, "≥ 1", read >= 1))
        mib = round(sent / 2**20, 1)
        made.append(Check("MiB that it could send", mib, f"≤ {SENT_MIB_MAX}", mib <= SENT_MIB_MAX))
    if scenario.grows_max:
        early = next(one for one in found.seen if one.at >= found.seconds / 4)
        grew = (found.seen[-1].gateway + found.seen[-1].broker) / (early.gateway + early.broker)
        made.append(_at_most("memory at the end / at a quarter", grew, scenario.grows_max))
    return made


def _none(text: str, count: int, *, timed: bool = False) -> Check:
    return Check(text, count, "0", count == 0, timed)


def _at_most(text: str, ratio: float, most: float) -> Check:
    return Check(text, round(ratio, 2), f"≤ {most:g}", ratio <= most, timed=True)


def _within(found: Found, span: Span) -> list[Post]:
    first, last = (share * found.seconds for share in span)
    return [post for post in found.posts if first <= post.due < last]


def _late(found: Found, span: Span, percent: float) -> float:
    """A percentile of the latency, ms. NaN, for which no threshold holds, if none was accepted."""
    taken = sorted(post.latency_ms for post in _within(found, span) if post.status == 202)
    return percentile(taken, percent) if taken else float("nan")
