"""Whatever standard error is: no thread waits for it, nothing that happens there ends the gateway, what is lost is told."""

import fcntl
import json
import os
import pty
import resource
import signal
import socket
import subprocess
import threading
import time

import pytest

from harness.gateway import MUST_FIX, binary, environment
from harness.poll import eventually
from harness.ports import free_port
from harness.wire import TEXT, Wire, server_frame

F_SETPIPE_SZ = 1031
PIPE_BYTES = 4096
CHATTY = {"log.level": "trace", "server.drain_s": 1}


class Sink:
    """Something to write to: `output` is the child's end, `fails` whether a write to it is an error."""

    def __init__(self, output, keep=(), before=None, fails=False):
        self.output, self.keep, self.before, self.fails = output, list(keep), before, fails

    def started(self):
        os.close(self.output)

    def close(self):
        for descriptor in self.keep:
            os.close(descriptor)


def unread_pipe(_):
    reader, writer = os.pipe()
    fcntl.fcntl(writer, F_SETPIPE_SZ, PIPE_BYTES)
    return Sink(writer, [reader])


def unread_pipe_that_does_not_wait(_):
    sink = unread_pipe(_)
    os.set_blocking(sink.output, False)
    return sink


def pipe_without_reader(_):
    reader, writer = os.pipe()
    os.close(reader)
    return Sink(writer, fails=True)


def full_disk(_):
    return Sink(os.open("/dev/full", os.O_WRONLY), fails=True)


def unread_terminal(_):
    ours, theirs = pty.openpty()
    return Sink(theirs, [ours])


def fifo_without_reader(directory):
    path = directory / "fifo"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    writer = os.open(path, os.O_WRONLY)
    fcntl.fcntl(writer, F_SETPIPE_SZ, PIPE_BYTES)
    return Sink(writer, [reader])


def file_at_its_limit(directory):
    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)

    return Sink(os.open(directory / "limited", os.O_WRONLY | os.O_CREAT), before=limit, fails=True)


def read_only(_):
    return Sink(os.open("/dev/null", os.O_RDONLY), fails=True)


def closed(_):
    def close():
        os.close(1)
        os.close(2)

    return Sink(os.open("/dev/null", os.O_WRONLY), before=close)


def deleted_file(directory):
    path = directory / "deleted"
    output = os.open(path, os.O_WRONLY | os.O_CREAT)
    path.unlink()
    return Sink(output)


SINKS = [
    unread_pipe, unread_pipe_that_does_not_wait, pipe_without_reader, full_disk, unread_terminal, fifo_without_reader,
    file_at_its_limit, read_only, closed, deleted_file,
]


@pytest.fixture
def start_into(start_gateway, tmp_path):
    """A gateway whose standard error is such a sink."""
    sinks = []

    def start(make, **settings):
        sink = make(tmp_path)
        sinks.append(sink)
        gateway = start_gateway(output=sink.output, before=sink.before, **CHATTY | settings)
        sink.started()
        return gateway, sink

    yield start
    for sink in sinks:
        sink.close()


def serves(gateway):
    """Whether a device is answered and gets what is published, while each request makes lines."""
    for turn in range(50):
        # Each of these is a line; a configuration that is wrong is several.
        change = json.dumps({"outbox.age_max_s": 20 + turn % 2, "x" * 100: 1} if turn % 2 else {"outbox.age_max_s": 20})
        assert gateway.request("PATCH", "/v1/config", change, timeout=3).status in (200, 400, 422)
    with Wire(gateway.port, "/topics/t") as device:
        assert gateway.push({"topic": "t"}, [1]).status == 202
        device.expect_stream(server_frame(TEXT, b"1"))
    return gateway.get("/healthz").status == 200


@pytest.mark.parametrize("sink", SINKS)
@pytest.mark.parametrize("log_format", ["text", "json"])
def test_the_gateway_serves_and_ends_whatever_its_log_is_written_to(start_into, sink, log_format):
    gateway, sink = start_into(sink, **{"log.format": log_format})
    assert serves(gateway)
    lost = gateway.metric("log_lines_dropped_total", reason="write_failed")
    assert lost > 0 if sink.fails else lost == 0
    assert gateway.metric("log_queue_bytes") <= 1 << 20
    began = time.monotonic()
    gateway.signal()
    assert gateway.exit_code() == 0
    assert time.monotonic() - began < 4


def test_lines_that_are_missing_are_counted_and_told_when_somebody_reads_again(start_into):
    gateway, sink = start_into(unread_pipe, **{"log.level": "trace"})
    eventually(lambda: log_floods(gateway) or gateway.metric("log_lines_dropped_total", reason="queue_full") > 0,
               "lines are dropped", 60)
    read = bytearray()
    reader = threading.Thread(target=read_all, args=(sink.keep[0], read), daemon=True)
    reader.start()
    eventually(lambda: b"log lines were dropped: " in read, "it is told", 10)
    eventually(lambda: gateway.metric("log_queue_bytes") == 0, "all is written", 10)
    gateway.signal()
    assert gateway.exit_code() == 0
    eventually(lambda: b"drained" in read, "the last line is there")
    assert all(line.isprintable() for line in read.decode().splitlines()), "no line is torn"


def log_floods(gateway):
    """Handshakes whose ends are lines at debug."""
    for _ in range(500):
        with socket.create_connection(("127.0.0.1", gateway.port)) as device:
            device.sendall(b"GET /connect HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                           b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n")
            device.recv(4096)


def read_all(descriptor, into):
    while piece := os.read(descriptor, 65536):
        into.extend(piece)


@pytest.mark.parametrize("make", [full_disk, pipe_without_reader, file_at_its_limit])
def test_an_error_at_the_start_has_its_exit_code_whatever_standard_error_is(tmp_path, make):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        for arguments in (
            ["--listen", f"127.0.0.1:{other.getsockname()[1]}", "--api", f"127.0.0.1:{free_port()}"],
            ["--listen", "nonsense"],
        ):
            sink = make(tmp_path)
            done = subprocess.run([binary(), *arguments], stdout=sink.output, stderr=sink.output, timeout=10,
                                  env=environment({}), preexec_fn=sink.before, check=False)
            sink.started()
            sink.close()
            assert done.returncode == MUST_FIX, arguments


def test_an_error_at_the_start_is_on_standard_error_after_the_log(tmp_path):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        done = subprocess.run(
            [binary(), "--listen", f"127.0.0.1:{port}", "--api", f"127.0.0.1:{free_port()}"], capture_output=True,
            env=environment({}), timeout=10, check=False,
        )
    lines = done.stderr.decode().splitlines()
    assert done.returncode == MUST_FIX and not done.stdout
    assert lines[-1].startswith("fanfare: server.listen: "), lines
    assert " INFO " in lines[0], lines


@pytest.mark.parametrize("arguments", [["--check"], ["--print-config"], ["doctor"], ["push", "--topic", "t", "x", "--watch"],
                                       ["pushes"], ["top"], ["--help"]])
@pytest.mark.parametrize("make", [full_disk, pipe_without_reader, closed, file_at_its_limit])
def test_no_command_panics_whatever_it_writes_to(start_gateway, tmp_path, arguments, make):
    gateway = start_gateway()
    api = ["--api", f"127.0.0.1:{gateway.api_port}"]
    sink = make(tmp_path)
    done = subprocess.run([binary(), *arguments, *(api if arguments[0] != "--help" else [])], stdin=subprocess.DEVNULL,
                          stdout=sink.output, stderr=sink.output, timeout=20,
                          env=environment({}), preexec_fn=sink.before, check=False)
    sink.started()
    sink.close()
    assert done.returncode in (0, 1, 2, 69, 70, 74, 78), done.returncode
