"""The gateway as a process: started with flags and environment, asked by HTTP, judged by its exit."""

import http.client
import itertools
import json
import os
import signal
import subprocess
import urllib.parse
from pathlib import Path

from prometheus_client.openmetrics.parser import text_string_to_metric_families

from .poll import eventually
from .ports import free_port

ROOT = Path(__file__).resolve().parents[3]
MUST_FIX = 78
"""Exit code for what the operator must fix (EX_CONFIG of sysexits.h)."""


def binary():
    path = Path(os.environ.get("FANFARE_BIN", ROOT / "target" / "release" / "fanfare"))
    assert path.exists(), f"{path} is missing: cargo build --release"
    return str(path)


def environment(settings):
    """The process environment with the gateway's own variables replaced by these; `a.b` becomes FANFARE_A_B."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("FANFARE_")}
    own = {"FANFARE_" + key.upper().replace(".", "_"): str(value) for key, value in settings.items()}
    return kept | own


def run_to_end(*arguments, settings=None, launcher=(), timeout=10, variables=None, pass_fds=()):
    """Runs the binary until it exits by itself: (code, everything it wrote)."""
    done = subprocess.run(
        [*launcher, binary(), *arguments], env=environment(settings or {}) | (variables or {}),
        timeout=timeout, pass_fds=pass_fds,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
    )
    return done.returncode, done.stdout


_NUMBERS = itertools.count(1)


class Answer:
    """An HTTP response, read whole."""

    def __init__(self, response):
        self.status = response.status
        self.headers = {name.lower(): value for name, value in response.getheaders()}
        self.body = response.read()

    @property
    def json(self):
        return json.loads(self.body)

    def __repr__(self):
        return f"{self.status} {self.headers} {self.body[:500]!r}"


class Gateway:
    """One process with its two ports. `settings` are configuration keys, as in the file."""

    def __init__(
        self, directory, *, redis=None, arguments=(), await_ready=True, launcher=(), pass_fds=(), variables=None,
        api_port=None, api_host="127.0.0.1", host="127.0.0.1", output=None, before=None, **settings,
    ):
        """`output` is where it writes instead of its log, `before` runs in the process before the gateway does."""
        self.port, self.api_port = free_port(), api_port or free_port()
        self.log_path = directory / f"gateway-{self.port}.log"
        if "port" in settings:
            # A second gateway in the place of a first one keeps its log.
            self.port = settings.pop("port")
            self.log_path = directory / f"gateway-{self.port}-{next(_NUMBERS)}.log"
        # Two shards, so that every test crosses them; unpinned, because several gateways share the machine.
        settings = {"server.shards": 2, "server.pin": "false"} | settings
        command = [
            *launcher, binary(), "--listen", f"{host}:{self.port}", "--api", f"{api_host}:{self.api_port}",
            *(["--redis", redis] if redis else []), *arguments,
        ]
        with open(self.log_path, "wb") as log:
            self.process = subprocess.Popen(
                command, env=environment(settings) | (variables or {}), stdout=output or log, stderr=output or log,
                pass_fds=pass_fds, preexec_fn=before,
            )
        self.may_die = False
        path = "/readyz" if await_ready else "/healthz"
        try:
            eventually(lambda: self._answers(path), f"{path} answers 200", every_s=0.01)
        except AssertionError as problem:
            self.kill()
            raise AssertionError(f"{problem}\n{self.log}") from None

    @property
    def log(self):
        return self.log_path.read_text(errors="replace")

    def expect_log(self, *texts, within_s=10):
        """Awaits each of the texts: a thread of its own writes the log, so a line comes after what it is about."""
        for text in texts:
            try:
                eventually(lambda: text in self.log, f"the log says {text!r}", deadline_s=within_s)  # noqa: B023
            except AssertionError as problem:
                raise AssertionError(f"{problem}\n{self.log}") from None

    def _answers(self, path):
        assert self.process.poll() is None, f"the gateway exited with {self.process.returncode}"
        try:
            return self.get(path).status == 200
        except OSError:
            return False

    def request(self, method, path, body=None, headers=None, timeout=10):
        connection = http.client.HTTPConnection("127.0.0.1", self.api_port, timeout=timeout)
        try:
            connection.request(method, path, body, headers or {})
            return Answer(connection.getresponse())
        finally:
            connection.close()

    def get(self, path):
        return self.request("GET", path)

    def push_form(self, path, **fields):
        """go-push's own call: a form."""
        form = {"Content-Type": "application/x-www-form-urlencoded"}
        return self.request("POST", path, urllib.parse.urlencode(fields), form)

    def push(self, to, messages):
        body = json.dumps({"to": to, "messages": messages}, separators=(",", ":"))
        return self.request("POST", "/v1/push", body, {"Content-Type": "application/json"})

    def ready(self):
        return self.get("/readyz").status

    def samples(self):
        """Every sample of /metrics."""
        text = self.get("/metrics").body.decode()
        return [sample for family in text_string_to_metric_families(text) for sample in family.samples]

    def metric(self, name, **labels):
        """Sum of a metric over the samples that bear these labels; it must exist."""
        found = [s for s in self.samples() if s.name == "fanfare_" + name]
        assert found, f"/metrics has no fanfare_{name}"
        return sum(s.value for s in found if labels.items() <= s.labels.items())

    def connections(self):
        return self.metric("connections")

    def members(self, topic):
        return self.get("/v1/topics/" + urllib.parse.quote(topic, safe="")).json["members"]

    def await_members(self, topic, count):
        """A JOIN has no answer; its effect is awaited here."""
        eventually(lambda: self.members(topic) == count, f"topic {topic} has {count} members")

    def await_connections(self, count):
        eventually(lambda: self.connections() == count, f"{count} connections")

    def signal(self, number=signal.SIGTERM):
        self.process.send_signal(number)

    def exit_code(self, timeout=15):
        return self.process.wait(timeout)

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
