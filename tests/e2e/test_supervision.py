"""The service manager's side channel: ready, status, watchdog, reload, stop, over a real NOTIFY_SOCKET."""

import signal
import socket
import time

import pytest

from harness.gateway import MUST_FIX, run_to_end
from harness.poll import eventually
from harness.ports import free_port
from harness.service_manager import NotifySocket, frozen
from harness.wire import CLOSE, TEXT, Connection, Wire, frame, server_frame, upgrade_request


@pytest.fixture
def manager(tmp_path):
    made = NotifySocket(tmp_path)
    yield made
    made.close()


def test_ready_is_the_first_word_and_every_shard_listens_by_then(start_gateway, manager):
    gateway = start_gateway(variables=manager.environment, await_ready=False, **{"server.shards": 16})
    first = manager.receive(10)
    assert first["READY"] == "1", first
    assert first["STATUS"] == "0 connections on 16 shards; no Redis"
    # Nothing is awaited here: ready is ready.
    with Wire(gateway.port) as client:
        client.close()
    assert gateway.metric("listening") == 16


def test_a_start_that_fails_is_never_ready(manager):
    with socket.socket() as other:
        port = free_port()
        other.bind(("127.0.0.1", port))
        other.listen()
        code, output = run_to_end(
            "--listen", f"127.0.0.1:{port}", "--api", f"127.0.0.1:{free_port()}", variables=manager.environment
        )
    assert code == MUST_FIX, output
    assert manager.receive() is None


def test_an_abstract_address_is_one_too(start_gateway, tmp_path):
    manager = NotifySocket(tmp_path, abstract=True)
    start_gateway(variables=manager.environment)
    manager.await_message(READY="1")
    manager.close()


def test_a_manager_that_cannot_be_reached_does_not_stop_the_gateway(start_gateway):
    gateway = start_gateway(variables={"NOTIFY_SOCKET": "/nowhere/notify", "WATCHDOG_USEC": "100000"})
    with Wire(gateway.port, "/topics/t") as client:
        assert gateway.push({"topic": "t"}, [1]).status == 202
        client.expect_stream(server_frame(TEXT, b"1"))
    gateway.expect_log("service manager")


def test_the_status_line_follows_connections_and_redis(start_gateway, manager, redis):
    gateway = start_gateway(variables=manager.environment, redis=redis.url)
    manager.await_message(STATUS="0 connections on 2 shards; Redis subscribed")
    clients = [Wire(gateway.port) for _ in range(3)]
    manager.await_message(STATUS="3 connections on 2 shards; Redis subscribed", within_s=5)
    redis.stop()
    manager.await_message(STATUS="3 connections on 2 shards; Redis is gone", within_s=5)
    for client in clients:
        client.close()
    manager.await_message(STATUS="0 connections on 2 shards; Redis is gone", within_s=5)


THREADS = ["shard-0", "shard-1", "ingest", "control", "events"]
# With a receiver of events that is nobody, so that the events thread is there.
WITH_EVENTS = {"events.webhook": "http://127.0.0.1:9/"}


@pytest.mark.parametrize("thread", THREADS)
def test_the_watchdog_is_fed_while_every_thread_works_and_not_while_one_stands_still(start_gateway, manager, thread):
    waits_s = 1.6
    gateway = start_gateway(
        variables=manager.environment | {"WATCHDOG_USEC": str(int(waits_s * 1e6))}, **WITH_EVENTS
    )
    manager.await_message(READY="1")
    assert manager.count("WATCHDOG", 5 * waits_s) >= 5, "an idle gateway waits, and that is well"
    with frozen(gateway.process.pid, thread):
        # What it had done before it froze may be worth one more feeding.
        manager.count("WATCHDOG", waits_s)
        assert manager.count("WATCHDOG", 3 * waits_s) == 0
        gateway.expect_log(f"the thread {thread} stands still")
        others = set(THREADS) - {thread}
        assert not any(f"the thread {other} stands still" in gateway.log for other in others), gateway.log
        if thread != "control":
            assert stalled(gateway) == {thread}
            assert thread in gateway.get("/readyz").body.decode() and gateway.ready() == 503
    manager.await_message(WATCHDOG="1")
    assert manager.count("WATCHDOG", 3 * waits_s) >= 3
    gateway.expect_log(f"the thread {thread} works again")
    assert stalled(gateway) == set() and gateway.ready() == 200


def stalled(gateway):
    """Names of the threads that the metrics show as stalled."""
    samples = [s for s in gateway.samples() if s.name in ("fanfare_thread_stalled", "fanfare_shard_stalled")]
    assert len(samples) == 5, samples
    return {s.labels.get("thread") or f"shard-{s.labels['shard']}" for s in samples if s.value}


def test_a_stalled_thread_is_named_without_a_service_manager_too(start_gateway):
    gateway = start_gateway()
    with frozen(gateway.process.pid, "ingest"):
        gateway.expect_log("the thread ingest stands still", within_s=14)
        assert stalled(gateway) == {"ingest"}
    eventually(lambda: stalled(gateway) == set(), "it works again")


def test_a_process_that_was_stopped_and_goes_on_has_no_stalled_thread(start_gateway, manager):
    gateway = start_gateway(variables=manager.environment | {"WATCHDOG_USEC": "1600000"})
    manager.await_message(READY="1")
    for _ in range(5):
        gateway.signal(signal.SIGSTOP)
        time.sleep(3)
        gateway.signal(signal.SIGCONT)
        manager.await_message(WATCHDOG="1", within_s=2)
    assert "stands still" not in gateway.log


@pytest.mark.parametrize("variables", [{}, {"WATCHDOG_USEC": "200000", "WATCHDOG_PID": "1"}])
def test_a_watchdog_that_is_not_this_process_s_is_not_fed(start_gateway, manager, variables):
    start_gateway(variables=manager.environment | variables)
    manager.await_message(READY="1")
    assert manager.count("WATCHDOG", 1.5) == 0


def test_sigterm_is_told_with_the_time_that_the_drain_may_take(start_gateway, manager):
    gateway = start_gateway(variables=manager.environment, **{"server.drain_s": 40})
    with Wire(gateway.port):
        gateway.signal(signal.SIGTERM)
        told = manager.await_message(STOPPING="1")
        assert int(told["EXTEND_TIMEOUT_USEC"]) > 40_000_000
        assert told["STATUS"] == "Draining: 1 connection left on 2 shards; no Redis"
    assert gateway.exit_code() == 0


class Reloading:
    """A gateway with a file, and a manager that asks it to read the file again."""

    def __init__(self, start_gateway, manager, tmp_path, text, **options):
        self.file, self.manager = tmp_path / "fanfare.toml", manager
        self.file.write_text(text)
        self.gateway = start_gateway(
            arguments=("--config", str(self.file)), variables=manager.environment, **options
        )
        manager.await_message(READY="1")

    def reload(self, text):
        self.file.write_text(text)
        self.gateway.signal(signal.SIGHUP)
        begun = self.manager.await_message(RELOADING="1")
        assert int(begun["MONOTONIC_USEC"]) > 0
        self.manager.await_message(READY="1")

    def edition(self):
        samples = [s.value for s in self.gateway.samples() if s.name == "fanfare_config_edition"]
        assert len(set(samples)) == 1, samples
        return samples[0]


@pytest.fixture
def reloading(start_gateway, manager, tmp_path):
    return lambda text, **options: Reloading(start_gateway, manager, tmp_path, text, **options)


def closes_a_message_of(port, size):
    """Whether a client that sends as much is closed with 1009."""
    with Wire(port) as client:
        client.send(frame(TEXT, b"x" * size))
        client.send(frame(0x9, b"still here"))
        got = client.receive()
        return got.opcode == CLOSE and got.payload[:2] == (1009).to_bytes(2, "big")


def test_a_good_file_holds_for_every_shard_once_the_reload_is_ready(reloading):
    running = reloading("[clients]\nmessage_bytes_max = 1000\n", **{"server.shards": 4})
    port = running.gateway.port
    assert running.edition() == 1
    with Wire(port, "/topics/t") as before:
        assert not closes_a_message_of(port, 500)
        running.reload("[clients]\nmessage_bytes_max = 200\n")
        # No waiting: every shard goes by it when READY=1 is there.
        assert running.edition() == 2
        assert all(closes_a_message_of(port, 500) for _ in range(24))
        assert running.gateway.push({"topic": "t"}, [1]).status == 202
        before.expect_stream(server_frame(TEXT, b"1"))


def test_upgrade_limits_hold_for_new_connections(reloading):
    running = reloading("[clients]\nupgrade_deadline_s = 60\n")
    running.reload("[clients]\nupgrade_deadline_s = 1\n")
    with Connection(running.gateway.port) as slow:
        slow.send(upgrade_request("/connect")[:20])
        status, *_ = slow.response()
        assert status == 408


def test_silence_and_the_drain_are_counted_by_the_new_file(reloading):
    running = reloading("[clients]\nliveness_s = 3600\n[server]\ndrain_s = 600\n")
    with Wire(running.gateway.port, timeout=20) as silent:
        running.reload("[clients]\nliveness_s = 2\nserver_ping = false\n[server]\ndrain_s = 1\n")
        got = silent.receive()
        assert got.opcode == CLOSE, "a connection from before the reload follows the new rule"
    with Wire(running.gateway.port):
        running.gateway.signal(signal.SIGTERM)
        assert running.gateway.exit_code(timeout=10) == 0


def test_a_body_bound_of_the_api_changes_too(reloading):
    running = reloading("[api]\nbody_bytes_max = 100000\n")
    assert running.gateway.push({"all": True}, ["x" * 5000]).status == 202
    running.reload("[api]\nbody_bytes_max = 1024\n")
    assert running.gateway.push({"all": True}, ["x" * 5000]).status == 413


def test_the_level_of_the_log_changes(reloading):
    running = reloading("[log]\nlevel = \"info\"\n")
    running.reload("[log]\nlevel = \"error\"\n")
    running.gateway.expect_log("takes effect now: log.level")
    running.reload("[log]\nlevel = \"error\"\n[merge]\ndelay_ms = 3\n")
    assert "merge.delay_ms" not in running.gateway.log
    running.reload("[log]\nlevel = \"info\"\n[merge]\ndelay_ms = 4\n")
    running.reload("[log]\nlevel = \"info\"\n[merge]\ndelay_ms = 5\n")
    running.gateway.expect_log("takes effect now: merge.delay_ms")
    assert running.gateway.log.count("takes effect now: merge.delay_ms") == 1


def test_what_needs_a_restart_is_named_and_the_rest_is_applied(reloading):
    running = reloading("")
    running.reload("[redis]\nurl = \"redis://127.0.0.1:1\"\n[server]\nspin_us = 7\n[outbox]\nage_max_s = 5\n")
    for key in ("redis.url", "server.spin_us"):
        running.gateway.expect_log(f"{key} changed: takes effect at the next start")
    running.gateway.expect_log("takes effect now: outbox.age_max_s")
    assert running.gateway.ready() == 200, "no Redis was asked for at start"


def test_a_bad_file_changes_nothing_and_every_problem_is_told(reloading):
    running = reloading("[clients]\nmessage_bytes_max = 1000\n")
    port = running.gateway.port
    with Wire(port, "/topics/t") as client:
        running.reload("[clients]\nmessage_bytes_max = 200\nlivenes_s = 3\n[outbox]\npolicy = \"pray\"\n")
        running.gateway.expect_log("the old configuration stays", "clients.livenes_s", "outbox.policy")
        assert running.edition() == 1
        assert not closes_a_message_of(port, 500)
        assert running.gateway.push({"topic": "t"}, [1]).status == 202
        client.expect_stream(server_frame(TEXT, b"1"))


def test_a_file_that_is_gone_is_a_problem_and_not_the_defaults(reloading):
    running = reloading("[clients]\nmessage_bytes_max = 200\n")
    running.file.unlink()
    running.gateway.signal(signal.SIGHUP)
    running.manager.await_message(RELOADING="1")
    running.manager.await_message(READY="1")
    running.gateway.expect_log("the file cannot be read")
    assert closes_a_message_of(running.gateway.port, 500)


def test_many_hangups_at_once_end_ready(reloading):
    running = reloading("")
    for delay in range(1, 20):
        running.file.write_text(f"[merge]\ndelay_ms = {delay}\n")
        running.gateway.signal(signal.SIGHUP)
    running.gateway.expect_log("delay_ms")
    running.reload("[merge]\ndelay_ms = 77\n")
    with Wire(running.gateway.port, "/topics/t") as client:
        assert running.gateway.push({"topic": "t"}, [1]).status == 202
        client.expect_stream(server_frame(TEXT, b"1"))


def test_without_a_manager_a_hangup_reloads_as_well(start_gateway, tmp_path):
    config = tmp_path / "fanfare.toml"
    config.write_text("")
    gateway = start_gateway(arguments=("--config", str(config)))
    config.write_text("[merge]\ndelay_ms = 3\n")
    gateway.signal(signal.SIGHUP)
    eventually(lambda: gateway.metric("config_edition") == 4, "both shards go by the second edition")
