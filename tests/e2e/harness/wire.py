"""A WebSocket client of bare bytes: it can say what no library lets one say, and it judges every byte it is told."""

import base64
import hashlib
import os
import socket
import struct
import time
from collections import namedtuple

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

Frame = namedtuple("Frame", "fin rsv opcode payload")


def frame(opcode, payload=b"", *, fin=True, rsv=0, mask=b"\x37\xfa\x21\x3d", length=None):
    """A client's frame; `mask=None` leaves it unmasked, `length` lies about the payload's."""
    claimed = len(payload) if length is None else length
    head = bytes([(0x80 if fin else 0) | rsv << 4 | opcode])
    masked = 0x80 if mask is not None else 0
    if claimed < 126:
        head += bytes([masked | claimed])
    elif claimed < 1 << 16:
        head += struct.pack("!BH", masked | 126, claimed)
    else:
        head += struct.pack("!BQ", masked | 127, claimed)
    if mask is None:
        return head + payload
    key = int.from_bytes((mask * (len(payload) // 4 + 1))[: len(payload)], "big")
    hidden = int.from_bytes(payload, "big") ^ key
    return head + mask + hidden.to_bytes(len(payload), "big")


def server_frame(opcode, payload):
    """What a server must send for a whole message: final, unmasked, the shortest length."""
    return frame(opcode, payload, mask=None)


def close_payload(code, reason=b""):
    return struct.pack("!H", code) + reason


def upgrade_request(path, *, version="13", key=b"dGhlIHNhbXBsZSBub25jZQ==", headers=(), method="GET"):
    lines = [f"{method} {path} HTTP/1.1", "Host: gateway.test", "Upgrade: websocket", "Connection: Upgrade"]
    if key is not None:
        lines.append(f"Sec-WebSocket-Key: {key.decode()}")
    if version is not None:
        lines.append(f"Sec-WebSocket-Version: {version}")
    lines.extend(headers)
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def parse_head(head):
    """Status and headers (names in lower case) of a response's head."""
    first, *rest = head.decode("latin-1").split("\r\n")
    headers = dict((name.lower(), value.strip()) for name, value in (line.split(":", 1) for line in rest if line))
    return int(first.split(" ")[1]), headers


class Connection:
    """A TCP connection with a deadline on every read and a buffer of what was read too far."""

    def __init__(self, port, *, receive_buffer=None, timeout=10.0):
        self.timeout = timeout
        self.buffer = bytearray()
        self.received_bytes = 0
        self.socket = socket.socket()
        if receive_buffer is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.settimeout(timeout)
        self.socket.connect(("127.0.0.1", port))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def send(self, data):
        self.socket.sendall(data)

    def fill(self, timeout=None):
        """Reads once; false at the end of the stream, whether it was orderly or a reset."""
        self.socket.settimeout(self.timeout if timeout is None else timeout)
        try:
            data = self.socket.recv(1 << 18)
        except ConnectionResetError:
            return False
        self.buffer += data
        self.received_bytes += len(data)
        return bool(data)

    def take(self, count):
        while len(self.buffer) < count:
            if not self.fill():
                raise EOFError(f"the stream ended with {bytes(self.buffer)!r} when {count} bytes were due")
        taken = bytes(self.buffer[:count])
        del self.buffer[:count]
        return taken

    def response(self):
        """Status and headers of an HTTP response; None when the server closed without one."""
        while (end := self.buffer.find(b"\r\n\r\n")) < 0:
            if not self.fill():
                return None
        return parse_head(self.take(end + 4)[:-4])

    def rest(self, timeout=None):
        """Every byte until the end of the stream."""
        while self.fill(timeout):
            pass
        taken = bytes(self.buffer)
        self.buffer.clear()
        return taken

    def expect_end(self, timeout=None):
        rest = self.rest(timeout)
        assert rest == b"", f"bytes after the end of the conversation: {rest!r}"

    def reset(self):
        """Leaves with RST instead of FIN."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def close(self):
        self.socket.close()


class Wire(Connection):
    """A connection after its upgrade; unless `settled` is false, one that has got its first pong."""

    def __init__(self, port, path="/connect", *, first=b"", headers=(), settled=True, **options):
        super().__init__(port, **options)
        key = base64.b64encode(os.urandom(16))
        self.send(upgrade_request(path, key=key, headers=headers) + first)
        response = self.response()
        assert response is not None, "the gateway closed the connection during the upgrade"
        status, answered = response
        assert status == 101, (status, answered)
        expected = base64.b64encode(hashlib.sha1(key + GUID).digest()).decode()
        assert answered["sec-websocket-accept"] == expected
        assert "sec-websocket-extensions" not in answered
        if settled and not first:
            self.expect_still_open()

    def text(self, text):
        self.send(frame(TEXT, text.encode()))

    def receive(self):
        """The next frame, which must be one that a server may send."""
        first, second = self.take(2)
        assert second < 0x80, "a server never masks"
        length = second
        if length == 126:
            (length,) = struct.unpack("!H", self.take(2))
            assert length > 125, "not the shortest length"
        elif length == 127:
            (length,) = struct.unpack("!Q", self.take(8))
            assert length > 0xFFFF, "not the shortest length"
        got = Frame(bool(first & 0x80), first >> 4 & 0x7, first & 0xF, self.take(length))
        assert got.rsv == 0, got
        assert got.opcode in (CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG), got
        return got

    def expect(self, opcode, payload):
        got = self.receive()
        assert got == Frame(True, 0, opcode, payload), got

    def expect_close(self, code):
        """The next frame is a Close with this code; answers it, and the server then ends the stream."""
        got = self.receive()
        assert got.opcode == CLOSE and got.fin, got
        (told,) = struct.unpack("!H", got.payload[:2])
        got.payload[2:].decode()
        assert told == code, got
        self.answer_close(got.payload)

    def answer_close(self, payload):
        try:
            self.send(frame(CLOSE, payload))
        except OSError:
            # The server may have closed at once: it owes a protocol violator no handshake.
            pass
        self.expect_end()

    def expect_still_open(self):
        """A ping's answer comes back, and nothing came before it."""
        token = os.urandom(8)
        self.send(frame(PING, token))
        self.expect(PONG, token)

    def expect_stream(self, expected, deadline_s=30.0):
        """The next bytes are exactly these."""
        ends = time.monotonic() + deadline_s
        while len(self.buffer) < len(expected):
            assert time.monotonic() < ends, f"{len(self.buffer)} of {len(expected)} bytes within {deadline_s} s"
            if not self.fill():
                break
        got = bytes(self.buffer[: len(expected)])
        del self.buffer[: len(expected)]
        if got != expected:
            at = next((i for i, (a, b) in enumerate(zip(got, expected)) if a != b), min(len(got), len(expected)))
            raise AssertionError(
                f"byte {at} of {len(expected)}: {got[max(0, at - 40):at + 40]!r} is not {expected[max(0, at - 40):at + 40]!r}"
            )
