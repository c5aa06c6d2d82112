"""A backend that takes lifecycle events: Python's http.server, which can refuse and hang."""

import http.server
import json
import ssl
import threading

from .poll import eventually
from .ports import free_port


class Receiver:
    """Keeps every event that it took. `answer` is a status, or None: the request is left without one."""

    def __init__(self, certificate=None):
        self.scheme = "https" if certificate else "http"
        self.port = free_port()
        self.answer = 200
        self.requests = []
        self.batches = []
        self._released = threading.Event()
        receiver = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers["content-length"]))
                answer = receiver.answer
                receiver.requests.append((self.path, dict(self.headers), answer))
                if answer is None:
                    receiver._released.wait()
                    self.close_connection = True
                    return
                if answer == 200:
                    receiver.batches.append(json.loads(body))
                self.send_response(answer)
                self.send_header("content-length", "2")
                self.end_headers()
                self.wfile.write(b"ok")

            def log_message(self, *_):
                pass

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_):
                # The other end gave up waiting, as some tests want it to.
                pass

        self.server = Server(("127.0.0.1", self.port), Handler)
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*certificate)
            # Shaken when a thread of its own reads: a client that does not trust it must not hold the others.
            self.server.socket = context.wrap_socket(
                self.server.socket, server_side=True, do_handshake_on_connect=False
            )
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def url(self):
        return f"{self.scheme}://127.0.0.1:{self.port}/events"

    @property
    def events(self):
        return [event for batch in list(self.batches) for event in batch]

    def of(self, kind):
        return [event for event in self.events if event["event"] == kind]

    def await_events(self, kind, count, deadline_s=10):
        eventually(lambda: len(self.of(kind)) >= count, f"{count} of {kind}: {self.events}", deadline_s)
        return self.of(kind)

    def stop(self):
        self._released.set()
        self.server.shutdown()
        self.server.server_close()


def numbers(events):
    """Every number that the events stand for, in their order: a mark stands for those that were lost."""
    return [n for event in events for n in range(event["seq"] + 1 - event.get("count", 1), event["seq"] + 1)]
