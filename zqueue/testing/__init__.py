"""For tests of programs that use zqueue: real brokers and workers, started, watched and ended.

- `InProcess`: a broker and a worker in threads of the test's process. It starts no process, so it
  takes milliseconds, and a debugger or a patched function reaches the handlers.
- `Cluster`: ``zqueue broker`` and ``zqueue worker`` as processes, to kill and to restart.
- `wait_until`: waits for a condition, with a deadline. `FakeClock`: time that only the test moves.

Nothing here is an imitation: tasks pass the same broker, client and worker code as elsewhere.
pytest is not needed. See docs/testing.md.
"""

from .cluster import QUICK, Broker, Cluster, Pool
from .in_process import InProcess
from .processes import Process, Processes
from .waiting import FakeClock, Unmet, free_port, wait_until

__all__ = [
    "QUICK",
    "Broker",
    "Cluster",
    "FakeClock",
    "InProcess",
    "Pool",
    "Process",
    "Processes",
    "Unmet",
    "free_port",
    "wait_until",
]
