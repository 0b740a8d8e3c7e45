"""What users of frames bring along: indexes, nullable and dictionary columns, chunks, nulls."""

import datetime as dt
import math

import numpy as np
import pandas
import polars
import pyarrow
import pytest

import varve
from varve import InvalidArgumentError

START = dt.datetime(2026, 1, 1, tzinfo=dt.timezone.utc)
NS = 1_767_225_600_000_000_000
BERLIN = dt.timezone(dt.timedelta(hours=1))


def rows(db, name):
    """Labels, time, value of all that is stored."""
    out = []
    for series in db.promql(f"{name}[1d]", at=START + dt.timedelta(hours=12)):
        labels = {key: text for key, text in series.labels.items() if key != "__name__"}
        out += [(labels, time, value) for time, value in series]
    return out


def stored(*values):
    return [({}, START + dt.timedelta(seconds=i), value) for i, value in enumerate(values)]


@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", None])
@pytest.mark.parametrize("name", ["time", "when", None])
def test_the_index_of_a_frame_is_its_time(db, zone, name):
    index = pandas.date_range("2026-01-01", periods=3, freq="s", tz="UTC", name=name)
    index = index.tz_convert(zone) if zone else index.tz_localize(None)
    frame = pandas.DataFrame({"value": [1.0, 2.0, 3.0], "host": ["a", "b", "a"]}, index=index)
    assert db.metrics.append_table(frame, name="m").rows == 3
    assert rows(db, "m") == [({"host": "a"}, START, 1.0), ({"host": "a"}, START + dt.timedelta(seconds=2), 3.0),
                             ({"host": "b"}, START + dt.timedelta(seconds=1), 2.0)]
    assert list(frame.columns) == ["value", "host"]  # as it was
    lines = pandas.DataFrame({"line": ["x", "y", "z"]}, index=index)
    assert db.logs.append_table(lines, fixed_labels={"app": "f"}).rows == 3
    assert db.logql('{app="f"}', start=START, end=START + dt.timedelta(seconds=9))[0].time_ns == NS + 2 * 10**9


def test_a_column_called_time_comes_before_the_index(db):
    frame = pandas.DataFrame({"time": pandas.to_datetime(["2026-01-01"], utc=True), "value": [1.0]},
                             index=pandas.DatetimeIndex(["1999-01-01"]))
    assert db.metrics.append_table(frame, name="m").rows == 1
    assert rows(db, "m") == stored(1.0)


@pytest.mark.parametrize("times", [
    pandas.date_range("2026-01-01", periods=3, freq="s", tz="UTC"),
    pandas.date_range("2026-01-01 01:00", periods=3, freq="s", tz="Europe/Berlin"),
    pandas.Series(pandas.date_range("2026-01-01 01:00", periods=3, freq="s", tz="Europe/Berlin")),
    [(START + dt.timedelta(seconds=i)).astimezone(BERLIN) for i in range(3)],
    polars.Series([START + dt.timedelta(seconds=i) for i in range(3)]),
    pyarrow.chunked_array([pyarrow.array([NS], pyarrow.timestamp("ns", "UTC")),
                           pyarrow.array([NS + 10**9, NS + 2 * 10**9], pyarrow.timestamp("ns", "UTC"))]),
], ids=lambda times: type(times).__name__)
def test_columns_of_times(db, times):
    assert db.metrics.append("m", time=times, values=[1, 2, 3]).rows == 3
    assert rows(db, "m") == stored(1.0, 2.0, 3.0)


@pytest.mark.parametrize("values", [
    pandas.Series([1, None, 3], dtype="Int64"), pandas.Series([1.0, None, 3.0], dtype="Float64"),
    pandas.Series([True, None, 3], dtype="object").astype("Float64"),
    polars.Series([1, None, 3]), polars.Series([1.0, None, 3.0]),
    pyarrow.array([1, None, 3]), pyarrow.chunked_array([[1.0], [None, 3.0]]),
    np.ma.masked_invalid([1.0, math.nan, 3.0]).filled(math.nan),
], ids=lambda values: f"{type(values).__name__}-{values.dtype if hasattr(values, 'dtype') else values.type}")
def test_a_null_number_is_nan(db, values):
    times = [START + dt.timedelta(seconds=i) for i in range(3)]
    assert db.metrics.append("m", time=times, values=values).rows == 3
    assert db.metrics.append_table({"time": times, "value": values}, name="n").rows == 3
    for name in "mn":
        (_, _, one), (_, _, nan), (_, _, three) = rows(db, name)
        assert (one, three) == (1.0, 3.0) and math.isnan(nan)


@pytest.mark.parametrize("dtype", ["Int8", "UInt32", "Float32", "boolean", "int64[pyarrow]", "double[pyarrow]"])
def test_nullable_columns_without_nulls(db, dtype):
    values = pandas.Series([1, 0, 1], dtype=dtype)
    times = pandas.Series([0, 1, 2], dtype="Int64") + NS // 10**9
    assert db.metrics.append("m", time_s=times, values=values).rows == 3
    frame = pandas.DataFrame({"time": times, "value": values})
    assert db.metrics.append_table(frame, name="n", unit="s").rows == 3
    assert rows(db, "m") == rows(db, "n") == stored(1.0, 0.0, 1.0)


@pytest.mark.parametrize("hosts", [
    polars.Series(["a", None, "b"], dtype=polars.Categorical), polars.Series(["a", None, "b"], dtype=polars.Enum(["b", "a"])),
    pandas.Categorical(["a", None, "b"]), pandas.array(["a", None, "b"], dtype="string"),
    pyarrow.array(["a", None, "b"]).dictionary_encode(), pyarrow.array(["a", None, "b"], pyarrow.large_string()),
    pyarrow.array(["a", None, "b"], pyarrow.string_view()),
    pyarrow.chunked_array([pyarrow.array(["a", None]).dictionary_encode(), pyarrow.array(["b"]).dictionary_encode()]),
], ids=str)
def test_columns_of_labels(db, hosts):
    times = [START + dt.timedelta(seconds=i) for i in range(3)]
    columns = {"time": times, "value": [1.0, 2.0, 3.0], "host": hosts}
    if isinstance(hosts, polars.Series):
        frame = polars.DataFrame(columns)
    elif isinstance(hosts, (pyarrow.Array, pyarrow.ChunkedArray)):
        frame = pyarrow.table(columns)
    else:
        frame = pandas.DataFrame(columns)
    assert db.metrics.append_table(frame, name="m").rows == 3
    got = {labels.get("host"): value for labels, _, value in rows(db, "m")}
    assert got == {"a": 1.0, None: 2.0, "b": 3.0}


def test_missing_texts_of_columns_in_a_dict(db):
    texts = {"a": ["x", None, "y"], "b": ["x", math.nan, "y"], "c": pandas.array(["x", None, "y"], "string"),
             "d": pandas.Series(["x", None, "y"], dtype="category"), "e": np.array(["x", None, "y"], object)}
    times = [START + dt.timedelta(seconds=i) for i in range(3)]
    assert db.metrics.append_table({"time": times, "value": [1.0, 2.0, 3.0], **texts}, name="m").rows == 3
    assert sorted(tuple(labels) for labels, _, _ in rows(db, "m")) == [(), tuple("abcde"), tuple("abcde")]
    assert db.logs.append_table({"time": times, "line": list("123"), **texts}, labels=list("abcde"),
                                fixed_labels={"app": "f"}).rows == 3
    (entry,) = db.logql('{app="f"} |= "2"', start=START, end=START + dt.timedelta(seconds=9))
    assert entry.labels == {"app": "f"}


@pytest.mark.parametrize("make", [polars.DataFrame, pandas.DataFrame, dict, pyarrow.table])
def test_a_column_that_is_no_label_is_not_lost_in_silence(db, make):
    table = make({"time": [1, 2], "value": [1.0, 2.0], "code": [200, 500]})
    with pytest.raises(InvalidArgumentError, match='column "code" is not text.*labels='):
        db.metrics.append_table(table, name="m", unit="s")
    assert db.metrics.append_table(table, name="m", unit="s", labels=[]).rows == 2


@pytest.mark.parametrize("make", [
    lambda: polars.DataFrame({"time": [], "value": [], "host": []},
                             schema={"time": polars.Datetime("us", "UTC"), "value": polars.Float64, "host": polars.String}),
    lambda: pandas.DataFrame({"time": pandas.to_datetime([], utc=True), "value": np.array([]), "host": pandas.array([], "string")}),
    lambda: pyarrow.table({"time": pyarrow.array([], pyarrow.timestamp("ns")), "value": pyarrow.array([], pyarrow.float64())}),
    lambda: {"time": np.array([], "datetime64[ns]"), "value": [], "host": []},
])
def test_empty_frames(db, make):
    assert db.metrics.append_table(make(), name="m") == (0, 0)
    assert db.metrics.load(make(), name="m") == (0, 0)
    assert db.metrics.append("m", time=np.array([], "datetime64[ns]"), values=[]) == (0, 0)
    assert db.metrics.names() == [] and len(db.promql("m")) == 0
    assert db.promql("m").to_polars().height == len(db.promql("m").to_pandas()) == 0
    assert db.logs.append({"app": "x"}, [], time_ns=[]) == (0, 0) == db.traces.append([])


def test_truth_values_are_numbers(db):
    times = [START, START + dt.timedelta(seconds=1)]
    for name, table in (("a", pyarrow.table({"time": times, "value": [True, False]})),
                        ("b", polars.DataFrame({"time": times, "value": [True, False]})),
                        ("c", pandas.DataFrame({"time": times, "value": [True, False]}))):
        assert db.metrics.append_table(table, name=name).rows == 2
        assert rows(db, name) == stored(1.0, 0.0)


def test_duckdb_relations(db):
    duckdb = pytest.importorskip("duckdb")
    relation = duckdb.sql("SELECT TIMESTAMP '2026-01-01' + INTERVAL (i) SECOND AS time, i::DOUBLE AS value, "
                          "'h' || i % 2 AS host FROM range(4) t(i)")
    assert db.metrics.append_table(relation, name="m").rows == 4
    result = db.promql("m", at=START + dt.timedelta(seconds=3))
    assert duckdb.sql("SELECT host, value FROM result ORDER BY host").fetchall() == [("h0", 2.0), ("h1", 3.0)]


@pytest.mark.parametrize("text, hint", [
    ('{app="shop"} |= "late"', 'lang="logql"'), ("{ span.http.status = 500 }", 'lang="traceql"'),
    ("rate(", None)])
def test_a_text_of_another_language_is_told(db, text, hint):
    with pytest.raises(varve.QuerySyntaxError) as caught:
        db.query(text)
    assert (f"(the text is right with {hint})" in str(caught.value)) == (hint is not None)
    assert caught.value.line == 1 and "the text is right" not in caught.value.message


@pytest.mark.parametrize("option", [
    {"read_only": True}, {"create": False}, {"retention": "14d"}, {"query_threads": 2}, {"durability": "process-crash"}])
def test_options_of_directories_are_none_of_a_server(option):
    with pytest.raises(InvalidArgumentError, match=f"{next(iter(option))} is an option of directories"):
        varve.open("http://127.0.0.1:9", **option)
