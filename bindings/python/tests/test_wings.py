"""Logs and traces: what goes in comes out."""

import datetime as dt

import polars
import pyarrow
import pytest

import varve

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


def test_logs(db):
    ns = 1_700_000_000_123_456_789
    assert db.logs.append({"app": "shop"}, ["one", "two\n\ttabbed"], time_ns=[ns, ns + 1],
                          metadata=[{"trace_id": TRACE}, None]) == (2, 0)
    db.logs.append({"app": "shop", "level": "error"}, b"raw \xff bytes", time_ns=ns + 2,
                   metadata={"b": "2", "a": "1"})
    db.logs.append({"app": "other"}, "now")
    table = db.logs.entries('{app="shop"}').to_arrow()
    assert table["time"].cast(pyarrow.int64()).to_pylist() == [ns, ns + 1, ns + 2]
    assert table["line"].to_pylist() == ["one", "two\n\ttabbed", "raw \ufffd bytes"]
    assert table["metadata"].to_pylist() == [[("trace_id", TRACE)], [], [("a", "1"), ("b", "2")]]
    assert dict(table["labels"].to_pylist()[2]) == {"app": "shop", "level": "error"}
    newest = db.logs.entries(start="-1m").to_arrow()
    assert newest["line"].to_pylist() == ["now"]
    assert db.logs.entries('{app="shop"}', end="2023-11-14T22:13:20.123456790Z").to_arrow().num_rows == 2
    assert [batch.num_rows for batch in db.logs.entries(rows=3)] == [3, 1]


def test_log_tables_survive_reopening(tmp_path):
    frame = polars.DataFrame({
        "time": [dt.datetime(2026, 1, 1, 0, 0, i, tzinfo=dt.timezone.utc) for i in range(4)],
        "line": list("abcd"), "app": ["x", "y", "x", None], "user": ["1", None, "2", "3"],
    })
    with varve.open(tmp_path / "obs") as db:
        for table in (frame, pyarrow.table(frame), frame.to_dict(as_series=False)):
            assert db.logs.append_table(table, labels=["app"], metadata=["user"],
                                        fixed_labels={"env": "test"}).rows == 4
    with varve.open(tmp_path / "obs") as db:
        found = db.logs.entries().to_arrow().to_pylist()  # exact duplicates collapse
        assert sorted((one["line"], dict(one["labels"]).get("app"), dict(one["metadata"]).get("user"))
                      for one in found) == [("a", "x", "1"), ("b", "y", None), ("c", "x", "2"),
                                            ("d", None, "3")]


@pytest.mark.parametrize("arguments, error, text", [
    (({"app": "x"}, 7), TypeError, "a line must be str, not int"),
    (({"app": 1}, "x"), TypeError, "label's value must be str"),
    ((["app"], "x"), TypeError, "dict"),
    (({"": "x"}, "x"), ValueError, "empty"),
])
def test_bad_logs(db, arguments, error, text):
    with pytest.raises(error, match=text):
        db.logs.append(*arguments)
    with pytest.raises(ValueError, match="2 times but 1 lines"):
        db.logs.append({"app": "x"}, ["one"], time_s=[1, 2])
    with pytest.raises(ValueError, match="unit right"):
        db.logs.append({"app": "x"}, ["one"], time_s=[2**40])
    with pytest.raises(TypeError, match="metadata"):
        db.logs.append({"app": "x"}, ["one"], time_s=[1], metadata={"a": 1})
    assert db.logs.entries().to_arrow().num_rows == 0


SPANS = [
    {"trace_id": TRACE, "span_id": "00f067aa0ba902b7", "service": "shop", "name": "GET /",
     "kind": "server", "start": "2026-01-01T00:00:00.000000001Z", "duration": "25ms",
     "attributes": {"http.status": 200, "ok": True, "ratio": 0.5, "raw": b"\x00\xff", "text": "é",
                    "list": [1, "two", [True, None]], "map": {"a": {"b": 1.5}}},
     "events": [{"time": "2026-01-01T00:00:00.01Z", "name": "cache miss", "attributes": {"key": "k"}}]},
    {"trace_id": TRACE, "span_id": "1", "parent_id": "00f067aa0ba902b7", "service": "db",
     "name": "SELECT", "kind": "client", "status": "error", "status_message": "gone",
     "start": dt.datetime(2026, 1, 1, 0, 0, 0, 5000, tzinfo=dt.timezone.utc), "duration": 0.001,
     "resource": {"host": "a"}, "links": [{"trace_id": "1", "span_id": "2"}]},
]


def test_traces(db):
    assert db.traces.append(SPANS) == (2, 0)
    root, child = db.traces.get(TRACE)
    assert (root.service, root.name, root.kind, root.duration_ns) == ("shop", "GET /", "server", 25_000_000)
    assert root.start_ns == 1_767_225_600_000_000_001 and root.parent_id is None
    assert root.attributes == {"http.status": 200, "ok": True, "ratio": 0.5, "raw": b"\x00\xff",
                               "text": "é", "list": '[1,"two",[true,null]]', "map": '{"a":{"b":1.5}}'}
    assert root.events == [(1_767_225_600_010_000_000, "cache miss", {"key": "k"})]
    assert (child.status, child.status_message) == ("error", "gone")
    assert child.span_id == "0000000000000001" and child.parent_id == root.span_id
    assert child.resource == {"host": "a", "service.name": "db"}
    assert db.traces.get(bytes(16)) == [] and db.traces.get("ff") == []
    assert db.traces.services() == ["db", "shop"]
    table = db.traces.spans().to_arrow()
    assert sorted(table["name"].to_pylist()) == ["GET /", "SELECT"]
    assert table.schema.field("start").type == pyarrow.timestamp("ns", "UTC")
    assert db.traces.spans("shop", start="2026-01-01T00:00:00Z").to_arrow().num_rows == 2
    assert db.traces.spans(start="2026-01-02T00:00:00Z").to_arrow().num_rows == 0


def test_logs_of_a_trace(db):
    db.traces.append(SPANS)
    start = 1_767_225_600_000_000_001
    db.logs.append({"app": "shop"}, [f"in the text: {TRACE}", "by metadata", "of nobody"],
                   time_ns=[start + 2, start + 1, start + 3],
                   metadata=[{}, {"trace_id": TRACE}, {"trace_id": "1" * 32}])
    first, second = db.traces.logs(TRACE)
    assert first == (start + 1, {"app": "shop"}, "by metadata", {"trace_id": TRACE})
    assert second.line == f"in the text: {TRACE}" and second.labels == {"app": "shop"}
    assert first.time == dt.datetime(2026, 1, 1, tzinfo=dt.timezone.utc)
    assert db.traces.logs(bytes.fromhex(TRACE), limit=1) == [first]
    assert db.traces.logs("ff") == []
    with pytest.raises(varve.InvalidArgumentError, match="limit"):
        db.traces.logs(TRACE, limit=0)


@pytest.mark.parametrize("change, error, text", [
    ({"trace_id": None}, TypeError, "trace_id must be hex"),
    ({"trace_id": "xyz"}, ValueError, "hex digits"),
    ({"span_id": "1" * 17}, ValueError, "up to 16 hex"),
    ({"span_id": b"123"}, ValueError, "8 bytes"),
    ({"start": 5}, TypeError, "span 0: start"),
    ({"end": "now"}, ValueError, "either end or duration"),
    ({"kind": "sever"}, ValueError, "kind must be one of"),
    ({"status": 2}, ValueError, "status must be one of"),
    ({"name": 7}, TypeError, "name must be str"),
    ({"nmae": "x"}, ValueError, "nmae"),
    ({"attributes": {"a": 2**70}}, ValueError, "int64"),
    ({"attributes": {"a": object()}}, TypeError, "attribute"),
    ({"attributes": {1: "a"}}, TypeError, "key"),
    ({"duration": "1000y"}, ValueError, "2262"),
])
def test_bad_spans(db, change, error, text):
    with pytest.raises(error, match=text):
        db.traces.append([{**SPANS[0], **change}])
    deep = []
    for _ in range(10_000):
        deep = [deep]
    with pytest.raises(ValueError, match="too deep"):
        db.traces.append([{**SPANS[0], "attributes": {"a": deep}}])
    with pytest.raises(TypeError):
        db.traces.append(SPANS[0])
    assert db.traces.get(TRACE) == []


def test_a_span_that_is_rejected(db, server):
    """Takes the others of its call along, unless ``partial`` leaves it out and counts it."""
    with varve.connect(server) as remote:
        for one in (db, remote):
            for bad in ({"span_id": "0"}, {"trace_id": bytes(16)}):
                spans = [SPANS[0], {**SPANS[1], **bad}]
                with pytest.raises(ValueError, match="span 1: .*id"):
                    one.traces.append(spans)
                assert one.traces.get(TRACE) == []
            assert one.traces.append(spans, partial=True) == (1, 1)
            assert len(one.traces.get(TRACE)) == 1


def test_export(db, tmp_path):
    duckdb = pytest.importorskip("duckdb")
    db.traces.append(SPANS)
    db.logs.append({"app": "shop"}, ["one", "two"], time=["2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"])
    files = db.export_parquet("", tmp_path / "logs", kind="logs")
    assert len(files) == 2
    assert duckdb.sql(f"select date::text, line, labels['app'] from read_parquet('{tmp_path}/logs/*/*.parquet', "
                      "hive_partitioning=true) order by 1").fetchall() == [
        ("2026-01-01", "one", "shop"), ("2026-01-02", "two", "shop")]
    db.export_parquet("shop", tmp_path / "spans", kind="spans")
    assert duckdb.sql(f"select service, sum(duration_ns) from '{tmp_path}/spans/*/*.parquet' "
                      "group by 1 order by 1").fetchall() == [("db", 1_000_000), ("shop", 25_000_000)]
    with pytest.raises(ValueError, match="kind"):
        db.export_parquet("", tmp_path / "x", kind="spams")


DAY = {"start": "2026-01-01T00:00:00Z", "end": "2026-01-02T00:00:00Z"}


def test_logql(db):
    for i in range(20):
        db.logs.append({"app": "shop", "level": "error" if i % 5 == 0 else "info"},
                       f'{{"status": {500 if i % 5 == 0 else 200}, "ms": {i}}}',
                       time=f"2026-01-01T00:00:{i:02d}Z")
    found = db.logql('{app="shop"} | json | status = 500', **DAY)
    assert [entry.labels["ms"] for entry in found] == ["15", "10", "5", "0"]
    assert found[0].time_ns == 1_767_225_615_000_000_000 and found[-1].labels["level"] == "error"
    assert len(db.logql('{app="shop"}', limit=3, direction="forward", **DAY)) == 3
    assert polars.DataFrame(found).columns == ["time", "line", "labels"]
    assert found.to_arrow().num_rows == found.to_arrow().num_rows == 4
    assert "4 entries" in repr(found) and found.explain()
    counts = db.logql('sum by (level) (count_over_time({app="shop"}[1m]))', at="2026-01-01T00:00:30Z")
    assert isinstance(counts, varve.Result)
    assert {series.labels["level"]: series.values[0] for series in counts} == {"error": 4, "info": 16}
    assert db.query('rate({app="shop"}[1m])', lang="logql", step="1m", **DAY).kind == "matrix"
    with pytest.raises(varve.QuerySyntaxError) as caught:
        db.logql('{app="shop"} | jsonn', **DAY)
    assert caught.value.line == 1
    for arguments, error in [({"limit": 0}, ValueError), ({"limit": 1.5}, TypeError),
                             ({"direction": "up"}, ValueError), ({"at": 1}, TypeError)]:
        with pytest.raises(error):
            db.logql('{app="shop"}', **arguments)


def test_traceql(db):
    db.traces.append(SPANS)
    for i in range(30):
        db.traces.append([{"trace_id": f"{i + 100:x}", "span_id": "1", "service": "batch", "name": "run",
                           "start": f"2026-01-01T01:00:{i:02d}Z", "duration": "1s",
                           "attributes": {"n": i}}])
    (trace,) = db.traceql('{ span.http.status = 200 } >> { status = error }', **DAY)
    assert trace.trace_id == TRACE and (trace.spans, trace.errors) == (2, 1)
    assert trace.root_service == "shop" and trace.services == {"db": 1, "shop": 1}
    assert [match["name"] for match in trace.matches] == ["SELECT"]
    page = db.traceql('{ resource.service.name = "batch" }', limit=20, **DAY)
    rest = db.traceql('{ resource.service.name = "batch" }', limit=20, cursor=page.next, **DAY)
    assert (len(page), len(rest), rest.next) == (20, 10, None)
    assert page[0].matches[0]["values"]["resource.service.name"] == "batch"
    assert page.to_arrow().num_rows == 20 and polars.DataFrame(page)["duration_ns"][0] == 10**9
    rates = db.traceql('{ } | rate() by (resource.service.name)', step="1h", **DAY)
    assert isinstance(rates, varve.Result) and rates.kind == "matrix" and rates.rows > 0
    with pytest.raises(varve.QuerySyntaxError) as caught:
        db.traceql("{ .a = }")
    assert caught.value.column and "^" in str(caught.value)
