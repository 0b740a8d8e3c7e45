"""Native histograms: out of a database and back in, by every way there is."""

import contextlib
import math
import struct

import numpy as np
import pandas
import polars
import pyarrow
import pyarrow.parquet
import pytest

import varve

T = 1_767_225_600_000  # 2026-01-01, ms
STALE = struct.unpack("<d", struct.pack("<Q", 0x7FF0000000000002))[0]
EXPONENTIAL = {
    "count": 10.0, "sum": 12.5, "schema": 1, "zero_threshold": 0.001, "custom_values": [],
    "reset_hint": "unknown",
    "buckets": [(-2.0, -(2**0.5), 1.0), (-0.001, 0.001, 2.0), (1.0, 2**0.5, 3.0), (2**0.5, 2.0, 0.0),
                (2.0, 2 * 2**0.5, 4.0)],
}
FLOATS = {**EXPONENTIAL, "count": 2.5, "buckets": [(1.0, 2**0.5, 2.5)], "reset_hint": "gauge"}
CUSTOM = {
    "count": 3.0, "sum": 0.25, "schema": -53, "zero_threshold": 0.0, "custom_values": [0.5, 1.0, 5.0],
    "reset_hint": "unknown", "buckets": [(-math.inf, 0.5, 1.0), (1.0, 5.0, 0.0), (5.0, math.inf, 2.0)],
}
ALL = [EXPONENTIAL, FLOATS, CUSTOM]


def read(db, selector):
    """Rows by time: (labels, value or histogram)."""
    table = db.metrics.samples(selector).to_arrow()
    rows = zip(table["metric"].to_pylist(), table["labels"].to_pylist(), table["time"].to_pylist(),
               table["value"].to_pylist(), table["histogram"].to_pylist())
    out = {}
    for name, labels, time, value, histogram in rows:
        if histogram is not None:
            assert value is None
            histogram["buckets"] = [tuple(bucket.values()) for bucket in histogram["buckets"]]
            histogram["reset_hint"] = histogram["reset_hint"] if histogram["reset_hint"] == "gauge" else "unknown"
        out[name, tuple(labels), int(time.timestamp() * 1000)] = value if histogram is None else histogram
    return out


def expected(name, labels, histograms):
    return {(name, tuple(labels.items()), T + i): one for i, one in enumerate(histograms)}


@pytest.fixture(params=["directory", "server"])
def target(request, tmp_path):
    """A database of either kind; a load is seen in both."""
    if request.param == "directory":
        opened = varve.open(tmp_path / "target", background=False)
    else:
        opened = varve.open(request.getfixturevalue("server"))
    with contextlib.closing(opened) as db:
        yield db


@pytest.fixture
def source(db):
    assert db.metrics.append("latency", {"job": "api"}, time_ms=[T, T + 1, T + 2], values=ALL) == (3, 0)
    db.metrics.append("latency", {"job": "db"}, time_ms=T, values=CUSTOM)
    db.metrics.append("plain", {"job": "db"}, time_ms=[T, T + 1], values=[1.5, math.nan])
    return db


def test_values_are_numbers_or_histograms(db):
    mixed = [1.0, EXPONENTIAL, 2, CUSTOM]
    times = [T, T + 1, T + 2, T + 3]
    assert db.metrics.append("mixed", {}, time_ms=times, values=mixed).rows == 4
    assert [value for _, value in sorted(read(db, "mixed").items())] == mixed
    (series,) = db.promql("mixed", start=T, end=T + 3, step="1ms", unit="ms")
    assert [isinstance(value, dict) for _, value in series] == [False, True, False, True]
    assert db.promql("histogram_count(mixed)", at=T + 1, unit="ms").value == 10.0
    assert db.promql("histogram_quantile(1, mixed)", at=T + 1, unit="ms").value == pytest.approx(2 * 2**0.5)
    # What a query gives goes in again.
    (_, whole), = db.promql("mixed", at=T + 1, unit="ms")[0]
    assert {**whole, "reset_hint": "unknown"} == EXPONENTIAL
    assert db.metrics.append("again", {}, time_ms=T, values=whole).rows == 1
    # Little is needed: the schema is found from the bounds.
    small = {"count": 3, "sum": 4.5, "buckets": [[1, 2, 3]]}
    assert db.metrics.append("small", {}, time_ms=T, values=small).rows == 1
    assert db.promql("histogram_avg(small)", at=T, unit="ms").value == 1.5
    assert db.metrics.append("none", {}, time_ms=T, values={"count": 0, "sum": 0}).rows == 1


def test_from_table_to_table(source, target):
    names = {"name_column": "metric", "labels_column": "labels"}
    want = read(source, "")
    assert want[("latency", (("job", "api"),), T)] == EXPONENTIAL
    assert target.metrics.load(source.metrics.samples(""), **names).rows == 6
    for key, value in read(target, "").items():
        assert value == want[key] or (math.isnan(value) and math.isnan(want[key])), key
    assert len(read(target, "")) == 6
    query = {"start": T, "end": T + 2, "step": "1ms", "unit": "ms"}
    assert repr(target.promql("latency", **query)) == repr(source.promql("latency", **query))


@pytest.mark.parametrize("frame", ["arrow", "polars", "pandas", "sliced", "large", "parquet", "dict"])
def test_kinds_of_tables(source, db, tmp_path, frame):
    table = source.metrics.samples('latency{job="api"}').to_arrow()
    if frame == "polars":
        data = polars.DataFrame(table.drop_columns(["labels"]))
    elif frame == "pandas":  # structs become dicts, lists become arrays
        data = table.drop_columns(["labels"]).to_pandas()
    elif frame == "sliced":
        data = pyarrow.concat_tables([table.slice(1, 1), table.slice(0, 1), table.slice(2)])
    elif frame == "large":
        kind = table.schema.field("histogram").type
        wide = pyarrow.struct([
            pyarrow.field(f.name, pyarrow.large_list(f.type.value_type) if pyarrow.types.is_list(f.type) else f.type)
            for f in kind])
        data = table.set_column(4, "histogram", table["histogram"].cast(wide))
    elif frame == "parquet":
        source.export_parquet("latency", tmp_path / "files")
        data = pyarrow.concat_tables([pyarrow.parquet.read_table(file, partitioning=None)
                                      for file in (tmp_path / "files").rglob("*.parquet")])
        data = data.filter(pyarrow.compute.equal(pyarrow.compute.list_element(
            pyarrow.compute.map_lookup(data["labels"], "job", "all"), 0), "api"))
    elif frame == "dict":
        data = {"time": [T, T + 1, T + 2], "histogram": ALL}
    else:
        data = table
    unit = "ms" if frame == "dict" else None
    assert db.metrics.append_table(data, name="copy", labels=[], fixed_labels={"job": "api"}, unit=unit).rows == 3
    assert read(db, "copy") == expected("copy", {"job": "api"}, ALL)


def test_over_a_server(server, tmp_path):
    with varve.open(server) as remote:
        now = varve._time.now() // 1_000_000 - 60_000
        values = [5.0, EXPONENTIAL, STALE, CUSTOM]
        assert remote.metrics.append("m", {"a": "b"}, time_ms=[now + i for i in range(4)],
                                     values=values) == (4, 0)
        (series,) = remote.promql("m", start=now, end=now + 3, step="1ms", unit="ms")
        got = [value for _, value in series]
        assert (got[0], got[1]["count"], got[-1]["sum"]) == (5.0, 10.0, 0.25)
        stale = {"count": 0, "sum": STALE}
        remote.metrics.load({"time": [T], "histogram": [stale]}, name="gone", unit="ms")
        (row,) = read(remote, "gone").values()
        assert struct.pack("<d", row["sum"]) == struct.pack("<d", STALE)


def test_export_of_a_query_keeps_histograms(source, tmp_path):
    source.export_parquet("latency", tmp_path / "files", start=T, end=T + 2, step="1ms", unit="ms")
    (file,) = (tmp_path / "files").rglob("*.parquet")
    table = pyarrow.parquet.read_table(file, partitioning=None)
    assert table["value"].null_count == table.num_rows == 6
    assert table["histogram"].null_count == 0 and table["histogram"][0]["count"].as_py() == 10.0
    frame = source.promql("latency", at=T, unit="ms").to_pandas()
    assert frame["histogram"][0]["schema"] == 1 and math.isnan(frame["value"][0])


@pytest.mark.parametrize("bad, error, text", [
    ({"sum": 1}, ValueError, 'no "count"'),
    ({"count": 1}, ValueError, 'no "sum"'),
    ({"count": "x", "sum": 1}, ValueError, '"x" is not a number'),
    ({"count": [], "sum": 1}, TypeError, "count must be a number, not list"),
    ({"count": 1, "sum": 1, "bucket": []}, ValueError, 'no field "bucket"'),
    ({"count": 1, "sum": 1, "buckets": [(1, 2)]}, ValueError, "2 parts"),
    ({"count": 1, "sum": 1, "buckets": [1]}, TypeError, "not int"),
    ({"count": 1, "sum": 1, "buckets": [(3, 1, 1)]}, ValueError, "of no histogram"),
    ({"count": 1, "sum": 1, "buckets": [(1, 2, 1)], "schema": 3}, ValueError, "of schema 3"),
    ({"count": 1, "sum": 1, "schema": 10**30}, ValueError, "out of range"),
    ({"count": 1, "sum": 1, "reset_hint": "never"}, ValueError, "not a reset hint"),
    ({"count": 1, "sum": 1, "buckets": [(1, 2, -1)]}, ValueError, "row 0"),
    ({"count": 1, "sum": 1, "buckets": [(1, 2, 3)]}, ValueError, "row 0"),
    ({"count": 1, "sum": 1, "schema": -53, "custom_values": [2, 1]}, ValueError, "ascend"),
])
def test_mistakes(db, bad, error, text):
    with pytest.raises(error, match=text):
        db.metrics.append("m", {}, time_ms=T, values=bad)
    with pytest.raises(error):
        db.metrics.load({"time": [T], "histogram": [bad]}, name="m", unit="ms")
    assert db.metrics.names() == []


@pytest.mark.parametrize("column, text", [
    (pyarrow.array([1.0]), "is not histograms"),
    (pyarrow.array([{"count": 1.0}]), 'without "count" and "sum"'),
    (pyarrow.array([{"count": "1", "sum": 1.0}]), 'a "count" of Arrow format'),
    (pyarrow.array([{"count": None, "sum": 1.0}], pyarrow.struct([("count", "double"), ("sum", "double")])),
     "row 0: \"count\" must not be null"),
    (pyarrow.array([{"count": 1.0, "sum": 1.0, "buckets": [[1.0, 2.0]]}]), "lower, upper and count"),
    (pyarrow.array([{"count": 1.0, "sum": 1.0, "buckets": [{"low": 1.0}]}]), "lower, upper and count"),
    (pyarrow.array([{"count": 1.0, "sum": 1.0, "reset_hint": "no"}]), "row 0: \"no\" is not a reset hint"),
])
def test_mistakes_of_tables(db, column, text):
    table = pyarrow.table({"time": pyarrow.array([T], pyarrow.timestamp("ms")), "histogram": column})
    with pytest.raises(ValueError, match=text):
        db.metrics.append_table(table, name="m")


def test_buckets_as_lists_of_three(db):
    for kind in (pyarrow.list_(pyarrow.float64(), 3), pyarrow.list_(pyarrow.float32()), pyarrow.large_list(pyarrow.int64())):
        whole = pyarrow.struct([("sum", pyarrow.int8()), ("count", pyarrow.uint16()), ("buckets", pyarrow.list_(kind))])
        rows = [{"count": 3, "sum": 4, "buckets": [[1, 2, 1], [2, 4, 2]]}, {"count": 0, "sum": 0, "buckets": []}]
        table = pyarrow.table({"time": pyarrow.array([T, T + 1], pyarrow.timestamp("ms")),
                               "histogram": pyarrow.array(rows, whole)})
        assert db.metrics.append_table(table.slice(0, 1), name="m").rows == 1  # the same again is no error
        assert db.metrics.append_table(table.slice(1), name="m").rows == 1
    first, second = (value for _, value in sorted(read(db, "m").items()))
    assert (first["buckets"], first["schema"]) == ([(1.0, 2.0, 1.0), (2.0, 4.0, 2.0)], 0)
    assert second["buckets"] == [] and second["count"] == 0


def test_rows_without_histograms(db):
    kind = pyarrow.struct([("count", pyarrow.int64()), ("sum", pyarrow.float32())])
    table = pyarrow.table({"time": pyarrow.array([T, T + 1], pyarrow.timestamp("ms")), "value": [1.0, 2.0],
                           "histogram": pyarrow.array([None, {"count": 0, "sum": 0}], kind)})
    assert db.metrics.append_table(table, name="m").rows == 2
    empty = table.set_column(2, "histogram", pyarrow.nulls(2))
    assert db.metrics.append_table(empty, name="n").rows == 2
    frame = pandas.DataFrame({"time": pandas.to_datetime([T], unit="ms", utc=True), "value": [np.float64(3)],
                              "histogram": [None]})
    assert db.metrics.append_table(frame, name="o").rows == 1
    assert [value for _, value in sorted(read(db, "").items())][::2] == [1.0, 1.0, 3.0]
