"""What the three kinds of results have in common: series, log entries, traces."""

import datetime as dt

import numpy as np
import pandas
import polars
import pyarrow
import pytest

import varve

START = dt.datetime(2026, 1, 1, tzinfo=dt.timezone.utc)
NS = 1_767_225_600_000_000_000
KINDS = ("promql", "logql", "traceql")
QUERIES = {"promql": "m", "logql": '{app="x"}', "traceql": "{ span.n >= 0 }"}


@pytest.fixture
def filled(tmp_path):
    """60 samples, 60 lines, 60 traces: one a second from START."""
    with varve.open(tmp_path / "obs", background=False) as db:
        times = [NS + i * 1_000_000_000 for i in range(60)]
        db.metrics.append("m", {"k": "<b>"}, time_ns=times, values=range(60))
        db.logs.append({"app": "x"}, [f"<b>line</b> {i}" for i in range(60)], time_ns=times,
                       metadata=[{"level": "error" if i % 6 == 0 else "info"} for i in range(60)])
        db.traces.append([
            {"trace_id": f"{i + 1:x}", "span_id": "1", "service": "s", "name": "<b>run</b>", "start": time,
             "duration": f"{i + 1}ms", "status": "error" if i % 6 == 0 else "ok", "attributes": {"n": i}}
            for i, time in enumerate(times)], unit="ns")
        yield db


def ask(db, lang, **changes):
    options = {"start": START, "end": START + dt.timedelta(seconds=60), **changes}
    if lang == "promql":
        options.setdefault("step", "1s")
    else:
        options.setdefault("limit", 100)
    return db.query(QUERIES[lang], lang=lang, **options)


@pytest.mark.parametrize("lang, rows, columns", [
    ("promql", 61, ["time", "value", "__name__", "k"]),
    ("logql", 60, ["time", "line", "labels"]),
    ("traceql", 60, ["trace_id", "root_service", "root_name", "start", "duration_ns", "spans", "errors",
                     "matched"]),
])
def test_tables(filled, lang, rows, columns):
    result = ask(filled, lang)
    for _ in range(2):  # any number of times
        arrow = result.to_arrow()
        assert arrow.num_rows == rows and arrow.column_names == columns
    assert pyarrow.table(result).equals(arrow)
    frame = result.to_polars()
    assert (frame.height, frame.columns) == (rows, columns)
    assert polars.DataFrame(result).equals(frame)
    table = result.to_pandas()
    assert (len(table), list(table.columns)) == (rows, columns)
    time = "start" if lang == "traceql" else "time"
    assert table[time].min() == pandas.Timestamp(START) and str(table[time].dt.tz) == "UTC"


@pytest.mark.parametrize("lang", KINDS)
def test_iterators_and_sequences(filled, lang):
    result = ask(filled, lang)
    assert len(list(result)) == len(result) == (1 if lang == "promql" else 60)
    assert list(iter(result))[0].__class__ is result[0].__class__ is result[-1].__class__
    for index in (len(result), -len(result) - 1):
        with pytest.raises(IndexError):
            result[index]
    first = {"promql": lambda: next(iter(result[0])), "logql": lambda: (result[-1].time, result[-1].line),
             "traceql": lambda: (result[-1].start, result[-1].root_name)}[lang]()
    assert first == (START, {"promql": 0.0, "logql": "<b>line</b> 0", "traceql": "<b>run</b>"}[lang])


@pytest.mark.parametrize("lang", KINDS)
def test_for_people(filled, lang):
    import matplotlib

    matplotlib.use("Agg")
    result = ask(filled, lang)
    page = result._repr_html_()
    assert page.startswith("<table>") and "<thead>" in page and "more rows" in page
    assert "<b>" not in page and "&lt;b&gt;" in page
    assert "more" in repr(result)
    axes = result.plot()
    assert axes.get_title() == QUERIES[lang]
    drawn = axes.lines or axes.patches or axes.collections
    assert len(drawn) >= 1
    assert result.plot(ax=axes) is axes
    if lang == "logql":
        assert sum(patch.get_height() for patch in axes.patches) == 2 * 60
        assert {text.get_text() for text in axes.get_legend().get_texts()} == {"error", "info"}
    if lang == "traceql":
        assert sum(len(points.get_offsets()) for points in axes.collections) == 2 * 60
    empty = ask(filled, lang, start="2020-01-01T00:00:00Z", end="2020-01-01T00:01:00Z")
    assert len(empty) == 0 and empty.plot() is not None and "<tbody></tbody>" in empty._repr_html_()


@pytest.mark.parametrize("lang, plan, analysis", [
    ("promql", "select", "total"), ("logql", "app", "total"), ("traceql", "scan", "matched")])
def test_plans(filled, lang, plan, analysis):
    result = ask(filled, lang)
    times = {"start": START, "end": START + dt.timedelta(seconds=60), "step": "1s"}
    assert plan in result.explain() == filled.explain(QUERIES[lang], lang=lang, **times)
    assert analysis in result.explain(analyze=True)
    with pytest.raises(varve.QuerySyntaxError):
        filled.explain("{(", lang=lang)
    with pytest.raises(ValueError, match="lang must be one of"):
        filled.explain("up", lang="sql")


@pytest.mark.parametrize("text, plan", [
    ("m[5m]", 'samples over 300000ms of {__name__="m"}\n'), ("'x'", 'text "x"\n'),
    ("m", 'select {__name__="m"}\n')])
def test_plans_of_one_time(filled, text, plan):
    assert filled.promql(text, at=START).explain() == filled.explain(text) == plan
    assert filled.explain(text, at=START) == plan
    assert plan[:-1] in filled.promql(text, at=START).explain(analyze=True)
    with pytest.raises(varve.InvalidArgumentError, match="at does not go with"):
        filled.explain(text, at=START, step="1s")


@pytest.mark.parametrize("lang", KINDS)
@pytest.mark.parametrize("at", [
    {"start": START, "end": START + dt.timedelta(seconds=10)},
    {"start": np.datetime64("2026-01-01T00:00:00"), "end": np.datetime64("2026-01-01T00:00:10.000000000")},
    {"start": "2026-01-01T00:00:00Z", "end": "2026-01-01T01:00:10+01:00"},
    {"start": NS // 10**9, "end": NS // 10**9 + 10, "unit": "s"},
    {"start": NS // 10**6, "end": NS // 10**6 + 10_000, "unit": "ms"},
    {"start": NS // 10**3, "end": NS // 10**3 + 10_000_000, "unit": "us"},
    {"start": NS, "end": NS + 10 * 10**9, "unit": "ns"},
    {"start": pandas.Timestamp(START), "end": pandas.Timestamp(NS + 10 * 10**9, tz="UTC")},
])
def test_times_of_queries(filled, lang, at):
    result = ask(filled, lang, **at)
    assert result.to_arrow().num_rows == {"promql": 11, "logql": 10, "traceql": 11}[lang]


@pytest.mark.parametrize("lang", KINDS)
@pytest.mark.parametrize("at, error", [
    ({"start": 5}, TypeError), ({"start": 1.5, "unit": "s"}, TypeError), ({"start": True, "unit": "s"}, TypeError),
    ({"start": 2**70, "unit": "ns"}, ValueError), ({"start": dt.datetime(2026, 1, 1)}, ValueError),
    ({"start": np.datetime64("NaT")}, ValueError), ({"start": "\0"}, ValueError), ({"start": b"now"}, TypeError),
    ({"start": "now", "end": "-1h"}, ValueError), ({"unit": "h", "start": 1}, ValueError),
    ({"timeout": -1}, ValueError), ({"step": "x"}, ValueError), ({"step": 2**70}, ValueError),
])
def test_bad_times_of_queries(filled, lang, at, error):
    with pytest.raises(error):
        ask(filled, lang, **at)


@pytest.mark.parametrize("lang", KINDS)
@pytest.mark.parametrize("text", [None, 7, b"m", "", "\0", "m\0", "{\0}", "(" * 100_000, "{" * 100_000, "\ud800",
                                  "m" * 1_000_000])
def test_bad_texts_of_queries(filled, lang, text):
    with pytest.raises((varve.QueryError, TypeError, ValueError)):
        result = getattr(filled, lang)(text)
        assert result is None, "no such text is a query"
    assert len(ask(filled, lang)) > 0


def test_closed(filled):
    result = {lang: ask(filled, lang) for lang in KINDS}
    stream = filled.logs.entries()
    filled.close()
    for call in (lambda: filled.logs.append({"a": "b"}, "x"), lambda: filled.logs.entries(),
                 lambda: filled.traces.append([]), lambda: filled.traces.get("1"),
                 lambda: filled.traces.spans(), lambda: filled.traces.services(),
                 lambda: filled.logs.append_table(polars.DataFrame({"time": [START], "line": ["x"]})),
                 lambda: filled.traces.append_table(polars.DataFrame(
                     {"trace_id": ["1"], "span_id": ["1"], "name": ["x"], "start": [START], "duration_ns": [1]})),
                 *(lambda lang=lang: ask(filled, lang) for lang in KINDS),
                 *(lambda lang=lang: filled.explain(QUERIES[lang], lang=lang) for lang in KINDS)):
        with pytest.raises(varve.ClosedError, match="closed"):
            call()
    with pytest.raises(Exception, match="closed"):
        stream.to_arrow()
    for lang in KINDS:  # what was found stays
        assert result[lang].to_arrow().num_rows >= 60
        result[lang].explain(analyze=True)


# --- Tables in ---


def frames(data):
    """The same columns as everything that comes in bulk."""
    frame = polars.DataFrame(data)
    return {"polars": frame, "arrow": pyarrow.table(frame), "pandas": frame.to_pandas(),
            "pandas of Arrow": frame.to_pandas(use_pyarrow_extension_array=True),
            "dict": frame.to_dict(as_series=False), "batches": frame.lazy().collect()}


@pytest.mark.parametrize("kind", ["polars", "arrow", "pandas", "pandas of Arrow", "dict", "batches"])
def test_tables_in(tmp_path, kind):
    times = [START + dt.timedelta(microseconds=i) for i in range(5)]
    logs = frames({"time": times, "line": ["a", "b", "", "é", "a"], "app": ["x", None, "y", "x", ""],
                   "user": ["1", None, "", "2", "3"]})[kind]
    spans = frames({"trace_id": ["1", "1", "2", "3", "ff" * 16], "span_id": ["1", "2", "3", "4", "5"],
                    "parent_id": [None, "1", None, None, None], "name": list("abcde"), "start": times,
                    "duration_ns": [1, 2, 3, 4, 5], "service": ["x", "y", "x", None, "x"],
                    "kind": ["server", "client", None, "internal", "server"],
                    "status": ["ok", "error", None, "unset", "ok"], "path": ["/", None, "/a", "/b", "/c"],
                    "size": [1, 2, 3, 4, 5], "ratio": [0.5, 1.5, 2.5, 3.5, 4.5]})[kind]
    with varve.open(tmp_path / "obs", background=False) as db:
        assert db.logs.append_table(logs, labels=["app"], metadata=["user"], fixed_labels={"env": "t"}) == (5, 0)
        found = db.logs.entries().to_arrow().sort_by("time").to_pylist()
        assert [one["line"] for one in found] == ["a", "b", "", "é", "a"]
        assert [dict(one["labels"]).get("app") for one in found] == ["x", None, "y", "x", None]
        assert [dict(one["metadata"]).get("user") for one in found] == ["1", None, "", "2", "3"]
        assert db.traces.append_table(spans, attributes=["path", "size", "ratio"]) == (5, 0)
        a, b = db.traces.get("1")
        assert (a.service, a.kind, a.status, a.duration_ns) == ("x", "server", "ok", 1)
        assert (b.parent_id, b.status) == ("0000000000000001", "error")
        assert a.attributes == {"path": "/", "size": 1, "ratio": 0.5} and "path" not in b.attributes
        assert db.traces.get("3")[0].service == "" and db.traces.get("ff" * 16)[0].start_ns == NS + 4000


def test_what_streams_out_comes_back_in(filled, tmp_path):
    filled.logs.append({"app": "y", "b": "c"}, ["raw", ""], time_ns=[NS, NS + 1], metadata=[{"u": "1", "v": ""}, None])
    with varve.open(tmp_path / "copy", background=False) as copy:
        assert copy.logs.append_table(filled.logs.entries(), labels_column="labels",
                                      metadata_column="metadata").rows == 62
        assert copy.logs.entries().to_arrow().equals(filled.logs.entries().to_arrow())
        assert copy.traces.append_table(filled.traces.spans()).rows == 60
        key = [("trace_id", "ascending")]
        plain = [one.to_arrow().sort_by(key).drop_columns(["attributes", "resource"])
                 for one in (copy.traces.spans(), filled.traces.spans())]
        assert plain[0].equals(plain[1])


@pytest.mark.measured
def test_a_large_table_of_logs(tmp_path):
    """Bulk is bulk: no Python object a row."""
    import time

    rows = 300_000
    frame = polars.DataFrame({
        "time": np.arange(rows, dtype=np.int64) + NS, "line": [f"request {i} done" for i in range(rows)],
        "app": [f"a{i % 10}" for i in range(rows)]})
    with varve.open(tmp_path / "obs", background=False) as db:
        begun = time.process_time()
        assert db.logs.append_table(frame, labels=["app"], unit="ns") == (rows, 0)
        spent = time.process_time() - begun
        assert db.logql('sum(count_over_time({app=~".+"}[1s]))', at=NS + rows, unit="ns").value == rows
    assert spent < 5, f"{spent} s of CPU"


@pytest.mark.parametrize("change, error, text", [
    ({"time": ["x"]}, (TypeError, ValueError), "time"),
    ({"time": [2**62]}, ValueError, "unit right|outside"),
    ({"line": [7]}, (TypeError, ValueError), "line"),
    ({"app": [7]}, (TypeError, ValueError), "app|label"),
    ({"time": None}, ValueError, 'no column "time"'),
    ({"line": None}, ValueError, 'no column "line"'),
])
@pytest.mark.parametrize("make", [polars.DataFrame, dict])
def test_bad_tables_of_logs(db, change, error, text, make):
    data = {"time": [1], "line": ["x"], "app": ["a"], **change}
    with pytest.raises(error, match=text):
        db.logs.append_table(make({k: v for k, v in data.items() if v is not None}), labels=["app"], unit="s")
    assert db.logs.entries().to_arrow().num_rows == 0


@pytest.mark.parametrize("change, error, text", [
    ({"trace_id": ["xyz"]}, ValueError, "hex"), ({"trace_id": [""]}, ValueError, "hex"),
    ({"span_id": ["1" * 17]}, ValueError, "hex"), ({"kind": ["sever"]}, ValueError, "kind"),
    ({"status": ["bad"]}, ValueError, "status"), ({"name": None}, ValueError, "name"),
    ({"start": [2**62]}, ValueError, "unit right|outside"), ({"duration_ns": [2**63 - 1]}, ValueError, "2262"),
    ({"duration_ns": None}, (TypeError, ValueError), "duration"), ({"trace_id": [7]}, (TypeError, ValueError), "trace_id"),
])
@pytest.mark.parametrize("make", [polars.DataFrame, dict])
def test_bad_tables_of_spans(db, change, error, text, make):
    data = {"trace_id": ["1"], "span_id": ["1"], "name": ["n"], "start": [1_700_000_000], "duration_ns": [5], **change}
    with pytest.raises(error, match=text):
        db.traces.append_table(make({k: v for k, v in data.items() if v is not None}), unit="s")
    assert db.traces.services() == [] and db.traces.spans().to_arrow().num_rows == 0


def test_nul_and_odd_texts(db):
    """NULs and bytes that are no UTF-8 are bytes like others, or refused with a reason; never cut."""
    line = "a\0b\x01\ud800"[:4] + "\udcff"
    db.logs.append({"app": "n\0l"}, [line, b"\0"], time_ns=[NS, NS + 1], metadata={"k\0": "v\0"})
    found = db.logql('{app=~"n.l"}', start=START, end=START + dt.timedelta(seconds=1))
    assert [entry.line for entry in found] == ["\0", line]
    assert found[0].labels["app"] == "n\0l" and found[0].labels["k\0"] == "v\0"
    db.traces.append([{"trace_id": "1", "span_id": "1", "name": "n\0me", "start": START, "duration": 0,
                       "attributes": {"k\0": "v\0", "": 1}, "service": "s\0"}])
    (span,) = db.traces.get("1")
    assert (span.name, span.service, span.attributes) == ("n\0me", "s\0", {"k\0": "v\0", "": 1})
