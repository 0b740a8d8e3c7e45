"""Tables on their way in: frames, Arrow tables, dicts of columns."""

from __future__ import annotations

import math
from array import array
from typing import Any, Dict, Iterable, Iterator, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from . import _varve
from ._time import Times, column, floats, is_sequence, times
from .errors import InvalidArgumentError

Labels = Mapping[str, str]


class MetricRows(NamedTuple):
    """Samples to store: columns of one length."""

    series: List[Dict[str, str]]
    numbers: Any  #: the series of each row; None: the only one
    ticks: Times
    values: Any  #: float64
    histograms: "Optional[_varve.Histograms]"  #: None: no row has one; where one is, it is the value


_NOT_TEXT = (
    'column "{}" is not text, so it is no label: cast it, or say with labels=[...] which columns are'
)


class MetricColumns(NamedTuple):
    """Which columns of a table are what; see :meth:`Metrics.append_table`."""

    name: Optional[str]
    name_column: Optional[str]
    time: str
    value: str
    histogram: str
    labels: Optional[Sequence[str]]
    labels_column: Optional[str]
    fixed_labels: Optional[Labels]
    unit: Optional[str]

    def read(self, table: Any) -> MetricRows:
        """Read the rows of a table."""
        if (self.name is None) == (self.name_column is None):
            raise InvalidArgumentError("give either name or name_column")
        check_columns(self.labels, "labels")
        fixed = dict(self.fixed_labels or {})
        table = with_index(table, self.time)
        if self.name is not None:
            fixed = series_of(self.name, self.fixed_labels)
        arrow = arrow_table(table)
        if arrow is None:
            if not isinstance(table, Mapping):  # pandas without pyarrow
                table = {str(key): table[key] for key in table.columns}
            return self._read_mapping(table, fixed)
        return self._read_arrow(arrow, fixed)

    def _others(self, names: Iterable[str]) -> List[str]:
        """Leave out the columns that are named, and what pandas makes of an index without a name."""
        used = {self.time, self.value, self.histogram, self.name_column, self.labels_column}
        return [name for name in names if name not in used and not name.startswith("__index_level_")]

    def _read_arrow(self, arrow: "_varve.ArrowTable", fixed: Dict[str, str]) -> MetricRows:
        ticks, unit_ns = arrow.integers(self.time)
        if unit_ns == 0:
            if self.unit is None:
                raise TypeError(
                    f'column "{self.time}" holds integers: pass unit="s", "ms", "us" or "ns"'
                )
            unit_ns = times(array("q"), self.unit, self.time).unit_ns
        histograms = arrow.histograms(self.histogram) if self.histogram in arrow.names else None
        if histograms is not None and self.value not in arrow.names:
            values: Any = array("d", bytes(8 * arrow.rows))
        else:
            values = arrow.floats(self.value)
        labels = self.labels
        if labels is None:
            labels = self._others(arrow.names)
            for name in labels:
                if arrow.kind(name) != "text":
                    raise InvalidArgumentError(_NOT_TEXT.format(name))
        names, columns = list(labels), list(labels)
        if self.name_column is not None:
            names.append("__name__")
            columns.append(self.name_column)
        series, numbers = arrow.series(fixed, names, columns, self.labels_column or "")
        return MetricRows(series, numbers, Times(ticks, unit_ns), values, histograms)

    def _read_mapping(self, table: Mapping[str, Any], fixed: Dict[str, str]) -> MetricRows:
        named = [self.name_column] if self.name_column else []
        histograms = None
        if self.histogram in table:
            histograms = _varve.Histograms.read([missing(one) for one in table[self.histogram]])
            if self.value not in table:
                table = {**table, self.value: [0.0] * len(histograms)}
        for needed in [self.time, self.value, *(self.labels or []), *named]:
            if needed not in table:
                raise InvalidArgumentError(
                    f'no column "{needed}"; there are {", ".join(map(repr, table))}'
                )
        ticks = times(table[self.time], self.unit, self.time)
        data = floats(numbers_or_nan(table[self.value]), self.value)
        labels = self.labels
        if labels is None:
            labels = self._others(table)
            for name in labels:
                if not _is_text(table[name]):
                    raise InvalidArgumentError(_NOT_TEXT.format(name))
        names = [*labels, *(["__name__"] if named else [])]
        texts = [list(table[key]) for key in [*labels, *named]]
        for key, texts_of in zip(names, texts):
            if len(texts_of) != len(data):
                raise InvalidArgumentError(
                    f'column "{key}" has {len(texts_of)} rows, "{self.value}" has {len(data)}'
                )
        known: Dict[Tuple[Any, ...], int] = {}
        series: List[Dict[str, str]] = []
        numbers = array("I")
        for row in zip(*texts) if texts else iter([()] * len(data)):
            number = known.setdefault(row, len(series))
            if number == len(series):
                own = {key: text for key, text in zip(names, row) if isinstance(text, str) and text}
                series.append({**fixed, **own})
            numbers.append(number)
        return MetricRows(series, numbers, ticks, data, histograms)


def values_of(values: Any) -> "Tuple[Any, Optional[_varve.Histograms]]":
    """Read one value or a column: numbers, and histograms (dicts) among them."""
    values = column(values)
    if not is_sequence(values):
        values = [values]
    if getattr(values, "dtype", None) != object and not isinstance(values, (list, tuple)):
        return floats(values, "values"), None
    rows = list(values)
    if not any(isinstance(one, Mapping) for one in rows):
        return floats(rows, "values"), None
    histograms = _varve.Histograms.read(
        [dict(one) if isinstance(one, Mapping) else None for one in rows]
    )
    return floats([0.0 if isinstance(one, Mapping) else one for one in rows], "values"), histograms


def missing(value: Any) -> Any:
    """Turn what pandas has for a missing value into None: NaN, and NA, which is not even a truth."""
    if isinstance(value, float) and math.isnan(value):
        return None
    return None if type(value).__name__ == "NAType" else value


def numbers_or_nan(values: Any) -> Any:
    """Turn the missing numbers of a list into NaN, as those of frames and Arrow tables are."""
    if not isinstance(values, (list, tuple)) or None not in values:
        return values
    return [math.nan if one is None else one for one in values]


def check_text(text: object, name: str) -> None:
    if not isinstance(text, str):
        raise TypeError(f"{name} must be str, not {type(text).__name__}")


def series_of(name: str, labels: Optional[Labels]) -> Dict[str, str]:
    check_text(name, "name")
    if not name:
        raise InvalidArgumentError("the metric name is empty")
    out = {"__name__": name}
    if labels is not None:
        if not isinstance(labels, Mapping):
            raise TypeError(f"labels must be a dict of str to str, not {type(labels).__name__}")
        for key, value in labels.items():
            if key == "__name__":
                raise InvalidArgumentError("the metric name is given by name, not by __name__")
            out[key] = value
    return out


def with_index(table: Any, time: str) -> Any:
    """Make a column of the times that a pandas frame has as its index; leave other tables."""
    index = getattr(table, "index", None)
    if not hasattr(index, "tz") or time in getattr(table, "columns", ()):
        return table
    return table.rename_axis(index=time).reset_index()


def check_columns(names: object, what: str) -> None:
    if isinstance(names, str):
        raise TypeError(f"{what} must be a list of column names, not str")


def arrow_table(table: Any) -> "Optional[_varve.ArrowTable]":
    """Read a frame or an Arrow table; None for columns in a dict, and for frames without Arrow."""
    if isinstance(table, Mapping):
        return None
    if not hasattr(table, "__arrow_c_stream__"):
        raise TypeError(
            "table must be a frame, an Arrow table or a dict of columns, "
            f"not {type(table).__name__}"
        )
    try:
        return _varve.ArrowTable.read(table.__arrow_c_stream__())
    except ImportError:  # pandas without pyarrow
        return None


def columns_of(table: Any, names: Sequence[str]) -> Dict[str, Any]:
    """Take columns out of an Arrow table, a frame or a dict, texts as lists."""
    if not isinstance(table, _varve.ArrowTable):
        for name in names:
            if name not in table:
                raise InvalidArgumentError(
                    f'no column "{name}"; there are {", ".join(map(repr, table))}'
                )
        out = {name: table[name] for name in names}
        sizes = {name: len(column) for name, column in out.items()}
        for name, size in sizes.items():
            if size != sizes[names[0]]:
                raise InvalidArgumentError(
                    f'column "{name}" has {size} rows, "{names[0]}" has {sizes[names[0]]}'
                )
        return out
    data: Dict[str, Any] = {}
    for name in names:
        kind = table.kind(name)
        if kind in ("time", "integer"):
            ticks, unit_ns = table.integers(name)
            data[name] = Times(ticks, unit_ns) if unit_ns else list(ticks)
        elif kind == "float":
            data[name] = list(table.floats(name))
        elif kind == "map":
            data[name] = table.maps(name)
        else:
            data[name] = table.texts(name)
    return data


def row_labels(
    data: Mapping[str, Any], names: Sequence[str], map_column: Optional[str], rows: int
) -> Iterator[Dict[str, str]]:
    """Give the labels of each row: of columns of text, and of a column of maps; nulls are absent."""
    maps = data[map_column] if map_column else [None] * rows
    columns = [data[name] for name in names]
    for row in range(rows):
        out: Dict[str, str] = dict(maps[row] or {})
        for name, column in zip(names, columns):
            text = missing(column[row])
            if text is not None:
                out[name] = text
        yield out


def plain(value: Any) -> Any:
    """Turn a NumPy scalar into a number of Python."""
    return value.item() if hasattr(value, "item") else value


def _is_text(values: Any) -> bool:
    """Whether a column holds texts, or nothing at all."""
    return all(isinstance(one, str) or missing(one) is None for one in values)
