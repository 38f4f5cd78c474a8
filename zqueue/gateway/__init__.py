"""The gateway: work is posted, and results are read, over HTTP.

`Gateway` is an ASGI application: ``zqueue gateway`` serves it, or a program mounts it in its own.

What a request means is decided by parts without a socket: `routes` (which call), `wants` (types,
preferences, waits), `lines` (NDJSON), `cloud_events`, `decoding`; `problems` says what went wrong;
`kept` holds results until they are fetched, `repeats` answers by idempotency key, `room` bounds
what is held. The drivers: `entrance` lets in and answers, `answering` is what each call does;
`outlet` publishes, `posting` does so for single bodies and `streaming` for lines, `fetching` gives
out results, `overseeing` asks the brokers; `process` is the process.
"""

from __future__ import annotations

from .entrance import Gateway as Gateway
