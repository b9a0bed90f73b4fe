import json
import socket
import sys
import threading
import time

import pytest

from amortized.errors import InputError
from amortized.explore import server
from amortized.explore.guard import knows
from amortized.explore.server import KINDS, PAGE, serve, serving

JSON = {"Content-Type": "application/json"}
BODY = json.dumps({"z": [[0.0, 0.0, 0.0]]}).encode()


def is_one_sentence(content):
    error = json.loads(content)["error"]
    return list(json.loads(content)) == ["error"] and isinstance(error, str) and 5 < len(error) <= 300 and "\n" not in error


def test_the_page_is_served_with_a_policy_that_lets_nothing_else_in(client):
    status, headers, content = client.ask("GET", "/")
    assert status == 200
    assert content == (PAGE / "index.html").read_bytes()
    assert headers["content-type"] == "text/html; charset=utf-8"
    policy = dict(part.strip().split(" ", 1) for part in headers["content-security-policy"].split(";"))
    assert policy["default-src"] == "'self'"
    assert "unsafe" not in headers["content-security-policy"]
    assert {policy["frame-ancestors"], policy["object-src"], policy["base-uri"]} == {"'none'"}
    assert headers["x-content-type-options"] == "nosniff"


def test_answers_are_not_kept_and_not_shared(client):
    _, headers, _ = client.ask("GET", "/api/description")
    assert headers["cache-control"] == "no-store"
    assert headers["cross-origin-resource-policy"] == "same-origin"
    assert headers["content-type"] == "application/json"
    assert not [name for name in headers if name.lower().startswith("access-control")]
    assert "server" not in headers


def test_each_question_is_answered_as_the_explorer_does(client, explorer):
    x = [0.0] * 64
    asked = {
        "decode": {"z": [[0.5, 0.0, -1.0]], "context": {"label": "3"}},
        "encode": {"x": x, "context": {"label": "3"}},
        "terms": {"x": x, "z": [0.0, 0.0, 0.0], "context": {}},
        "sample": {"n": 2, "temperature": 0.5, "seed": 3, "context": {"label": "1"}},
        "path": {"begin": 0, "end": [0.0, 0.0, 0.0], "path": "spherical", "steps": 3},
    }
    for name, question in asked.items():
        assert client.post(name, question) == (200, getattr(explorer, name)(**question)), name
    assert client.get("/api/datum/5") == (200, explorer.datum(5))
    assert client.get("/api/description") == (200, json.loads(json.dumps(explorer.description())))


@pytest.mark.parametrize(
    "path",
    [
        "/server.py",
        "/../server.py",
        "/page/../../server.py",
        "/%2e%2e/server.py",
        "/..%2fserver.py",
        "/%2e%2e%2f%2e%2e%2fpyproject.toml",
        "/%252e%252e/server.py",
        "/..\\server.py",
        "//etc/passwd",
        "/%2fetc/passwd",
        "/index.html%00.js",
        "/index.html/",
        "/./index.html",
        "/docs",
        "/openapi.json",
        "/api",
        "/api/",
        "/api/unknown",
        "/api/datum/",
        "/api/datum/1/",
        "/api/datum/-1",
        "/api/datum/1e1",
        "/api/datum/%2e%2e",
        "/api/datum/99999999999999999999",
        "/api/datum/%D9%A3",
    ],
)
def test_only_the_files_of_the_page_are_served(client, path):
    status, _, content = client.ask("GET", path)
    assert 400 <= status < 500
    assert b"import" not in content
    assert b"root:" not in content
    assert is_one_sentence(content)


def test_all_files_of_the_page_are_served(client):
    for path in PAGE.rglob("*"):
        if path.suffix in KINDS:
            status, headers, content = client.ask("GET", f"/{path.relative_to(PAGE).as_posix()}")
            assert (status, content) == (200, path.read_bytes())
            assert headers["content-type"] == KINDS[path.suffix]


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "localhost@evil.example", "", "a b", "::1"]
)
def test_a_name_that_was_pointed_at_this_machine_gets_nothing(client, host):
    status, _, content = client.ask("GET", "/api/description", host=host)
    assert 400 <= status < 500
    assert b"latent" not in content


@pytest.mark.parametrize("host", ["localhost", "localhost:8765", "127.0.0.1", "[::1]:99", "LOCALHOST"])
def test_the_names_of_this_machine_are_known(client, host):
    assert client.ask("GET", "/api/description", host=host)[0] == 200


def test_bound_to_all_addresses_any_address_is_known_but_no_name():
    assert knows("192.0.2.7:8765", "0.0.0.0")
    assert knows("[2001:db8::1]", "::")
    assert knows(socket.gethostname(), "0.0.0.0")
    assert not knows("evil.example", "0.0.0.0")
    assert not knows("192.0.2.7", "127.0.0.1")
    assert knows("box.example:1", "box.example")


def test_two_hosts_are_one_too_many(client):
    with socket.create_connection(("127.0.0.1", client.port)) as connection:
        connection.sendall(b"GET /api/description HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.1 400")


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({**JSON, "Origin": "http://evil.example"}, 403),
        ({**JSON, "Origin": "null"}, 403),
        ({**JSON, "Origin": "https://127.0.0.1"}, 403),
        ({**JSON, "Origin": "http://127.0.0.1:1"}, 403),
        ({**JSON, "Sec-Fetch-Site": "cross-site"}, 403),
        ({**JSON, "Sec-Fetch-Site": "same-site"}, 403),
        ({"Content-Type": "text/plain"}, 415),
        ({"Content-Type": "application/x-www-form-urlencoded"}, 415),
        ({"Content-Type": "multipart/form-data; boundary=x"}, 415),
        ({}, 415),
    ],
)
def test_what_another_site_can_send_is_refused(client, headers, status):
    found, _, content = client.ask("POST", "/api/decode", BODY, headers)
    assert found == status
    assert is_one_sentence(content)


def test_our_own_page_may_ask(client):
    headers = {"Content-Type": "application/json; charset=utf-8", "Sec-Fetch-Site": "same-origin"}
    assert client.ask("POST", "/api/decode", BODY, {**headers, "Origin": f"http://127.0.0.1:{client.port}"})[0] == 200


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "BREW"])
def test_other_methods_are_refused(client, method):
    status, headers, content = client.ask(method, "/api/decode", headers={"Access-Control-Request-Method": "POST"})
    assert status == 405
    assert is_one_sentence(content)
    assert not [name for name in headers if name.lower().startswith("access-control")]


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/api/decode"), ("POST", "/api/description"), ("POST", "/"), ("POST", "/no")]
)
def test_a_path_is_asked_in_its_own_way(client, method, path):
    status, _, content = client.ask(method, path, b"{}" if method == "POST" else None, JSON)
    assert status in (404, 405)
    assert is_one_sentence(content)


def test_a_long_body_is_refused_before_it_is_read(client):
    status, _, content = client.ask("POST", "/api/decode", b"", {**JSON, "Content-Length": str(2**40)})
    assert status == 413
    assert is_one_sentence(content)


def test_a_long_body_without_a_length_is_refused_while_it_arrives(client):
    with socket.create_connection(("127.0.0.1", client.port), timeout=20) as connection:
        head = (
            "POST /api/decode HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        connection.sendall(head.encode())
        piece, answer = b"10000\r\n" + b" " * 0x10000 + b"\r\n", b""
        try:
            for _ in range(64):
                connection.sendall(piece)
            answer = connection.recv(1000)
        except (ConnectionResetError, BrokenPipeError):  # it hung up on us
            return
        assert answer.startswith(b"HTTP/1.1 413")


def test_a_body_that_does_not_come_is_not_waited_for(client, monkeypatch):
    monkeypatch.setattr("amortized.explore.guard.BODY_SECONDS", 0.2)
    with socket.create_connection(("127.0.0.1", client.port), timeout=20) as connection:
        head = "POST /api/decode HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 10\r\n\r\n"
        connection.sendall(head.encode())
        assert connection.recv(1000).startswith(b"HTTP/1.1 408")


def test_a_port_that_is_taken_is_told_with_the_way_out(explorer, client):
    with pytest.raises(InputError, match=r"port \d+ of 127\.0\.0\.1 .* give another --port"), serving(explorer, port=client.port):
        pass


def test_a_host_that_is_not_this_machine_is_refused(explorer):
    with pytest.raises(InputError, match="--host"), serving(explorer, host="192.0.2.1"):
        pass


@pytest.mark.parametrize("package", ["fastapi", "uvicorn"])
def test_a_package_that_is_not_installed_is_named_with_its_extra(explorer, package, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(InputError, match=r"pip install 'amortized\[explore\]'"), serving(explorer):
        pass


def test_by_default_only_this_machine_reaches_it(explorer):
    with serving(explorer) as address:
        assert address.startswith("http://127.0.0.1:")


def test_a_run_is_served_until_it_is_interrupted(digits, capsys, monkeypatch):
    def interrupted(seconds):
        if seconds > 1:
            raise KeyboardInterrupt
        threading.Event().wait(seconds)

    opened, before = [], set(threading.enumerate())
    monkeypatch.setattr(server, "time", type("time", (), {"sleep": staticmethod(interrupted), "time": time.time}))
    monkeypatch.setattr(server.webbrowser, "open", opened.append)
    serve(digits, host="0.0.0.0", port=0)
    out, err = capsys.readouterr()
    assert out.startswith("The explorer is at http://127.0.0.1:")
    assert opened == [out.split()[4]]
    assert "Warning: bound to 0.0.0.0" in err
    left = [thread for thread in set(threading.enumerate()) - before if "AnyIO" not in thread.name]  # those end when idle
    assert not left
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", int(opened[0].rstrip("/").rpartition(":")[2])), timeout=5)
