"""The recipes of README.md and docs/: each command of their shell blocks is run as it stands, and answers what is written
beside it. Their programs are in test_snippets.py, links, tables and configuration in test_documents.py."""

import json
import os
import re
import shlex
import subprocess
from urllib.parse import urlsplit

import pytest

from harness.documents import recipes
from harness.etcd_server import EtcdServer
from harness.gateway import ROOT, binary
from harness.poll import eventually
from harness.wire import TEXT, Wire, server_frame

NOT_RUN = {
    "cargo ": "builds the program that these tests are given",
    "tests/run": "runs these tests",
    "sudo systemd/install.sh": "installs into the host; test_systemd.py runs it below another root",
    "sudo systemctl ": "needs systemd as the init process; test_systemd.py judges the units with systemd-analyze",
    "systemctl ": "the same",
}
"""Beginnings of commands that are not run here, and why."""

COUNTS = ("targeted",)
"""Members of an answer that depend on who is connected."""


def of(program, document=""):
    """Recipes that begin with this program, of one document or of all."""
    return [
        recipe for recipe in recipes()
        if recipe.command.split()[0] == program and recipe.where.startswith(document)
    ]


def documents_with(program):
    return sorted({recipe.where.split(":")[0] for recipe in of(program)})


def words_of(command):
    """The command's words as bash expands them."""
    done = subprocess.run(["bash", "-c", f"printf '%s\\0' {command}"], capture_output=True, text=True, check=True)
    return done.stdout.split("\0")[:-1]


def run_curl(command, gateway):
    """Its status and its body."""
    command = command.replace("localhost:7799", f"127.0.0.1:{gateway.api_port}")
    done = subprocess.run(
        ["bash", "-c", command + " -sS --max-time 10 -w '\\n%{http_code}'"],
        capture_output=True, text=True, check=False, timeout=20,
    )
    assert done.returncode == 0, f"{command}: {done.stderr}"
    body, _, status = done.stdout.rpartition("\n")
    return int(status), body


def check_answer(recipe, status, body):
    wanted_status, _, wanted = recipe.answer.partition(" ")
    assert status == int(wanted_status), f"{recipe.where}: {status} {body}"
    wanted, got = json.loads(wanted), json.loads(body)
    assert list(got) == list(wanted), f"{recipe.where} promises {wanted}, the answer is {got}"
    for key, value in wanted.items():
        if isinstance(value, str) and "…" in value:
            assert isinstance(got[key], str) and got[key], f"{recipe.where}: {key} is {got[key]!r}"
        elif key in COUNTS and value is not None:
            assert isinstance(got[key], int), f"{recipe.where}: {key} is {got[key]!r}"
        else:
            assert got[key] == value, f"{recipe.where} promises {key} {value!r}, it is {got[key]!r}"


def test_every_recipe_is_one_that_is_run_here():
    run = ("curl", "redis-cli", "etcdctl", "npx", "fanfare", "FANFARE_EVENTS_REDIS=channel")
    others = [recipe for recipe in recipes() if recipe.command.split()[0] not in run]
    assert [recipe for recipe in others if not recipe.command.startswith(tuple(NOT_RUN))] == []
    unused = [begin for begin in NOT_RUN if not any(recipe.command.startswith(begin) for recipe in others)]
    assert unused == []
    assert len(of("curl")) >= 20 and len(of("fanfare")) >= 12


@pytest.mark.parametrize("document", documents_with("curl"))
def test_each_curl_answers_what_is_written_beside_it(start_gateway, document):
    # A push to this many devices lasts until its last recipe.
    gateway = start_gateway(**{"pacing.rate": 1})
    devices = [Wire(gateway.port, "/topics/news") for _ in range(30)]
    push = None
    try:
        for recipe in of("curl", document):
            command = recipe.command
            shown = re.search(r"/v1/pushes/([0-9a-z]+…)", command)
            if shown:
                assert push, f"{recipe.where}: no recipe before it has begun a push"
                command = command.replace(shown[1], push)
            status, body = run_curl(command, gateway)
            assert status < 300, f"{recipe.where}: {status} {body}"
            if recipe.answer:
                check_answer(recipe, status, body)
            if '"rate"' in command and "/v1/push" in command and "PATCH" not in command:
                push = json.loads(body)["id"]
    finally:
        for device in devices:
            device.close()


@pytest.mark.parametrize("document", documents_with("npx"))
def test_what_the_quick_start_publishes_is_what_a_device_sees(gateway, document):
    device_url = shlex.split(of("npx", document)[0].command)[-1]
    assert urlsplit(device_url).port == 7777
    with Wire(gateway.port, urlsplit(device_url).path) as device:
        status, body = run_curl(of("curl", document)[0].command, gateway)
        assert status == 200, body
        device.expect_stream(server_frame(TEXT, b'{"id":7}'))


@pytest.mark.parametrize("text", ["R&D", "1 + 1", "100 %", "50%25", "a=b;c", "ü", "%26", '\\"'])
def test_a_form_carries_any_text(gateway, text):
    """Whatever stands in the place of its message."""
    forms = {r.command for r in of("curl") if "/push/" in r.command and "/v1/" not in r.command}
    assert len(forms) >= 3 and all("--data-urlencode 'items=" in command for command in forms)
    message = f'{{"text":"{text}"}}'
    with Wire(gateway.port, "/topics/news") as device:
        for command in forms:
            command = re.sub(r"'items=\[.*\]'", lambda _: shlex.quote(f"items=[{message}]"), command)
            status, body = run_curl(command, gateway)
            assert status == 200, body
            device.expect_stream(server_frame(TEXT, message.encode()))


def message_of(channel, payload):
    """What devices get of a payload."""
    if channel == "fanfare:push":
        (message,) = json.loads(payload)["messages"]
        return json.dumps(message, separators=(",", ":"))
    return payload.split("\n", 1)[1] if payload.startswith("@push ") else payload


def test_each_publish_by_redis_reaches_its_devices(gateway_on_redis, redis):
    publishes = [words_of(recipe.command) for recipe in of("redis-cli")]
    publishes = [words for words in publishes if words[1] == "PUBLISH"]
    assert {words[2] for words in publishes} == {"fanfare:all", "fanfare:topic:news", "fanfare:push"}
    with Wire(gateway_on_redis.port, "/topics/news") as device:
        for words in publishes:
            done = subprocess.run(
                ["redis-cli", "-u", redis.url, *words[1:]], capture_output=True, text=True, check=True, timeout=10
            )
            assert done.stdout.strip() == "1", "one gateway listens"
            device.expect_stream(server_frame(TEXT, message_of(*words[2:]).encode()))


def test_whoever_subscribes_as_written_sees_the_events(start_gateway, redis):
    (start,) = of("FANFARE_EVENTS_REDIS=channel")
    assert start.command == "FANFARE_EVENTS_REDIS=channel fanfare --redis redis://localhost &"
    (subscribe,) = [words_of(r.command) for r in of("redis-cli") if r.command.split()[1] == "SUBSCRIBE"]
    gateway = start_gateway(redis=redis.url, variables={"FANFARE_EVENTS_REDIS": "channel"})
    watching = subprocess.Popen(["redis-cli", "-u", redis.url, *subscribe[1:]], stdout=subprocess.PIPE, text=True)
    try:
        assert "subscribe" in watching.stdout.readline()
        with Wire(gateway.port, "/topics/news"):
            while '"event":"open"' not in watching.stdout.readline():
                assert watching.poll() is None
    finally:
        watching.kill()
        watching.wait()
        watching.stdout.close()


def test_each_put_to_etcd_is_in_force(start_gateway, tmp_path):
    etcd = EtcdServer(tmp_path).start()
    try:
        gateway = start_gateway(**{"etcd.endpoints": etcd.url})
        assert of("etcdctl")
        for recipe in of("etcdctl"):
            _, put, key, value = shlex.split(recipe.command)
            assert put == "put"
            etcd.put(key, value)
            name = key.removeprefix("/fanfare/")
            eventually(
                lambda name=name, value=value: gateway.get("/v1/config").json["values"][name]["value"] == json.loads(value),
                f"{name} is {value}",
            )
    finally:
        etcd.stop()


@pytest.mark.parametrize("document", documents_with("fanfare"))
def test_each_command_of_the_program_does_what_it_says(start_gateway, tmp_path, document):
    gateway = start_gateway()
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "fanfare").symlink_to(binary())
    variables = {
        "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}", "FANFARE_API_LISTEN": f"127.0.0.1:{gateway.api_port}",
    }
    devices = [Wire(gateway.port, "/topics/news") for _ in range(30)]
    try:
        for recipe in of("fanfare", document):
            done = subprocess.run(
                ["bash", "-c", recipe.command], cwd=ROOT, env=os.environ | variables, capture_output=True, text=True,
                check=False, timeout=30,
            )
            # This host need not be ready for so many devices.
            allowed = (0, 1) if " doctor " in recipe.command else (0,)
            assert done.returncode in allowed, f"{recipe.where}: {done.returncode} {done.stdout}{done.stderr}"
            assert done.stdout or "--check" in recipe.command, f"{recipe.where} says nothing"
            if "--watch" in recipe.command:
                assert gateway.get("/v1/pushes/release-7").json["sent"] == len(devices)
                # The next push lasts until its last recipe.
                assert gateway.request("PATCH", "/v1/config", '{"pacing.rate":1}').status == 200
    finally:
        for device in devices:
            device.close()
