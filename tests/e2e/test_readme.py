"""The README's recipes: each command of its shell blocks is run as it stands, and answers what is written beside it."""

import json
import re
import shlex
import subprocess
from urllib.parse import urlsplit

import pytest

from harness.etcd_server import EtcdServer
from harness.gateway import ROOT
from harness.poll import eventually
from harness.wire import TEXT, Wire, server_frame

README = (ROOT / "README.md").read_text()
# What builds or tests the program, which these tests are part of.
ELSEWHERE = ("cargo ", "tests/run", "fanfare-bench", "bench/", "target/release/", "systemctl", "sudo ", "kubectl", "docker")
COUNTS = ("targeted",)
"""Members of an answer that depend on who is connected."""


def recipes():
    """Each command of the README with the answer that is written behind it or on the next line."""
    found = []
    for block in re.findall(r"^```sh\n(.*?)^```", README, re.M | re.S):
        for line in block.splitlines():
            answer = re.search(r"# (\d{3} \{.*\})$", line)
            if line.startswith("#"):
                if answer:
                    found[-1] = (found[-1][0], answer[1])
                continue
            command = re.split(r"\s+# ", line)[0].strip()
            if command:
                found.append((command, answer and answer[1]))
    return found


def of(program):
    return [recipe for recipe in recipes() if recipe[0].split()[0] == program]


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


def check_answer(command, documented, status, body):
    wanted_status, _, wanted = documented.partition(" ")
    assert status == int(wanted_status), f"{command}: {status} {body}"
    wanted, got = json.loads(wanted), json.loads(body)
    assert list(got) == list(wanted), f"{command}: the README promises {wanted}, the answer is {got}"
    for key, value in wanted.items():
        if isinstance(value, str) and "…" in value:
            assert isinstance(got[key], str) and got[key], f"{command}: {key} is {got[key]!r}"
        elif key in COUNTS and value is not None:
            assert isinstance(got[key], int), f"{command}: {key} is {got[key]!r}"
        else:
            assert got[key] == value, f"{command}: the README promises {key} {value!r}, it is {got[key]!r}"


def test_every_recipe_is_one_that_is_run_here():
    known = ("curl", "redis-cli", "etcdctl", "npx")
    others = [command for command, _ in recipes() if command.split()[0] not in known]
    assert [command for command in others if not command.startswith(ELSEWHERE)] == []
    assert len(of("curl")) >= 8 and any(answer for _, answer in of("curl"))


def test_each_curl_of_the_readme_answers_what_is_written_beside_it(start_gateway):
    # A push to this many devices lasts until its last recipe.
    gateway = start_gateway(**{"pacing.rate": 1})
    devices = [Wire(gateway.port, "/topics/news") for _ in range(30)]
    push = None
    try:
        for command, documented in of("curl"):
            shown = re.search(r"/v1/pushes/([0-9a-z]+…)", command)
            if shown:
                assert push, f"{command}: no recipe before it has begun a push"
                command = command.replace(shown[1], push)
            status, body = run_curl(command, gateway)
            assert status < 300, f"{command}: {status} {body}"
            if documented:
                check_answer(command, documented, status, body)
            if '"rate"' in command and "/v1/push" in command and "PATCH" not in command:
                push = json.loads(body)["id"]
    finally:
        for device in devices:
            device.close()


def test_what_the_quick_start_publishes_is_what_a_device_sees(gateway):
    device_url = shlex.split(of("npx")[0][0])[-1]
    assert urlsplit(device_url).port == 7777
    with Wire(gateway.port, urlsplit(device_url).path) as device:
        status, body = run_curl(of("curl")[0][0], gateway)
        assert status == 200, body
        device.expect_stream(server_frame(TEXT, b'{"id":7}'))


@pytest.mark.parametrize("text", ["R&D", "1 + 1", "100 %", "50%25", "a=b;c", "ü", "%26", '\\"'])
def test_a_form_of_the_readme_carries_any_text(gateway, text):
    """Whatever stands in the place of its message."""
    forms = [command for command, _ in of("curl") if "/push/" in command and "/v1/" not in command]
    assert forms and all("--data-urlencode 'items=" in command for command in forms)
    message = f'{{"text":"{text}"}}'
    with Wire(gateway.port, "/topics/news") as device:
        for command in forms:
            command = re.sub(r"'items=\[.*\]'", lambda _: shlex.quote(f"items=[{message}]"), command)
            status, body = run_curl(command, gateway)
            assert status == 200, body
            device.expect_stream(server_frame(TEXT, message.encode()))


def test_each_publish_by_redis_reaches_its_devices(gateway_on_redis, redis):
    with Wire(gateway_on_redis.port, "/topics/news") as device:
        assert of("redis-cli")
        for command, _ in of("redis-cli"):
            words = shlex.split(command)
            assert words[1] == "PUBLISH", command
            done = subprocess.run(
                ["redis-cli", "-u", redis.url, *words[1:]], capture_output=True, text=True, check=True, timeout=10
            )
            assert done.stdout.strip() == "1", "one gateway listens"
            device.expect_stream(server_frame(TEXT, words[3].encode()))


def test_each_put_to_etcd_is_in_force(start_gateway, tmp_path):
    etcd = EtcdServer(tmp_path).start()
    try:
        gateway = start_gateway(**{"etcd.endpoints": etcd.url})
        assert of("etcdctl")
        for command, _ in of("etcdctl"):
            _, put, key, value = shlex.split(command)
            assert put == "put"
            etcd.put(key, value)
            name = key.removeprefix("/fanfare/")
            eventually(
                lambda name=name, value=value: gateway.get("/v1/config").json["values"][name]["value"] == json.loads(value),
                f"{name} is {value}",
            )
    finally:
        etcd.stop()
