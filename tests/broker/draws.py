"""What a test draws by chance: batches, skills, settlements."""

from __future__ import annotations

from hypothesis import strategies as st

from zqueue.wire.messages import CANCELLED, DONE, FAILED, RESULTS, RETRY, RETURNED

from .network import BATCH_MAX, QUEUES
from .times import Ask

BATCHES = st.tuples(
    st.integers(0, 1),
    st.sampled_from(QUEUES),
    st.integers(1, BATCH_MAX),
    st.sampled_from((0, 0, 0, 90, 400)),
    st.booleans(),
    st.sampled_from("ttu"),
    st.sampled_from(
        (
            *(Ask(),) * 6,
            Ask(delay_s=0.4),
            Ask(delay_s=3.0),
            Ask(at_s=1.5),
            Ask(expires_s=0.5),
            Ask(delay_s=0.5, expires_s=1.0),
            Ask(retries=0),
            Ask(retries=1, delay_s=0.01),
        )
    ),
)
"""Producer, queue, number of tasks, padding of each in bytes, whether results are wanted, name,
options."""

Wanted = tuple[int, str, int, int, bool, str, Ask]

SKILLS: tuple[dict[str, str], ...] = ({}, {}, {"t": "a"}, {"u": "b"}, {"t": "a", "u": "a"})
"""What workers say that they have; nothing is everything."""

SETTLEMENTS = st.tuples(
    st.integers(0, 5),
    st.integers(0, 20),
    st.integers(0, 3),
    st.integers(1, 8),
    st.sampled_from((DONE, DONE, RESULTS, RESULTS, FAILED, RETURNED, CANCELLED, RETRY, RETRY)),
    st.sampled_from((1, 3, 3, 20)),
    st.sampled_from((-1, -1, 0, 700, 2500)),
)
"""Worker, lease, tasks of each batch to skip and to settle, status, credit, delay of a retry."""
