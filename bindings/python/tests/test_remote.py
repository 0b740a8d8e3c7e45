"""The same API over a server."""

import json
import subprocess

import numpy as np
import polars
import pytest

import varve
from conftest import START_MS
from test_wings import SPANS, TRACE


def test_the_same_answers(server, tmp_path):
    times = np.arange(60) * 15_000 + START_MS
    with varve.open(server) as remote, varve.open(tmp_path / "local") as local:
        for db in (remote, local):
            for number, job in enumerate(("api", 'd"b\n\\')):
                appended = db.metrics.append("requests_total", {"job": job, "utf-8.name": "é"},
                                             time_ms=times, values=30.0 * np.arange(60) * (number + 1))
                assert appended.rows == 60
            db.metrics.append_table({"t": times[-1:], "v": [float("inf")], "k": ["x"]}, name="odd",
                                    time="t", value="v", unit="ms")
        end = {"at": START_MS + 885_000, "unit": "ms"}
        for query in ("requests_total", "sum by (job) (rate(requests_total[5m]))", "odd", "1 + 1",
                      '"text"', "nothing"):
            assert repr(remote.promql(query, **end)) == repr(local.promql(query, **end)), query
        ranges = {"start": START_MS, "end": START_MS + 885_000, "unit": "ms", "step": "1m"}
        a, b = remote.promql("requests_total", **ranges), local.promql("requests_total", **ranges)
        assert polars.DataFrame(a).equals(polars.DataFrame(b))
        assert remote.metrics.names() == local.metrics.names()
        assert remote.metrics.label_names() == local.metrics.label_names()
        assert remote.metrics.label_values("job", "requests_total") == local.metrics.label_values("job")
        assert remote.metrics.series('{k="x"}') == local.metrics.series('{k="x"}')
        remote.metrics.delete('{k="x"}')
        assert remote.promql("odd", **end).rows == 0


def test_errors(server):
    db = varve.connect(server)
    with pytest.raises(varve.QuerySyntaxError) as caught:
        db.query("sum(\n  rate(x[5m)")
    assert caught.value.line == 2 and "^" in str(caught.value)
    with pytest.raises(varve.UnsupportedError, match="through a server"):
        db.flush()
    with pytest.raises(varve.VarveError, match="11,000"):
        db.promql("x", start="1970-01-01T00:00:00Z", step="1s")
    db.close()
    with pytest.raises(varve.ClosedError):
        db.query("x")


def test_no_server():
    db = varve.connect("http://127.0.0.1:9")
    with pytest.raises(varve.RemoteError, match="127.0.0.1:9"):
        db.query("up")
    for url in ("127.0.0.1:9090", "ftp://host", "http://", "http://host/?x=1"):
        with pytest.raises(ValueError):
            varve.connect(url)


@pytest.mark.parametrize("buckets", [
    [],
    [(0, 1.0, 2.0, 3.0), (0, 4.0, 8.0, 1.0)],
    [(1, -2.0, -1.0, 1.0), (3, -0.5, 0.5, 2.0), (0, 1.0, 2.0, 3.0)],
    [(0, 0.1, 0.25, 3.0), (0, 0.25, 10.0, 1.0), (0, 10.0, float("inf"), 2.0)],
])
def test_histograms_of_an_answer(buckets):
    read = varve.connect("http://127.0.0.1:9")._backend._metrics
    printed = [[rule, *("+Inf" if one == float("inf") else str(one) for one in rest)] for rule, *rest in buckets]
    answer = {"status": "success", "data": {"resultType": "vector", "result": [
        {"metric": {"job": "api"}, "histogram": [1.5, {"count": "6", "sum": "1.5", "buckets": printed}]},
        {"metric": {"job": "db"}, "value": [1.5, "2"]}]}}
    result = varve.Result(read("/", answer), "x")
    (time, histogram), = result[0]
    assert (time.timestamp(), histogram["count"], histogram["sum"]) == (1.5, 6.0, 1.5)
    assert [one for one in histogram["buckets"] if one[2]] == [one[1:] for one in buckets]
    assert list(result[1].values) == [2.0] and result.to_arrow()["histogram"].null_count == 1
    answer["data"].update(resultType="matrix", result=[{
        "metric": {}, "values": [[1, "1"]], "histograms": [[2, {"count": "1", "sum": "2"}]]}])
    assert [type(value) for _, value in varve.Result(read("/", answer), "x")[0]] == [float, dict]


def test_histograms_over_http(server):
    with varve.connect(server) as remote:
        remote._backend._send("/v1/metrics", json.dumps({"resourceMetrics": [{"scopeMetrics": [{
            "metrics": [{"name": "latency", "exponentialHistogram": {
                "aggregationTemporality": 2, "dataPoints": [{
                    "timeUnixNano": str(varve._time.now()), "count": "7", "sum": 12.5, "scale": 1,
                    "zeroCount": "1", "zeroThreshold": 0.001,
                    "positive": {"offset": -1, "bucketCounts": ["1", "2", "0", "3"]}}]}}]}]}]}).encode(),
            "application/json", "")
        result = remote.promql("latency")
        (_, histogram), = result[0]
        assert (histogram["count"], histogram["sum"]) == (7.0, 12.5)
        assert [bucket[2] for bucket in histogram["buckets"] if bucket[2]] == [1.0, 1.0, 2.0, 3.0]
        assert remote.promql("histogram_count(latency)").value == 7.0
        ranged = remote.promql("latency", start="-1m", end="now", step="10s")
        assert ranged.rows == 0 or isinstance(next(iter(ranged[0]))[1], dict)


def test_logs_and_traces(server, tmp_path):
    now = varve._time.now() - 60_000_000_000
    span = {"start": now - 60_000_000_000, "end": now + 60_000_000_000, "unit": "ns"}
    with varve.connect(server) as remote, varve.open(tmp_path / "local") as local:
        frame = polars.DataFrame({"time": [now + 100 + i for i in range(4)], "line": list("abcd"),
                                  "app": ["x", "y", "x", None], "user": ["1", None, "2", "3"]})
        for db in (remote, local):
            lines = [f'{{"n": {i}, "é": "\\n"}}' for i in range(20)]
            assert db.logs.append({"app": "shop", "level": "info"}, lines,
                                  time_ns=[now + i for i in range(20)],
                                  metadata=[{"user": str(i)} if i % 2 else None for i in range(20)]) == (20, 0)
            assert db.logs.append_table(frame, labels=["app"], metadata=["user"], unit="ns",
                                        fixed_labels={"env": "test", "level": "info"}).rows == 4
            assert db.traces.append(SPANS) == (2, 0)
            assert db.traces.append([
                {"trace_id": f"{i + 100:x}", "span_id": "1", "service": "batch", "name": "run",
                 "start": now + i, "duration": 0.001 * (i + 1), "attributes": {"n": i},
                 "status": "error" if i % 5 == 0 else "ok"} for i in range(30)], unit="ns") == (30, 0)
            db.logs.append({"app": "batch", "level": "info"}, "of a trace", time_ns=now + 50,
                           metadata={"trace_id": f"{100:032x}"})
        for query in ('{app="shop"}', '{app="shop"} |= "1" | json | n > 3', '{env="test"}',
                      'sum by (app) (count_over_time({app=~".+"}[1m]))', 'rate({app="shop", level="info"}[30s])',
                      '{nothing="here"}', '{app="shop"} | line_format "{{.n}}"'):
            for extra in ({}, {"direction": "forward", "limit": 7}):
                a, b = remote.logql(query, **span, **extra), local.logql(query, **span, **extra)
                assert type(a) is type(b)
                if isinstance(a, varve.Result):
                    assert repr(a) == repr(b), query
                    continue
                assert [(one.time_ns, one.line, one.labels) for one in a] == [
                    (one.time_ns, one.line, one.labels) for one in b], query
        at = {"at": now + 30_000_000_000, "unit": "ns"}
        query = 'sum by (level) (count_over_time({app="shop"}[1m]))'
        assert repr(remote.logql(query, **at)) == repr(local.logql(query, **at))
        for query in ("{ }", '{ resource.service.name = "batch" && span.n > 3 }', "{ duration > 20ms }",
                      "{ status = error } | by(name) | select(span.n)", "{ .nothing = 1 }"):
            a, b = remote.traceql(query, **span, limit=40), local.traceql(query, **span, limit=40)
            assert list(a) == list(b), query
            assert a.to_arrow().equals(b.to_arrow())
        page = remote.traceql("{ }", **span, limit=20)
        rest = remote.traceql("{ }", **span, limit=20, cursor=page.next)
        assert (len(page), len(rest), rest.next) == (20, 10, None)
        for query, step in (("{ } | rate() by (resource.service.name)", "10s"),
                            ("{ } | count_over_time() by (status)", None),
                            ("{ } | quantile_over_time(duration, .9)", "1m")):
            a, b = (db.traceql(query, **span, step=step) for db in (remote, local))
            assert a.kind == b.kind and repr(a) == repr(b), query
        for trace_id in (TRACE, "64", "ff"):
            assert remote.traces.get(trace_id) == local.traces.get(trace_id)
        for trace_id, count in ((TRACE, 0), ("64", 1), ("ff", 0)):
            a, b = ([(one.time_ns, one.line, one.labels["app"], one.metadata["trace_id"])
                     for one in db.traces.logs(trace_id)] for db in (remote, local))
            assert a == b and len(a) == count
        assert remote.traces.services() == local.traces.services() == ["batch", "db", "shop"]
        for lang, text in (("promql", "sum(up)"), ("logql", '{app="x"} |= "y"'), ("traceql", "{ .a = 1 }")):
            assert remote.explain(text, lang=lang) == local.explain(text, lang=lang)
        table = {"trace_id": ["7"], "span_id": ["8"], "name": ["n"], "start": [now], "end": [now + 5],
                 "service": ["t"], "n": [3]}
        assert remote.traces.append_table(table, attributes=["n"], unit="ns") == (1, 0)
        assert remote.traces.append_table(polars.DataFrame({**table, "trace_id": ["9"]}),
                                          attributes=["n"], unit="ns") == (1, 0)
        assert [remote.traces.get(one)[0].attributes for one in "79"] == [{"n": 3}] * 2


def rows_of(stream):
    return sorted(map(repr, stream.to_arrow().to_pylist()))


def test_streams_of_what_is_stored(server, tmp_path):
    """samples, entries and spans give over a server what they give of a directory."""
    now_ms = varve._time.now() // 1_000_000 - 600_000
    now = now_ms * 1_000_000
    odd = [float("inf"), float("-inf"), -0.0, 5e-324, 1.7976931348623157e308]
    with varve.connect(server) as remote, varve.open(tmp_path / "local") as local:
        for db in (remote, local):
            for job in ("api", 'd"b\n\\'):
                db.metrics.append("requests_total", {"job": job}, values=np.arange(600) / 3,
                                  time_ms=np.arange(600) + now_ms)
            db.metrics.append("long", {}, values=np.arange(20_000.0), time_ms=np.arange(20_000) + now_ms)
            db.metrics.append("odd", {"utf-8.name": "é"}, time_ms=range(now_ms, now_ms + 5), values=odd)
            db.logs.append({"app": "shop", "level": "info"},
                           [f"line {i} é\t\"quoted\"" for i in range(300)],
                           time_ns=[now + i // 150 for i in range(300)],
                           metadata=[{"n": str(i)} if i % 3 == 0 else None for i in range(300)])
            db.traces.append(SPANS)
            db.traces.append([{"trace_id": f"{i + 1:x}", "span_id": "1", "service": "batch", "name": "run",
                               "start": now + i, "duration": "1ms"} for i in range(600)], unit="ns")
        for selector in ("odd", "requests_total", '{job="api"}', "nothing"):
            a, b = remote.metrics.samples(selector), local.metrics.samples(selector)
            assert rows_of(a) == rows_of(b) == rows_of(a), selector  # read twice: asked twice
        assert remote.metrics.samples("odd").to_arrow()["value"].to_pylist() == odd
        between = {"start": varve._time.datetime_of(now_ms + 10), "end": varve._time.datetime_of(now_ms + 12)}
        assert remote.metrics.samples('{job="api"}', **between).to_arrow()["value"].to_pylist() == [
            10 / 3, 11 / 3, 12 / 3]
        long = list(remote.metrics.samples("long", rows=7000))
        assert [batch.num_rows for batch in long] == [7000, 7000, 6000]
        assert polars.concat(map(polars.from_arrow, long))["value"].to_list() == list(range(20_000))
        entries = [db.logs.entries('{app="shop"}').to_arrow().to_pylist() for db in (remote, local)]
        assert entries[0] == entries[1] and len(entries[0]) == 300
        assert [batch.num_rows for batch in remote.logs.entries(rows=200)] == [200, 100]
        for service in ("", "shop", "db", "nobody"):
            assert rows_of(remote.traces.spans(service)) == rows_of(local.traces.spans(service))
        assert remote.traces.spans("batch", start=varve._time.datetime_of(now_ms)).to_arrow().num_rows == 600
        assert remote.traces.spans("batch").to_arrow().schema == local.traces.spans("batch").to_arrow().schema
        assert polars.DataFrame(remote.logs.entries("{app=\"shop\"}")).height == 300
        for stream, error in ((lambda: remote.metrics.samples("a{"), varve.QuerySyntaxError),
                              (lambda: remote.logs.entries("{a="), varve.QuerySyntaxError)):
            with pytest.raises(error) as caught:
                stream()
            assert caught.value.column
        pytest.importorskip("duckdb")
        for kind, count in (("samples", 21_205), ("logs", 300), ("spans", 602)):
            remote.export_parquet("", tmp_path / kind, kind=kind)
            assert len(polars.read_parquet(f"{tmp_path}/{kind}/**/*.parquet")) == count
        taken = iter(remote.metrics.samples("requests_total", rows=10))
        next(taken)
    with pytest.raises(OSError, match="closed"):
        for _ in taken:
            pass


def test_history_goes_to_a_server(server):
    old = START_MS - 200 * 86_400_000
    with varve.connect(server) as db:
        times = [old + 15_000 * i for i in range(10_000)]
        with pytest.raises(varve.VarveError):  # older than the window of out-of-order samples
            db.metrics.append("now", time_s=[varve._time.now() // 10**9], values=[1])
            db.metrics.append("now", time_ms=times[:1], values=[1])
        frame = polars.DataFrame({"time": times * 2, "value": np.arange(20_000) / 7,
                                  "job": ["a"] * 10_000 + ["é"] * 10_000})
        assert db.metrics.load(frame, name="old", unit="ms") == (20_000, 0)
        assert db.metrics.load({"time": [old], "value": [float("nan")]}, name="one", unit="ms").rows == 1
        read = polars.DataFrame(db.metrics.samples("old"))
        assert read["value"].to_list() == frame["value"].to_list()
        assert db.promql("count_over_time(old[30s])", at=old + 30_000, unit="ms").rows == 2
        with pytest.raises(varve.VarveError, match="future"):
            db.metrics.load({"time": [4_000_000_000], "value": [1.0]}, name="old", unit="s")
        good = b'{"metric":{"__name__":"x"},"timestamps":[1],"values":[1]}\n'
        for bad, text in ((b'{"metric":{}}', "line 2: a series without labels"), (b"{", "line 2"),
                          (b'{"metric":{"__name__":"x"},"timestamps":[1,2],"values":[1]}', "2 timestamps"),
                          (b'{"metric":{"__name__":"x"},"timestamps":[1],"values":["x"]}', "not a number")):
            with pytest.raises(varve.VarveError, match=text):
                db._backend._send("/api/v1/import", good + bad, "application/x-ndjson", "")
        assert db.metrics.series("x") == []  # all of a body or none
        assert db.metrics.append("now", time_s=[1, varve._time.now() // 10**9 + 1], values=[1, 2],
                                 partial=True) == (1, 1)
        db.metrics.describe("old", type="counter", help='how "old"\nit is')
        assert db.metrics.metadata()["old"]["type"] == "counter"
        assert db.metrics.metadata()["old"]["help"] == 'how "old"\nit is'


def test_mistakes(server):
    with varve.connect(server) as db:
        for call, text in ((db.logql, "{a="), (db.traceql, "{ .a = }"), (db.logql, '{a="b"} | jsonn')):
            with pytest.raises(varve.QuerySyntaxError) as caught:
                call(text)
            assert caught.value.line == 1 and caught.value.column and "^" in str(caught.value)
        with pytest.raises(varve.QueryError, match="at least one"):
            db.logql('{a=~".*"}')
        with pytest.raises(ValueError, match="UTF-8"):
            db.logs.append({"a": "b"}, b"\xff")
        with pytest.raises(TypeError, match="a line must be str, not int"):
            db.logs.append({"a": "b"}, 7)
        with pytest.raises(TypeError, match="label's value must be str, not int"):
            db.logs.append({"a": 1}, "x")
        with pytest.raises(ValueError, match="2 times but 1 lines"):
            db.logs.append({"app": "x"}, ["one"], time_s=[1, 2])
        with pytest.raises(varve.VarveError, match="old"):
            db.logs.append({"app": "x"}, ["one"], time_s=[1])
        for change, error, text in (({"attributes": {"a": 2**70}}, ValueError, "int64"),
                                    ({"attributes": {"a": object()}}, TypeError, "attribute must be"),
                                    ({"attributes": {1: "a"}}, TypeError, "key must be str"),
                                    ({"name": 7}, TypeError, "name must be str"),
                                    ({"trace_id": "0"}, ValueError, "id")):
            with pytest.raises(error, match=text):
                db.traces.append([{**SPANS[0], **change}])
        with pytest.raises(varve.UnsupportedError, match="server's choice"):
            db.logs.append({"a": "b"}, "x", durable=False)
    for closed in (lambda: db.logql('{a="b"}'), lambda: db.traceql("{ }"), lambda: db.traces.get("1"),
                   lambda: db.logs.append({"a": "b"}, "x"), lambda: db.explain("up")):
        with pytest.raises(varve.ClosedError):
            closed()


def test_program_and_shell_over_a_url(server, varve_binary, tmp_path):
    """`varve query` and `varve shell` say of a server what they say of its directory."""
    now = varve._time.now() - 10_000_000_000
    with varve.connect(server) as db:
        db.logs.append({"app": "shop"}, ["level=error late", "level=info fine"], time_ns=[now, now + 1])
        db.traces.append([{"trace_id": "ab", "span_id": "1", "service": "shop", "name": 'GET "/",x',
                           "start": now, "duration": "5ms", "status": "error"}], unit="ns")
        db.metrics.append("up", {"job": "a"}, time_ns=now, values=1)
    sources = (["--url", server], ["--data", str(tmp_path / "server")])

    def run(*arguments, text=None, code=0):
        done = subprocess.run([varve_binary, *arguments], input=text, capture_output=True, text=True,
                              timeout=60)
        assert done.returncode == code, done.stderr
        return done.stdout + done.stderr

    # What the answer took, and labels that a server adds to what is pushed, differ.
    def told(output, text):
        if output != "json":
            return text
        answer = json.loads(text)
        answer.get("data", answer).pop("stats", None)
        answer.pop("metrics", None)
        return answer

    for lang, queries in (("promql", ("up", "up[5m]", "1 + 1")),
                          ("logql", ('{app="shop"}', 'sum by (app) (count_over_time({app="shop"}[1m]))')),
                          ("traceql", ("{ status = error }", "{ } | count_over_time() by (name)"))):
        for query in queries:
            for output in ("table", "csv", "json"):
                at = ["--time", str(now // 10**9 + 5)] if lang != "traceql" else []
                a, b = (told(output, run("query", *source, "--lang", lang, "--output", output, *at, query))
                        for source in sources)
                assert a and type(a) is type(b), query
                if "count_over_time() by" not in query:  # evaluated at another now
                    assert a == b, (query, output)
    csv = run("query", *sources[0], "--lang", "logql", "--output", "csv", "--forward", '{app="shop"}')
    assert csv.splitlines()[0] == "time_ns,line,labels"
    assert csv.splitlines()[1].startswith(f'{now},level=error late,"{{app=""shop""')
    assert '"GET ""/"",x"' in run("query", *sources[0], "--lang", "traceql", "--output", "csv", "{ }")
    for source in sources:
        assert "^" in run("query", *source, "--lang", "traceql", "{ .a = }", code=1)
        assert "not for traceql" in run("query", *source, "--lang", "traceql", "--output", "raw", "{ }", code=2)
        assert ".a" in run("query", *source, "--lang", "traceql", "--explain", "{ .a = 1 }")
        assert "before" in run("query", *source, "--lang", "traceql", "--start", "now", "--end=-1h",
                               "{ }", code=1)
    script = ('.explain sum(up)\n.explain up[5m]\nup\n.lang logql\n{app="shop"}\n.explain {app="shop"} |= "late"\n'
              '.lang traceql\n{ status = error }\n.explain { status = error }\n.trace ab\n'
              '.mode csv\n{ }\n.lang logql\n{app="shop"}\n')
    a, b = (run("shell", source[1], text=script) for source in sources)
    assert a == b and "late" in a and "shop: GET" in a and "select" in a
