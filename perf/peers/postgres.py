"""PostgreSQL: a table of jobs that workers claim with SKIP LOCKED, at least once, on disk.

A commit is answered when it is synced, as PostgreSQL has it by default. Sent one by one, each task
is an INSERT and a commit of its own; of several connections at once the server syncs commits
together. Otherwise rows go 512 to an INSERT; or, packed by hand, 512 bodies to a row, which is then
one unit, and 8 rows to an INSERT. Workers claim up to 512 rows in one statement, run them, and
commit: a worker that dies before leaves them to the others.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import pwd
import shutil
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from time import monotonic_ns
from typing import Any

import psycopg

from peers import driver, packed, working
from peers.environments import program

CONNECTIONS = 16
"""Of the producer: so many tasks are outstanding, each to be committed."""
CONNECTIONS_PACKED = 4
CLAIMED = 512
PACKED_ROWS = 8
"""Rows in one INSERT where each holds many bodies."""
USER = "postgres"
"""Who runs the server, as it refuses to be root."""

TABLES = """
CREATE UNLOGGED TABLE results (words bigint);
CREATE TABLE jobs (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, body bytea NOT NULL)
    WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 20000);
"""
PUT = "INSERT INTO jobs (body) VALUES (%b)"
PUT_MANY = "INSERT INTO jobs (body) SELECT unnest(%b::bytea[])"
CLAIM = f"""
DELETE FROM jobs USING
    (SELECT id FROM jobs ORDER BY id LIMIT {CLAIMED} FOR UPDATE SKIP LOCKED) AS claimed
WHERE jobs.id = claimed.id RETURNING jobs.body
"""
TELL = "INSERT INTO results VALUES (%b)"

SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "shared_buffers": "256MB",
    "max_wal_size": "4GB",
    "autovacuum_naptime": "5s",
}
"""Beside what is so by default: fsync and synchronous_commit are on."""


class Driver(driver.AsyncDriver):
    """The producer. Results are rows of a table without a log, for nobody else keeps them."""

    def start(self) -> str:
        self._pack, _ = packed.codec()
        user = USER if os.geteuid() == 0 else None
        folder = Path(tempfile.mkdtemp(prefix="zqueue-postgres-"))  # Where that user can go, too.
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        if user:
            os.chown(folder, pwd.getpwnam(user).pw_uid, -1)
        subprocess.run(
            [program("initdb") or "initdb", "-A", "trust", "-U", USER, "-D", folder / "data"],
            check=True, stdout=subprocess.DEVNULL, user=user, cwd=folder,
        )  # fmt: skip
        options = [f"--{name}={value}" for name, value in SETTINGS.items()]
        self.processes.start(
            program("postgres"), "-D", folder / "data", "-p", driver.port(), *options, user=user,
        )  # fmt: skip
        self.wait_until(_answers, "the server")
        with connect() as connection:
            connection.execute(TABLES)
            version = connection.execute("SHOW server_version").fetchone()[0]
        self.run(self._connect())
        for _ in range(self.workers):
            self.processes.start_python("-m", "peers.postgres")
        self.wait_for_marks()
        return f"PostgreSQL {version.split()[0]}, psycopg {psycopg.__version__}"

    async def _connect(self) -> None:
        self._free: asyncio.Queue[psycopg.AsyncConnection] = asyncio.Queue()
        for _ in range(CONNECTIONS if self.bodies == 1 else CONNECTIONS_PACKED):
            connection = await psycopg.AsyncConnection.connect(address(), autocommit=True)
            self._free.put_nowait(connection)
        self._own = await psycopg.AsyncConnection.connect(address(), autocommit=True)

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[psycopg.AsyncConnection]:
        connection = await self._free.get()
        try:
            yield connection
        finally:
            self._free.put_nowait(connection)

    async def _put(self, bodies: Iterator[Any], together: int) -> None:
        """Send as many at once as there are connections; all are committed at the end."""

        async def send() -> None:
            async with self._connection() as connection:
                while several := [body for _, body in zip(range(together), bodies, strict=False)]:
                    if together == 1:
                        await connection.execute(PUT, several)
                    else:
                        await connection.execute(PUT_MANY, (several,))

        await asyncio.gather(*(send() for _ in range(self._free.qsize())))

    def throughput(self, tasks: int) -> None:
        """Until all were executed, and their removal is committed."""
        wanted = self.executed() + tasks
        is_packed = self.options.get("packed", False)
        rows = packed.no_ops(tasks, self.bodies if is_packed else 1, self._pack, self.make)
        self.run(self._put(rows, PACKED_ROWS if is_packed else self.bodies))
        self.wait_until(
            lambda: self.executed() >= wanted and self._ask("SELECT NOT EXISTS (SELECT FROM jobs)"),
            "the last commit",
        )

    def _ask(self, query: str) -> Any:
        async def ask() -> Any:
            found = await (await self._own.execute(query)).fetchone()
            return found and found[0]

        return self.run(ask())

    async def probe_async(self, due_ns: int) -> None:
        async def send() -> None:
            async with self._connection() as connection:
                await connection.execute(PUT, (self._pack((due_ns, monotonic_ns())),))

        self._probe = asyncio.ensure_future(send())  # The next one does not wait for its commit.

    def count(self, chunks: list[str]) -> int:
        """Results in any order."""
        self._ask("WITH gone AS (DELETE FROM results RETURNING 1) SELECT count(*) FROM gone")
        is_packed = self.options.get("packed", False)
        together = 1 if self.bodies == 1 else packed.TEXTS
        rows = packed.text_messages(chunks, self.bodies if is_packed else 1, self._pack)
        self.run(self._put(iter(rows), PACKED_ROWS if is_packed else together))
        self.wait_until(
            lambda: self._ask("SELECT count(*) FROM results") >= len(rows), "the last result"
        )
        return int(self._ask("SELECT sum(words) FROM results"))

    def close(self) -> None:
        async def close() -> None:
            await self._own.close()
            while not self._free.empty():
                await self._free.get_nowait().close()

        self.run(close())


def address() -> str:
    """Where our server is."""
    return f"host=127.0.0.1 port={driver.port()} user={USER} dbname=postgres"


def connect() -> psycopg.Connection:
    """A connection to it."""
    return psycopg.connect(address())


def _answers() -> bool:
    try:
        connect().close()
    except psycopg.OperationalError:
        return False
    return True


def work() -> None:
    """A worker."""
    connection = connect()
    handle = packed.worker()
    _, unpack = packed.codec()
    working.mark_ready()
    while True:
        claimed = connection.execute(CLAIM, binary=True).fetchall()
        answers = [answer for (body,) in claimed if (answer := handle(body)) is not None]
        if answers:
            with connection.cursor() as cursor:
                cursor.executemany(TELL, [(sum(unpack(answer)),) for answer in answers])
        connection.commit()
        if not claimed:
            time.sleep(driver.POLL_S)


if __name__ == "__main__":
    work()
