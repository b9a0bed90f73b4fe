import http.client
import json
from dataclasses import dataclass

import pytest

import amortized as am
from amortized.explore import Explorer, serving
from amortized.report.view import View

JSON = {"Content-Type": "application/json"}


@dataclass
class Client:
    """A client of a server on this machine, which sends what it is told, whatever that is."""

    port: int

    def ask(self, method, path, body=None, headers=None, *, host=None):
        """The status, the headers and the bytes of an answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
            connection.putheader("Host", f"127.0.0.1:{self.port}" if host is None else host)
            for name, value in (headers or {}).items():
                connection.putheader(name, value)
            if body is not None and "Content-Length" not in (headers or {}):
                connection.putheader("Content-Length", str(len(body)))
            connection.endheaders(body)
            answer = connection.getresponse()
            return answer.status, dict(answer.getheaders()), answer.read()
        finally:
            connection.close()

    def post(self, name, question, **headers):
        """The status and the JSON of the answer to a question."""
        body = question if isinstance(question, bytes) else json.dumps(question).encode()
        status, _, content = self.ask("POST", f"/api/{name}", body, JSON | headers)
        return status, json.loads(content)

    def get(self, path):
        """The status and the JSON of the answer to a path."""
        status, _, content = self.ask("GET", path)
        return status, json.loads(content)


@pytest.fixture(scope="session")
def digits():
    """A run with conditions, on digits."""
    return am.fit("digits", latent_dim=3, context="label", epochs=1, quiet=True)


@pytest.fixture(scope="session")
def explorer(digits):
    return Explorer(View(digits, most=60), samples=100)


@pytest.fixture(scope="session")
def client(explorer):
    with serving(explorer) as address:
        yield Client(int(address.rstrip("/").rpartition(":")[2]))
