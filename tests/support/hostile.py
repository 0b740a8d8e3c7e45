"""What the tests that send a real server hostile requests share: the server, and a count of what was
checked."""

import http.client
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

VARVE = os.path.abspath(sys.argv[1])
checks = 0
servers = []  # all that were ever started


def check(condition, what):
    global checks
    checks += 1
    if not condition:
        raise AssertionError(what)


def run(test):
    """Runs test(a directory of its own); leaves no server and no file behind."""
    work = tempfile.mkdtemp(prefix="varve-test-")
    try:
        test(work)
        print(f"{checks} checks")
    finally:
        for server in servers:
            if server.process.poll() is None:
                server.process.kill()
                server.process.wait()
        shutil.rmtree(work, ignore_errors=True)


class Server:
    """`varve serve` on a free port of the loopback, ready when made."""

    def __init__(self, data, *flags):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.process = subprocess.Popen(
            [VARVE, "serve", "--data", data, "--http", f"127.0.0.1:{self.port}",
             "--scrape-interval", "0", *flags], stderr=subprocess.DEVNULL)
        servers.append(self)
        deadline = time.monotonic() + 30
        while True:
            try:
                if self.request("GET", "/-/ready")[0] == 200:
                    return
            except OSError:
                pass
            check(self.process.poll() is None and time.monotonic() < deadline, "not ready")
            time.sleep(0.02)

    def request(self, method, path, body=None, headers=None, timeout=60):
        """Returns status, body, headers."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            connection.request(method, path, body, headers or {})
            response = connection.getresponse()
            return response.status, response.read(), response.headers
        finally:
            connection.close()

    def rss(self):
        """Most memory the process ever had, or since it was reset."""
        with open(f"/proc/{self.process.pid}/status") as file:
            return next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmHWM:"))

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        check(self.process.wait(timeout=60) == 0, "exit code")
