"""Sockets that the service manager opened: who gets which, how connects spread, and a restart that refuses nobody."""

import os
import signal
import socket
import threading

import pytest

from harness.gateway import MUST_FIX, run_to_end
from harness.poll import eventually
from harness.ports import free_port
from harness.service_manager import activation, listening
from harness.wire import CLOSE, TEXT, Connection, Wire, server_frame, upgrade_request


@pytest.fixture
def held():
    """Opens listening sockets and holds them, as systemd does across restarts."""
    opened = []

    def hold(count=1):
        for _ in range(count):
            opened.append(listening(free_port()))
        return opened[-count:]

    yield hold
    for made in opened:
        made.close()


def port_of(made):
    return made.getsockname()[1]


def test_devices_connect_to_the_socket_that_was_handed_over(start_gateway, held):
    made = held()
    gateway = start_gateway(**activation(made, ["devices"]))
    with Wire(port_of(made[0]), "/topics/t") as client:
        assert gateway.push({"topic": "t"}, [1]).status == 202
        client.expect_stream(server_frame(TEXT, b"1"))
    with pytest.raises(ConnectionRefusedError), Connection(gateway.port):
        pass  # server.listen is not opened beside it.


def test_names_decide_whatever_the_order(start_gateway, held):
    devices, api = held(2)
    gateway = start_gateway(api_port=port_of(api), **activation([api, devices], ["api", "devices"]))
    assert gateway.ready() == 200
    with Wire(port_of(devices)) as client:
        client.close()


def test_without_names_the_port_of_the_api_decides(start_gateway, held):
    devices, api = held(2)
    gateway = start_gateway(api_port=port_of(api), **activation([api, devices]))
    assert gateway.ready() == 200
    with Wire(port_of(devices)) as client:
        client.close()


def test_several_sockets_for_devices_are_each_accepted_from(start_gateway, held):
    made = held(2)
    gateway = start_gateway(**activation(made, ["devices", "devices"]), **{"server.shards": 3})
    clients = [Wire(port_of(one), "/topics/t") for one in made for _ in range(5)]
    gateway.await_members("t", 10)
    for client in clients:
        client.close()


@pytest.mark.parametrize("shards", [2, 4])
def test_bursts_of_connects_spread_over_the_shards_of_one_socket(start_gateway, held, shards):
    made = held()
    gateway = start_gateway(**activation(made, ["devices"]), **{"server.shards": shards})
    clients = []
    # A burst lasts milliseconds. A shard whose core is taken by somebody else for as long has its share of the next ones.
    for _ in range(20):
        burst = [socket.create_connection(("127.0.0.1", port_of(made[0]))) for _ in range(200)]
        for client in burst:
            client.sendall(upgrade_request("/topics/t"))
        clients += burst
        gateway.await_members("t", len(clients))
    accepted = [s.value for s in gateway.samples() if s.name == "fanfare_accepted_total"]
    assert sum(accepted) == 4_000 and len(accepted) == shards
    # None is idle while another does all the work: each has at least a quarter of its share.
    assert min(accepted) >= 4_000 / shards / 4, accepted
    for client in clients:
        client.close()


@pytest.fixture
def on_one_core():
    """The caller of this runs on one core, and what it has started stays where it is."""
    allowed = os.sched_getaffinity(0)

    def pin():
        os.sched_setaffinity(0, {min(allowed)})

    yield pin
    os.sched_setaffinity(0, allowed)


def test_devices_that_come_one_by_one_are_shared_out(start_gateway, held, on_one_core):
    made = held()
    gateway = start_gateway(**activation(made, ["devices"]), **{"server.shards": 2, "server.pin": "true"})
    on_one_core()
    clients = []
    request = upgrade_request("/topics/t")
    # As fast as one device after the other can come: with more between them every shard is back at the door.
    for _ in range(2_000):
        client = socket.create_connection(("127.0.0.1", port_of(made[0])), timeout=20)
        client.sendall(request)
        assert client.recv(1_000).startswith(b"HTTP/1.1 101 ")
        clients.append(client)
    accepted = [s.value for s in gateway.samples() if s.name == "fanfare_accepted_total"]
    # Whoever shares a core with the one that connects is the last at the door, and still gets its share.
    assert sum(accepted) == 2_000 and min(accepted) >= 800, accepted
    for client in clients:
        client.close()


class Callers:
    """Devices that connect one after the other, from several threads, and note what became of it."""

    def __init__(self, port, threads=4):
        self.port, self.outcomes, self.stopping = port, [], threading.Event()
        self.threads = [threading.Thread(target=self._call) for _ in range(threads)]
        for thread in self.threads:
            thread.start()

    def _call(self):
        while not self.stopping.is_set():
            self.outcomes.append(self._outcome())

    def _outcome(self):
        try:
            with Connection(self.port, timeout=30) as connection:
                connection.send(upgrade_request("/topics/t"))
                response = connection.response()
                return response[0] if response else "closed without an answer"
        except OSError as refused:
            return repr(refused)

    def await_more(self, count):
        before = len(self.outcomes)
        eventually(lambda: len(self.outcomes) >= before + count, f"{count} more calls", deadline_s=30)

    def stop(self):
        self.stopping.set()
        for thread in self.threads:
            thread.join()
        return self.outcomes


def test_a_restart_refuses_nobody(start_gateway, held):
    made = held()
    callers = None
    first = start_gateway(**activation(made, ["devices"]), **{"server.drain_s": 1})
    try:
        callers = Callers(port_of(made[0]))
        callers.await_more(200)
        with Wire(port_of(made[0]), timeout=20) as device:
            first.signal(signal.SIGTERM)
            got = device.receive()
            assert got.opcode == CLOSE and got.payload[:2] == (1001).to_bytes(2, "big")
            device.answer_close(got.payload)
        assert first.exit_code() == 0
        second = start_gateway(**activation(made, ["devices"]), **{"server.drain_s": 1})
        callers.await_more(200)
    finally:
        outcomes = callers.stop() if callers else []
    refused = [outcome for outcome in outcomes if outcome != 101]
    assert not refused, (len(outcomes), refused)
    assert second.metric("accepted_total") >= 200


def test_who_connects_between_two_processes_waits_for_the_second(start_gateway, held):
    made = held()
    first = start_gateway(**activation(made, ["devices"]))
    first.signal(signal.SIGTERM)
    assert first.exit_code() == 0
    waiting = [Connection(port_of(made[0]), timeout=20) for _ in range(50)]
    for one in waiting:
        one.send(upgrade_request("/topics/t"))
    second = start_gateway(**activation(made, ["devices"]))
    assert [one.response()[0] for one in waiting] == [101] * 50
    second.await_members("t", 50)
    for one in waiting:
        one.close()


@pytest.mark.parametrize("kind", ["bound only", "udp", "unix", "file"])
def test_what_does_not_listen_for_tcp_is_the_operators_to_mend(tmp_path, kind):
    if kind == "bound only":
        made = socket.socket()
        made.bind(("127.0.0.1", 0))
    elif kind == "udp":
        made = socket.socket(type=socket.SOCK_DGRAM)
        made.bind(("127.0.0.1", 0))
    elif kind == "unix":
        made = socket.socket(socket.AF_UNIX)
        made.bind(str(tmp_path / "listening"))
        made.listen()
    else:
        made = open(tmp_path / "file", "wb")
    with made:
        code, output = run_to_end(
            "--listen", f"127.0.0.1:{free_port()}", "--api", f"127.0.0.1:{free_port()}", **activation([made], ["devices"])
        )
    assert code == MUST_FIX, output
    assert "descriptor 3" in output and "ListenStream=" in output and "panicked" not in output, output


def test_more_sockets_than_shards_are_told(held):
    code, output = run_to_end(
        "--api", f"127.0.0.1:{free_port()}", "--shards", "1", **activation(held(2), ["devices", "devices"])
    )
    assert code == MUST_FIX and "server.shards" in output, output


def test_variables_for_another_process_are_not_followed(start_gateway):
    gateway = start_gateway(variables={"LISTEN_PID": "1", "LISTEN_FDS": "1", "LISTEN_FDNAMES": "devices"})
    with Wire(gateway.port) as client:
        client.close()
