#!/usr/bin/env python3
"""Drives the real binary from outside: serve, push, query, stop, restart, kill -9, the commands
on a directory. Usage: end_to_end_test.py PATH_TO_VARVE. Needs nothing but the standard library."""

import gzip
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.parse

VARVE = os.path.abspath(sys.argv[1])
checks = 0


def check(condition, what):
    global checks
    checks += 1
    if not condition:
        raise AssertionError(what)


class Server:
    def __init__(self, data, *flags):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.process = subprocess.Popen(
            [VARVE, "serve", "--data", data, "--http", f"127.0.0.1:{self.port}",
             "--scrape-interval", "200ms", *flags],
            stderr=subprocess.PIPE, text=True)
        deadline = time.monotonic() + 30
        while True:
            try:
                if self.get("/-/ready")[0] == 200:
                    break
            except OSError:
                pass
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError("the server did not get ready: " + self.log())
            time.sleep(0.02)

    def request(self, method, path, body=None, headers=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(method, path, body, headers or {})
            response = connection.getresponse()
            return response.status, response.read(), response.headers
        finally:
            connection.close()

    def get(self, path):
        return self.request("GET", path)

    def query(self, expression, **parameters):
        parameters["query"] = expression
        path = "/api/v1/query_range" if "step" in parameters else "/api/v1/query"
        status, body, _ = self.request(
            "POST", path, urllib.parse.urlencode(parameters),
            {"Content-Type": "application/x-www-form-urlencoded"})
        answer = json.loads(body)
        check(status == 200, f"{expression}: {status} {answer}")
        return answer["data"]["result"]

    def same_bytes_however_often_asked(self, **parameters):
        """An answer that is stored is sent as one that is made, with and without limits."""
        path = "/api/v1/query_range" if "step" in parameters else "/api/v1/query"

        def ask(**more):
            status, body, _ = self.request(
                "GET", path + "?" + urllib.parse.urlencode({**parameters, **more}))
            check(status == 200, f"{parameters}: {status} {body!r}")
            return body
        made = ask(nocache=1)
        limited = ask(nocache=1, limit=1)
        for _ in range(4):
            check(ask() == made, f"{parameters}: {ask()!r} is not {made!r}")
            check(ask(limit=1) == limited, f"{parameters} with a limit")

    def push(self, text, headers=None):
        status, body, _ = self.request("POST", "/api/v1/import/prometheus", text, headers)
        check(status == 204, f"push: {status} {body!r}")

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(timeout=30)
        log = self.log()
        check(code == 0, f"exit code {code}: {log}")
        check("msg=stopped" in log, log)

    def kill(self):
        self.process.kill()
        self.process.wait(timeout=30)
        self.process.stderr.close()

    def log(self):
        return self.process.stderr.read()


def run(*arguments, expect=0):
    done = subprocess.run([VARVE, *arguments], capture_output=True, text=True, timeout=120)
    check(done.returncode == expect,
          f"varve {' '.join(arguments)}: exit {done.returncode}\n{done.stdout}{done.stderr}")
    return done


def main():
    work = tempfile.mkdtemp(prefix="varve-e2e-")
    data = os.path.join(work, "data")
    now = int(time.time())
    try:
        # Push and query.
        server = Server(data, "--web.enable-admin-api")
        for i in range(60):
            t = (now - 60 + i) * 1000
            server.push(f'jobs_total{{queue="a"}} {i} {t}\njobs_total{{queue="b"}} {2 * i} {t}\n')
        server.push(gzip.compress(b'packed 4.5\n'), {"Content-Encoding": "gzip"})
        result = server.query('sum(jobs_total)', time=now - 1)
        check(result[0]["value"] == [now - 1, "177"], result)
        for expression in ("jobs_total", "rate(jobs_total[30s]) / 3", "nothing", "packed"):
            server.same_bytes_however_often_asked(query=expression, time=now - 1)
            server.same_bytes_however_often_asked(query=expression, start=now - 50, end=now - 1, step=7)
        result = server.query('rate(jobs_total[30s])', time=now - 1)
        check([r["metric"]["queue"] for r in result] == ["a", "b"], result)
        check(abs(float(result[1]["value"][1]) - 2) < 1e-9, result)
        result = server.query('jobs_total{queue="a"}', start=now - 60, end=now - 1, step=1)
        check([v[1] for v in result[0]["values"]] == [str(i) for i in range(60)], result)
        check(server.query('packed')[0]["value"][1] == "4.5", "packed")

        # Errors.
        status, body, _ = server.get("/api/v1/query?query=sum(")
        check(status == 400 and json.loads(body)["errorType"] == "bad_data", body)
        check(server.request("POST", "/api/v1/import/prometheus", "nonsense {")[0] == 400, "400")
        check(server.get("/nothing")[0] == 404, "404")
        check(server.request("DELETE", "/api/v1/query")[0] == 405, "405")
        status, _, _ = server.request("GET", "/api/v1/labels", headers={"Host": "evil.example"})
        check(status == 403, "foreign Host")

        # Compressed answers are the same answers.
        _, plain, _ = server.get("/api/v1/label/__name__/values")
        _, packed, headers = server.request("GET", "/api/v1/label/__name__/values",
                                            headers={"Accept-Encoding": "gzip"})
        check(headers["Content-Encoding"] == "gzip", headers)
        check(json.loads(gzip.decompress(packed))["status"] == json.loads(plain)["status"], "gzip")

        # It watches itself.
        deadline = time.monotonic() + 10
        while not server.query('up{job="varve"} == 1 and on() varve_head_series > 0'):
            check(time.monotonic() < deadline, "no self-scrape")
            time.sleep(0.1)

        # A second server cannot have the same directory.
        second = subprocess.run([VARVE, "serve", "--data", data, "--http", "127.0.0.1:0"],
                                capture_output=True, text=True, timeout=30)
        check(second.returncode == 1 and "cannot open the database" in second.stderr,
              second.stderr)

        # A snapshot opens like any store.
        status, body, _ = server.request("POST", "/api/v1/admin/tsdb/snapshot")
        check(status == 200, body)
        snapshot = os.path.join(data, "snapshots", json.loads(body)["data"]["name"])
        done = run("query", "--data", snapshot, "--time", str(now - 1), "--json",
                   "sum(jobs_total)")
        check('"177"' in done.stdout, done.stdout)

        # One without the head lacks what came since.
        server.push('late 1\n')
        status, body, _ = server.request("POST", "/api/v1/admin/tsdb/snapshot?skip_head=true")
        check(status == 200, body)
        snapshot = os.path.join(data, "snapshots", json.loads(body)["data"]["name"])
        done = run("query", "--data", snapshot, "--json",
                   "sum(last_over_time(jobs_total[1h])) + (count(late) or vector(1000))")
        check('"1177"' in done.stdout, done.stdout)

        # A clean stop and a restart change no answer.
        before = server.query('jobs_total', start=now - 60, end=now, step=1)
        server.stop()
        server = Server(data, "--web.enable-admin-api")
        check(server.query('jobs_total', start=now - 60, end=now, step=1) == before, "restart")

        # What was acknowledged survives kill -9.
        for i in range(20):
            server.push(f'survivor{{i="{i}"}} {i}\n')
        server.kill()
        server = Server(data, "--web.enable-admin-api")
        check(server.query('count(survivor)')[0]["value"][1] == "20", "kill -9")
        check(server.query('jobs_total', start=now - 60, end=now, step=1) == before, "kill -9")

        # Deletion.
        status, _, _ = server.request("POST", "/api/v1/admin/tsdb/delete_series?match[]=survivor")
        check(status == 204, status)
        check(server.query('count(survivor)') == [], "deleted")
        done = run("query", "--url", f"http://127.0.0.1:{server.port}", "sum(jobs_total)",
                   "--time", str(now - 1))
        check(done.stdout.strip() == "{}  177" or done.stdout.strip().endswith("177"), done.stdout)
        server.stop()

        # The commands on the directory.
        check(json.loads(run("verify", "--data", data, "--json").stdout)["ok"], "verify")
        compacted = json.loads(run("compact", "--data", data, "--json").stdout)
        check(compacted["samples"] > 120, compacted)
        inspected = json.loads(run("inspect", "--data", data, "--json").stdout)
        check(inspected["samples"] == compacted["samples"], inspected)
        copy = os.path.join(work, "copy")
        run("backup", "--data", data, copy)
        table = run("query", "--data", copy, "--time", str(now - 1), "jobs_total").stdout
        check(table.splitlines()[0].split() == ['jobs_total{queue="a"}', "59"], table)
        run("query", "--data", copy, "sum(", expect=1)
        run("query", "sum(x)", expect=2)
        run("frobnicate", expect=2)
        run("verify", "--data", os.path.join(work, "nothing"), expect=1)
        done = run("serve", "--data", copy, "--http", "0.0.0.0:0", expect=1)
        check("--insecure-listen" in done.stderr, done.stderr)

        # Damage is found and named.
        block = next(os.path.join(copy, "blocks", f) for f in os.listdir(os.path.join(copy, "blocks")))
        os.chmod(block, 0o600)
        shutil.copyfile(block, block + ".own")  # the copy may share its bytes with the original
        os.replace(block + ".own", block)
        with open(block, "r+b") as file:
            file.seek(200)
            byte = file.read(1)
            file.seek(200)
            file.write(bytes([byte[0] ^ 0x40]))
        done = run("verify", "--data", copy, expect=3)
        check(os.path.basename(block) in done.stdout, done.stdout)
        check(json.loads(run("verify", "--data", data, "--json").stdout)["ok"], "the original")
    finally:
        shutil.rmtree(work, ignore_errors=True)
    print(f"{checks} passed, 0 failed")


main()
