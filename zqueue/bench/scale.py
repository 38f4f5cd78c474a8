"""How much is measured: enough to be worth believing, or enough to see that all is well."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True, slots=True)
class Scale:
    """Amounts. Each is of one case in one run."""

    name: str
    runs: int
    operations: int
    """In a loop within this process."""
    samples: int
    """Operations that are timed one by one."""
    threaded: int
    """Operations that threads share."""
    hand_overs: int
    """Items handed to a thread that waits."""
    bodies: int
    """Bodies packed or unpacked."""
    tasks: int
    """Small tasks through processes."""
    messages: int
    """Messages through processes, at most, however small the batches."""
    payload_bytes: int
    """Bytes through processes, at most, however large the bodies."""
    batches: tuple[int, ...]
    """Tasks in a batch, on the way through a pool."""
    payloads: tuple[int, ...]
    """Bytes in a body."""
    workers: tuple[int, ...]
    rates: tuple[int, ...]
    """Tasks in a second, sent by the clock."""
    paced_s: float
    """How long at each of these rates."""
    load_s: float
    """How long under full load, to see the collector at work."""
    fill_bytes: int
    """What a full queue may hold."""
    pass_tasks: int
    """Tasks that go through a broker, to see what stays."""


FULL = Scale(
    name="full",
    runs=5,
    operations=200_000,
    samples=50_000,
    threaded=50_000,
    hand_overs=1_000,
    bodies=100_000,
    tasks=500_000,
    messages=10_000,
    payload_bytes=256 << 20,
    batches=(1, 16, 64, 512, 2048),
    payloads=(16, 256, 4096, 65_536),
    workers=(2, 3, 4),
    rates=(50, 200, 1000, 5000),
    paced_s=3.0,
    load_s=3.0,
    fill_bytes=256 << 20,
    pass_tasks=5_000_000,
)

QUICK = Scale(
    name="quick",
    runs=3,
    operations=50_000,
    samples=10_000,
    threaded=10_000,
    hand_overs=100,
    bodies=20_000,
    tasks=100_000,
    messages=2_000,
    payload_bytes=32 << 20,
    batches=(1, 64, 2048),
    payloads=(16, 4096, 65_536),
    workers=(2,),
    rates=(200, 1000),
    paced_s=0.7,
    load_s=1.0,
    fill_bytes=32 << 20,
    pass_tasks=500_000,
)

PROBE = dataclasses.replace(
    QUICK,
    name="probe",
    runs=1,
    operations=2_000,
    samples=500,
    threaded=1_000,
    hand_overs=10,
    bodies=2_000,
    tasks=5_000,
    messages=100,
    payload_bytes=1 << 20,
    batches=(64,),
    payloads=(256,),
    workers=(),
    rates=(200,),
    paced_s=0.2,
    load_s=0.2,
    fill_bytes=1 << 20,
    pass_tasks=20_000,
)
"""For a profiler that writes down every call, and for tests."""
