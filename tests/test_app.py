"""The app: how tasks are declared, and what is found of them."""

from __future__ import annotations

import copy
import datetime
import functools
import logging
import pickle
import threading
from typing import Any

import pytest

import zqueue
from zqueue.errors import ConfigError, InvalidName

app = zqueue.App()


@app.task
def double(number: int) -> int:
    return 2 * number


@app.batch(queue="many")
def count(bodies: list[int]) -> int:
    return len(bodies)


@pytest.fixture
def fresh() -> zqueue.App:
    return zqueue.App()


class TestDeclaring:
    def test_a_name_in_place_of_the_function(self, fresh: Any) -> None:
        with pytest.raises(ConfigError, match=r"write @app\.task\(name=…\)"):
            fresh.task("double")
        with pytest.raises(ConfigError, match=r"write @app\.batch\(queue=…, name=…\)"):
            fresh.batch(queue="q")("double")

    def test_what_has_no_name_is_given_one(self, fresh: Any) -> None:
        partial = functools.partial(double, 2)
        with pytest.raises(ConfigError, match=r"has no name of its own: write @app\.task\(name=…"):
            fresh.task(partial)
        task = fresh.task(name="four")(partial)
        assert (task.name, task()) == ("four", 4)

    @pytest.mark.parametrize("value", ["30", datetime.timedelta(seconds=30)], ids=repr)
    def test_time_outs_are_seconds(self, fresh: Any, value: Any) -> None:
        for decorate in (fresh.task(timeout=value), fresh.batch(queue="q", soft_timeout=value)):
            with pytest.raises(ConfigError, match="timeout of task 'len' must be a number of"):
                decorate(len)
        for options in (double.options, count.options):
            with pytest.raises(ConfigError, match="wait must be a number of seconds"):
                options(wait=value)

    @pytest.mark.parametrize("more", [
        {"max_size": 0}, {"max_size": "5"}, {"max_size": 2.5}, {"max_wait": -1},
        {"max_wait": float("nan")}, {"max_wait": float("inf")}, {"max_wait": "1"},
    ], ids=repr)  # fmt: skip
    def test_how_bodies_are_gathered(self, fresh: Any, more: Any) -> None:
        with pytest.raises(ConfigError, match=f"{next(iter(more))} must be"):
            fresh.batch(queue="q", **more)

    def test_names_are_names(self, fresh: Any) -> None:
        for options in ({"name": "no good"}, {"queue": "no good"}, {"queue": 5}):
            with pytest.raises(InvalidName):
                fresh.task(**options)(print)

    def test_a_queue_of_its_own(self, fresh: Any) -> None:
        fresh.batch(queue="q", name="a")(len)
        with pytest.raises(ConfigError, match="a batch task needs a queue of its own"):
            fresh.task(queue="q", name="b")(len)


CELL = """
@app.task(queue=queue)
def work(): return answer
"""


class TestDeclaringAgain:
    """A cell of a notebook is run again and again, and a module may be loaded anew."""

    def run(self, app: Any, file: str = "cell", cell: str = CELL, **names: Any) -> Any:
        names = {"app": app, "queue": "q", "__name__": "notebook", **names}
        exec(compile(cell, file, "exec"), names)
        return names["work"]

    def test_the_new_definition_counts(self, fresh: Any, caplog: Any) -> None:
        caplog.set_level(logging.INFO)
        self.run(fresh, answer=1)
        work = self.run(fresh, answer=2, queue="other")
        handler = fresh.handlers["work"]
        assert (handler.function(), handler.queue, work()) == (2, "other", 2)
        assert "'work' is defined again" in caplog.text

    def test_a_cell_may_be_edited(self, fresh: Any) -> None:
        self.run(fresh, answer=1)
        assert self.run(fresh, "edited", "\n" + CELL, answer=2)() == 2

    def test_a_file_that_defines_it_twice_is_refused(self, fresh: Any) -> None:
        with pytest.raises(ConfigError, match="there is a task 'work' already"):
            self.run(fresh, cell=CELL + CELL, answer=1)

    def test_another_function_of_that_name_is_refused(self, fresh: Any) -> None:
        self.run(fresh, answer=1)
        with pytest.raises(ConfigError, match="there is a task 'work' already"):
            self.run(fresh, answer=1, __name__="elsewhere")
        with pytest.raises(ConfigError, match="there is a task 'work' already"):
            fresh.task(name="work")(double)

    def test_what_is_made_by_a_function_may_be_another_one(self, fresh: Any) -> None:
        for make in (lambda: lambda: None, lambda: functools.partial(double, 1)):
            name = f"task-{len(fresh.handlers)}"
            fresh.task(name=name)(make())
            with pytest.raises(ConfigError, match="already"):
                fresh.task(name=name)(make())

    def test_a_batch_task_keeps_its_queue(self, fresh: Any) -> None:
        for _ in range(2):
            fresh.batch(queue="q")(count._handler.function)
        with pytest.raises(ConfigError, match="share queue 'q'"):
            self.run(fresh, answer=1)


class TestPickling:
    """A task stays a plain function, also for a pool of processes."""

    @pytest.mark.parametrize("task", [double, count], ids=repr)
    def test_by_where_it_is_found(self, task: Any) -> None:
        assert pickle.loads(pickle.dumps(task)) is task
        assert copy.deepcopy({"task": task})["task"] is task
        assert copy.copy(task) is task

    def test_not_what_is_found_nowhere(self, fresh: Any) -> None:
        for task in (fresh.task(name="double")(lambda: None), fresh.task(name="five")(Any)):
            with pytest.raises((pickle.PicklingError, AttributeError)):
                pickle.dumps(task)


def test_threads_that_come_first_together_get_one_producer() -> None:
    """What another one sent would be neither flushed nor closed with the app."""
    for _ in range(200):
        app = zqueue.App("tcp://127.0.0.1:1")
        begin = threading.Barrier(8)
        found: list[Any] = []

        def send(app: Any = app, begin: Any = begin, found: Any = found) -> None:
            begin.wait(10)
            found.append(app.producer)

        threads = [threading.Thread(target=send) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)
        assert len(found) == 8
        assert {id(producer) for producer in found} == {id(app.producer)}


def test_a_url_is_set_before_anything_is_sent(fresh: Any) -> None:
    fresh.url = "tcp://127.0.0.1:1"
    assert fresh.producer.url == fresh.url
    with pytest.raises(ConfigError, match="is connected to"):
        fresh.url = "tcp://127.0.0.1:2"
    fresh.close()
    fresh.url = "tcp://127.0.0.1:2"
