"""The supervisor's processes: how they start, end, and are replaced."""

from __future__ import annotations

import os
import pty
import resource
import signal
import sys
from pathlib import Path

import pytest

import zqueue
from tests.system.harness import APPS, DEADLINE_S, is_running, wait_until

pytestmark = pytest.mark.system

APP = "import zqueue\napp = zqueue.App()\n@app.task\ndef double(x):\n    return 2 * x\n"


def written(path: Path) -> int:
    """The number that a task wrote to a file."""
    return int(wait_until(lambda: path.exists() and path.read_text(), what=f"a number in {path}"))


# --- crashes ---


def test_a_task_that_exits_is_a_crash_whatever_its_code(broker, workers, load):
    """It is no order to leave, and its task is set aside as any poison is."""
    code = 0
    pool = workers(broker, "unruly.py", 1)
    unruly = load(broker, "unruly.py")
    with pytest.raises(zqueue.WorkerLost, match=f"exit code {code}"):
        unruly.exit_at_once.submit(code).result(DEADLINE_S)
    unruly.exit_at_once.send(code)
    wait_until(lambda: broker.count("dead") == 1, what="a dead letter")
    assert broker.count("workers_lost") == 6
    assert unruly.pid.submit().result(DEADLINE_S)
    assert pool.process.err.count(f"died (exit code {code})") == 6


# --- what tasks have started ---


def test_a_child_of_a_task_that_is_killed_for_its_timeout(broker, workers, load, tmp_path):
    workers(broker, "unruly.py", 1)
    path = tmp_path / "child"
    late = load(broker, "unruly.py").wait_for_a_child.submit(str(path))
    with pytest.raises(zqueue.TaskTimeout):
        late.result(DEADLINE_S)
    wait_until(lambda: not is_running(written(path)), what="the child's end")


def test_a_child_of_a_task_that_kills_its_worker(broker, workers, load, tmp_path):
    workers(broker, "unruly.py", 1)
    path = tmp_path / "child"
    with pytest.raises(zqueue.WorkerLost):
        load(broker, "unruly.py").die_with_a_child.submit(str(path)).result(DEADLINE_S)
    wait_until(lambda: not is_running(written(path)), what="the child's end")


def test_a_child_of_a_task_that_meets_the_drain_deadline(broker, workers, load, tmp_path):
    pool = workers(broker, "unruly.py", 1, "--drain-timeout", "0.3")
    path = tmp_path / "child"
    load(broker, "unruly.py").wait_for_long.send(str(path))
    child = written(path)
    pool.process.send(signal.SIGTERM)
    assert pool.process.wait() == 5
    wait_until(lambda: not is_running(child), what="the child's end")


def test_a_child_can_be_interrupted(broker, workers, load):
    """What a worker does with SIGINT is not inherited."""
    workers(broker, "unruly.py", 1)
    ended = load(broker, "unruly.py").interrupt_a_child.submit().result(DEADLINE_S)
    assert ended == -signal.SIGINT


# --- reload, drain ---


def test_a_reload_replaces_a_worker_that_hangs(broker, workers, load, tmp_path):
    pool = workers(broker, "unruly.py", 2, "--drain-timeout", "1")
    before = set(pool.pids)
    path = tmp_path / "child"
    load(broker, "unruly.py").wait_for_long.send(str(path))
    child = written(path)
    pool.process.send(signal.SIGHUP)
    wait_until(lambda: not before & set(pool.pids) and len(pool.pids) == 2, what="two new ones")
    assert not is_running(child)
    assert "did not finish within 1 s" in pool.process.err
    assert broker.count("workers_lost") == 0


def test_a_timeout_holds_during_a_reload(broker, workers, load, tmp_path):
    pool = workers(broker, "jobs.py", 1)
    late = load(broker, "jobs.py").run_in_half_a_second.submit("late", 600)
    wait_until(lambda: broker.queue("timed")["leased"] == 1, what="the task's beginning")
    pool.process.send(signal.SIGHUP)
    with pytest.raises(zqueue.TaskTimeout):
        late.result(DEADLINE_S)


def test_a_worker_that_still_imports_ends_at_once(processes, broker, tmp_path):
    (tmp_path / "slow.py").write_text(f"{APP}print('importing', flush=True)\n"
                                      "import time\ntime.sleep(600)\n")  # fmt: skip
    pool = processes.zqueue("worker", "slow.py", "--url", broker.url, "--drain-timeout", "600")
    wait_until(lambda: "importing" in pool.out, what="the import")
    pool.send(signal.SIGTERM)
    assert pool.wait() == 0


def test_a_thread_that_a_task_left_does_not_hold_up_the_end(broker, workers, load, tmp_path):
    """And what was registered with atexit is called all the same."""
    pool = workers(broker, "unruly.py", 1, "--drain-timeout", "600")
    path = tmp_path / "at-exit"
    load(broker, "unruly.py").leave_a_thread.submit(str(path)).result(DEADLINE_S)
    pool.process.send(signal.SIGTERM)
    assert pool.process.wait() == 0
    assert path.exists()
    assert "left-behind" in pool.process.err


# --- Ctrl-C ---


def test_ctrl_c_in_a_terminal_lets_tasks_finish(broker, record, load):
    """The terminal sends SIGINT to its foreground group: the supervisor alone."""
    command = [sys.executable, "-m", "zqueue", "worker", str(APPS / "jobs.py"), "--url", broker.url]
    pid, terminal = pty.fork()
    if not pid:
        os.execv(sys.executable, command)
    try:
        wait_until(broker.worker_pids, what="a worker")
        slow = load(broker, "jobs.py").run_slowly.submit("slow")
        wait_until(lambda: record.ids(), what="the task's beginning")
        os.write(terminal, b"\x03")
        wait_until(lambda: not broker.info()["workers"][0]["credit"], what="its effect")
        record.open_gate()
        assert slow.result(DEADLINE_S) == "slow"
        codes = []
        wait_until(lambda: codes.append(ended := os.waitpid(pid, os.WNOHANG)) or ended[0])
        assert os.waitstatus_to_exitcode(codes[-1][1]) == 0
    finally:
        os.close(terminal)
        if is_running(pid):
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
    assert record.ids() == ["slow", "slow"], "begun and ended once"


# --- start ---


def test_many_workers_with_a_slow_import_start_together(processes, broker, tmp_path):
    """After the first, which shows whether the app can be used, four at a time: here an import
    ends only when that many have begun."""
    (tmp_path / "slow.py").write_text(
        f"import os, pathlib, time\npathlib.Path(f'{{os.getpid()}}.here').touch()\n"
        f"while 1 < len(list(pathlib.Path().glob('*.here'))) < 5:\n    time.sleep(0.02)\n{APP}"
    )
    processes.zqueue("worker", "slow.py", "--url", broker.url, "-p", "5")
    wait_until(lambda: len(broker.worker_pids()) == 5, what="five workers")


def test_what_workers_are_given_is_in_no_command_line(broker, workers):
    pool = workers(broker, "jobs.py", 1)
    (pid,) = pool.pids
    command = Path(f"/proc/{pid}/cmdline").read_text()
    assert broker.url not in command
    assert "jobs.py" not in command


def test_an_app_that_sends_when_it_is_imported(run, broker, tmp_path):
    (tmp_path / "sends.py").write_text(f"{APP}double.send(1)\napp.flush()\n")
    done = run("worker", "sends.py", "--url", broker.url, "-p", "4")
    assert done.returncode == 2
    assert 'if __name__ == "__main__":' in done.stderr
    assert 'sends.py", line 6, in <module>' in done.stderr
    assert "Traceback" not in done.stderr
    assert broker.count("published") == 0


def test_an_app_that_sends_only_when_it_is_the_program(processes, broker, tmp_path, run):
    (tmp_path / "guarded.py").write_text(f"{APP}if __name__ == '__main__':\n    double.send(1)\n")
    processes.zqueue("worker", "guarded.py", "--url", broker.url)
    wait_until(broker.worker_pids, what="a worker")
    assert run("send", "double", "3", "--wait", "--url", broker.url).stdout == "6\n"


def test_an_app_that_hides_the_refusal(processes, broker, tmp_path, run):
    """It is used all the same, and can send later."""
    (tmp_path / "hides.py").write_text(
        f"{APP}try:\n    double.send(1)\nexcept zqueue.ZQueueError:\n    pass\n"
        "@app.task\ndef later(x):\n    return double.submit(x).result(timeout=10)\n"
    )
    processes.zqueue("worker", "hides.py", "--url", broker.url, "-p", "2")
    wait_until(broker.worker_pids, what="a worker")
    assert run("send", "later", "3", "--wait", "--url", broker.url).stdout == "6\n"
    assert broker.count("published") == 2


@pytest.mark.parametrize(
    "text",
    ["raise KeyboardInterrupt\n", "raise SystemExit(0)\n", "import zqueue\nraise GeneratorExit\n",
     APP.replace("App()", "App('nowhere')")],
    ids=["interrupt", "exit", "generator", "address"],
)  # fmt: skip
def test_an_app_that_cannot_be_used_ends_the_pool(run, tmp_path, text):
    (tmp_path / "bad.py").write_text(text)
    done = run("worker", "bad.py")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert done.stderr.count("bad.py") >= 1


def test_an_app_that_cannot_be_used_and_has_started_a_thread(run, tmp_path):
    """The interpreter would wait for it."""
    start = "import threading, time\nthreading.Thread(target=time.sleep, args=(600,)).start()\n"
    (tmp_path / "bad.py").write_text(f"{start}1 / 0\n")
    done = run("worker", "bad.py")
    assert done.returncode == 2
    assert "ZeroDivisionError" in done.stderr


def test_a_queue_that_no_task_has(processes, broker, tmp_path):
    (tmp_path / "mail.py").write_text(APP.replace("@app.task", "@app.task(queue='mail')"))
    options = ("--url", broker.url, "-p", "3", "-Q", "mial,mail")
    pool = processes.zqueue("worker", "mail.py", *options)
    wait_until(lambda: len(broker.worker_pids()) == 3, what="three workers")
    assert pool.err.count("no task is in queue 'mial' (queues of the app's tasks: mail)") == 1


# --- recycling ---


def test_a_worker_is_replaced_after_so_many_tasks(broker, workers, load):
    pool = workers(broker, "unruly.py", 1, "--max-tasks", "200")
    pid = load(broker, "unruly.py").pid
    ran = [future.result(DEADLINE_S) for future in [pid.submit() for _ in range(300)]]
    wait_until(lambda: pool.pids and ran[0] not in pool.pids, what="another worker")
    assert pid.submit().result(DEADLINE_S) != ran[0]
    assert "is replaced: it has run" in pool.process.err
    state = broker.wait_idle()
    assert (state["counters"]["workers_lost"], state["counters"]["dead"]) == (0, 0)


def test_a_worker_that_holds_too_much_memory_is_replaced(broker, workers, load):
    pool = workers(broker, "unruly.py", 1, "--max-memory", "256M")
    unruly = load(broker, "unruly.py")
    before = unruly.grow.submit(1 << 20).result(DEADLINE_S)
    assert unruly.grow.submit(300 << 20).result(DEADLINE_S) == before
    wait_until(lambda: pool.pids and before not in pool.pids, what="another worker")
    assert unruly.pid.submit().result(DEADLINE_S) != before
    assert " MiB\n" in pool.process.err
    assert broker.count("workers_lost") == 0


# --- logs ---


def test_an_app_s_own_log_is_kept(processes, broker, tmp_path, run):
    (tmp_path / "logs.py").write_text(
        "import logging\nlogging.basicConfig(level='DEBUG', format='MINE %(message)s')\n"
        f"{APP}@app.task\ndef say(x):\n    logging.getLogger('shop').debug(x)\n"
        "@app.task\ndef fail():\n    1 / 0\n"
    )
    pool = processes.zqueue("worker", "logs.py", "--url", broker.url)
    wait_until(broker.worker_pids, what="a worker")
    run("send", "say", '"detail"', "--wait", "--url", broker.url)
    run("send", "fail", "--url", broker.url)
    wait_until(lambda: "ZeroDivisionError" in pool.err, what="our own line")
    assert "MINE detail\n" in pool.err
    assert "WARNING worker[" in pool.err
    assert "MINE 1 of task" not in pool.err


def test_a_pool_that_cannot_start_processes_keeps_those_it_has(broker, workers, load):
    """It has no more descriptors for a while."""
    pool = workers(broker, "unruly.py", 2)
    victim, other = pool.pids
    limit = resource.prlimit(pool.process.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pool.process.pid, resource.RLIMIT_NOFILE, (3, limit[1]))
    os.kill(victim, signal.SIGKILL)
    wait_until(lambda: "cannot start a worker" in pool.process.err, what="a word about it")
    assert load(broker, "unruly.py").pid.submit().result(DEADLINE_S) == other
    resource.prlimit(pool.process.pid, resource.RLIMIT_NOFILE, limit)
    wait_until(lambda: len(pool.pids) == 2, what="two workers again")
    assert pool.process.err.count("cannot start a worker") == 1
    assert other in pool.pids
