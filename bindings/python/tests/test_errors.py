"""Misuse raises exceptions that say what and where, and never harms the process."""

import array
import datetime as dt
import gc

import numpy as np
import pyarrow
import pytest

import varve
from conftest import START_MS


def test_the_tree():
    for name in varve.errors.__all__:
        assert issubclass(getattr(varve, name), varve.VarveError)
    assert issubclass(varve.QuerySyntaxError, varve.QueryError)
    assert issubclass(varve.InvalidArgumentError, ValueError)
    assert issubclass(varve.QueryTimeoutError, TimeoutError)


def test_place_and_caret(db):
    with pytest.raises(varve.QuerySyntaxError) as caught:
        db.query("sum(\n  rate(x[5m)")
    error = caught.value
    assert (error.line, error.query) == (2, "sum(\n  rate(x[5m)")
    lines = str(error).splitlines()
    assert lines[1] == "  rate(x[5m)" and lines[2].index("^") == error.column - 1
    assert error.message in lines[0]


@pytest.mark.parametrize("query, error", [
    ("", varve.QuerySyntaxError),
    ("rate(x)", varve.QuerySyntaxError),
    ("(" * 100_000, varve.QueryError),
    ("a" * 1_000_000, varve.QueryError),
    ("x\0y", varve.QueryError),
    ('x{a=~"("}', varve.QueryError),
    ("\ud800", varve.QueryError),
])
def test_bad_queries(db, query, error):
    with pytest.raises((error, UnicodeEncodeError, TypeError)):
        db.promql(query)


def test_execution_errors(filled):
    at = {"at": START_MS + 885_000, "unit": "ms"}
    filled.metrics.append("other", {"k": "1"}, time_ms=START_MS + 885_000, values=1)
    filled.metrics.append("other", {"k": "2"}, time_ms=START_MS + 885_000, values=1)
    with pytest.raises(varve.QueryExecutionError, match="many-to-many|duplicate"):
        filled.promql("sum by (x) (requests_total) * on (x) other", **at)
    with pytest.raises(varve.QueryLimitError, match="samples"):
        filled.promql("requests_total[1h]", max_samples=3, **at)
    with pytest.raises(varve.QueryTimeoutError):
        filled.promql("double_exponential_smoothing(requests_total[10m:50ms], 0.5, 0.5)",
                      start=START_MS, end=START_MS + 885_000, unit="ms", step=0.1, timeout=0.03,
                      max_samples=2**62)
    with pytest.raises(varve.QueryError, match="11,000"):
        filled.promql("x", start="1970-01-01T00:00:00Z", step="1s")


@pytest.mark.parametrize("arguments, error, text", [
    ({"time_ms": [1], "values": ["1"]}, TypeError, "values, row 0: must be a number, not str"),
    ({"time_ms": [1.5], "values": [1]}, TypeError, "time_ms, row 0: times must be integers, not float"),
    ({"time_ms": np.array([1.5]), "values": [1]}, TypeError, "must be exact"),
    ({"time": [1], "values": [1]}, TypeError, "needs a unit"),
    ({"time": np.array([1]), "values": [1]}, TypeError, "datetime64"),
    ({"time": 1.5, "values": 1}, TypeError, "float"),
    ({"time": True, "values": 1}, TypeError, "bool"),
    ({"time": dt.datetime(2026, 1, 1), "values": 1}, ValueError, "no time zone"),
    ({"time": np.datetime64("NaT"), "values": 1}, ValueError, "NaT"),
    ({"time": np.array(["2026-01-01", "NaT"], "M8[s]"), "values": [1, 2]}, ValueError, "row 1: NaT"),
    ({"time": "yesterday", "values": 1}, ValueError, "RFC 3339"),
    ({"time": "2026-02-30T00:00:00Z", "values": 1}, ValueError, "day"),
    ({"values": 1}, TypeError, "give one of"),
    ({"time_ms": [1], "time_s": [1], "values": [1]}, TypeError, "give one of"),
    ({"time_ms": [1, 2], "values": [1]}, ValueError, "2 times but 1 values"),
    ({"time_ms": [2**70], "values": [1]}, ValueError, "does not fit an int64"),
    ({"time_s": [2**62], "values": [1]}, ValueError, "is its unit right"),
    ({"time_ms": [2**62], "values": [1]}, ValueError, "is its unit right"),
    ({"time_ms": [-2**63], "values": [1]}, ValueError, "is its unit right"),
    ({"time_ms": np.array([2**64 - 1], np.uint64), "values": [1]}, ValueError, "int64"),
    ({"time_ms": [1], "values": [10**400]}, ValueError, "does not fit a float"),
    ({"time_ms": [1], "values": np.array([1j])}, TypeError, "complex"),
    ({"time_ms": np.zeros((2, 2), int), "values": [1]}, ValueError, "dimension"),
    ({"time_ms": [1], "values": None}, TypeError, "number"),
])
def test_bad_samples(db, arguments, error, text):
    with pytest.raises(error, match=text):
        db.metrics.append("m", {"a": "b"}, **arguments)
    assert db.metrics.series() == []


@pytest.mark.parametrize("name, labels, error, text", [
    (1, {}, TypeError, "name must be str"),
    ("", {}, ValueError, "empty"),
    ("m", {"a": 1}, TypeError, "a label's value must be str, not int"),
    ("m", {1: "a"}, TypeError, "a label's name must be str, not int"),
    ("m", [("a", "b")], TypeError, "dict"),
    ("m", {"": "x"}, ValueError, "empty"),
    ("m", {"__name__": "x"}, ValueError, "__name__"),
    ("m", {"a": "x" * 100_000}, ValueError, "label"),
    ("m", {f"l{i}": "x" for i in range(1000)}, ValueError, "label"),
])
def test_bad_labels(db, name, labels, error, text):
    with pytest.raises(error, match=text):
        db.metrics.append(name, labels, time_s=[1], values=[1])


def test_nul_and_huge_labels_are_data(db):
    labels = {"nul": "a\0b", "long": "x" * 60_000, "ünï": "日本"}
    db.metrics.append("m", labels, time_s=[1], values=[1])
    assert db.metrics.series() == [{"__name__": "m", **labels}]


def test_bad_queries_arguments(db):
    for arguments, error in [
        ({"at": 1}, TypeError), ({"at": 1, "unit": "h"}, ValueError),
        ({"start": "-1h", "step": 0}, ValueError), ({"start": "-1h", "step": -5}, ValueError),
        ({"start": "now", "end": "-1h"}, ValueError), ({"end": "now"}, ValueError),
        ({"at": "now", "start": "-1h"}, ValueError), ({"step": "1 fortnight", "start": "-1h"}, ValueError),
        ({"at": 2**62, "unit": "ms"}, ValueError), ({"timeout": -1}, ValueError),
        ({"timeout": float("inf")}, ValueError), ({"max_samples": 2**70}, ValueError),
        ({"max_samples": 1.5}, TypeError), ({"lookback": 0}, ValueError),
    ]:
        with pytest.raises(error):
            db.promql("x", **arguments)
    with pytest.raises(TypeError, match="query must be str"):
        db.promql(b"x")
    with pytest.raises(ValueError, match="lang"):
        db.query("x", lang="sql")


@pytest.mark.parametrize("arguments, error", [
    ({"retention": "x"}, ValueError), ({"retention_bytes": -1}, ValueError),
    ({"retention_bytes": 2**70}, ValueError), ({"query_threads": 10**6}, ValueError),
    ({"durability": "maybe"}, ValueError), ({"out_of_order_window": []}, TypeError),
    ({"query_points": 1.5}, TypeError),
])
def test_bad_options(tmp_path, arguments, error):
    with pytest.raises(error):
        varve.open(tmp_path / "obs", **arguments)


def test_opening(tmp_path):
    with pytest.raises(varve.NotFoundError):
        varve.open(tmp_path / "missing", create=False)
    with pytest.raises(ValueError, match="NUL"):
        varve.open("a\0b")
    with pytest.raises(TypeError):
        varve.open(7)
    (tmp_path / "file").write_text("not a directory")
    with pytest.raises(varve.VarveError):
        varve.open(tmp_path / "file")
    with varve.open(tmp_path / "obs"):
        with pytest.raises(varve.StateError):
            varve.open(tmp_path / "obs")


def test_closed(filled):
    result = filled.promql("requests_total", at=START_MS, unit="ms")
    stream = filled.metrics.samples()
    taken = iter(filled.metrics.samples(rows=1))
    next(taken)
    filled.close()
    filled.close()
    for call in (
        lambda: filled.promql("x"), filled.sync, filled.flush, filled.stats, filled.verify,
        filled.metrics.series, filled.metrics.names, filled.metrics.metadata,
        lambda: filled.metrics.append("m", time_s=[1], values=[1]),
        lambda: filled.metrics.delete("x"), lambda: filled.explain("x"),
        lambda: filled.backup("/tmp/never"), lambda: filled.metrics.samples(),
    ):
        with pytest.raises(varve.ClosedError):
            call()
    with pytest.raises(OSError, match="closed"):
        next(taken)
    with pytest.raises(OSError, match="closed"):
        stream.to_arrow()
    # What was taken out before stays.
    assert result.to_arrow().num_rows == 2 and result.values.sum() == 0
    values = result.values
    del result, filled, stream
    gc.collect()
    assert values.sum() == 0


def test_tables_that_do_not_fit(db):
    good = {"time": [1], "value": [1.0], "host": ["a"]}
    for table, options, error, text in [
        (good, {}, ValueError, "name"),
        (good, {"name": "m"}, TypeError, "needs a unit"),
        (good, {"name": "m", "unit": "s", "value": "v"}, ValueError, 'no column "v"'),
        (good, {"name": "m", "unit": "s", "labels": "host"}, TypeError, "list"),
        (pyarrow.table(good), {"name": "m", "unit": "s", "value": "v"}, ValueError, 'no column "v"'),
        (pyarrow.table(good), {"name": "m", "unit": "s", "labels": ["value"]}, ValueError, "not text"),
        (pyarrow.table(good), {"name": "m", "time": "host"}, ValueError, "neither timestamps"),
        (pyarrow.table(good), {"name": "m", "unit": "s", "value": "host"}, ValueError, "not numbers"),
        (pyarrow.table(good), {"name": "m", "unit": "s", "labels_column": "host"}, ValueError, "map"),
        (pyarrow.table({"time": pyarrow.array([None], pyarrow.timestamp("ms")), "value": [1.0]}),
         {"name": "m"}, ValueError, "row 0: a time must not be null"),
        ([1, 2], {"name": "m"}, TypeError, "frame"),
        ({"time": [1, 2], "value": [1.0], "host": ["a", "b"]}, {"name": "m", "unit": "s"},
         ValueError, "times but 1 values|has 2 rows"),
    ]:
        with pytest.raises(error, match=text):
            db.metrics.append_table(table, **options)
    assert db.metrics.series() == []


def test_a_stream_is_taken_once(filled):
    capsule = filled.promql("requests_total", at=START_MS, unit="ms").__arrow_c_stream__()
    table = varve._varve.ArrowTable.read(capsule)
    assert table.rows == 2
    with pytest.raises(ValueError, match="used before"):
        varve._varve.ArrowTable.read(capsule)
    with pytest.raises((ValueError, TypeError)):
        varve._varve.ArrowTable.read(object())


def test_native_arguments(db):
    store = db._backend.store
    one = array.array("q", [1])
    for arguments in [
        (["x"], None, one, 1, 1, array.array("d", [1.0]), None, False),
        ([{}], None, one, 1, 1, one, None, False),
        ([{}], None, one, 0, 1, array.array("d", [1.0]), None, False),
        ([{"__name__": "m"}], array.array("I", [5]), one, 1, 1, array.array("d", [1.0]), None, False),
        ([], None, one, 1, 1, array.array("d", [1.0]), None, False),
    ]:
        with pytest.raises((TypeError, ValueError)):
            store.append(*arguments)
    result = store.instant("1", 0)
    for call in (lambda: result.labels(1), lambda: result.span(2**40), lambda: result.row(1)):
        with pytest.raises(IndexError):
            call()
    with pytest.raises(TypeError):
        result.labels(-1)
