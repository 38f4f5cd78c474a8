"""workers/web.py, against a server of our own"""

from __future__ import annotations

import asyncio
import http.server
import socket
import threading
from collections.abc import Iterator

import pytest

import zqueue


class Pages(http.server.BaseHTTPRequestHandler):
    """``/N`` answers with status N, ``/`` with 200, what is held waits, the rest is missing."""

    protocol_version = "HTTP/1.1"
    server: Server

    def do_GET(self) -> None:
        self.server.asked.append((self.path, self.headers["Host"]))
        if self.path == "/held":
            self.server.wait_for_company()
        name = self.path.strip("/").partition("?")[0]
        self.send_response(int(name) if name.isdigit() else 404 if name == "none" else 200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


class Server(http.server.ThreadingHTTPServer):
    """Serves `Pages` on a free port."""

    daemon_threads = True
    request_queue_size = 64  # All that `Pages` holds, and more: none is to knock twice.

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Pages)
        self.asked: list[tuple[str, str]] = []
        self.company = threading.Barrier(20)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def wait_for_company(self) -> None:
        """Returns when 20 requests wait here at the same time."""
        self.company.wait(20)


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def silent() -> Iterator[socket.socket]:
    """A server that accepts connections and never says a word of itself."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening


@pytest.fixture
def web(load):
    return load("web")


def fetch(web, *args):
    return asyncio.run(web.fetch_status(*args))


@pytest.mark.parametrize("status", [200, 204, 301, 404, 503])
def test_tells_the_status_whatever_it_is(web, server, status):
    answer = fetch(web, f"{server.url}/{status}")
    assert answer.pop("ms") > 0
    assert answer == {"url": f"{server.url}/{status}", "status": status}


@pytest.mark.parametrize(
    ("written", "asked"),
    [
        ("", "/"),
        ("?q=1", "/?q=1"),
        ("/a b/ü%20?x=y z&é#part", "/a%20b/%C3%BC%20?x=y%20z&%C3%A9"),
        ("/a\r\nX-Mine: 1", "/aX-Mine:%201"),
    ],
)
def test_asks_for_what_the_url_says(web, server, written, asked):
    fetch(web, server.url + written)
    assert server.asked == [(asked, f"127.0.0.1:{server.server_port}")]


@pytest.mark.parametrize(
    ("url", "host", "port", "named"),
    [
        ("http://example.org", "example.org", 80, "example.org"),
        ("https://Example.org/", "example.org", 443, "example.org"),
        ("https://example.org:8443/", "example.org", 8443, "example.org:8443"),
        ("http://me:secret@example.org/", "example.org", 80, "example.org"),
        ("http://bücher.example/", "xn--bcher-kva.example", 80, "xn--bcher-kva.example"),
        ("http://[::1]/", "::1", 80, "[::1]"),
        ("http://[::1]:8000/", "::1", 8000, "[::1]:8000"),
    ],
)
def test_connects_where_the_url_says(web, url, host, port, named):
    request = web.to_request(url)
    assert (request.host, request.port) == (host, port)
    assert request.is_secure == url.startswith("https:")
    assert f"\r\nHost: {named}\r\n".encode() in request.data


@pytest.mark.parametrize("url", ["", "example.org", "file:///etc/passwd", "ftp://h/", "http:///x"])
def test_takes_only_urls_of_the_web(web, url):
    with pytest.raises(ValueError, match="only http:// and https:// URLs"):
        fetch(web, url)


@pytest.mark.parametrize("answer", [b"SSH-2.0-OpenSSH_9\r\n", b"", b"HTTP/1.1 banana\r\n"])
def test_says_that_an_answer_is_not_http(web, silent, answer):
    def speak() -> None:
        connection, _ = silent.accept()
        with connection:
            connection.recv(4096)
            connection.sendall(answer)

    thread = threading.Thread(target=speak)
    thread.start()
    with pytest.raises(ValueError, match="the answer is not HTTP"):
        fetch(web, f"http://127.0.0.1:{silent.getsockname()[1]}/")
    thread.join()


@pytest.mark.system
def test_does_what_its_docstring_shows(web, server, shell):
    text = web.__doc__.replace("127.0.0.1:8000", f"127.0.0.1:{server.server_port}")
    assert shell.follow(text) == 4


@pytest.mark.system
def test_one_process_waits_for_many_servers_side_by_side(server, shell):
    """Each of the 20 requests is answered only when all 20 are there."""
    shell.start_broker()
    shell.start_worker("workers/web.py")
    with zqueue.Producer(shell.url) as producer:
        bodies = [[f"{server.url}/held", 20]] * 20
        answers = list(producer.call_many("web", bodies, task="fetch_status"))
    assert [answer["status"] for answer in answers] == [200] * 20
