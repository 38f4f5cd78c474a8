"""The checker: what a history shows, held against what docs/guarantees.md promises. Pure.

Each check names the sentence of that page that it is about; `test_checker.py` looks whether it
is still there.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from typing import NamedTuple

from .facts import OUT, Facts
from .history import Confirmed, Dead, History, Told

LOST = "A task that was **confirmed** is the broker's"
ENDS = "nothing is dropped without a word"
INVENTED = "`zqueue.current().id` is such a key: the same at every delivery of a task"
TWICE = "It never runs zero times while the broker lives."
ONCE = "sent again, taken once"
ORDER = "are taken in the order they were sent"
BOUNDS = "A queue is bounded in tasks"
OUTCOME = "an outcome comes, or an error that says there will be none"
RESULT = "it ran, or failed, or `ResultLost`: it may or may not have run"
FAILURE = "its submitter gets `RemoteError`; if nobody asked for a result, it is a dead letter."
CULPRIT = "The innocent ones run."
EARLY = "**Nothing runs before its time:**"
LATE = "**Nothing runs after its time:**"
CANCELLED = "**What is cancelled does not run.**"
NEIGHBOURS = "those that were sent with it stay where they are"
KEY = "The first task that a queue takes under a key has it for the window"
OVER = "written with the next commit, 0.1 s later at the latest"
FORGET = "it is told to forget what is still ready of that"
PLAIN = "a batch is over when it is taken from its queue for a puller"

SENTENCES = (
    LOST, ENDS, INVENTED, TWICE, ONCE, ORDER, BOUNDS, OUTCOME, RESULT, FAILURE, CULPRIT, EARLY,
    LATE, CANCELLED, NEIGHBOURS, KEY, PLAIN, OVER, FORGET,
)  # fmt: skip

INFINITY = float("inf")


class Violation(NamedTuple):
    """A promise that was not kept."""

    sentence: str
    what: str

    def __str__(self) -> str:
        return f"{self.what}  [{self.sentence}]"


def check(history: History) -> Iterator[Violation]:
    """What is wrong with a history; nothing, if all promises were kept."""
    facts = Facts(history)
    for left in facts.left:
        yield Violation(ENDS, f"not over: {left.what}")
    yield from _nothing_is_lost(facts)
    yield from _nothing_is_invented(facts)
    yield from _nothing_is_twice_without_reason(facts)
    yield from _nothing_is_taken_twice(facts)
    yield from _what_is_over_stays_over(facts)
    yield from _order_is_kept(facts)
    yield from _bounds_hold(facts)
    yield from _submitters_hear_the_truth(facts)
    yield from _failures_are_kept(facts)
    yield from _nothing_is_early_or_late(facts)
    yield from _only_what_is_cancelled_is(facts)
    yield from _a_key_is_of_one_task(facts)
    yield from _nothing_leaves_twice(facts)
    yield from _what_went_elsewhere_is_forgotten(facts)


def _nothing_is_lost(facts: Facts) -> Iterator[Violation]:
    for task in [task for task in facts.confirmed if task in facts.sent]:
        if not (
            facts.ran(task)
            or facts.given_up(task)
            or facts.is_gone(task)
            or facts.is_another_of_its_key(task)
        ):
            yield Violation(LOST, f"task {task} was confirmed, and neither ran nor is dead")


def _nothing_is_invented(facts: Facts) -> Iterator[Violation]:
    for what, tasks in (
        ("ran", facts.began), ("was confirmed", facts.confirmed), ("is dead", facts.dead),
        ("has an outcome", facts.told),
    ):  # fmt: skip
        for task in tasks:
            if tasks[task] and task not in facts.sent:
                yield Violation(INVENTED, f"task {task} {what}, and was never sent")


def _nothing_is_twice_without_reason(facts: Facts) -> Iterator[Violation]:
    for task, runs in facts.began.items():
        if len(runs) > 1 and task in facts.sent:
            reasons = facts.hits(task, runs[-1].at) + facts.given_up_brokers(task, runs[-1].at)
            reasons += facts.sent_again(task, runs[-1].at)
            reasons += facts.replayed.count(task)
            reasons += sum(end.how == "retry" for end in facts.ended[task])
            if len(runs) - 1 > reasons:
                text = (
                    f"task {task} ran {len(runs)} times, and {reasons} faults explain that: {runs}"
                )
                yield Violation(TWICE, text)


def _nothing_is_taken_twice(facts: Facts) -> Iterator[Violation]:
    for revived in facts.revived:
        yield Violation(
            ONCE, f"task {revived.task} was over, and was handed out at {revived.at:.3f}"
        )


def _what_is_over_stays_over(facts: Facts) -> Iterator[Violation]:
    """Whoever heard of a result knows that the broker knew; later it is on its disk."""
    brokers = [fault for fault in facts.faults if fault.whom.startswith("broker")]
    if facts.history.brokers > 1:
        return  # Another one may have had it, too.
    if not facts.history.durable or any(fault.kind == "freeze" for fault in brokers):
        return
    for task, all_told in facts.told.items():
        stored_at = all_told[0].at + facts.history.stored_s
        if all_told[0].how != "value" or facts.may_be_forgotten(stored_at):
            continue
        done_at = min((end.at for end in facts.ended[task] if end.how == "done"), default=0.0)
        if any(done_at <= fault.at <= stored_at for fault in brokers):
            continue
        deaths = [fault.at for fault in brokers if fault.at > stored_at]
        for began in facts.began[task] if deaths else ():
            if began.at > deaths[0] and not _of_its_key(facts, task):
                text = f"task {task} was over at {stored_at:.3f}, and ran at {began.at:.3f}"
                yield Violation(OVER, text)


def _order_is_kept(facts: Facts) -> Iterator[Violation]:
    last: dict[tuple[str, str, str, bool], int] = {}
    for delivered in facts.delivered:
        sent = facts.sent.get(delivered.task)
        if sent is None or delivered.task in facts.postponed:
            continue
        lane = sent.producer, sent.queue, sent.name, sent.reply
        if delivered.task < last.get(lane, 0):
            yield Violation(ORDER, f"task {delivered.task} was handed out after {last[lane]}")
        last[lane] = delivered.task


def _bounds_hold(facts: Facts) -> Iterator[Violation]:
    for measured in facts.measured:
        if measured.held > measured.most:
            yield Violation(BOUNDS, f"{measured.what}: {measured.held} of {measured.most}")


def _submitters_hear_the_truth(facts: Facts) -> Iterator[Violation]:
    for task, all_told in facts.told.items():
        if len(all_told) > 1:
            yield Violation(OUTCOME, f"task {task} has {len(all_told)} outcomes")
        for told in all_told if task in facts.sent else ():
            why = _why_untrue(facts, told)
            if why:
                yield Violation(RESULT, f"task {task}, of which {told.how!r} was said: {why}")


def _why_untrue(facts: Facts, told: Told) -> str:
    task, sent = told.task, facts.sent[told.task]
    ends = [end.how for end in facts.ended[task] if end.at <= told.at]
    if told.how == "value":
        if told.value is not None and told.value != task:
            is_first = told.value in _of_its_key(facts, task)
            return "" if is_first else f"its value is that of {told.value!r}"
        return "" if "done" in ends or _of_its_key(facts, task) else "it was not done"
    if _of_its_key(facts, task):
        return ""  # It may be of the first one.
    if told.how == "Failure":
        return "" if {"failed", "retry"} & set(ends) else "it did not fail"
    if told.how == "TaskTimeout":
        return "" if "late" in ends else "it was not late"
    if told.how == "WorkerLost":
        return _why_innocent(facts, task, told.at)
    if told.how == "UnknownTask":
        return "" if _any_fault(facts, told.at) else "there were always workers that have it"
    if told.how == "ResultLost":
        is_hit = facts.hits(task, told.at, sent.producer, *facts.stopped)
        return "" if is_hit else "there was no fault"
    if told.how == "Expired":
        return _why_not_expired(facts, task, told.at)
    if told.how == "CancelledError" and task in facts.unwanted:
        return ""
    return "there was no reason for that"


def _of_its_key(facts: Facts, task: int) -> set[int]:
    """Other tasks that were sent under its key."""
    asked = facts.asked.get(task)
    key = facts.sent[task].queue, "" if asked is None else asked.key
    return {*facts.keys[key]} - {task} if key[1] else set()


def _why_not_expired(facts: Facts, task: int, at: float) -> str:
    asked = facts.asked.get(task)
    if asked is None or not asked.expires_s:
        return "it has all the time"
    is_over = at >= facts.batch_sent_at(task) + asked.expires_s - facts.forward_s - 0.001
    return "" if is_over else "its time was not over"


def _any_fault(facts: Facts, until: float) -> bool:
    """Whether workers that have all tasks may have been away."""
    return any(fault.at <= until for fault in facts.faults)


def _why_innocent(facts: Facts, task: int, at: float) -> str:
    """Why nobody should have given a task up as one that kills workers."""
    since, most = facts.sent[task].at, facts.history.crashes_max
    faults = sum(fault.until >= since and fault.at <= at for fault in facts.faults)
    return "" if faults >= most else f"since it was sent there were only {faults} faults"


def _failures_are_kept(facts: Facts) -> Iterator[Violation]:
    for task, ends in facts.ended.items():
        sent = facts.sent.get(task)
        if sent is None or sent.reply or not facts.confirmed[task] or facts.is_gone(task):
            continue
        if facts.cancelled[task]:
            continue
        hows = {end.how for end in ends} - {"cut"}
        if hows and hows <= {"failed", "retry"} and not facts.dead[task]:
            yield Violation(FAILURE, f"task {task} failed, and is no dead letter")
    for task, letters in facts.dead.items():
        if task not in facts.sent:
            continue
        yield from _letters_are_right(facts, task, letters)


def _letters_are_right(facts: Facts, task: int, letters: list[Dead]) -> Iterator[Violation]:
    for letter in letters:
        if letter.reason == "expired" and (why := _why_not_expired(facts, task, letter.at)):
            yield Violation(LATE, f"task {task} is dead as one that expired: {why}")
        why = _why_innocent(facts, task, letter.at) if letter.reason == "crashed" else ""
        if why:
            yield Violation(CULPRIT, f"task {task} is dead as one that crashed: {why}")
    is_over = any(end.how == "done" for end in facts.ended[task]) or task in facts.dropped
    is_over |= facts.has_left(task)
    if not letters or is_over or facts.cancelled[task] or not facts.confirmed[task]:
        return  # What was not confirmed is promised to nobody.
    is_there = task in facts.kept or facts.may_be_forgotten(letters[-1].at) or facts.is_gone(task)
    if facts.history.durable and not is_there:
        yield Violation(FAILURE, f"task {task} was a dead letter, and nobody dropped it")


def _nothing_is_early_or_late(facts: Facts) -> Iterator[Violation]:
    for task, asked in facts.asked.items():
        for began in facts.began[task]:
            if began.at < asked.due - facts.forward_s - 0.001:
                text = f"task {task} ran at {began.at:.3f}, and was due at {asked.due:.3f}"
                yield Violation(EARLY, text)
        # When it was taken is not seen from outside, but before that was heard of.
        confirms = facts.confirmed[task]
        if not asked.expires_s or not confirms:
            continue
        expired_at = min(c.at for c in confirms) + asked.expires_s + facts.back_s + 0.001
        for handed_out in facts.handed_out[task]:
            if handed_out.at > expired_at and task not in facts.replayed:
                text = f"task {task} was handed out at {handed_out.at:.3f}"
                yield Violation(LATE, f"{text}, and had expired at {expired_at:.3f}")


def _only_what_is_cancelled_is(facts: Facts) -> Iterator[Violation]:
    for task, events in facts.cancelled.items():
        if task not in facts.unwanted:
            yield Violation(NEIGHBOURS, f"task {task} was cancelled, and nobody asked for that")
        for began in facts.began[task]:
            if began.at > events[0].at and not facts.hits(task, began.at):
                text = f"task {task} was cancelled, and ran at {began.at:.3f}"
                yield Violation(CANCELLED, text)


def _a_key_is_of_one_task(facts: Facts) -> Iterator[Violation]:
    for (queue, key), tasks in facts.keys.items():
        for first, second in combinations(tasks, 2):
            if facts.began[first] and facts.began[second]:
                why = _why_both_ran(facts, first, second)
                if not why:
                    text = f"tasks {first} and {second} of {queue}, key {key}, ran both"
                    yield Violation(KEY, text)


def _why_both_ran(facts: Facts, first: int, second: int) -> str:
    sent, other = facts.taken(first), facts.taken(second)
    assert sent is not None
    assert other is not None
    since, until = min(sent[0], other[0]), max(sent[1], other[1])
    if until - since >= facts.asked[first].window_s - facts.forward_s:
        return "the window may have ended"
    if first in facts.replayed or second in facts.replayed:
        return "a letter that is replayed asks for no key"
    confirms: list[Confirmed] = facts.confirmed[first]
    was_known = any(c.at <= other[0] for c in confirms) and not facts.is_gone(first)
    if was_known and facts.history.durable:
        return ""
    died = any(
        fault.whom.startswith("broker") and since <= fault.at <= until for fault in facts.faults
    )
    return "a broker may have forgotten the first before it was confirmed" if died else ""


def _nothing_leaves_twice(facts: Facts) -> Iterator[Violation]:
    for task, events in facts.handed_out.items():
        if facts.sent[task].queue == OUT and len(events) > 1:
            deaths = sum(
                fault.whom.startswith("broker") and fault.at <= events[-1].at
                for fault in facts.faults
            )
            # What was not confirmed, or not stored, the next broker has, too.
            if not deaths:
                yield Violation(PLAIN, f"task {task} left {len(events)} times")


HEARD_S = 1.0
"""How long a message may be on its way where nothing befalls its ends."""


def _what_went_elsewhere_is_forgotten(facts: Facts) -> Iterator[Violation]:
    for told in facts.withdrawn:
        handed_out = [e.at for e in facts.handed_out[told.task] if e.broker == told.broker]
        if not handed_out or min(handed_out) <= told.at + HEARD_S:
            continue  # A worker had it by then: that runs, and may come again.
        if any(e.task == told.task and e.broker != told.broker for e in facts.withdrawn):
            continue  # It went away again, and perhaps came back, as a new one.
        if any(c.broker == told.broker and c.at > told.at for c in facts.confirmed[told.task]):
            continue  # It did: the other one was lost.
        whom = {told.broker, facts.sent[told.task].producer}
        if not any(f.whom in whom and f.at > told.at - HEARD_S for f in facts.faults):
            text = f"task {told.task} was handed out by {told.broker} at {min(handed_out):.3f}"
            yield Violation(FORGET, f"{text}, which heard at {told.at:.3f} that it is not to be")
