"""A real etcd-server of one member on a free port, and the few requests that the tests send it."""

import base64
import http.client
import json
import shutil
import subprocess

from .poll import eventually
from .ports import free_port


def encoded(text):
    return base64.b64encode(text.encode()).decode()


class EtcdServer:
    """One etcd process; it can be killed and started again, on the same port or apart from its clients."""

    def __init__(self, directory):
        self.binary = shutil.which("etcd")
        assert self.binary, "etcd is missing: tests/setup installs it"
        self.port, self.peer_port, self.apart_port = free_port(), free_port(), free_port()
        self.directory = directory / f"etcd-{self.port}"
        self.process = None
        self.at = None
        self.token = None

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def start(self, apart=False):
        """Starts it where its clients look for it, or apart, where only this test reaches it."""
        self.at = self.apart_port if apart else self.port
        client, peer = f"http://127.0.0.1:{self.at}", f"http://127.0.0.1:{self.peer_port}"
        self.process = subprocess.Popen(
            [
                self.binary, "--name", "one", "--data-dir", str(self.directory),
                "--listen-client-urls", client, "--advertise-client-urls", client,
                "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer,
                "--initial-cluster", f"one={peer}", "--logger", "zap", "--log-level", "error",
            ],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )
        eventually(self._answers, "etcd is healthy", deadline_s=30)
        return self

    def _answers(self):
        try:
            return self._request("GET", "/health")[1].get("health") == "true"
        except (OSError, ValueError, http.client.HTTPException):
            return False

    def _request(self, method, path, body=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.at, timeout=10)
        headers = {"Authorization": self.token} if self.token else {}
        try:
            connection.request(method, path, body and json.dumps(body), headers)
            response = connection.getresponse()
            return response.status, json.loads(response.read())
        finally:
            connection.close()

    def call(self, path, **body):
        status, answer = self._request("POST", "/v3/" + path, body or {"": ""})
        assert status == 200, answer
        return answer

    def put(self, key, value):
        """The revision at which it was put."""
        return int(self.call("kv/put", key=encoded(key), value=encoded(value))["header"]["revision"])

    def delete(self, key):
        assert self.call("kv/deleterange", key=encoded(key))["deleted"] == "1"

    def compact(self, revision):
        self.call("kv/compaction", revision=str(revision), physical=True)

    def demand_a_password(self, password):
        """From here on nobody is let in but root."""
        self.call("auth/user/add", name="root", password=password)
        self.call("auth/user/grant", user="root", role="root")
        self.call("auth/enable")
        self.token = self.call("auth/authenticate", name="root", password=password)["token"]

    def kill(self):
        """kill -9: no connection is closed in order, no client is told."""
        self.process.kill()
        self.process.wait()

    def stop(self):
        if self.process and self.process.poll() is None:
            self.kill()
