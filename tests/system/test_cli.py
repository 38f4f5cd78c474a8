"""The command line: every mistake is one clear sentence and the right exit code."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from tests.system.harness import APPS, ask, free_port, wait_until

pytestmark = pytest.mark.system

VERBS = ("broker", "worker", "send", "pipe", "info", "health", "demo")


def sentence(done):
    """What a failed command says, once it is known to be fit for people."""
    assert "Traceback" not in done.stderr
    assert "Traceback" not in done.stdout
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    lines = [line for line in lines if not line.startswith(("Usage:", "Try '"))]
    assert len(lines) == 1, f"one sentence, not {lines}"
    return lines[0]


# --- help ---


def test_help_of_every_verb(run):
    everything = run("--help")
    assert everything.returncode == 0
    for verb in VERBS:
        assert verb in everything.stdout
        done = run(verb, "--help")
        assert done.returncode == 0
        assert "Exit codes:" in done.stdout
        options = [line for line in done.stdout.splitlines() if line.startswith("  -")]
        assert options
        if verb != "demo":
            assert "ZQUEUE_URL" in done.stdout or f"ZQUEUE_{verb.upper()}_" in done.stdout


def test_every_option_names_its_environment_variable(run):
    missing = []
    for verb in VERBS:
        text = " ".join(run(verb, "--help").stdout.split())
        for part in text.replace(" / --no-", " ").split(" --")[1:]:
            name = part.split()[0].strip(",").partition("/")[0]
            if name.isidentifier() or "-" in name:
                variable = f"ZQUEUE_{verb}_{name}".upper().replace("-", "_")
                if name not in ("help", "json") and variable not in text:
                    missing.append(variable)
    assert [name for name in missing if not name.endswith("_URL")] == []


def test_version(run):
    import zqueue

    assert zqueue.__version__ in run("--version").stdout


def test_an_unknown_verb(run):
    done = run("brokre")
    assert done.returncode == 2
    assert "brokre" in sentence(done)


def test_no_verb_shows_the_help(run):
    done = run()
    assert "Usage:" in done.stdout + done.stderr
    assert done.returncode in (0, 2)


# --- addresses ---


@pytest.mark.parametrize("url", [None, "tcp"], ids=["ipc", "tcp"])
def test_an_address_that_is_taken(start_broker, run, url):
    broker = start_broker(url=url)
    done = run("broker", "--bind", broker.url)
    assert done.returncode == 4
    assert broker.url in sentence(done)
    assert broker.info(), "the first broker does not notice"


@pytest.mark.parametrize("lane", ["--ingest", "--egress"])
@pytest.mark.parametrize("scheme", ["ipc", "tcp"])
def test_an_address_of_the_plain_lane_that_is_taken(start_broker, run, tmp_path, lane, scheme):
    url = f"tcp://127.0.0.1:{free_port()}" if scheme == "tcp" else f"ipc://{tmp_path}/plain"
    value = url if lane == "--ingest" else f"q={url}"
    start_broker(lane, value)
    with subprocess.Popen(
        [sys.executable, "-m", "zqueue", "broker", "--bind", f"ipc://{tmp_path}/second",
         lane, value],
        stderr=subprocess.PIPE, text=True,
    ) as second:  # fmt: skip
        try:
            code = second.wait(5)
        except subprocess.TimeoutExpired:
            code = None
        finally:
            second.kill()
        assert second.stderr is not None
        said = second.stderr.read()
    assert code == 4, f"{code}: {said}"
    assert url in said


def test_a_path_that_a_killed_broker_left_behind_is_free(broker):
    broker.restart()
    assert broker.info()["counters"]["published"] == 0


def test_a_broker_cleans_up_its_path(broker):
    path = broker.url.removeprefix("ipc://")
    assert os.path.exists(path)
    assert os.stat(path).st_mode & 0o077 == 0, "for this user alone"
    broker.process.send(signal.SIGTERM)
    assert broker.process.wait() == 0
    assert not os.path.exists(path)


BAD_URLS = [
    "nonsense", "http://127.0.0.1:5555", "tcp://127.0.0.1", "tcp://127.0.0.1:0",
    "tcp://127.0.0.1:99999", "tcp://:5555", "ipc://", "", "tcp://127.0.0.1:5555/x",
    "tcp://127.0.0.1:1,tcp://127.0.0.1:2",
]  # fmt: skip


def test_a_bad_url(run):
    for url in BAD_URLS:
        done = run("broker", "--bind", url)
        assert done.returncode == 2, url
        assert sentence(done)
    for url in BAD_URLS[:3]:
        for verb in (["info"], ["worker", str(APPS / "jobs.py")]):
            done = run(*verb, "--url", url)
            assert done.returncode == 2, (verb, url)
            assert sentence(done)


def test_a_bad_url_of_other_verbs(run):
    for arguments in (
        ["broker", "--bind", "tcp://127.0.0.1:*", "--ingest", "x"],
        ["broker", "--bind", "tcp://127.0.0.1:*", "--egress", "x"],
        ["broker", "--bind", "tcp://127.0.0.1:*", "--egress", "q=x"],
        ["send", "task", "1", "--url", "x"],
        ["pipe", "task", "--url", "x"],
        ["health", "--url", "x"],
    ):
        done = run(*arguments)
        assert done.returncode == 2, arguments
        assert sentence(done)


def test_a_bad_url_in_the_environment(run):
    for name in ("ZQUEUE_URL", "ZQUEUE_BROKER_BIND"):
        verb = "broker" if "BIND" in name else "info"
        done = run(verb, env={name: "x"})
        assert done.returncode == 2
        assert sentence(done)


def test_strangers_are_kept_out_unless_asked_for(run):
    for host in ("0.0.0.0", "[::]", "192.0.2.1", "*", "example.org"):
        done = run("broker", "--bind", f"tcp://{host}:5999")
        assert done.returncode == 2
        assert "--insecure-no-auth" in sentence(done)
    for lane in ("--ingest=", "--egress=q="):
        done = run("broker", "--bind", "tcp://127.0.0.1:*", f"{lane}tcp://0.0.0.0:5999")
        assert done.returncode == 2
        assert "--insecure-no-auth" in sentence(done)


def test_an_address_this_machine_does_not_have(run):
    done = run("broker", "--bind", "tcp://192.0.2.1:5999", "--insecure-no-auth")
    assert done.returncode == 2
    assert "192.0.2.1" in sentence(done)


def test_a_path_in_no_directory(run, tmp_path):
    done = run("broker", "--bind", f"ipc://{tmp_path}/none/broker")
    assert done.returncode == 2
    assert "none" in sentence(done)


def test_a_path_that_is_too_long(run, tmp_path):
    done = run("broker", "--bind", f"ipc://{tmp_path}/{'x' * 100}")
    assert done.returncode == 2
    assert "107" in sentence(done)


def test_a_free_port(processes):
    process = processes.zqueue("broker", "--bind", "tcp://127.0.0.1:*")
    wait_until(lambda: "broker at tcp://127.0.0.1:" in process.err, what="a word of the port")
    assert "*" not in process.err


# --- options ---


@pytest.mark.parametrize(
    "options",
    [["--queue-tasks", "0"], ["--queue-bytes", "0"], ["--queue-bytes", "x"], ["--max-bytes", "-1"],
     ["--heartbeat", "2", "--liveness", "3"], ["--max-crashes", "1"], ["--peers", "many"],
     ["--drain-timeout", "-1"], ["--egress", "a b=tcp://127.0.0.1:*"], ["--nonsense"],
     ["--peers", "100000000"]],
    ids=" ".join,
)  # fmt: skip
def test_a_broker_option_that_makes_no_sense(run, options):
    done = run("broker", "--bind", "tcp://127.0.0.1:*", *options)
    assert done.returncode == 2
    assert sentence(done)


@pytest.mark.parametrize(
    "options", [["-p", "0"], ["-p", "x"], ["-a", "0"], ["-Q", "a b"]], ids=" ".join
)
def test_a_worker_option_that_makes_no_sense(run, broker, options):
    done = run("worker", str(APPS / "jobs.py"), "--url", broker.url, *options, timeout=6)
    assert done.returncode == 2
    assert sentence(done)


# --- apps ---


def app_file(folder, name, text):
    file = folder / name
    file.write_text(text)
    return str(file)


TASKLESS = "import zqueue\napp = zqueue.App()\n"
APP = TASKLESS + "@app.task\ndef double(x):\n    return 2 * x\n"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("x = 1\n", "no zqueue.App"),
        (APP + "other = zqueue.App()\n", "several apps"),
        ("def (\n", "SyntaxError"),
        ("import no_such_module_anywhere\n", "no_such_module_anywhere"),
        ("1 / 0\n", "ZeroDivisionError"),
        ("raise SystemExit(0)\n", "SystemExit"),
        (TASKLESS, "no tasks"),
        (APP + "@app.task\ndef double(y): ...\n", "double"),
        (APP + "@app.task(queue='a b')\ndef third(y): ...\n", "a b"),
    ],
    ids=["no app", "several", "syntax", "import", "raises", "exits", "no task", "twice", "name"],
)
def test_an_app_that_cannot_be_used(run, broker, tmp_path, text, words):
    done = run("worker", app_file(tmp_path, "mine.py", text), "--url", broker.url)
    assert done.returncode == 2
    assert words in sentence(done)
    assert "mine.py" in done.stderr


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("nothing.py", "no file"),
        ("no.such.module", "no module"),
        ("mine.py:nobody", "nobody"),
        (":app", "names no app"),
        ("", "names no app"),
        ("mine.py:zqueue", "zqueue"),
        ("folder.py", "no file"),
        ("mine", "mine.py"),
    ],
)
def test_an_app_that_is_not_there(run, broker, tmp_path, spec, words):
    app_file(tmp_path, "mine.py", "x = 1\n" if spec == "mine" else APP)
    (tmp_path / "folder.py").mkdir()
    done = run("worker", spec, "--url", broker.url)
    if spec == "mine":
        words = "no zqueue.App"
    assert done.returncode == 2
    assert words in sentence(done)


def test_an_app_is_chosen_by_its_name(processes, broker, tmp_path, run):
    file = app_file(tmp_path, "mine.py", APP + "other = zqueue.App()\n")
    processes.zqueue("worker", f"{file}:app", "--url", broker.url)
    wait_until(broker.worker_pids, what="a worker")
    done = run("send", "double", "21", "--wait", "--url", broker.url)
    assert (done.returncode, done.stdout) == (0, "42\n")


def test_a_user_s_own_modules_do_not_matter_and_can_be_imported(processes, broker, tmp_path, run):
    """As `zqueue` is started by people: by its command, in their folder."""
    folder = tmp_path / "project"
    (folder / "workers").mkdir(parents=True)
    for name in ("workers", "broker", "config", "errors", "app", "handlers", "protocol", "core"):
        (folder / f"{name}.py").write_text("raise RuntimeError('this is the user\\'s')\n")
    (folder / "workers" / "x.py").write_text(
        "import helper\n" + APP + "@app.task\ndef triple(x):\n    return helper.triple(x)\n"
    )
    (folder / "workers" / "helper.py").write_text("def triple(x):\n    return 3 * x\n")
    command = os.path.join(os.path.dirname(sys.executable), "zqueue")
    process = processes.start(
        "worker", command, "worker", "workers/x.py", "--url", broker.url, cwd=folder
    )
    wait_until(lambda: broker.worker_pids() or not process.is_running(), what="a worker")
    done = run("send", "triple", "7", "--wait", "--url", broker.url)
    assert (done.returncode, done.stdout) == (0, "21\n")


def test_an_app_by_its_dotted_name(processes, broker, tmp_path, run):
    (tmp_path / "shop").mkdir()
    app_file(tmp_path / "shop", "tasks.py", APP)
    processes.zqueue("worker", "shop.tasks:app", "--url", broker.url, cwd=tmp_path)
    wait_until(broker.worker_pids, what="a worker")
    done = run("send", "double", "4", "--wait", "--url", broker.url)
    assert (done.returncode, done.stdout) == (0, "8\n")


def test_a_worker_goes_to_the_broker_that_its_app_names(processes, broker, tmp_path):
    text = APP.replace("App()", f"App({broker.url!r})")
    processes.zqueue("worker", app_file(tmp_path, "mine.py", text))
    wait_until(broker.worker_pids, what="a worker")


def test_a_worker_without_a_broker_says_so_and_waits(processes, start_broker, tmp_path):
    url = f"ipc://{tmp_path}/later"
    process = processes.zqueue("worker", str(APPS / "jobs.py"), "--url", url)
    wait_until(lambda: "no broker answers" in process.err, what="a warning")
    assert url in process.err
    assert process.is_running()
    broker = start_broker(url=url)
    wait_until(broker.worker_pids, what="the worker")
    process.send(signal.SIGTERM)
    assert process.wait() == 0


# --- nobody there ---


def test_commands_without_a_broker(processes, tmp_path):
    url = f"ipc://{tmp_path}/none"
    began = time.monotonic()
    started = [
        processes.zqueue(*arguments, "--url", url)
        for arguments in (
            ["send", "task", "1"],
            ["send", "--queue", "q", "1"],
            ["info"],
            ["info", "--json"],
            ["info", "--dead"],
            ["health"],
            ["health", "--json"],
            ["pipe", "task"],
        )
    ]
    for process in started:
        assert process.wait() == 3, process.name
        assert "Traceback" not in process.err
        assert url in process.err
        assert "zqueue broker" in process.err, "what to do about it"
        assert len(process.err.splitlines()) == 1
        assert process.out == ""
    assert time.monotonic() - began < 10


def test_pipe_to_a_queue_without_a_broker(run, tmp_path):
    done = run("pipe", "--queue", "q", "--url", f"ipc://{tmp_path}/none", input="1\n")
    assert done.returncode == 3
    assert "zqueue broker" in sentence(done)


# --- send ---


def test_send_waits_and_prints_the_result(broker, workers, run):
    workers(broker, "jobs.py", 1)
    done = run("send", "add", "1", "2", "--wait", "--url", broker.url)
    assert (done.returncode, done.stdout, done.stderr) == (0, "3\n", "")


def test_send_without_waiting(broker, workers, run, record):
    workers(broker, "jobs.py", 1)
    done = run("send", "run", '"x"', "--url", broker.url)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    record.wait_for(["x"])


def test_send_bodies_to_a_queue(broker, run):
    done = run("send", "--queue", "q", '{"id": 1}', "2", "--url", broker.url)
    assert done.returncode == 0
    assert broker.queue("q")["ready"] == 2


def test_send_a_task_that_fails(broker, workers, run):
    workers(broker, "jobs.py", 1)
    done = run("send", "fail", '"no luck"', "--wait", "--url", broker.url)
    assert done.returncode == 1
    assert "ValueError: no luck" in sentence(done)


def test_send_mistakes(broker, workers, run):
    workers(broker, "jobs.py", 1)
    for arguments, code, words in (
        (["add", "one"], 2, "is not JSON"),
        (["no_such_task", "1"], 2, "no_such_task"),
        (["--queue", "a b", "1"], 2, "a b"),
        (["add", str(1 << 70)], 2, "64 bits"),
        (["add", "[" * 100_000], 2, ""),
        (["add", '"\\ud800"'], 2, ""),
        (["run_slowly", "1", "5", "--wait", "--timeout", "0.3"], 1, "no result within 0.3 s"),
    ):
        done = run("send", *arguments, "--url", broker.url)
        assert done.returncode == code, (arguments[:2], done.stderr[-500:])
        assert words in sentence(done)


# --- pipe ---


def test_pipe_prints_results_in_order(broker, workers, run):
    workers(broker, "jobs.py", 2)
    lines = [json.dumps(i) for i in range(3_000)]
    done = run("pipe", "echo", "--url", broker.url, input="\n".join(lines))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == lines


def test_pipe_takes_arrays_and_objects_as_parameters(broker, workers, run):
    workers(broker, "jobs.py", 1)
    done = run("pipe", "add", "--url", broker.url, input='[1, 2]\n\n{"a": 1, "c": 5}\n7\n')
    assert (done.returncode, done.stdout) == (0, "3\n6\n7\n")


def test_pipe_gives_a_failed_task_in_its_place(broker, workers, run):
    workers(broker, "jobs.py", 1)
    done = run("pipe", "half_unsendable", "--url", broker.url, input="0\n1\n2\n")
    assert done.returncode == 1
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert lines[0] == 0
    assert lines[1]["error"]["type"] == "BodyError"
    assert lines[2] == 2


BAD_LINES = {
    "cut off": b'{"id": ',
    "no JSON": b"hello",
    "no UTF-8": b'"\xff\xfe"',
    "too deep": b"[" * 100_000,
    "beyond 64 bits": b"[" + b"9" * 30 + b"]",
    "half a character": b'"\\ud800"',
    "too many digits": b"1" * 5_000,
}


@pytest.mark.parametrize("line", BAD_LINES.values(), ids=BAD_LINES)
def test_pipe_names_the_line_that_is_wrong(broker, workers, run, record, line):
    workers(broker, "jobs.py", 1)
    lines = [b"%d" % i for i in range(1, 17)] + [line] + [b"%d" % i for i in range(18, 30)]
    done = run("pipe", "run", "--url", broker.url, input=b"\n".join(lines))
    assert done.returncode == 2
    assert "line 17" in sentence(done)
    assert done.stdout.split() == [str(i) for i in range(1, 17)], "the lines before are done with"
    assert record.ids() == list(range(1, 17)), "and those after are not begun"


@pytest.mark.parametrize("line", BAD_LINES.values(), ids=BAD_LINES)
def test_pipe_to_a_queue_names_the_line_that_is_wrong(broker, run, line):
    lines = [b"%d" % i for i in range(1, 17)] + [line] + [b"18"]
    done = run("pipe", "--queue", "q", "--url", broker.url, input=b"\n".join(lines))
    assert done.returncode == 2
    assert "line 17" in sentence(done)
    assert broker.queue("q")["ready"] == 16


def test_pipe_of_nothing(broker, workers, run):
    workers(broker, "jobs.py", 1)
    done = run("pipe", "echo", "--url", broker.url)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_pipe_to_an_unknown_task(broker, run):
    done = run("pipe", "no_such_task", "--url", broker.url, input="1\n")
    assert done.returncode == 2
    assert "no_such_task" in sentence(done)


def test_pipe_shows_progress_when_asked(broker, run):
    done = run("pipe", "--queue", "q", "--progress", "--url", broker.url, input="1\n2\n")
    assert done.returncode == 0
    assert "2 lines" in done.stderr


def test_pipe_gives_results_while_its_input_is_still_open(broker, workers, processes):
    workers(broker, "jobs.py", 1)
    process = processes.zqueue("pipe", "echo", "--url", broker.url, stdin=subprocess.PIPE)
    stdin = process.popen.stdin
    stdin.write(b"1\n")
    stdin.flush()
    wait_until(lambda: process.out == "1\n", what="the first result")
    stdin.close()
    assert process.wait() == 0


def test_pipe_into_a_reader_that_goes_away(broker, workers, processes):
    workers(broker, "jobs.py", 2)
    command = f"seq 1 20000 | {sys.executable} -m zqueue pipe echo --url {broker.url} | head -n 1"
    process = processes.start("shell", "sh", "-c", command)
    assert process.wait(20) == 0
    assert process.out == "1\n"
    assert process.err == ""


def test_pipe_is_interrupted(broker, workers, processes):
    process = processes.zqueue("pipe", "--queue", "q", "--url", broker.url, stdin=subprocess.PIPE)
    process.popen.stdin.write(b"1\n")
    process.popen.stdin.flush()
    wait_until(lambda: broker.queue("q")["ready"] == 1, what="the first line's body")
    process.send(signal.SIGINT)
    assert process.wait(5) in (1, 130)
    assert "Traceback" not in process.err


# --- info and health ---


def test_info(broker, workers, run):
    workers(broker, "jobs.py", 2)
    done = run("info", "--url", broker.url)
    assert done.returncode == 0
    assert broker.url in done.stdout
    assert "default" in done.stdout
    data = json.loads(run("info", "--json", "--url", broker.url).stdout)
    assert data["pid"] == broker.pid
    assert len(data["workers"]) == 2
    assert data["tasks"]["add"] == "default"


def test_health(broker, workers, run):
    def health(*options):
        return run("health", "--url", broker.url, *options)

    assert health().returncode == 0
    done = health("--ready")
    assert done.returncode == 6
    assert "no workers" in done.stdout
    workers(broker, "jobs.py", 1)
    assert health("--ready").returncode == 0
    run("send", "--queue", "nobody-serves-it", "1", "--url", broker.url)
    assert health().returncode == 0
    done = health("--ready", "--json")
    assert done.returncode == 6
    data = json.loads(done.stdout)
    assert data["ready"] is False
    assert "nobody-serves-it" in data["problems"][0]


def test_health_of_a_stopped_broker(broker, run):
    broker.process.send(signal.SIGSTOP)
    done = run("health", "--timeout", "0.3", "--url", broker.url)
    assert done.returncode == 3
    broker.process.send(signal.SIGCONT)
    assert run("health", "--url", broker.url).returncode == 0


# --- where options come from ---


def test_precedence_of_options(run, tmp_path, start_broker):
    brokers = {name: start_broker() for name in ("file", "environment", "line")}
    (tmp_path / "zqueue.toml").write_text(f'[info]\nurl = "{brokers["file"].url}"\n')

    def pid(*options, **env):
        done = run("info", "--json", *options, env=env)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)["pid"]

    assert pid() == brokers["file"].pid
    env = {"ZQUEUE_URL": brokers["environment"].url}
    assert pid(**env) == brokers["environment"].pid
    assert pid("--url", brokers["line"].url, **env) == brokers["line"].pid


def test_a_broker_takes_its_options_from_everywhere(processes, tmp_path, broker):
    (tmp_path / "zqueue.toml").write_text(
        '[broker]\nqueue-bytes = "3M"\nmax_bytes = "30M"\nheartbeat = 0.5\n'
        f'[broker.egress]\nout = "ipc://{tmp_path}/out"\n'
    )
    url = f"ipc://{tmp_path}/configured"
    process = processes.zqueue(
        "broker", "--bind", url, "--max-bytes", "20M", cwd=tmp_path,
        env={**os.environ, "ZQUEUE_BROKER_MAX_BYTES": "10M", "ZQUEUE_BROKER_QUEUE_TASKS": "77"},
    )  # fmt: skip
    wait_until(lambda: "broker at" in process.err, what="the broker")
    state = ask(url)
    assert state is not None
    assert state["bytes_max"] == 20 << 20
    assert state["queues"]["out"]["plain"]
    assert state["queues"]["out"]["bytes_max"] == 3 << 20
    assert state["queues"]["out"]["tasks_max"] == 77


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[broker]\nqueue-taks = 5\n", "queue-taks"),
        ("[brokre]\nbind = 5\n", "brokre"),
        ("bind = 5\n", "bind"),
        ("[broker\n", "zqueue.toml"),
        ("[broker]\nqueue-tasks = 'many'\n", "many"),
        ("[broker]\nqueue-tasks = [1, 2]\n", ""),
        ("[broker]\nbind = 5\n", "5"),
        ("[broker]\nbind = ['tcp://127.0.0.1:1']\n", ""),
        ("[broker]\nqueue-bytes = 1.5\n", ""),
        ("[broker]\negress = 5\n", ""),
        ("[broker]\negress = { q = 5 }\n", ""),
        ("[broker]\negress = 'q'\n", ""),
        ("[broker]\ninsecure-no-auth = 'perhaps'\n", "perhaps"),
    ],
)
def test_a_mistake_in_the_file(run, tmp_path, text, words):
    (tmp_path / "zqueue.toml").write_text(text)
    done = run("broker")
    assert done.returncode == 2
    assert words in sentence(done)


def test_a_file_that_is_not_there(run):
    done = run("--config", "none.toml", "info")
    assert done.returncode == 2
    assert "none.toml" in sentence(done)


def test_a_bad_value_in_the_environment(run):
    done = run("broker", env={"ZQUEUE_BROKER_QUEUE_TASKS": "many"})
    assert done.returncode == 2
    assert "many" in sentence(done)
