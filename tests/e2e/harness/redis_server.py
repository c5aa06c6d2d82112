"""A real redis-server on a free port, and the few commands that the tests send it."""

import shutil
import socket
import subprocess

from .poll import eventually
from .ports import free_port


def command(*parts):
    """One command in RESP."""
    encoded = [part if isinstance(part, bytes) else str(part).encode() for part in parts]
    lengths = b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in encoded)
    return b"*%d\r\n%s" % (len(encoded), lengths)


class RedisClient:
    """A connection that speaks RESP2: what redis-cli does, without its process per command."""

    def __init__(self, port, path=None):
        if path is None:
            self.socket = socket.create_connection(("127.0.0.1", port), timeout=10)
        else:
            self.socket = socket.socket(socket.AF_UNIX)
            self.socket.settimeout(10)
            self.socket.connect(path)
        self.reader = self.socket.makefile("rb")

    def call(self, *parts):
        self.socket.sendall(command(*parts))
        return self._reply()

    def pipeline(self, commands):
        """Sends every command, then reads every reply; `commands` are tuples."""
        self.socket.sendall(b"".join(command(*parts) for parts in commands))
        return [self._reply() for _ in commands]

    def _reply(self):
        line = self.reader.readline()
        if not line.endswith(b"\r\n"):
            raise ConnectionError("redis closed the connection")
        kind, rest = line[:1], line[1:-2]
        if kind == b"-":
            raise RuntimeError(rest.decode())
        if kind == b":":
            return int(rest)
        if kind == b"$":
            length = int(rest)
            return None if length < 0 else self.reader.read(length + 2)[:-2]
        if kind == b"*":
            return [self._reply() for _ in range(int(rest))]
        return rest

    def close(self):
        self.reader.close()
        self.socket.close()


class RedisServer:
    """One redis-server process without persistence; it can be killed and started again on the same port."""

    def __init__(self, directory, *options, password=None):
        binary = shutil.which("redis-server")
        assert binary, "redis-server is missing: tests/setup installs it"
        self.port = free_port()
        self.password = password
        self.socket_path = str(directory / f"redis-{self.port}.sock")
        self.arguments = [
            binary, "--port", str(self.port), "--bind", "127.0.0.1", "--unixsocket", self.socket_path,
            "--save", "", "--appendonly", "no", "--dir", str(directory), *options,
        ]
        self.process = None
        self.start()

    @property
    def url(self):
        return f"redis://127.0.0.1:{self.port}"

    def start(self):
        self.process = subprocess.Popen(self.arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        eventually(self._answers, "redis-server answers PING")

    def _answers(self):
        try:
            client = self.client()
        except OSError:
            return False
        try:
            return client.call("PING") == b"PONG"
        except (RuntimeError, ConnectionError):
            return False
        finally:
            client.close()

    def client(self):
        client = RedisClient(self.port, self.socket_path)
        if self.password is not None:
            client.call("AUTH", self.password)
        return client

    def kill(self):
        """kill -9: no connection is closed in order, no client is told."""
        self.process.kill()
        self.process.wait()

    def stop(self):
        if self.process.poll() is None:
            self.kill()
