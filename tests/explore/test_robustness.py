"""Whatever arrives is answered: with an answer, or with one sentence that says why there is none."""

import copy
import json
import random
import socket
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

REQUESTS = 1000
X = [float(value % 17) for value in range(64)]
QUESTIONS = {
    "decode": {"z": [[0.5, 0.0, -1.0], [1.0, 2.0, 0.0]], "context": {"label": "3"}},
    "encode": {"x": X, "context": {"label": "3"}},
    "terms": {"x": X, "z": [0.0, 0.5, 0.0], "context": {"label": "3"}},
    "sample": {"n": 2, "temperature": 0.5, "seed": 3, "context": {"label": "1"}},
    "path": {"begin": 0, "end": [0.0, 0.0, 1.0], "path": "spherical", "steps": 3, "context": {"label": "1"}},
}
PLAIN = [
    None,
    True,
    "",
    "x",
    "\ud800",
    "x" * 5000,
    -1,
    0,
    1,
    3,
    0.5,
    1e30,
    -1e300,
    10**20,
    2**63,
    [],
    {},
    [[]],
    [None],
    {"a": 1},
    "3",
]
RAW = ["NaN", "-Infinity", "1e999", "1" * 5000, "[" * 3000 + "]" * 3000, '{"a":' * 500 + "1" + "}" * 500, "'x'", "0x1", "1,", ""]
HOSTS = ["evil.example", "", "127.0.0.1:x", "[::1", "localhost, evil.example", "localhost/", "127.0.0.1:99999999"]
TYPES = ["text/plain", "application/jsonx", "", "multipart/form-data", "application/json, text/plain", "*/*"]
MARK = "@@"


def places(value, path=()):
    """All places within a JSON value."""
    yield path
    if isinstance(value, dict | list):
        for key, entry in value.items() if isinstance(value, dict) else enumerate(value):
            yield from places(entry, (*path, key))


def put(value, path, entry):
    """A copy of a JSON value with another entry at a place."""
    if not path:
        return entry
    value = copy.deepcopy(value)
    inner = value
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = entry
    return value


class Malformer:
    """Makes requests that are wrong, or nearly right, from a seed."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.kinds = [
            self.value,
            self.raw,
            self.key,
            self.size,
            self.torn,
            self.bytes,
            self.header,
            self.path,
            self.method,
            self.noise,
        ]

    def __call__(self):
        return self.random.choice(self.kinds)()

    def question(self):
        name = self.random.choice(list(QUESTIONS))
        return name, QUESTIONS[name]

    def request(self, name, body, *, method="POST", path=None, host="localhost", kind="application/json", more=()):
        path = f"/api/{name}" if path is None else path
        lines = [f"{method} {path} HTTP/1.1", f"Host: {host}", f"Content-Type: {kind}", f"Content-Length: {len(body)}", *more]
        return "\r\n".join([*lines, "Connection: close", "", ""]).encode("latin-1", "replace") + body

    def value(self):
        name, question = self.question()
        place = self.random.choice(list(places(question)))
        return self.request(name, json.dumps(put(question, place, self.random.choice(PLAIN))).encode())

    def raw(self):
        name, question = self.question()
        place = self.random.choice(list(places(question)))
        text = json.dumps(put(question, place, MARK)).replace(f'"{MARK}"', self.random.choice(RAW))
        return self.request(name, text.encode())

    def key(self):
        name, question = self.question()
        question = copy.deepcopy(question)
        taken = self.random.choice(list(question))
        value = question.pop(taken)
        if self.random.random() < 0.7:
            question[self.random.choice(["Z", "self", "__class__", taken + " ", "", "x" * 3000])] = value
        return self.request(name, json.dumps(question).encode())

    def size(self):
        count = self.random.choice([0, 1, 2, 4, 63, 65, 257, 5000])
        values = [self.random.uniform(-3, 3) for _ in range(count)]
        name = self.random.choice(["decode", "encode", "terms", "path"])
        asked = {
            "decode": {"z": [values]},
            "encode": {"x": values},
            "terms": {"x": X, "z": values},
            "path": {"begin": values, "end": 0},
        }
        if name == "decode" and self.random.random() < 0.5:
            asked["decode"] = {"z": [[0.0, 0.0, 0.0]] * count}
        return self.request(name, json.dumps(asked[name]).encode())

    def torn(self):
        name, question = self.question()
        body = bytearray(json.dumps(question).encode())
        for _ in range(self.random.randint(1, 4)):
            body[self.random.randrange(len(body))] = self.random.randrange(256)
        return self.request(name, bytes(body[: self.random.randint(0, len(body))]))

    def bytes(self):
        return self.request(self.question()[0], self.random.randbytes(self.random.choice([0, 1, 10, 1000])))

    def header(self):
        name, question = self.question()
        body = json.dumps(question).encode()
        which = self.random.randrange(4)
        if which == 0:
            return self.request(name, body, host=self.random.choice(HOSTS))
        if which == 1:
            return self.request(name, body, kind=self.random.choice(TYPES))
        if which == 2:
            return self.request(name, body, more=[f"Origin: {self.random.choice(['null', 'http://evil.example', '', '*'])}"])
        extra = [
            "Host: evil.example",
            "Content-Type: text/plain",
            "Content-Length: 7",
            "Transfer-Encoding: gzip",
            ": x",
            "X: \x00",
        ]
        return self.request(name, body, more=[self.random.choice(extra)])

    def path(self):
        pieces = [
            "..",
            "%2e%2e",
            "%00",
            "api",
            "datum",
            "page",
            "index.html",
            "\\",
            "%5c",
            "server.py",
            "etc",
            "%",
            "%zz",
            "?x=1",
            "~",
            "1e3",
        ]
        path = "/" + "/".join(self.random.choice(pieces) for _ in range(self.random.randint(1, 6)))
        return self.request("", b"{}", path=path, method=self.random.choice(["GET", "POST", "HEAD"]))

    def method(self):
        name, question = self.question()
        method = self.random.choice(["GET", "PUT", "DELETE", "PATCH", "OPTIONS", "CONNECT", "TRACE", "post", "X" * 50])
        return self.request(name, json.dumps(question).encode(), method=method)

    def noise(self):
        return self.random.randbytes(self.random.randint(1, 300)) + self.random.choice([b"", b"\r\n\r\n"])


def exchanged(port, request):
    """What a server sends back until it ends the connection."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        answer = b""
        try:
            connection.sendall(request)
            if b"Connection: close" not in request:  # it may be no request at all, and the server wait for the rest of it
                connection.shutdown(socket.SHUT_WR)
            while piece := connection.recv(65536):
                answer += piece
        except (ConnectionResetError, BrokenPipeError):  # it has answered, and does not read the rest
            pass
    return answer


def check(request, answer):
    """The status; an answer that is neither what was asked nor one sentence fails."""
    head, _, content = answer.partition(b"\r\n\r\n")
    if not answer:
        assert b"HTTP/1.1" not in request, request[:300]
        return 0
    status = int(head.split()[1])
    assert 200 <= status < 300 or 400 <= status < 500, (status, request[:300], answer[:300])
    assert b"Traceback" not in content
    if status >= 400 and not request.startswith(b"HEAD") and content != b"Invalid HTTP request received.":
        said = json.loads(content)
        assert list(said) == ["error"], (request[:300], content)
        assert 5 < len(said["error"]) <= 300
        assert "\n" not in said["error"]
    return status


def test_a_thousand_malformed_requests_are_answered_and_the_next_one_is_right(client, explorer, caplog):
    malformed, found = Malformer(0), Counter()
    wanted = explorer.decode(**QUESTIONS["decode"])
    for number in range(REQUESTS):
        request = malformed()
        found[check(request, exchanged(client.port, request))] += 1
        if number % 100 == 0:
            assert client.post("decode", QUESTIONS["decode"]) == (200, wanted)
    assert client.post("decode", QUESTIONS["decode"]) == (200, wanted)
    assert client.ask("GET", "/")[0] == 200
    assert not [record for record in caplog.records if record.exc_info]
    assert found[422] > 200
    assert sum(count for status, count in found.items() if status >= 400) > 0.8 * REQUESTS
    assert not [status for status in found if status >= 500]


def test_many_at_once_get_their_own_answers(client, explorer):
    z = np.random.default_rng(0).normal(size=(200, 2, 3)).astype(np.float32)
    labels = [str(n % 10) for n in range(200)]

    def ask(n):
        return client.post("decode", {"z": z[n].tolist(), "context": {"label": labels[n]}})

    with ThreadPoolExecutor(32) as pool:
        answers = list(pool.map(ask, range(200)))
    for n, (status, answer) in enumerate(answers):
        context = {"label": torch.tensor([int(labels[n])] * 2)}
        wanted = explorer.view.decode(z[n], context).reshape(2, 64)
        assert status == 200
        np.testing.assert_array_equal(np.array(answer["x"], np.float32), wanted)


def test_questions_of_all_kinds_at_once_get_the_answers_they_get_alone(explorer):
    jobs = [(name, question) for name, question in QUESTIONS.items()] * 8
    alone = {name: getattr(explorer, name)(**question) for name, question in QUESTIONS.items()}
    state = torch.get_rng_state()
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda job: getattr(explorer, job[0])(**job[1]), jobs))
    assert all(answer == alone[name] for answer, (name, _) in zip(answers, jobs, strict=True))
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("temperature", [0.0, 10.0])
def test_the_ends_of_the_bounds_are_within(client, temperature):
    status, answer = client.post("sample", {"n": 1, "temperature": temperature, "seed": 2**53})
    assert status == 200
    assert all(value is not None for value in answer["x"][0])
    assert client.post("decode", {"z": [[1e6, -1e6, 1e6]]})[0] == 200
    assert client.post("decode", {"z": [[1.1e6, 0, 0]]})[0] == 422
