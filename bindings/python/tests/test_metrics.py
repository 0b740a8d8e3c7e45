"""Writing and asking, from every shape that Python data has."""

import datetime as dt
import math

import numpy as np
import pandas
import polars
import pyarrow
import pytest

import varve
from conftest import START_MS

UTC = dt.timezone.utc


def samples(db, selector):
    table = db.metrics.samples(selector).to_arrow()
    return list(zip(table["time"].cast(pyarrow.int64()).to_pylist(), table["value"].to_pylist()))


@pytest.mark.parametrize(
    "times",
    [
        {"time_ms": [START_MS, START_MS + 1000]},
        {"time_ms": np.array([START_MS, START_MS + 1000])},
        {"time_ms": np.array([START_MS, START_MS + 1000], dtype=np.uint64)},
        {"time_ms": np.array([0, START_MS, 0, START_MS + 1000])[1::2]},
        {"time_ns": [START_MS * 1_000_000 + 999_999, (START_MS + 1000) * 1_000_000]},
        {"time_us": (START_MS * 1000, (START_MS + 1000) * 1000)},
        {"time_s": np.array([START_MS // 1000, START_MS // 1000 + 1], dtype=np.int32)},
        {"time": np.array([START_MS, START_MS + 1000], dtype="datetime64[ms]")},
        {"time": np.array([START_MS, START_MS + 1000], dtype="datetime64[ms]").astype("M8[ns]")},
        {"time": pandas.Series(pandas.to_datetime([START_MS, START_MS + 1000], unit="ms"))},
        {"time": pandas.Series(pandas.to_datetime([START_MS, START_MS + 1000], unit="ms", utc=True))},
        {"time": pandas.Series(pandas.to_datetime([START_MS, START_MS + 1000], unit="ms", utc=True)
                               .tz_convert("Asia/Tokyo"))},
        {"time": polars.Series([START_MS, START_MS + 1000]).cast(polars.Datetime("ms"))},
        {"time": pyarrow.array([START_MS, START_MS + 1000], pyarrow.timestamp("ms"))},
        {"time": [dt.datetime.fromtimestamp(START_MS / 1000, UTC),
                  dt.datetime.fromtimestamp(START_MS / 1000 + 1, dt.timezone(dt.timedelta(hours=5)))]},
        {"time": ["2023-11-14T22:13:20Z", "2023-11-14T23:13:21+01:00"]},
    ],
    ids=lambda times: f"{next(iter(times))}-{type(next(iter(times.values()))).__name__}",
)
def test_times_of_every_kind(db, times):
    assert db.metrics.append("m", values=[1, 2.5], **times) == (2, 0)
    assert samples(db, "m") == [(START_MS, 1.0), (START_MS + 1000, 2.5)]


def test_one_sample(db):
    now = dt.datetime(2026, 1, 2, 3, 4, 5, 678_000, tzinfo=UTC)
    db.metrics.append("m", {"a": "b"}, time=now, values=1)
    (series,) = db.promql("m", at=now)
    assert series.labels == {"__name__": "m", "a": "b"}
    assert list(series) == [(now, 1.0)]
    assert db.promql("m", at="2026-01-02T03:04:05.677Z").rows == 0


@pytest.mark.parametrize("values", [
    [1, 2], (1.0, 2.0), np.array([1, 2]), np.array([1, 2], dtype=np.float32),
    np.array([[1, 0], [2, 0]])[:, 0], pandas.Series([1, 2]), polars.Series([1.0, 2.0]),
    pyarrow.array([1, 2]), np.array([1, 2], dtype=object),
], ids=lambda values: type(values).__name__)
def test_values_of_every_kind(db, values):
    db.metrics.append("m", time_s=[1, 2], values=values)
    assert [value for _, value in samples(db, "m")] == [1.0, 2.0]


def test_bits_stay(db):
    bits = np.array([0x7FF0000000000002, 0x7FF8000000000001, 0xFFF8000000000123, 1 << 63,
                     0x7FF0000000000000], dtype=np.uint64)
    db.metrics.append("m", time_s=range(5), values=bits.view(np.float64))
    back = db.metrics.samples("m").to_arrow()["value"].combine_chunks()
    assert np.array_equal(np.frombuffer(back.buffers()[1], np.uint64, 5), bits)


FRAME = {
    "time": [dt.datetime(2026, 1, 1, 0, 0, i, tzinfo=UTC) for i in range(4)],
    "host": ["a", "b", "a", "b"],
    "dc": ["north", None, "north", "south"],
    "value": [1.0, 2.0, 3.0, 4.0],
}
EXPECTED = [
    ({"__name__": "load", "dc": "north", "host": "a"}, [1.0, 3.0]),
    ({"__name__": "load", "dc": "south", "host": "b"}, [4.0]),
    ({"__name__": "load", "host": "b"}, [2.0]),
]


@pytest.mark.parametrize("table", [
    FRAME, polars.DataFrame(FRAME), pandas.DataFrame(FRAME), pyarrow.table(FRAME),
    polars.DataFrame(FRAME).with_columns(polars.col("host", "dc").cast(polars.Categorical)),
    pyarrow.table({**FRAME, "host": pyarrow.array(FRAME["host"], pyarrow.large_string())}),
    pyarrow.Table.from_batches(pyarrow.table(FRAME).slice(1).to_batches()
                               + pyarrow.table(FRAME).slice(0, 1).to_batches()),
], ids=["dict", "polars", "pandas", "pyarrow", "categorical", "large", "sliced"])
def test_tables(db, table):
    assert db.metrics.append_table(table, name="load", labels=["host", "dc"]).rows == 4
    result = db.promql("load[1h]", at="2026-01-01T00:01:00Z")
    found = sorted(((s.labels, list(s.values)) for s in result), key=str)
    assert found == sorted(EXPECTED, key=str)


def test_table_with_names_maps_and_fixed_labels(db):
    table = pyarrow.table({
        "metric": ["a", "b"], "t": [1, 2], "v": pyarrow.array([1.5, None]),
        "tags": pyarrow.array([[("x", "1")], [("y", "2"), ("z", "3")]],
                              pyarrow.map_(pyarrow.string(), pyarrow.string())),
    })
    db.metrics.append_table(table, name_column="metric", time="t", value="v", unit="s",
                            labels_column="tags", fixed_labels={"env": "test"})
    assert db.metrics.series() == [
        {"__name__": "a", "env": "test", "x": "1"},
        {"__name__": "b", "env": "test", "y": "2", "z": "3"},
    ]
    assert math.isnan(samples(db, "b")[0][1])


def test_results_go_back_in(db, filled):
    result = filled.promql("rate(requests_total[1m])", start=START_MS + 60_000,
                           end=START_MS + 120_000, unit="ms", step="15s")
    filled.metrics.append_table(result, name="request_rate", labels=["job"])
    again = filled.promql("request_rate[10m]", at=START_MS + 120_000, unit="ms")
    assert np.array_equal(again.values, result.values)


def test_load_takes_history(db):
    db.metrics.append("m", time_s=[2_000_000_000], values=[1])
    with pytest.raises(varve.OutOfWindowError, match="too old|out of"):
        db.metrics.append("m", time_s=[1], values=[1])
    appended = db.metrics.append("m", time_s=[1, 2_000_000_001], values=[1, 2], partial=True)
    assert appended == (1, 1)
    db.metrics.load({"t": [3, 1, 2, 1], "v": [3.0, 1.0, 2.0, 9.0]}, name="m", time="t", value="v",
                    unit="s")
    assert [value for _, value in samples(db, "m")] == [1, 2, 3, 1, 2]


def test_kinds(filled):
    at = {"at": START_MS + 885_000, "unit": "ms"}
    assert filled.promql("1 + 1", **at).value == 2
    assert filled.promql('"text"', **at).value == "text"
    vector = filled.promql("requests_total", **at)
    assert (vector.kind, len(vector), vector.rows) == ("vector", 2, 2)
    with pytest.raises(ValueError, match="vector of 2 rows"):
        vector.value
    assert vector[-1].labels["job"] == "db"
    with pytest.raises(IndexError):
        vector[2]
    matrix = filled.promql("requests_total[1m]", **at)
    assert matrix.kind == "matrix" and list(matrix.offsets) == [0, 4, 8]
    assert not filled.promql("nothing", **at)
    assert "requests_total" in filled.promql("requests_total", **at).explain()
    analysis = filled.promql("sum(requests_total)", **at).explain(analyze=True)
    assert "series 2" in analysis and "sum, folded in the scan  [" in analysis


def test_frames(filled):
    query = "sum by (job) (max_over_time(requests_total[1m]) - min_over_time(requests_total[1m]))"
    result = filled.query(query, start=START_MS + 60_000, end=START_MS + 120_000, unit="ms",
                          step="30s")
    expected = polars.DataFrame({
        "job": ["api"] * 3 + ["db"] * 3, "value": [90.0] * 3 + [180.0] * 3,
    })
    frame = polars.DataFrame(result)
    assert frame.columns == ["time", "value", "job"]
    assert frame.select(polars.col("job").cast(polars.String), "value").equals(expected)
    table = result.to_arrow()
    assert table.schema.field("time").type == pyarrow.timestamp("ms", "UTC")
    assert table.to_pandas().equals(result.to_pandas()) or (
        table.to_pandas().astype({"job": str}).equals(result.to_pandas().astype({"job": str})))
    small = [batch.num_rows for batch in result.batches(4)]
    assert small == [4, 2]
    wide = result.by_series().to_arrow()
    assert wide["job"].to_pylist() == ["api", "db"] and wide["value"].to_pylist() == [[90.0] * 3, [180.0] * 3]
    assert result.times.dtype == "datetime64[ms]" and result.times.base is not None
    with pytest.raises(ValueError, match="read-only"):
        result.values[0] = 1


def test_labels_that_collide_and_odd_bytes(db):
    odd = {"time": "x", "value": "y", "raw": b"\xff\xfe".decode("utf-8", "surrogateescape")}
    db.metrics.append("m", odd, time_s=[1], values=[1])
    result = db.promql("m", at=1, unit="s")
    assert result[0].labels == {"__name__": "m", **odd}
    assert result.to_arrow().schema.names == ["time", "value", "__name__", "raw", "time_", "value_"]
    assert result.to_arrow()["raw"].to_pylist() == ["\ufffd\ufffd"]
    assert "<script>" not in db.promql('"<script>"')._repr_html_()


def test_listing(filled):
    assert filled.metrics.names() == ["requests_total"]
    assert filled.metrics.label_names() == ["__name__", "job"]
    assert filled.metrics.label_values("job", 'requests_total{job=~"a.*"}') == ["api"]
    assert filled.metrics.series('{job="db"}') == [{"__name__": "requests_total", "job": "db"}]
    assert filled.metrics.series(start="2030-01-01T00:00:00Z") == []
    filled.metrics.describe("requests_total", type="counter", help="Requests.")
    assert filled.metrics.metadata()["requests_total"]["type"] == "counter"


def test_care(filled, tmp_path):
    filled.sync()
    filled.flush()
    assert filled.stats()["blocks"] >= 1 and filled.verify() == [] and filled.recovery() == []
    filled.metrics.delete('{job="api"}')
    filled.compact()
    assert filled.promql("count(requests_total)", at=START_MS + 885_000, unit="ms").value == 1
    filled.backup(tmp_path / "copy")
    with varve.open(tmp_path / "copy", read_only=True) as copy:
        assert copy.metrics.label_values("job") == ["db"]
        with pytest.raises(varve.StateError):
            copy.metrics.append("m", time_s=[1], values=[1])


def test_durable_across_reopening(tmp_path):
    with varve.open(tmp_path / "obs") as db:
        db.metrics.append("m", time_s=[1], values=[7], durable=False)
    with varve.open(tmp_path / "obs", create=False) as db:
        assert samples(db, "m") == [(1000, 7.0)]


def test_plot(filled):
    import matplotlib

    matplotlib.use("Agg")
    axes = filled.promql("requests_total", start=START_MS, end=START_MS + 885_000, unit="ms").plot()
    assert len(axes.lines) == 2 and axes.get_title() == "requests_total"
    assert len(filled.promql("requests_total", at=START_MS, unit="ms").plot().patches) == 2


def test_export_parquet(filled, tmp_path):
    duckdb = pytest.importorskip("duckdb")
    day = 86_400_000
    filled.metrics.append("daily", {"job": "api"}, time_ms=[START_MS + day, START_MS + 2 * day],
                          values=[1, 2])
    files = filled.export_parquet("", tmp_path / "samples")
    assert sorted(file.split("/")[-2] for file in files) == [
        "date=2023-11-14", "date=2023-11-15", "date=2023-11-16"]
    rows = duckdb.sql(
        f"select date, metric, count(*), sum(value) from read_parquet('{tmp_path}/samples/*/*.parquet', "
        "hive_partitioning=true) where labels['job'] = 'api' group by all order by all").fetchall()
    assert [row[1:] for row in rows] == [
        ("requests_total", 60, 30.0 * 59 * 30), ("daily", 1, 1.0), ("daily", 1, 2.0)]
    filled.export_parquet("requests_total > 60", tmp_path / "rates", start=START_MS + 60_000,
                          end=START_MS + 120_000, unit="ms", step="1m")
    assert duckdb.sql(f"select sum(value) from '{tmp_path}/rates/*/*.parquet'").fetchall() == [(120.0 + 240 + 240 + 480,)]
    with pytest.raises(varve.InvalidArgumentError, match="not empty"):
        filled.export_parquet("daily", tmp_path / "samples")
    # DuckDB also reads a result as it is.
    result = filled.promql("requests_total", at=START_MS + 885_000, unit="ms").to_arrow()
    assert duckdb.sql("select sum(value) from result").fetchall() == [(30.0 * 59 * 3,)]
