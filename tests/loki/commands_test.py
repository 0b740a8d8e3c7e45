#!/usr/bin/env python3
"""Runs `varve tail` and `varve import logs` as people do at a terminal: lines as they come, colours
by level, a progress bar, and clear ends. Usage: commands_test.py PATH_TO_VARVE"""

import json
import os
import pty
import select
import signal
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "support"))
import hostile  # noqa: E402
from hostile import VARVE, check  # noqa: E402

PATIENCE = 60  # seconds; an idle machine needs a fraction of one


def terminal():
    """Opens a pseudo-terminal; None where there are none (a bare chroot)."""
    try:
        return pty.openpty()
    except OSError:
        return None


def push(server, lines, labels=None):
    now = time.time_ns()
    values = [[str(now + i), line] for i, line in enumerate(lines)]
    body = json.dumps({"streams": [{"stream": labels or {"app": "a"}, "values": values}]})
    status, answer, _ = server.request("POST", "/loki/api/v1/push", body,
                                       {"Content-Type": "application/json"})
    check(status == 204, answer)


class Reader:
    """What a command writes to a file descriptor, until a text is in it."""

    def __init__(self, fd):
        self.fd, self.text = fd, b""

    def drain(self):
        """Reads on until the other side closes."""
        try:
            while os.read(self.fd, 65536):
                pass
        except OSError:  # what a terminal gives then
            pass

    def until(self, wanted):
        deadline = time.monotonic() + PATIENCE
        while wanted not in self.text:
            check(time.monotonic() < deadline, f"no {wanted} in {self.text[-500:]}")
            if select.select([self.fd], [], [], 0.1)[0]:
                try:
                    piece = os.read(self.fd, 65536)
                except OSError:  # a terminal whose other side is closed
                    piece = b""
                check(piece, f"ended without {wanted}: {self.text[-500:]}")
                self.text += piece
        return self.text


def tail(server, *arguments, **named):
    return subprocess.Popen(
        [VARVE, "tail", "--url", f"http://127.0.0.1:{server.port}", *arguments],
        stdout=named.pop("stdout", subprocess.PIPE), stderr=subprocess.PIPE, **named)


def test_tail(server):
    push(server, ["old 1", "old 2", "old 3"])
    process = tail(server, "--limit", "2", "--output", "raw", '{app="a"} |= "o"')
    reader = Reader(process.stdout.fileno())
    reader.until(b"old 3\n")
    push(server, ["no"], {"app": "b"})
    push(server, ["xx", "follow one", "follow two"])
    text = reader.until(b"follow two\n")
    check(text == b"old 2\nold 3\nfollow one\nfollow two\n", text)
    process.send_signal(signal.SIGINT)
    process.wait(timeout=PATIENCE)

    process = tail(server, "--limit", "1", "--output", "jsonl",
                   '{app="a"} | logfmt | line_format "{{.n}}!"')
    reader = Reader(process.stdout.fileno())
    reader.until(b"\n")
    push(server, ["n=7 level=error"])
    last = json.loads(reader.until(b"7!").splitlines()[-1])
    check(last["line"] == "7!" and last["labels"]["level"] == "error" and last["time"], last)
    process.kill()
    process.wait()

    # Colours by level, when asked for; none in a pipe.
    for color, wanted in (("always", b"\x1b[31mlevel=error c\x1b[0m"), ("auto", b" level=error c\n")):
        process = tail(server, "--limit", "0", "--color", color, '{app="a"}')
        reader = Reader(process.stdout.fileno())
        deadline = time.monotonic() + PATIENCE
        while wanted not in reader.text and time.monotonic() < deadline:
            push(server, ["level=error c"])  # a tail shows what comes after it has begun
            if select.select([reader.fd], [], [], 0.3)[0]:
                reader.text += os.read(reader.fd, 65536)
        check(wanted in reader.text, reader.text[:500])
        process.kill()
        process.wait()

    for arguments, code, text in (
            (['{app='], 1, b"parse error"),
            (["--limit", "5"], 2, b"expression"),
            (["--output", "csv", '{app="a"}'], 2, b"--output")):
        process = tail(server, *arguments)
        _, error = process.communicate(timeout=PATIENCE)
        check(process.returncode == code and text in error, f"{arguments}: {process.returncode} {error}")
    process = subprocess.run([VARVE, "tail", "--url", "ftp://x", '{app="a"}'], capture_output=True,
                             timeout=PATIENCE)
    check(process.returncode == 1 and b"http://HOST:PORT" in process.stderr, process.stderr)


def test_tail_on_a_terminal(server):
    sides = terminal()
    if sides is None:
        print("skipped: no pseudo-terminals")
        return
    process = tail(server, "--limit", "1", '{app="a"}', stdout=sides[1])
    os.close(sides[1])
    Reader(sides[0]).until(b"\x1b[31m")
    process.kill()
    process.wait()
    os.close(sides[0])


def test_tail_ends_with_its_server(server):
    process = tail(server, "--limit", "1", "--output", "raw", '{app="a"}')
    Reader(process.stdout.fileno()).until(b"\n")
    server.stop()
    _, error = process.communicate(timeout=PATIENCE)
    check(process.returncode == 1 and b"server stops" in error, error)


def test_import(work):
    path = os.path.join(work, "app.log")
    count = 1_000_000  # the bar appears after a tenth of a second
    with open(path, "w") as file:
        for i in range(count):
            file.write(f"2026-11-27T17:{i // 60 % 60:02}:{i % 60:02}Z level=info n={i} some words\n")
    command = [VARVE, "import", "logs", "--data", os.path.join(work, "imported"), "--label", "app=i"]
    sides = terminal()
    if sides is not None:
        process = subprocess.Popen([*command, path], stdout=subprocess.PIPE, stderr=sides[1])
        os.close(sides[1])
        bar = Reader(sides[0])
        text = bar.until(b"%").replace(b"\r", b"")
        check(text.startswith(b"[") and b"." in text, text)
        bar.drain()
        out, _ = process.communicate(timeout=PATIENCE)
        os.close(sides[0])
        check(process.returncode == 0, out)
    else:
        out = subprocess.run([*command, path], capture_output=True, timeout=PATIENCE).stdout
    check(out.startswith(b"imported 1,000,000 entries"), out)
    # In a pipe there is no bar.
    with open(path, "w") as file:
        file.write("2026-11-27T17:00:00Z one\n2026-11-27T17:00:01Z two\n")
    done = subprocess.run([*command, "--json", path], capture_output=True, timeout=PATIENCE)
    check(done.returncode == 0 and done.stderr == b"" and json.loads(done.stdout)["entries"] == 2,
          done)


def test(work):
    server = hostile.Server(os.path.join(work, "data"))
    test_tail(server)
    test_tail_on_a_terminal(server)
    test_tail_ends_with_its_server(server)
    test_import(work)


hostile.run(test)
