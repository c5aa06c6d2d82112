"""Devices that use somebody else's WebSocket client: Python's `websockets` and npm's `ws`, behind one face."""

import json
import queue
import shutil
import subprocess
import threading
from pathlib import Path

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

TIMEOUT_S = 10
SCRIPT = Path(__file__).resolve().parents[1] / "ws_client.js"


class PythonDevice:
    """`websockets`, which offers permessage-deflate and pings by itself."""

    def __init__(self, port, path="/connect", **options):
        self.connection = connect(f"ws://127.0.0.1:{port}{path}", proxy=None, open_timeout=TIMEOUT_S, **options)
        self.ping(b"settled")

    def send(self, message):
        self.connection.send(message)

    def receive(self):
        return self.connection.recv(timeout=TIMEOUT_S)

    def ping(self, payload):
        """Returns when the pong is there."""
        assert self.connection.ping(payload).wait(TIMEOUT_S), "no pong"

    def close(self, code=1000, reason=""):
        self.connection.close(code, reason)

    def closed(self):
        """The code that the gateway closes with; nothing else comes before it."""
        try:
            message = self.connection.recv(timeout=TIMEOUT_S)
        except ConnectionClosed as end:
            return end.rcvd.code if end.rcvd else 1006
        raise AssertionError(f"a message instead of a close: {message!r}")


class NodeDevice:
    """`ws` in a process of its own."""

    def __init__(self, port, path="/connect"):
        node = shutil.which("node")
        assert node, "node is missing: tests/setup installs it"
        self.process = subprocess.Popen(
            [node, str(SCRIPT), f"ws://127.0.0.1:{port}{path}"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.events = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()
        opened = self._event()
        assert opened == {"event": "open"}, opened
        self.ping(b"settled")

    def _read(self):
        for line in self.process.stdout:
            self.events.put(json.loads(line))

    def _event(self):
        return self.events.get(timeout=TIMEOUT_S)

    def _do(self, what, **arguments):
        self.process.stdin.write(json.dumps({"do": what, **arguments}) + "\n")
        self.process.stdin.flush()

    def send(self, message):
        if isinstance(message, str):
            self._do("text", text=message)
        else:
            self._do("binary", hex=message.hex())

    def receive(self):
        event = self._event()
        if event["event"] == "text":
            return event["text"]
        assert event["event"] == "binary", event
        return bytes.fromhex(event["hex"])

    def ping(self, payload):
        self._do("ping", hex=payload.hex())
        event = self._event()
        assert event == {"event": "pong", "hex": payload.hex()}, event

    def closed(self):
        event = self._event()
        assert event["event"] == "close", event
        return event["code"]

    def close(self, code=1000, reason=""):
        self._do("close", code=code, reason=reason)
        assert self.closed() == code

    def end(self):
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()
