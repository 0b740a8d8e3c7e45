"""Parquet files by day, for DuckDB, ClickHouse, Spark and Trino."""

from __future__ import annotations

import datetime as dt
import os
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, Dict, Iterable, List, Optional

from ._result import Result, _need
from .errors import InvalidArgumentError

if TYPE_CHECKING:
    from ._database import Database
    from ._time import Duration, Time

_DAY_MS = 86_400_000
_OPEN_MAX = 32  # files at once; a day that comes back later gets another file


def export_parquet(
    database: "Database",
    query: str,
    path: str,
    kind: str,
    start: "Optional[Time]",
    end: "Optional[Time]",
    step: "Optional[Duration]",
    unit: Optional[str],
) -> List[str]:
    """Write ``path/date=YYYY-MM-DD/samples-N.parquet``; see :meth:`Database.export_parquet`."""
    pyarrow = _need("pyarrow")
    _need("pyarrow.compute")
    if kind not in ("samples", "logs", "spans"):
        raise InvalidArgumentError(f'kind must be "samples", "logs" or "spans", not {kind!r}')
    if step is not None and kind != "samples":
        raise InvalidArgumentError("step goes with samples only")
    if os.path.isdir(path) and os.listdir(path):
        raise InvalidArgumentError(f"{path} is not empty")
    batches: Iterable[Any]
    if kind == "logs":
        batches = database.logs.entries(query, start=start, end=end)
        return _write(batches, path, kind, "time", _DAY_MS * 1_000_000)
    if kind == "spans":
        batches = database.traces.spans(query, start=start, end=end)
        return _write(batches, path, kind, "start", _DAY_MS * 1_000_000)
    if step is not None:
        batches = _result_batches(
            database.promql(query, start=start, end=end, step=step, unit=unit), pyarrow
        )
    else:
        batches = database.metrics.samples(query, start=start, end=end)
    return _write(batches, path, "samples", "time", _DAY_MS)


def _result_batches(result: Result, pyarrow: Any) -> Iterable[Any]:
    labels_type = pyarrow.map_(pyarrow.string(), pyarrow.string())
    for series in result:
        own: List[Any] = []
        if result._native.has_histograms:
            own = [value if isinstance(value, dict) else None for _, value in series]
        labels = series.labels
        name = labels.pop("__name__", "")
        for begin in range(0, len(series), 65536):
            times = series.times[begin : begin + 65536]
            rows = len(times)
            histograms = own[begin : begin + 65536] or [None] * rows
            numbers = [one is None for one in histograms]
            yield pyarrow.record_batch(
                {
                    "metric": pyarrow.array([name] * rows, pyarrow.string()).dictionary_encode(),
                    "labels": pyarrow.array([list(labels.items())] * rows, labels_type),
                    "time": pyarrow.array(times).cast(pyarrow.timestamp("ms", "UTC")),
                    "value": pyarrow.compute.if_else(
                        pyarrow.array(numbers), pyarrow.array(series.values[begin : begin + 65536]), None
                    ),
                    "histogram": pyarrow.array(histograms, _histogram_type(pyarrow)),
                }
            )


def _histogram_type(pyarrow: Any) -> Any:
    """The type of histograms in :meth:`Metrics.samples`."""
    number, text = pyarrow.float64(), pyarrow.string()
    bucket = pyarrow.struct([(name, number) for name in ("lower", "upper", "count")])
    return pyarrow.struct([
        ("count", number), ("sum", number), ("buckets", pyarrow.list_(bucket)),
        ("schema", pyarrow.int32()), ("zero_threshold", number),
        ("custom_values", pyarrow.list_(number)), ("reset_hint", text),
    ])


def _write(batches: Iterable[Any], path: str, kind: str, time: str, day: int) -> List[str]:
    pyarrow = _need("pyarrow")
    compute = _need("pyarrow.compute")
    parquet = _need("pyarrow.parquet")
    os.makedirs(path, exist_ok=True)
    files: List[str] = []
    writers: "OrderedDict[int, Any]" = OrderedDict()
    parts: Dict[int, int] = {}
    try:
        for batch in batches:
            ticks = batch.column(time).cast(pyarrow.int64())
            # Integer division rounds towards zero; times before 1970 need the day before.
            days = compute.divide(ticks, day)
            before = compute.less(compute.subtract(ticks, compute.multiply(days, day)), 0)
            days = compute.subtract(days, before.cast(pyarrow.int64()))
            for number in compute.unique(days).to_pylist():
                rows = batch.filter(compute.equal(days, number))
                writer = writers.pop(number, None)
                if writer is None:
                    if len(writers) >= _OPEN_MAX:
                        writers.popitem(last=False)[1].close()
                    part = parts[number] = parts.get(number, -1) + 1
                    date = dt.date(1970, 1, 1) + dt.timedelta(days=number)
                    folder = os.path.join(path, f"date={date.isoformat()}")
                    os.makedirs(folder, exist_ok=True)
                    files.append(os.path.join(folder, f"{kind}-{part}.parquet"))
                    writer = parquet.ParquetWriter(
                        files[-1], batch.schema, compression="zstd", use_dictionary=True
                    )
                writers[number] = writer
                writer.write_batch(rows)
    finally:
        for writer in writers.values():
            writer.close()
    return files
