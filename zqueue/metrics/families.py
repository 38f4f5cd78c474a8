"""What the exposition tells: metrics, their terms in the glossary, and the keys of their values."""

from __future__ import annotations

from ..stats.histogram import EDGES_S, HIGH_S

DURATION_EDGES_S = (*(edge for edge in EDGES_S if edge > 1e-4), 1024.0, 2048.0, HIGH_S)
"""0.12 ms to 68 minutes."""

TASKS_EDGES = tuple(2.0**power for power in range(13))
"""1 to 4096 tasks."""

QUANTILES = (("0.5", "p50"), ("0.95", "p95"), ("0.99", "p99"))

WINDOWS = (("10", "10s"), ("60", "1m"), ("300", "5m"))

Names = tuple[tuple[str, str, str], ...]
"""Name of a metric, what it is in the glossary, and the key of its value."""

BROKER_GAUGES: Names = (
    ("zqueue_broker_uptime_seconds", "uptime", "uptime_s"),
    ("zqueue_broker_draining", "broker_draining", "draining"),
    ("zqueue_broker_resident_memory_bytes", "rss", "rss_bytes"),
    ("zqueue_held_bytes", "held", "bytes"),
    ("zqueue_held_limit_bytes", "held_max", "bytes_max"),
    ("zqueue_producers", "producers", "producers"),
    ("zqueue_queues_unlisted", "unlisted", "other_queues"),
)

BROKER_COUNTERS: Names = (
    ("zqueue_broker_stale_tasks", "stale", "stale"),
    ("zqueue_broker_garbage_messages", "garbage", "garbage"),
    ("zqueue_broker_forbidden_messages", "forbidden", "forbidden"),
    ("zqueue_broker_results", "results", "results"),
    ("zqueue_broker_results_lost", "results_lost", "results_lost"),
    ("zqueue_broker_workers_lost", "workers_lost", "workers_lost"),
    ("zqueue_broker_refused_batches", "refused", "refused"),
    ("zqueue_broker_cpu_seconds", "cpu_s", "cpu_s"),
)

STORE_GAUGES: Names = (
    ("zqueue_store_disk_bytes", "disk_bytes", "disk_bytes"),
    ("zqueue_store_live_bytes", "live_bytes", "live_bytes"),
    ("zqueue_store_segments", "segments", "segments"),
    ("zqueue_store_full", "disk_full", "full"),
    ("zqueue_store_recovering", "recovering", "recovering"),
)

QUEUE_GAUGES: Names = (
    ("zqueue_queue_ready_tasks", "ready", "ready"),
    ("zqueue_queue_delayed_tasks", "delayed", "delayed"),
    ("zqueue_queue_leased_tasks", "leased", "leased"),
    ("zqueue_queue_limit_tasks", "tasks_max", "tasks_max"),
    ("zqueue_queue_bytes", "bytes", "bytes"),
    ("zqueue_queue_limit_bytes", "bytes_max", "bytes_max"),
    ("zqueue_queue_workers", "servers", "workers"),
    ("zqueue_queue_withheld_batches", "withheld", "withheld"),
    ("zqueue_queue_next_due_seconds", "due", "due_in_s"),
    ("zqueue_queue_oldest_seconds", "oldest", "oldest_s"),
    ("zqueue_queue_paused", "paused", "paused"),
    ("zqueue_queue_draining", "draining", "draining"),
)

QUEUE_COUNTERS: Names = (
    ("zqueue_queue_published_tasks", "published", "published"),
    ("zqueue_queue_ingested_tasks", "ingested", "ingested"),
    ("zqueue_queue_delivered_tasks", "delivered", "delivered"),
    ("zqueue_queue_egressed_tasks", "egressed", "egressed"),
    ("zqueue_queue_done_tasks", "done", "done"),
    ("zqueue_queue_failed_tasks", "failed", "failed"),
    ("zqueue_queue_retried_tasks", "retried", "retried"),
    ("zqueue_queue_cancelled_tasks", "cancelled", "cancelled"),
    ("zqueue_queue_expired_tasks", "expired", "expired"),
    ("zqueue_queue_redelivered_tasks", "redelivered", "redelivered"),
    ("zqueue_queue_returned_tasks", "returned", "returned"),
    ("zqueue_queue_dead_tasks", "dead", "dead"),
    ("zqueue_queue_replayed_tasks", "replayed", "replayed"),
    ("zqueue_queue_deduplicated_tasks", "deduplicated", "deduplicated"),
    ("zqueue_queue_postponed_batches", "postponed", "postponed"),
)

DEAD_COUNTERS: Names = (
    ("zqueue_dead_letters_evicted", "evicted", "evicted"),
    ("zqueue_dead_letters_dropped", "dropped", "dropped"),
)

DEATHS = ("failed", "timeout", "crashed", "malformed", "expired")

BESIDE_COUNTERS: Names = (
    ("zqueue_queue_duplicates_batches", "duplicates", "duplicates"),
    ("zqueue_queue_refused_batches", "refused", "refused"),
)

WORKER_COUNTERS: Names = (
    ("zqueue_worker_busy_seconds", "busy_s", "busy_s"),
    ("zqueue_worker_cpu_seconds", "cpu_s", "cpu_s"),
)

WORKER_GAUGES: Names = (
    ("zqueue_worker_resident_memory_bytes", "rss", "rss_bytes"),
    ("zqueue_worker_in_flight_tasks", "in_flight", "in_flight"),
    ("zqueue_worker_credit_tasks", "credit", "credit"),
)

SUPERVISOR_GAUGES: Names = (
    ("zqueue_supervisor_processes", "processes", "processes"),
    ("zqueue_supervisor_resident_memory_bytes", "rss", "rss_bytes"),
)
