"""Fixtures: every test has its own gateway and its own Redis, and a deadline."""

import os
import resource
import shutil
import signal
import subprocess

import pytest

from harness.devices import NodeDevice, PythonDevice
from harness.gateway import Gateway
from harness.redis_server import RedisServer

TEST_DEADLINE_S = 90

_counted = {"passed": 0, "failed": 0}


def pytest_configure():
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def pytest_runtest_logreport(report):
    # A skipped test is a test that did not run, and here nothing may be missing: it counts as failed.
    if report.when == "call" and report.passed:
        _counted["passed"] += 1
    elif report.failed or report.skipped:
        _counted["failed"] += 1


def pytest_sessionfinish(session, exitstatus):
    path = os.environ.get("FANFARE_COUNTS")
    if path and not hasattr(session.config, "workerinput"):
        if exitstatus not in (0, 1):
            _counted["failed"] += 1
        if _counted["failed"] and exitstatus == 0:
            session.exitstatus = 1
        with open(path, "w", encoding="utf-8") as counts:
            counts.write("{passed} passed, {failed} failed\n".format(**_counted))


@pytest.fixture(autouse=True)
def deadline():
    """A test that hangs fails by itself and says where."""

    def expired(*_):
        raise TimeoutError(f"the test took longer than {TEST_DEADLINE_S} s")

    before = signal.signal(signal.SIGALRM, expired)
    signal.alarm(TEST_DEADLINE_S)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture
def certificates(tmp_path):
    """A root, and a certificate of it for localhost: paths of both and of the key."""
    openssl = shutil.which("openssl")
    assert openssl, "openssl is missing: tests/setup installs it"
    root, root_key = tmp_path / "root.pem", tmp_path / "root.key"
    leaf, leaf_key = tmp_path / "leaf.pem", tmp_path / "leaf.key"
    request, extensions = tmp_path / "leaf.csr", tmp_path / "leaf.ext"
    extensions.write_text("subjectAltName=DNS:localhost,IP:127.0.0.1\nbasicConstraints=CA:FALSE\n")

    def run(*arguments):
        subprocess.run([openssl, *map(str, arguments)], check=True, capture_output=True)

    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    run("req", "-x509", *key, "-keyout", root_key, "-out", root, "-subj", "/CN=test root", "-days", "2")
    run("req", *key, "-keyout", leaf_key, "-out", request, "-subj", "/CN=localhost")
    run("x509", "-req", "-in", request, "-CA", root, "-CAkey", root_key, "-CAcreateserial", "-out", leaf,
        "-days", "2", "-extfile", extensions)
    return root, leaf, leaf_key


@pytest.fixture
def start_redis(tmp_path):
    started = []

    def start(*options, **keywords):
        server = RedisServer(tmp_path, *options, **keywords)
        started.append(server)
        return server

    yield start
    for server in started:
        server.stop()


@pytest.fixture
def redis(start_redis):
    return start_redis()


@pytest.fixture
def start_gateway(tmp_path, request):
    """Starts gateways; at the end of the test each one lives, or was told to stop by the test itself."""
    started = []

    def start(**keywords):
        gateway = Gateway(tmp_path, **keywords)
        started.append(gateway)
        return gateway

    yield start
    problems = []
    for gateway in started:
        code = gateway.process.poll()
        if code not in (None, 0) and not gateway.may_die:
            problems.append(f"a gateway died with {code}")
        gateway.kill()
        if "panicked at" in gateway.log:
            problems.append("a gateway panicked")
        request.node.add_report_section("teardown", "gateway log", gateway.log[-10_000:])
    assert not problems, problems


@pytest.fixture
def gateway(start_gateway):
    """A gateway without Redis: what is pushed enters by HTTP."""
    return start_gateway()


@pytest.fixture
def gateway_on_redis(start_gateway, redis):
    return start_gateway(redis=redis.url)


@pytest.fixture(params=["websockets", "ws"])
def device(request):
    """Connects a device; the test runs once with each foreign client."""
    opened = []

    def connect(port, path="/connect"):
        made = PythonDevice(port, path) if request.param == "websockets" else NodeDevice(port, path)
        opened.append(made)
        return made

    yield connect
    for made in opened:
        if isinstance(made, NodeDevice):
            made.end()
        else:
            made.connection.socket.close()
