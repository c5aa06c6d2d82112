"""The programs of the documents: each is run as it stands, but for the ports, and does what its page promises."""

import base64
import json
import os
import queue
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from harness.documents import blocks
from harness.poll import eventually
from harness.wire import CLOSE, PING, PONG, TEXT, Wire, close_payload, server_frame

BROWSER = 'globalThis.WebSocket ??= require("ws");\n'
"""What a page has and Node before 22 has not."""

PROGRAMS = {
    "browser": lambda block: block.language == "javascript" and "require(" not in block.text,
    "node": lambda block: block.language == "javascript" and 'require("ws")' in block.text,
    "python": lambda block: block.language == "python" and "websockets" in block.text,
    "c": lambda block: block.language == "c",
    "publisher": lambda block: block.language == "python" and "urllib" in block.text,
}
DEVICES = ("browser", "node", "python", "c")


def text_of(name):
    (block,) = [block for block in blocks("javascript", "python", "c") if PROGRAMS[name](block)]
    return block.text


def prepare(name, directory, port):
    """The command that runs the program against a gateway on this port."""
    text = text_of(name)
    assert len(re.findall(r"\b(7777|7799)\b", text)) == 1, "its address stands in one place"
    text = re.sub(r"\b(7777|7799)\b", str(port), text).replace("localhost", "127.0.0.1")
    if name == "c":
        source, program = directory / "device.c", directory / "device"
        source.write_text(text)
        compiler = shutil.which("cc")
        assert compiler, "cc is missing: tests/setup installs it"
        subprocess.run([compiler, "-Wall", "-Wextra", "-Werror", "-O1", "-o", program, source], check=True, timeout=60)
        return [program]
    if name in ("browser", "node"):
        node = shutil.which("node")
        assert node, "node is missing: tests/setup installs it"
        source = directory / f"{name}.cjs"
        source.write_text(BROWSER + text if name == "browser" else text)
        return [node, source]
    source = directory / f"{name}.py"
    source.write_text(text)
    return [sys.executable, source]


class Program:
    """A program that runs, and its lines."""

    def __init__(self, command):
        variables = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=variables)
        self.lines = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        for line in self.process.stdout:
            self.lines.put(line)

    def expect(self, message):
        line = self.lines.get(timeout=10)
        assert json.loads(line) == message, line

    def end(self):
        self.process.kill()
        self.process.wait()


@pytest.fixture
def run(tmp_path):
    started = []

    def start(name, port):
        started.append(Program(prepare(name, tmp_path, port)))
        return started[-1]

    yield start
    for program in started:
        program.end()


def test_every_program_is_one_that_is_run_here():
    for block in blocks("javascript", "js", "python", "py", "c"):
        names = [name for name, is_it in PROGRAMS.items() if is_it(block)]
        assert len(names) == 1, f"{block.document}:{block.line}: {names}"


@pytest.mark.parametrize("name", DEVICES)
def test_a_device_receives_and_after_a_restart_of_the_gateway_receives_again(start_gateway, run, name):
    gateway = start_gateway(**{"server.drain_s": 0})
    program = run(name, gateway.port)
    gateway.await_members("news", 1)
    assert gateway.push({"topic": "news"}, [{"id": 1}, {"text": "R&D ü"}]).status == 202
    program.expect({"id": 1})
    program.expect({"text": "R&D ü"})
    gateway.signal(signal.SIGTERM)
    assert gateway.exit_code() == 0
    again = start_gateway(port=gateway.port)
    # The pauses are random, and double from a second.
    eventually(lambda: again.members("news") == 1, "the device is back", deadline_s=40)
    assert again.push({"topic": "news"}, [{"id": 2}]).status == 202
    program.expect({"id": 2})
    assert program.process.poll() is None


@pytest.mark.parametrize("name", DEVICES)
def test_a_device_that_is_told_that_it_is_idle_does_not_come_back(start_gateway, run, name):
    gateway = start_gateway(**{"clients.idle_after_s": 1})
    program = run(name, gateway.port)
    assert program.process.wait(20) == 0
    assert gateway.metric("upgraded_total") == 1
    assert gateway.metric("closed_total", code="4009") == 1


def test_a_device_without_a_library_takes_frames_of_every_length_and_answers_pings(start_gateway, run):
    gateway = start_gateway(**{"clients.liveness_s": 2})
    program = run("c", gateway.port)
    gateway.await_members("news", 1)
    for length in (1, 123, 124, 3000, 70_000, 4094):
        assert gateway.push({"topic": "news"}, ["x" * length]).status == 202
        if length < 4096:
            program.expect("x" * length)
    eventually(lambda: gateway.metric("pings_sent_total") >= 3, "pings for more than a silence", deadline_s=20)
    assert gateway.metric("upgraded_total") == 1, "it was never cut off"


def exactly(peer, count):
    data = b""
    while len(data) < count:
        more = peer.recv(count - len(data))
        assert more, f"the stream ended behind {data!r}"
        data += more
    return data


def masked_frame(peer):
    """Opcode and payload of a short frame that a client sent."""
    first, second, *mask = exactly(peer, 6)
    assert first & 0xF0 == 0x80 and second & 0x80 and any(mask), "final, and masked"
    payload = exactly(peer, second & 0x7F)
    return first & 0x0F, bytes(byte ^ mask[at % 4] for at, byte in enumerate(payload))


def test_a_device_without_a_library_speaks_as_rfc_6455_says(run):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(10)
        run("c", listener.getsockname()[1])
        peer, _ = listener.accept()
        with peer:
            peer.settimeout(10)
            head = b""
            while not head.endswith(b"\r\n\r\n"):
                head += exactly(peer, 1)
            assert head.startswith(b"GET /topics/news HTTP/1.1\r\n")
            (key,) = re.findall(rb"\r\nSec-WebSocket-Key: (\S+)\r\n", head)
            assert len(base64.b64decode(key)) == 16 and base64.b64encode(base64.b64decode(key)) == key
            # The first frame comes with the head.
            peer.sendall(b"HTTP/1.1 101 Switching Protocols\r\n\r\n" + server_frame(PING, b"abcdefg"))
            assert masked_frame(peer) == (PONG, b"abcdefg")
            peer.sendall(server_frame(CLOSE, close_payload(1001, b"bye")))
            assert masked_frame(peer) == (CLOSE, close_payload(1001))
        listener.accept()[0].close()


def test_what_the_publisher_publishes_arrives(gateway, run):
    with Wire(gateway.port, "/topics/news") as device:
        program = run("publisher", gateway.api_port)
        device.expect_stream(server_frame(TEXT, b'{"id": 7}'))
        program.expect(1)
        assert program.process.wait(10) == 0


def test_the_publisher_repeats_under_the_same_id_while_the_answer_may_change(run):
    asked = []

    class Busy(BaseHTTPRequestHandler):
        def do_POST(self):
            asked.append(json.loads(self.rfile.read(int(self.headers["Content-Length"])))["id"])
            status, body = (202, b'{"accepted":1}') if len(asked) == 3 else (503, b"{}")
            self.send_response(status)
            self.send_header("Retry-After", "0.05")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Busy)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        program = run("publisher", server.server_port)
        program.expect(1)
    finally:
        server.shutdown()
        server.server_close()
    assert len(asked) == 3 and len(set(asked)) == 1
