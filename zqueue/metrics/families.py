"""What the exposition tells: names of metrics, their help, and where their values are."""

from __future__ import annotations

from ..stats.histogram import EDGES_S, HIGH_S

DURATION_EDGES_S = (*(edge for edge in EDGES_S if edge > 1e-4), 1024.0, 2048.0, HIGH_S)
"""0.12 ms to 68 minutes."""

TASKS_EDGES = tuple(2.0**power for power in range(13))
"""1 to 4096 tasks."""

QUANTILES = (("0.5", "p50"), ("0.95", "p95"), ("0.99", "p99"))

WINDOWS = (("10", "10s"), ("60", "1m"), ("300", "5m"))

WAIT = "Time from the broker's accepting a task to its first delivery."
COMMIT = "Time from beginning to store something to its being stored."
CONFIRM = "Time from sending a batch to its confirm."
RUN = "Time from a handler's start to its end."
TOTAL = "Time from sending a task to its handler's end, without the time on the network."
BATCH = "Tasks per published batch."
PAUSE = "Pauses of garbage collectors."
PAUSE_HERE = "Pauses of the sidecar's own garbage collector."
MADE = "Batches allocated, in reused or in new memory."
RUNNING = "For how long the worker has run its current task; 0 if idle."
INTERVAL = "Time from the start of a pause to the start of the next."

Names = tuple[tuple[str, str, str], ...]
"""Name of a metric, its help, and the key of its value."""

BROKER_GAUGES: Names = (
    ("zqueue_broker_uptime_seconds", "Time since the broker started.", "uptime_s"),
    ("zqueue_broker_draining", "1 while the broker drains before it stops.", "draining"),
    ("zqueue_broker_resident_memory_bytes", "Resident memory of the broker.", "rss_bytes"),
    ("zqueue_held_bytes", "Bytes of tasks in all queues.", "bytes"),
    ("zqueue_held_limit_bytes", "Most bytes of tasks in all queues together.", "bytes_max"),
    ("zqueue_producers", "Connected producers.", "producers"),
    ("zqueue_queues_unlisted", "Queues that are not listed one by one.", "other_queues"),
)

BROKER_COUNTERS: Names = (
    ("zqueue_broker_stale_tasks", "Tasks settled after their lease was lost.", "stale"),
    ("zqueue_broker_garbage_messages", "Malformed messages.", "garbage"),
    ("zqueue_broker_forbidden_messages", "Messages that a key does not allow.", "forbidden"),
    ("zqueue_broker_results", "Results sent to producers.", "results"),
    ("zqueue_broker_results_lost", "Results whose producer was gone.", "results_lost"),
    (
        "zqueue_broker_workers_lost",
        "Workers that died or stopped their heartbeats.",
        "workers_lost",
    ),
    ("zqueue_broker_refused_batches", "Batches refused.", "refused"),
    ("zqueue_broker_cpu_seconds", "Processor time, user and system.", "cpu_s"),
)

STORE_GAUGES: Names = (
    ("zqueue_store_disk_bytes", "Bytes of all files of the data dir.", "disk_bytes"),
    ("zqueue_store_live_bytes", "Bytes stored of what is not over.", "live_bytes"),
    ("zqueue_store_segments", "Files that hold something that is not over.", "segments"),
    ("zqueue_store_full", "1 while the disk is full: nothing new is accepted.", "full"),
    ("zqueue_store_recovering", "1 while tasks are still being found.", "recovering"),
)

QUEUE_GAUGES: Names = (
    ("zqueue_queue_ready_tasks", "Ready tasks: waiting for a worker.", "ready"),
    ("zqueue_queue_delayed_tasks", "Delayed tasks: they wait for their time.", "delayed"),
    ("zqueue_queue_leased_tasks", "Leased tasks: delivered and not yet settled.", "leased"),
    ("zqueue_queue_limit_tasks", "Most tasks that the queue may hold.", "tasks_max"),
    ("zqueue_queue_bytes", "Bytes of tasks in the queue.", "bytes"),
    ("zqueue_queue_limit_bytes", "Most bytes of tasks in the queue.", "bytes_max"),
    ("zqueue_queue_workers", "Workers that serve the queue.", "workers"),
    ("zqueue_queue_withheld_batches", "Batches whose confirms wait for room.", "withheld"),
    (
        "zqueue_queue_next_due_seconds",
        "Until the first delayed task is due, if there is one.",
        "due_in_s",
    ),
    ("zqueue_queue_oldest_seconds", "Wait of the oldest ready task.", "oldest_s"),
    ("zqueue_queue_paused", "1 while the queue is paused: it delivers nothing.", "paused"),
    ("zqueue_queue_draining", "1 while the queue drains: it accepts nothing.", "draining"),
)

QUEUE_COUNTERS: Names = (
    ("zqueue_queue_published_tasks", "Tasks accepted from producers.", "published"),
    ("zqueue_queue_ingested_tasks", "Tasks accepted from the plain lane.", "ingested"),
    (
        "zqueue_queue_delivered_tasks",
        "Tasks delivered to workers, redeliveries included.",
        "delivered",
    ),
    ("zqueue_queue_egressed_tasks", "Tasks sent out on the plain lane.", "egressed"),
    ("zqueue_queue_done_tasks", "Tasks done.", "done"),
    ("zqueue_queue_failed_tasks", "Tasks failed.", "failed"),
    ("zqueue_queue_cancelled_tasks", "Tasks cancelled.", "cancelled"),
    (
        "zqueue_queue_redelivered_tasks",
        "Tasks made ready again after their worker was lost.",
        "redelivered",
    ),
    ("zqueue_queue_returned_tasks", "Tasks that workers returned unstarted.", "returned"),
    ("zqueue_queue_dead_tasks", "Tasks that became dead letters.", "dead"),
    ("zqueue_queue_replayed_tasks", "Dead letters that became tasks again.", "replayed"),
    (
        "zqueue_queue_postponed_batches",
        "Batches refused for now: their producer sends them again later.",
        "postponed",
    ),
)

DEAD_COUNTERS: Names = (
    (
        "zqueue_dead_letters_evicted",
        "Dead letters dropped by the broker: they made room for newer ones.",
        "evicted",
    ),
    ("zqueue_dead_letters_dropped", "Dead letters dropped by somebody.", "dropped"),
)

DEATHS = ("failed", "timeout", "crashed", "malformed", "expired")

DEAD = "Tasks that became dead letters, by the reason."

BESIDE_COUNTERS: Names = (
    (
        "zqueue_queue_duplicates_batches",
        "Batches that producers sent again needlessly.",
        "duplicates",
    ),
    ("zqueue_queue_refused_batches", "Batches refused.", "refused"),
)

WORKER_COUNTERS: Names = (
    ("zqueue_worker_busy_seconds", "Time spent in handlers.", "busy_s"),
    ("zqueue_worker_cpu_seconds", "Processor time, user and system.", "cpu_s"),
)

WORKER_GAUGES: Names = (
    ("zqueue_worker_resident_memory_bytes", "Resident memory of the worker.", "rss_bytes"),
    (
        "zqueue_worker_in_flight_tasks",
        "Tasks delivered to the worker and not yet settled.",
        "in_flight",
    ),
    (
        "zqueue_worker_credit_tasks",
        "Most tasks that the worker allows to be in flight to it.",
        "credit",
    ),
)


SUPERVISOR_GAUGES: Names = (
    ("zqueue_supervisor_processes", "Worker processes of the supervisor.", "processes"),
    ("zqueue_supervisor_resident_memory_bytes", "Resident memory of the supervisor.", "rss_bytes"),
)

RESTARTS = "Worker processes that ended and were replaced."
