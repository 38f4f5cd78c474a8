"""RQ behind FastAPI, as it is written by hand: a post is enqueued in Redis, and then answered."""

from __future__ import annotations

import os
from typing import Any

import redis
import rq
from fastapi import FastAPI

web = FastAPI()
queue = rq.Queue("default", connection=redis.Redis.from_url(os.environ["REDIS_URL"]))


@web.post("/v1/queues/events", status_code=202)
def post(body: dict[str, Any]) -> dict[str, int]:
    """In a thread, as FastAPI has what may wait. Once Redis has answered, the job is in memory."""
    queue.enqueue("peers.working.noop", body, result_ttl=0)
    return {"accepted": 1}
