"""The commands for people against a real gateway: what somebody types, what the devices get, what is printed."""

import json
import os
import pty
import re
import select
import signal
import subprocess
import termios
import threading

from harness.devices import PythonDevice
from harness.gateway import MUST_FIX, binary, environment, run_to_end
from harness.poll import eventually

DEVICES = 20


def fanfare(gateway, *arguments, **options):
    return run_to_end(*arguments, "--api", f"127.0.0.1:{gateway.api_port}", **options)


def start(gateway, *arguments):
    command = [binary(), *arguments, "--api", f"127.0.0.1:{gateway.api_port}"]
    return subprocess.Popen(
        command, env=environment({}), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def devices(gateway, topic, count=DEVICES):
    made = [PythonDevice(gateway.port, f"/topics/{topic}") for _ in range(count)]
    gateway.await_members(topic, count)
    return made


def account(gateway, push_id):
    code, out = fanfare(gateway, "pushes", "show", push_id, "--json")
    assert code == 0, out
    return json.loads(out)


def test_what_is_typed_arrives_verbatim_and_text_as_a_json_string(gateway):
    (device,) = devices(gateway, "news", 1)
    code, out = fanfare(gateway, "push", "--topic", "news", '{"v": 2}', "hello")
    assert code == 0, out
    assert "one message is not JSON and is sent as the JSON string \"hello\"" in out
    assert [device.receive(), device.receive()] == ['{"v": 2}', '"hello"']


def test_a_watched_push_ends_with_its_account_and_every_device_has_it(gateway):
    served = devices(gateway, "news")
    code, out = fanfare(gateway, "push", "--topic", "news", "--rate", "100", "--id", "r-1", "--watch", "7")
    assert code == 0, out
    assert re.search(rf"^r-1  1 message for {DEVICES} devices$", out, re.M), out
    assert re.search(rf"^targeted  {DEVICES}\nsent      {DEVICES}\nfailed    0$", out, re.M), out
    assert all(device.receive() == "7" for device in served)
    # The same command again is the same push.
    code, out = fanfare(gateway, "push", "--topic", "news", "--rate", "100", "--id", "r-1", "7")
    assert code == 0 and "taken before: nothing is sent again" in out, out
    code, out = fanfare(gateway, "push", "--topic", "news", "--rate", "100", "--id", "r-1", "8")
    assert code == MUST_FIX, out


def test_a_push_is_listed_paused_hastened_and_cancelled(gateway):
    devices(gateway, "news")
    code, out = fanfare(gateway, "push", "--topic", "news", "--rate", "1", "--id", "slow-1", "7")
    assert code == 0, out
    code, out = fanfare(gateway, "pushes", "pause", "slow-1")
    assert code == 0 and out.startswith("slow-1  paused, 1 devices/s"), out
    code, out = fanfare(gateway, "pushes")
    assert code == 0 and re.search(r"^slow-1  paused  news", out, re.M), out
    assert account(gateway, "slow-1")["state"] == "paused"
    code, out = fanfare(gateway, "pushes", "rate", "slow-1", "2")
    assert code == 0 and "2 devices/s" in out, out
    assert fanfare(gateway, "pushes", "resume", "slow-1")[0] == 0
    assert account(gateway, "slow-1")["rate"] == 2
    watcher = start(gateway, "pushes", "watch", "slow-1")
    code, out = fanfare(gateway, "pushes", "cancel", "slow-1")
    assert code == 0 and out.startswith("slow-1  cancelled"), out
    out, err = watcher.communicate(timeout=20)
    assert watcher.returncode == 1 and re.search(r"^ +\d+ cancelled$", out, re.M), (out, err)
    ended = account(gateway, "slow-1")
    assert ended["sent"] + ended["failed"]["cancelled"] == ended["targeted"] == DEVICES
    assert fanfare(gateway, "pushes", "cancel", "slow-1")[0] == MUST_FIX
    assert fanfare(gateway, "pushes", "show", "nobody")[0] == MUST_FIX


def test_ctrl_c_leaves_the_push_running(gateway):
    devices(gateway, "news")
    watcher = start(gateway, "push", "--topic", "news", "--rate", "1", "--id", "slow-1", "--watch", "7")
    assert watcher.stdout.readline().startswith("slow-1  ")
    watcher.send_signal(signal.SIGINT)
    _, err = watcher.communicate(timeout=10)
    assert watcher.returncode == 130, err
    assert f"fanfare pushes cancel slow-1 --api 127.0.0.1:{gateway.api_port}" in err
    assert account(gateway, "slow-1")["state"] == "running"


def test_top_once_is_one_table_without_escape_codes(gateway):
    devices(gateway, "news")
    assert fanfare(gateway, "push", "--topic", "news", "--rate", "1", "--id", "slow-1", "7")[0] == 0
    code, out = fanfare(gateway, "top", "--once", "--interval", "500ms")
    assert code == 0, out
    assert "\x1b" not in out
    assert f"fanfare at 127.0.0.1:{gateway.api_port}   up " in out and "ready" in out and "no Redis" in out
    assert f"connections {DEVICES} (raw {DEVICES})" in out, out
    assert re.search(r"^ +1 +\d+ ", out, re.M), "a row for each of two shards"
    assert re.search(r"^slow-1  running  news  \[", out, re.M), out


class Terminal:
    """A terminal with somebody in front of it."""

    def __init__(self, gateway, *arguments):
        self.shows, self.has = pty.openpty()
        termios.tcsetwinsize(self.has, (20, 60))
        self.before = termios.tcgetattr(self.has)
        self.seen = b""
        command = [binary(), *arguments, "--api", f"127.0.0.1:{gateway.api_port}"]
        variables = environment({}) | {"TERM": "xterm", "NO_COLOR": "1"}
        self.process = subprocess.Popen(
            command, env=variables, stdin=self.has, stdout=self.has, stderr=self.has, start_new_session=True
        )
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        while True:
            ready, _, _ = select.select([self.shows], [], [], 0.2)
            if ready:
                self.seen += os.read(self.shows, 65536)
            elif self.process.poll() is not None:
                return

    def ended(self):
        code = self.process.wait(10)
        eventually(lambda: self.seen.endswith(b"\x1b[?1049l"), "the screen is left")
        assert termios.tcgetattr(self.has) == self.before, "the terminal's modes are as they were"
        return code


def test_the_bar_of_a_push_that_is_cancelled_goes_no_further_than_what_was_served(gateway):
    devices(gateway, "news")
    assert fanfare(gateway, "push", "--topic", "news", "--rate", "1", "--id", "slow-1", "7")[0] == 0
    screen = Terminal(gateway, "pushes", "watch", "slow-1")
    eventually(lambda: b" %" in screen.seen, "the bar is drawn")
    assert fanfare(gateway, "pushes", "cancel", "slow-1")[0] == 0
    assert screen.process.wait(10) == 1
    eventually(lambda: b"finished" in screen.seen, "the account follows")
    text = screen.seen.decode(errors="replace")
    sent = account(gateway, "slow-1")["sent"]
    assert sent < DEVICES / 2
    shown = [int(percent) for percent in re.findall(r"\[[#.]+\] +(\d+) %", text)]
    assert shown and max(shown) <= 100 * sent // DEVICES, text
    assert f"state     cancelled, {100 * sent // DEVICES} % were served" in text


def test_top_leaves_the_terminal_as_it_was_by_a_key_and_by_a_signal(gateway):
    for leave, code in ((lambda top: os.write(top.shows, b"q"), 0), (lambda top: top.process.terminate(), 143)):
        top = Terminal(gateway, "top", "--interval", "200ms")
        eventually(lambda: top.seen.count(b"\x1b[H") >= 2, "two screens")
        assert b"q quits" in top.seen and b"\x1b[1m" not in top.seen
        screen = top.seen.split(b"\x1b[H")[-1].decode(errors="replace")
        lines = re.sub(r"\x1b\[[0-9?]*[A-Za-z]", "", screen).split("\r\n")
        assert all(len(line) <= 60 for line in lines), lines
        leave(top)
        assert top.ended() == code


def test_top_says_that_the_gateway_is_gone_and_goes_on(start_gateway):
    gateway = start_gateway()
    top = Terminal(gateway, "top", "--interval", "200ms")
    eventually(lambda: b"q quits" in top.seen, "a screen")
    gateway.kill()
    gateway.may_die = True
    eventually(lambda: b"gateway" in top.seen.split(b"\x1b[H")[-1].split(b"\r\n")[-1], "it says so")
    os.write(top.shows, b"q")
    assert top.ended() == 0
