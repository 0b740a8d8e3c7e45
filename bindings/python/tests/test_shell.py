"""varve shell, driven through a pseudo-terminal and as a script."""

import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import time

import pytest

import varve
from conftest import START_MS

AT = "2023-11-14T22:28:05Z"


@pytest.fixture
def store(tmp_path):
    with varve.open(tmp_path / "obs") as db:
        times = [START_MS + 15_000 * i for i in range(60)]
        for number, job in enumerate(("api", "database")):
            db.metrics.append("requests_total", {"job": job}, time_ms=times,
                              values=[30.0 * i * (number + 1) for i in range(60)])
        db.metrics.append("odd", {"text": "\x1b[31mred\x07"}, time_ms=[START_MS + 885_000], values=[1])
        for i in range(300):
            db.metrics.append("slow", {"i": str(i)}, time_ms=times, values=range(60), durable=False)
    return str(tmp_path / "obs")


def script(binary, target, text):
    done = subprocess.run([binary, "shell", target], input=text, capture_output=True, text=True,
                          timeout=60)
    return done.returncode, done.stdout, done.stderr


class Terminal:
    """A program on a pseudo-terminal of 100 columns."""

    def __init__(self, arguments, history, rows=50):
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.environ.update(TERM="xterm-256color", VARVE_HISTORY=history, PAGER="cat",
                              LC_ALL="C.UTF-8")
            os.environ.pop("NO_COLOR", None)
            os.execv(arguments[0], arguments)
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, 100, 0, 0))
        self.seen = ""
        self.raw = ""  # all that came, with colours

    def read(self):
        piece = os.read(self.fd, 65536).decode("utf-8", "replace")
        self.seen += piece
        self.raw += piece

    def send(self, text):
        os.write(self.fd, text.encode())

    def until(self, text, timeout=60):
        """Read until `text` (an expression) shows up; return what came, without colours."""
        end = time.monotonic() + timeout
        while True:
            plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", self.seen)
            match = re.search(text, plain)
            if match:
                self.seen = plain[match.end():]
                return plain[: match.end()]
            left = end - time.monotonic()
            assert left > 0, f"{text!r} did not show up in {plain!r}"
            if select.select([self.fd], [], [], left)[0]:
                try:
                    self.read()
                except OSError:  # the program ended
                    raise AssertionError(f"{text!r} did not show up before the end: {plain!r}")

    def close(self):
        try:
            end = time.monotonic() + 20
            os.write(self.fd, b"\x04")
            while time.monotonic() < end:
                if os.waitpid(self.pid, os.WNOHANG)[0]:
                    return
                if select.select([self.fd], [], [], 0.05)[0]:
                    try:
                        self.read()
                    except OSError:
                        pass
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
            raise AssertionError(f"Ctrl-D did not end the shell: {self.seen!r}")
        finally:
            os.close(self.fd)


def test_terminal(varve_binary, store, tmp_path):
    history = str(tmp_path / "history")
    shell = Terminal([varve_binary, "shell", store], history)
    assert "samples" in shell.until("varve> ")
    shell.send(f".at {AT}\r")
    shell.until("varve> ")

    # Completion: a name, a label, a value, and a list where there are several.
    shell.send("sum(requests_\t")
    shell.until("total")
    shell.send("{jo\t=\"d\t")
    shell.until('atabase"')
    shell.send("})\r")
    assert "3540" in shell.until("series, .* ms")
    shell.until("varve> ")
    shell.send("count_\t\t")
    assert "count_over_time" in shell.until("count_values")
    shell.send("\x15.mo\tch\t\r")
    shell.until("varve> ")

    shell.send(".range 10m 15s\r")
    shell.until("varve> ")
    shell.send("rate(requests_total[1m])\r")
    chart = shell.until("series, .* ms")
    assert re.search("[\u2801-\u28ff]{20}", chart) and "┤" in chart and 'job="database"' in chart

    shell.send(".mode table\r.range off\rsum(rate(x[5m)\r")
    error = shell.until(r"\^")
    lines = error.splitlines()
    at = next(i for i, line in enumerate(lines) if "parse error" in line)
    assert lines[at + 1] == "sum(rate(x[5m)" and lines[at + 2].strip() == "^"

    # Ctrl-C drops a line, and stops a query that runs.
    shell.until("varve> ")
    shell.send("never sent\x03")
    shell.until(r"\^C")
    shell.until("varve> ")
    shell.send(".range 8m 50ms\r")
    shell.until("varve> ")
    shell.send("double_exponential_smoothing(slow[10m:50ms], 0.5, 0.5)\r")
    shell.until("running")
    sent = time.monotonic()
    shell.send("\x03")
    shell.until("cancel")
    assert time.monotonic() - sent < 30  # 200 ms of its own; the machine may be busy
    shell.until("varve> ")
    shell.send(".range off\r")
    shell.until("varve> ")
    shell.send("40 + 2\r")
    shell.until(r"\b42\b")
    shell.until("varve> ")
    shell.send("\x10\r")  # up: history
    shell.until(r"\b42\b")
    shell.until("varve> ")
    shell.close()
    with open(history, encoding="utf-8") as file:
        assert "rate(requests_total[1m])" in file.read().replace("\\040", " ")


def test_paging(varve_binary, store, tmp_path):
    shell = Terminal([varve_binary, "shell", store], str(tmp_path / "history"), rows=10)
    shell.until("varve> ")
    shell.send(f".at {AT}\rslow\r")
    assert shell.until("300 series").count("slow") > 250  # all of it, through PAGER=cat
    shell.until("varve> ")
    shell.close()


def test_script(varve_binary, store):
    code, out, err = script(varve_binary, store, f"""
# a comment
.at {AT}
sum by (job) \\
  (requests_total)
odd
.mode csv
requests_total{{job="api"}}
.mode json
1 + 1
.mode chart
requests_total
.mode table
.range 10m 1m
rate(requests_total[1m])
.explain sum(requests_total)
.metrics req
.values job
.labels
.stats
""")
    assert code == 0 and err == ""
    lines = out.splitlines()
    assert lines[0].split() == ["job", "value"]
    assert [line.split() for line in lines[1:3]] == [["api", "1770"], ["database", "3540"]]
    assert "\x1b" not in out and "\\x1b[31mred\\x07" in out
    assert 'time_ms,value,series\n1700000885000,1770,"requests_total{job=""api""}"' in out
    answer = next(json.loads(line) for line in lines if line.startswith("{\"status"))
    assert answer["data"]["result"][1] == "2"
    assert "████" in out
    assert re.search(r'\{job="api"\}\s+11\s+\S+\s+\S+\s+2\s', out) or "▁" in out or "▄" in out
    assert 'select {__name__="requests_total"}' in out
    assert lines[-7:][0] != "" and "requests_total" in lines and "database" in lines
    assert "samples" in lines[-1]


def test_script_errors(varve_binary, store, tmp_path):
    code, out, err = script(varve_binary, store, "rate(\n.nonsense\n.mode x\n.range -1h\n.at x\n1\n")
    assert code == 1 and out == "1\n"
    assert len(re.findall("^error: ", err, re.M)) == 5 and "rate(\n     ^" in err
    code, _, err = script(varve_binary, str(tmp_path / "missing"), "1\n")
    assert code == 1 and "missing" in err
    code, _, err = script(varve_binary, "ftp://x", "1\n")
    assert code == 1 and "not a URL" in err
    code, _, err = script(varve_binary, store, "x" * 1_000_000 + "\n" + "(" * 50_000 + "\n")
    assert code == 1 and "error: " in err


def test_against_a_server(varve_binary, server):
    varve.connect(server).metrics.append("up", {"job": "api"}, time_ms=[START_MS], values=[1])
    code, out, err = script(varve_binary, server,
                            ".at 2023-11-14T22:13:20Z\nup\n.range 1m 20s\nup\n.values job\nrate(\n")
    assert code == 1 and "rate(\n     ^" in err
    assert out.splitlines()[1].split() == ["up", "api", "1"] and 'up{job="api"}' in out
    assert out.splitlines()[-1] == "api"


def test_logs_and_traces(varve_binary, tmp_path):
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    with varve.open(tmp_path / "obs") as db:
        db.logs.append({"app": "shop"}, ["level=info msg=fine", "level=error msg=\x1b[1mbad"],
                       time=["2026-01-01T00:00:00Z", "2026-01-01T00:00:01Z"])
        db.traces.append([
            {"trace_id": trace, "span_id": "1", "service": "shop", "name": "GET /",
             "start": "2026-01-01T00:00:00Z", "duration": "40ms"},
            {"trace_id": trace, "span_id": "2", "parent_id": "1", "service": "db", "name": "SELECT",
             "start": "2026-01-01T00:00:00.02Z", "duration": "10ms", "status": "error"},
            {"trace_id": trace, "span_id": "3", "parent_id": "3", "service": "own", "name": "parent",
             "start": "2026-01-01T00:00:00.03Z", "duration": "1ms"}])
    code, out, err = script(varve_binary, str(tmp_path / "obs"), f"""
.at 2026-01-01T00:30:00Z
.lang logql
{{app="shop"}} | logfmt
sum by (level) (count_over_time({{app="shop"}} | logfmt [1h]))
.lang traceql
{{ status = error }}
.trace {trace}
.trace ff
""")
    assert code == 0 and err == ""
    lines = out.splitlines()
    assert lines[0] == '{app="shop"}'
    assert lines[1].startswith('2026-01-01T00:00:01.000000000Z level=error msg=\\x1b[1mbad')
    assert "info       1" in out or re.search(r"info\s+1", out)
    found = next(line for line in lines if line.startswith(trace + "  2026"))
    assert "3 spans, 1 failed  shop: GET /" in found
    tree = lines[-4:-1]
    assert tree[0].startswith("shop: GET /") and tree[1].startswith("  db: SELECT")
    assert tree[1].endswith("10 ms !") and tree[1].index("━") > tree[0].index("━")
    assert lines[-1] == "no such trace"
    code, out, err = script(varve_binary, str(tmp_path / "obs"), f"""
.at 2026-01-01T00:30:00Z
.lang logql
.mode csv
{{app="shop"}}
.mode json
{{app="shop"}}
.explain {{app="shop"}} |= "bad"
.lang traceql
{{ status = error }}
.mode csv
{{ status = error }}
.explain {{ status = error }}
""")
    assert code == 0 and err == ""
    lines = out.splitlines()
    assert lines[0] == "time_ns,line,labels"
    assert lines[1] == '1767225601000000000,level=error msg=\x1b[1mbad,"{app=""shop""}"'
    logs, traces = (json.loads(line) for line in lines if line.startswith('{"'))
    assert logs["data"]["resultType"] == "streams" and len(logs["data"]["result"][0]["values"]) == 2
    assert [one["traceID"] for one in traces["traces"]] == [trace]
    assert f"{trace},1767225600000000000,40000000,3,1,shop,GET /" in lines
    assert any("bad" in line for line in lines[3:-1]) and "status" in lines[-1]
    code, _, err = script(varve_binary, str(tmp_path / "obs"),
                          '.lang logql\n{app="shop"} | jsonn\n.lang traceql\n{ .a = }\n.lang sql\n'
                          ".trace xyz\n.limit 0\n.explain x\n")
    assert code == 1 and len(re.findall("^error: ", err, re.M)) == 6 and err.count("^") == 3


def test_terminal_of_logs_and_traces(varve_binary, quickstart, tmp_path):
    """Completion in all three languages, lines coloured by level, and a waterfall."""
    shell = Terminal([varve_binary, "shell", quickstart], str(tmp_path / "history"))
    shell.until("varve> ")
    shell.send(".at 2026-01-01T00:00:00Z\r.lang lo\t\r")
    shell.until("logql> ")
    shell.send('{ser\t=\tsh\t')  # a label, a quote, a value
    shell.until('op"')
    shell.send('\x15{service="shop"} |= "failed" | js\t\r')
    shell.until("order failed")
    shell.until("logql> ")
    assert re.search(r"\x1b\[3\dm[^\n]*order failed", shell.raw)  # the colour of an error
    shell.send(".lang tr\t\r")
    shell.until("traceql> ")
    shell.send("{ resource.ser\t")
    shell.until("vice.name")
    shell.send(' = "pay\t')
    shell.until('ment"')
    shell.send(' && status = er\t')
    shell.until("ror")
    shell.send(" }\r")
    found = re.search(r"([0-9a-f]{32})  ", shell.until("draws one"))
    shell.until("traceql> ")
    shell.send(f".trace {found[1]}\r")
    tree = shell.until("postgres: SELECT stock.*ms")
    assert "frontend: POST /order" in tree and "\u2501" in tree
    shell.until("traceql> ")
    shell.close()
