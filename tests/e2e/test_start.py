"""Starting: what the operator must fix is a clear sentence and exit code 78, all of it at once."""

import os
import socket
import sys
import threading
import time
from pathlib import Path

import pytest

from harness.gateway import MUST_FIX, run_to_end
from harness.ports import free_port
from harness.wire import TEXT, Wire, server_frame

WITHOUT_IO_URING = (sys.executable, str(Path(__file__).with_name("without_io_uring.py")))


def addresses(listen=None, api=None):
    return "--listen", f"127.0.0.1:{listen or free_port()}", "--api", f"127.0.0.1:{api or free_port()}"


@pytest.mark.parametrize("taken", ["listen", "api"])
@pytest.mark.parametrize("reuse_port", [False, True])
def test_a_taken_port_is_named_with_who_has_it_and_ends_the_start_with_78(taken, reuse_port):
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, reuse_port)
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        begun = time.monotonic()
        code, output = run_to_end(*addresses(**{taken: port}))
    assert code == MUST_FIX, output
    assert f"{'server' if taken == 'listen' else 'api'}.listen: 127.0.0.1:{port} is in use" in output, output
    assert f"process {os.getpid()} (" in output and "listens there" in output, output
    assert "panicked" not in output
    assert time.monotonic() - begun < 5, "it does not wait for ever"


def test_a_port_that_is_given_up_within_a_moment_is_taken(start_gateway, tmp_path):
    with socket.socket() as before:
        before.bind(("127.0.0.1", 0))
        before.listen()
        port = before.getsockname()[1]
        threading.Timer(0.7, before.close).start()
        gateway = start_gateway(api_port=port)
    assert gateway.ready() == 200


def test_a_gateway_starts_right_after_the_one_before_was_killed(start_gateway):
    ports = {}
    for cycle in range(12):
        gateway = start_gateway(**ports)
        ports = {"port": gateway.port, "api_port": gateway.api_port}
        devices = [Wire(gateway.port, "/topics/t") for _ in range(30)]
        publisher = socket.create_connection(("127.0.0.1", gateway.api_port))
        publisher.sendall(b"POST /v1/push HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99\r\n\r\n{")
        assert gateway.push({"topic": "t"}, [cycle]).status == 202
        gateway.may_die = True
        gateway.kill()
        # At once: their sockets are still open.
        started = start_gateway(**ports)
        started.kill()
        started.may_die = True
        for device in devices:
            device.close()
        publisher.close()


def test_a_second_gateway_does_not_share_the_port_of_the_first(gateway):
    code, output = run_to_end(*addresses(listen=gateway.port))
    assert code == MUST_FIX, output
    assert str(gateway.port) in output
    # Every new connection still reaches the first one, a topic of its own each.
    for n in range(20):
        with Wire(gateway.port, f"/topics/t{n}") as client:
            assert gateway.push({"topic": f"t{n}"}, [n]).status == 202
            client.expect_stream(server_frame(TEXT, b"%d" % n))


@pytest.mark.parametrize("by", ["environment", "file"])
def test_all_problems_of_a_configuration_are_told_at_once(tmp_path, by):
    wrong = {"server.drain_s": "soon", "merge.delay_ms": "-1", "outbox.policy": "pray", "clients.topics_max": "100000"}
    if by == "environment":
        code, output = run_to_end(*addresses(), settings=wrong)
    else:
        config = tmp_path / "bad.toml"
        sections = {}
        for key, value in wrong.items():
            section, name = key.split(".")
            written = value if value.lstrip("-").isdigit() else f'"{value}"'
            sections.setdefault(section, []).append(f"{name} = {written}")
        config.write_text("".join(f"[{s}]\n" + "\n".join(lines) + "\n" for s, lines in sections.items()))
        code, output = run_to_end("--config", str(config), *addresses())
    assert code == MUST_FIX, output
    for key in wrong:
        name = key if by == "file" else "FANFARE_" + key.upper().replace(".", "_")
        assert key in output or name in output, f"{key} is not told:\n{output}"


def test_an_unknown_key_is_a_problem_in_the_file(tmp_path):
    config = tmp_path / "bad.toml"
    config.write_text("[server]\nlissten = 1\n")
    code, output = run_to_end("--config", str(config), *addresses())
    assert code == MUST_FIX and "lissten" in output, output


def test_unknown_variables_are_warned_of_and_the_gateway_runs(start_gateway):
    kubernetes = {
        "FANFARE_SERVICE_HOST": "10.0.0.1", "FANFARE_SERVICE_PORT": "80", "FANFARE_PORT": "tcp://10.0.0.1:80",
        "FANFARE_PORT_80_TCP": "tcp://10.0.0.1:80", "FANFARE_PORT_80_TCP_PROTO": "tcp",
        "FANFARE_API_PORT": "tcp://10.0.0.2:7799",
    }
    others = {"FANFARE_HOME": "/opt/fanfare", "FANFARE_SERVER_SHARD": "2", "FANFARE_API_LISTEN_PORT": "1"}
    gateway = start_gateway(variables=kubernetes | others)
    gateway.expect_log("devices connect to", "did you mean FANFARE_SERVER_SHARDS?")
    warned = [line for line in gateway.log.splitlines() if "no key has this variable" in line]
    assert len(warned) == len(others), gateway.log
    code, output = run_to_end("--check", variables=kubernetes | others)
    assert code == 0 and output.count("warning: FANFARE_") == len(others), output


def test_values_of_the_environment_may_end_in_a_newline_or_be_empty():
    values = {
        "FANFARE_SERVER_SHARDS": "3\n", "FANFARE_SERVER_PIN": " false ", "FANFARE_LOG_LEVEL": "debug\r\n",
        "FANFARE_SERVER_LISTEN": "127.0.0.1:7001\n", "FANFARE_PACING_RATE": "500 ", "FANFARE_OUTBOX_POLICY": "close\n",
        "FANFARE_MERGE_DELAY_MS": "", "FANFARE_API_LISTEN": "\n", "FANFARE_REDIS_URL": "redis://127.0.0.1:1\n",
    }
    code, printed = run_to_end("--print-config", variables=values)
    assert code == 0, printed
    lines = settings_of(printed)
    for line in ("shards = 3", "pin = false", 'level = "debug"', 'listen = "127.0.0.1:7001"', "rate = 500",
                 "delay_ms = 10", 'listen = "127.0.0.1:7799"', 'url = "redis://127.0.0.1:1"'):
        assert line in lines, f"{line} is missing:\n{printed}"


def test_a_file_that_is_not_there_is_named():
    code, output = run_to_end("--config", "/nowhere/fanfare.toml", *addresses())
    assert code == MUST_FIX and "/nowhere/fanfare.toml" in output, output


@pytest.mark.parametrize("url", ["http://127.0.0.1:6379", "redis://", "127.0.0.1:6379", "redis://host:notaport"])
def test_a_redis_url_that_is_none_is_refused_with_a_sentence(url):
    code, output = run_to_end("--redis", url, *addresses())
    assert code == MUST_FIX and "redis" in output.lower(), output


def test_an_unknown_flag_is_refused():
    code, output = run_to_end("--lissten", "127.0.0.1:1")
    assert code != 0 and "--lissten" in output


def test_check_tells_right_from_wrong_without_opening_a_port(gateway):
    code, output = run_to_end("--check", *addresses(listen=gateway.port, api=gateway.api_port))
    assert code == 0, output
    code, output = run_to_end("--check", settings={"merge.delay_ms": "x"})
    assert code == MUST_FIX and "delay_ms" in output.lower(), output


def settings_of(printed):
    """Lines without their comments, which tell where a value comes from."""
    return [line.split(" #")[0].strip() for line in printed.splitlines() if line and not line.startswith("#")]


def test_the_printed_configuration_is_one_that_is_accepted(tmp_path):
    code, printed = run_to_end("--print-config", "--shards", "3", settings={"merge.delay_ms": 7})
    assert code == 0, printed
    config = tmp_path / "printed.toml"
    config.write_text(printed)
    assert run_to_end("--config", str(config), "--check")[0] == 0
    code, again = run_to_end("--config", str(config), "--print-config")
    assert code == 0 and settings_of(again) == settings_of(printed)
    assert "shards = 3" in printed and "delay_ms = 7" in printed


def test_a_flag_wins_over_the_environment_and_that_over_the_file(tmp_path):
    config = tmp_path / "fanfare.toml"
    config.write_text("[server]\nshards = 2\ndrain_s = 2\nspin_us = 2\n")
    _, printed = run_to_end(
        "--config", str(config), "--shards", "4", "--print-config", settings={"server.shards": 3, "server.drain_s": 3}
    )
    assert "shards = 4" in printed and "drain_s = 3" in printed and "spin_us = 2" in printed, printed


def test_forbidden_io_uring_is_told_with_what_to_do_and_ends_with_78():
    code, output = run_to_end(*addresses(), launcher=WITHOUT_IO_URING)
    assert code == MUST_FIX, output
    assert "io_uring" in output and "panicked" not in output, output
