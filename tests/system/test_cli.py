"""The command line: every mistake is one clear sentence and the right exit code."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import pytest
from click.testing import CliRunner

import zqueue
from tests.system.harness import APPS, ask, free_port, wait_until
from zqueue.cli import cli

pytestmark = pytest.mark.system

VERBS = ("broker", "worker", "send", "pipe", "info", "health", "demo")


@pytest.fixture
def broker(start_broker):
    """With the usual liveness: on a busy machine, that a quick one is lost and back is told."""
    return start_broker(quick=False)


@pytest.fixture(scope="module")
def shared(share):
    """A broker with two workers of ``apps/jobs.py``."""
    return share("jobs.py", 2, quick=False)


@pytest.fixture
def served(shared):
    """The same, idle, and with an empty record."""
    shared.begin()
    return shared.broker


def sentence(done):
    """What a failed command says, once it is known to be fit for people.

    Lines of the user's own program may follow, indented, without a header.
    """
    assert "Traceback" not in done.stderr
    assert "Traceback" not in done.stdout
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    lines = [line for line in lines if not line.startswith(("Usage:", "Try '", "  "))]
    assert len(lines) == 1, f"one sentence, not {lines}"
    return lines[0]


def mistake(*arguments, **env):
    """What a command that is refused before it begins says; in this process."""
    done = CliRunner(env=env).invoke(cli, arguments)
    assert done.exit_code == 2, (arguments, env, done.output)
    return sentence(done)


# --- help ---


def test_help_of_every_verb(run):
    everything = run("--help")
    assert everything.returncode == 0
    for verb in VERBS:
        assert verb in everything.stdout
        done = CliRunner().invoke(cli, [verb, "--help"])
        assert done.exit_code == 0
        assert "Exit codes:" in done.stdout
        options = [line for line in done.stdout.splitlines() if line.startswith("  -")]
        assert options
        if verb != "demo":
            assert "ZQUEUE_URL" in done.stdout or f"ZQUEUE_{verb.upper()}_" in done.stdout


def test_every_option_names_its_environment_variable():
    missing = []
    for verb in VERBS:
        text = " ".join(CliRunner().invoke(cli, [verb, "--help"]).stdout.split())
        for part in text.replace(" / --no-", " ").split(" --")[1:]:
            name = part.split()[0].strip(",").partition("/")[0]
            if name.isidentifier() or "-" in name:
                variable = f"ZQUEUE_{verb}_{name}".upper().replace("-", "_")
                if name not in ("help", "json") and variable not in text:
                    missing.append(variable)
    assert [name for name in missing if not name.endswith("_URL")] == []


def test_version_and_an_unknown_verb(run):
    assert zqueue.__version__ in run("--version").stdout
    done = run("brokre")
    assert done.returncode == 2
    assert "brokre" in sentence(done)


# --- addresses ---


@pytest.mark.parametrize("url", [None, "tcp"], ids=["ipc", "tcp"])
def test_an_address_that_is_taken(start_broker, run, url):
    broker = start_broker(url=url)
    done = run("broker", "--bind", broker.url)
    assert done.returncode == 4
    assert broker.url in sentence(done)
    assert broker.info(), "the first broker does not notice"


@pytest.mark.parametrize(("lane", "scheme"), [("--ingest", "ipc"), ("--egress", "tcp")])
def test_an_address_of_the_plain_lane_that_is_taken(start_broker, run, tmp_path, lane, scheme):
    url = f"tcp://127.0.0.1:{free_port()}" if scheme == "tcp" else f"ipc://{tmp_path}/plain"
    value = url if lane == "--ingest" else f"q={url}"
    start_broker(lane, value)
    done = run("broker", "--bind", f"ipc://{tmp_path}/second", lane, value)
    assert done.returncode == 4
    assert url in sentence(done)


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


BROKER = ("broker", "--bind", "tcp://127.0.0.1:*")


def test_a_bad_url():
    for url in BAD_URLS:
        assert mistake("broker", "--bind", url)
    for verb in (["info"], ["worker", "a.py"], ["send", "t", "1"], ["pipe", "t"], ["health"]):
        assert mistake(*verb, "--url", "nonsense")
    for lane in ("--ingest=x", "--egress=x", "--egress=q=x"):
        assert mistake(*BROKER, lane)
    assert mistake("info", ZQUEUE_URL="x")
    assert mistake("broker", ZQUEUE_BROKER_BIND="x")


def test_strangers_are_kept_out_unless_asked_for():
    for host in ("0.0.0.0", "[::]", "192.0.2.1", "*", "example.org"):
        assert "--insecure-no-auth" in mistake("broker", "--bind", f"tcp://{host}:5999")
    for lane in ("--ingest=", "--egress=q="):
        assert "--insecure-no-auth" in mistake(*BROKER, f"{lane}tcp://0.0.0.0:5999")


def test_where_nobody_can_listen(run, tmp_path):
    for url, word in (
        ("tcp://192.0.2.1:5999", "192.0.2.1"),
        (f"ipc://{tmp_path}/none/broker", "none"),
        (f"ipc://{tmp_path}/{'x' * 100}", "107"),
    ):
        done = run("broker", "--bind", url, "--insecure-no-auth")
        assert done.returncode == 2
        assert word in sentence(done)


def test_a_free_port(processes):
    process = processes.zqueue("broker", "--bind", "tcp://127.0.0.1:*")
    wait_until(lambda: "broker at tcp://127.0.0.1:" in process.err, what="a word of the port")
    assert "*" not in process.err


# --- options ---


def test_an_option_that_makes_no_sense():
    for options in (
        ["--queue-tasks", "0"], ["--queue-bytes", "0"], ["--queue-bytes", "x"],
        ["--max-bytes", "-1"], ["--heartbeat", "2", "--liveness", "3"], ["--max-crashes", "1"],
        ["--peers", "many"], ["--drain-timeout", "-1"], ["--egress", "a b=tcp://127.0.0.1:*"],
        ["--nonsense"], ["--peers", "100000000"],
    ):  # fmt: skip
        assert mistake(*BROKER, *options)
    for options in (["-p", "0"], ["-p", "x"], ["-a", "0"], ["-Q", "a b"]):
        assert mistake("worker", str(APPS / "jobs.py"), *options)


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
        ("raise SystemExit(0)\n", "SystemExit"),
        (TASKLESS, "no tasks"),
        (APP + "@app.task(queue='a b')\ndef third(y): ...\n", "a b"),
    ],
    ids=["exits", "no task", "name"],
)
def test_an_app_that_cannot_be_used(run, broker, tmp_path, text, words):
    """Whatever else is wrong with one, `tests/worker/test_loading.py` knows."""
    done = run("worker", app_file(tmp_path, "mine.py", text), "--url", broker.url)
    assert done.returncode == 2
    assert words in sentence(done)
    assert "mine.py" in done.stderr


def test_an_app_that_is_not_there(run, broker):
    done = run("worker", "no.such.module", "--url", broker.url)
    assert done.returncode == 2
    assert "no module" in sentence(done)


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
    started = [
        processes.zqueue(*arguments, "--url", url)
        for arguments in (
            ["send", "task", "1"],
            ["send", "--queue", "q", "1"],
            ["info"],
            ["info", "--json"],
            ["dlq", "ls"],
            ["dlq", "drop", "--all"],
            ["health"],
            ["health", "--json"],
            ["pipe", "task"],
            ["pipe", "--queue", "q"],
        )
    ]
    for process in started:
        assert process.wait() == 3, process.name
        assert "Traceback" not in process.err
        assert url in process.err
        assert "zqueue broker" in process.err, "what to do about it"
        assert len(process.err.splitlines()) == 1
        assert process.out == ""


# --- send ---


def test_send_waits_and_prints_the_result(served, run):
    for arguments in (["1", "2"], ["b=2", "a=1"], ["1", "b=2"], ["a=1", "c=2"]):
        done = run("send", "add", *arguments, "--wait", "--url", served.url)
        assert (done.returncode, done.stdout, done.stderr) == (0, "3\n", ""), arguments
    for argument, result in (('value="a=b=c"', '"a=b=c"'), ('"y=1"', '"y=1"')):
        done = run("send", "echo", argument, "--wait", "--url", served.url)
        assert (done.returncode, done.stdout) == (0, result + "\n")
    done = run("send", "fail", '"no luck"', "--wait", "--url", served.url)
    assert done.returncode == 1
    assert "ValueError: no luck" in sentence(done)


def test_send_without_waiting(broker, workers, run, record):
    workers(broker, "jobs.py", 1)
    done = run("send", "run", '"x"', "--url", broker.url)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    record.wait_for(["x"])
    assert run("send", "--queue", "q", '{"id": 1}', "2", "--url", broker.url).returncode == 0
    assert broker.queue("q")["ready"] == 2


@pytest.mark.parametrize("verb", ["send", "pipe"])
def test_bodies_for_a_queue_that_no_worker_has_served(broker, workers, run, verb):
    def send(queue):
        arguments, text = (["1"], "") if verb == "send" else ([], "1\n")
        return run(verb, "--queue", queue, *arguments, "--url", broker.url, input=text)

    done = send("defualt")
    assert done.returncode == 0
    assert sentence(done) == (
        "zqueue: no worker has served queue 'defualt' so far: what is sent waits there"
    )
    pool = workers(broker, "jobs.py", 1)
    assert "did you mean 'default'?" in sentence(send("defualt"))
    assert broker.queue("defualt")["ready"] == 2
    assert (send("default").returncode, send("default").stderr) == (0, "")
    pool.process.send(signal.SIGTERM)
    assert pool.process.wait() == 0
    assert send("default").stderr == "", "it has been served, and will be"
    done = run(verb, "add", *(["1", "2"] if verb == "send" else []), "--url", broker.url)
    assert done.returncode == 0
    assert sentence(done) == (
        "zqueue: no worker serves queue 'default' now: what is sent waits there"
    )


def test_send_mistakes(broker, run):
    for arguments, words in (
        (["add", "one"], "is not JSON"),
        (["add", "a=one"], "'one' is not JSON"),
        (["add", "a=1", "a=2"], "argument 'a' is given twice"),
        (["--queue", "q", "a=1"], "'a=1' is not JSON"),
        (["--queue", "a b", "1"], "a b"),
        (["add", "[" * 100_000], ""),
    ):
        assert words in mistake("send", *arguments, "--url", broker.url)


def test_send_what_only_the_broker_or_a_worker_knows(served, run):
    for arguments, code, words in (
        (["no_such_task", "1"], 2, "no_such_task"),
        (["add", str(1 << 70)], 2, "64 bits"),
        (["run_slowly", "1", "5", "--wait", "--timeout", "0.3"], 1, "no result within 0.3 s"),
    ):
        done = run("send", *arguments, "--url", served.url)
        assert done.returncode == code, (arguments[:2], done.stderr[-500:])
        assert words in sentence(done)


# --- pipe ---


def test_pipe_prints_results_in_order(served, run):
    lines = [json.dumps(i) for i in range(3_000)]
    done = run("pipe", "echo", "--url", served.url, input="\n".join(lines))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == lines
    done = run("pipe", "add", "--url", served.url, input='[1, 2]\n\n{"a": 1, "c": 5}\n7\n')
    assert (done.returncode, done.stdout) == (0, "3\n6\n7\n")
    done = run("pipe", "half_unsendable", "--url", served.url, input="0\n1\n2\n")
    assert done.returncode == 1
    first, second, third = (json.loads(line) for line in done.stdout.splitlines())
    assert (first, second["error"]["type"], third) == (0, "BodyError", 2)


BAD_LINES = {
    "cut off": b'{"id": ',
    "no JSON": b"hello",
    "no UTF-8": b'"\xff\xfe"',
    "too deep": b"[" * 100_000,
    "beyond 64 bits": b"[" + b"9" * 30 + b"]",
    "half a character": b'"\\ud800"',
    "too many digits": b"1" * 5_000,
}


def test_pipe_names_the_line_that_is_wrong(broker, workers, run, record):
    workers(broker, "jobs.py", 1)
    for count, (case, line) in enumerate(BAD_LINES.items(), 1):
        lines = [b"%d" % i for i in range(1, 17)] + [line] + [b"%d" % i for i in range(18, 30)]
        done = run("pipe", "--queue", "q", "--url", broker.url, input=b"\n".join(lines))
        assert done.returncode == 2, case
        warning, error = done.stderr.splitlines()
        assert "no worker has served queue 'q'" in warning
        assert error.startswith("zqueue: line 17"), case
        assert broker.queue("q")["ready"] == 16 * count
    done = run("pipe", "run", "--url", broker.url, input=b"\n".join(lines))
    assert done.returncode == 2
    assert "line 17" in sentence(done)
    assert done.stdout.split() == [str(i) for i in range(1, 17)], "the lines before are done with"
    assert record.ids() == list(range(1, 17)), "and those after are not begun"


def test_pipe_of_nothing_and_to_an_unknown_task(broker, run):
    done = run("pipe", "--queue", "q", "--progress", "--url", broker.url)
    assert (done.returncode, done.stdout) == (0, "")
    done = run("pipe", "no_such_task", "--url", broker.url, input="1\n")
    assert done.returncode == 2
    assert "no_such_task" in sentence(done)


def test_pipe_gives_results_while_its_input_is_still_open(served, processes):
    process = processes.zqueue("pipe", "echo", "--url", served.url, stdin=subprocess.PIPE)
    stdin = process.popen.stdin
    stdin.write(b"1\n")
    stdin.flush()
    wait_until(lambda: process.out == "1\n", what="the first result")
    stdin.close()
    assert process.wait() == 0


# --- info and health ---


def test_info(served, run):
    done = run("info", "--url", served.url)
    assert done.returncode == 0
    assert served.url in done.stdout
    assert "default" in done.stdout
    data = json.loads(run("info", "--json", "--url", served.url).stdout)
    assert data["pid"] == served.pid
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


def test_a_mistake_in_the_file_or_the_environment(tmp_path):
    for text, words in (
        ("[broker]\nqueue-taks = 5\n", "queue-taks"),
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
    ):
        (tmp_path / "zqueue.toml").write_text(text)
        assert words in mistake("broker")
    (tmp_path / "zqueue.toml").unlink()
    assert "none.toml" in mistake("--config", "none.toml", "info")
    assert "many" in mistake("broker", ZQUEUE_BROKER_QUEUE_TASKS="many")
