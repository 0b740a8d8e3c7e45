"""Points in time and durations, from everything that Python has for them, without rounding."""

from __future__ import annotations

import datetime as dt
import re
import time as _clock
from array import array
from typing import Any, List, Mapping, NamedTuple, Optional, Union

from .errors import InvalidArgumentError

try:
    import numpy as _np
except ImportError:  # NumPy is optional
    _np = None  # type: ignore[assignment,unused-ignore]

UNITS = {"ns": 1, "us": 1_000, "ms": 1_000_000, "s": 1_000_000_000}

#: A point in time: an aware datetime, a NumPy datetime64, RFC 3339 text, "now", "-1h" (before
#: now), or an int together with a unit.
Time = Union[dt.datetime, str, int, Any]
#: A length of time: text such as "1h30m", a timedelta, or a number of seconds.
Duration = Union[dt.timedelta, str, int, float, Any]

_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.timezone.utc)
_DURATION = re.compile(
    r"(?:(\d+)y)?(?:(\d+)w)?(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?(?:(\d+)ms)?"
)
_SECONDS = (365 * 86400, 7 * 86400, 86400, 3600, 60, 1)
_RFC3339 = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)(?:[Tt ](\d\d):(\d\d)(?::(\d\d)(?:\.(\d{1,9}))?)?\s*"
    r"([Zz]|[+-]\d\d:?\d\d))"
)


def duration_ns(value: Duration, name: str = "duration") -> int:
    """Read a duration as nanoseconds.

    >>> duration_ns("1h30m")
    5400000000000
    >>> duration_ns(0.25)
    250000000
    """
    if isinstance(value, bool):
        raise TypeError(f"{name} must be a duration, not bool")
    if isinstance(value, str):
        text = value.strip()
        match = _DURATION.fullmatch(text)
        if match is None or not text:
            raise InvalidArgumentError(f'{name}: "{value}" is not a duration such as "5m" or "1h30m"')
        parts = [int(part or 0) for part in match.groups()]
        seconds = sum(count * scale for count, scale in zip(parts, _SECONDS))
        return seconds * 1_000_000_000 + parts[6] * 1_000_000
    if isinstance(value, dt.timedelta):
        return (value.days * 86400 + value.seconds) * 1_000_000_000 + value.microseconds * 1_000
    if _np is not None and isinstance(value, _np.timedelta64):
        if _np.isnat(value):
            raise InvalidArgumentError(f"{name} is NaT")
        return int(value.astype("timedelta64[ns]").astype("int64"))
    if isinstance(value, int):
        return value * 1_000_000_000
    if isinstance(value, float):
        if not (abs(value) < 1e10):
            raise InvalidArgumentError(f"{name}: {value} seconds is out of range")
        return round(value * 1e9)
    raise TypeError(
        f'{name} must be text such as "5m", a timedelta or seconds, not {type(value).__name__}'
    )


def duration_ms(value: Duration, name: str = "duration", *, zero: bool = True) -> int:
    """Read a duration as whole milliseconds; what is above zero gives at least 1."""
    ns = duration_ns(value, name)
    if ns < 0 or (ns == 0 and not zero):
        raise InvalidArgumentError(f"{name} must be positive")
    if ns > 2**62:
        raise InvalidArgumentError(f"{name} is out of range")
    return max(1, ns // 1_000_000) if ns > 0 else 0


def time_ns(
    value: Time, unit: Optional[str] = None, *, name: str = "time", now_ns: Optional[int] = None
) -> int:
    """Read a point in time as Unix nanoseconds.

    >>> time_ns("2026-01-02T03:04:05.678901234Z")
    1767323045678901234
    >>> time_ns(1_700_000_000, "s")
    1700000000000000000
    >>> time_ns(1_700_000_000)
    Traceback (most recent call last):
    TypeError: time: 1700000000 needs a unit: pass unit="s", "ms", "us" or "ns"
    """
    if unit is not None and unit not in UNITS:
        raise InvalidArgumentError(f'unit must be "s", "ms", "us" or "ns", not {unit!r}')
    if isinstance(value, bool):
        raise TypeError(f"{name} must be a time, not bool")
    if _np is not None and isinstance(value, _np.datetime64):
        return _datetime64_ns(value, name)
    if _np is not None and isinstance(value, _np.integer):
        value = int(value)
    if isinstance(value, int):
        if unit is None:
            raise TypeError(
                f'{name}: {value} needs a unit: pass unit="s", "ms", "us" or "ns"'
            )
        return _in_range(value * UNITS[unit], value, name)
    if isinstance(value, dt.datetime):
        if value.tzinfo is None:
            raise InvalidArgumentError(
                f"{name}: {value} has no time zone; use datetime.now(timezone.utc) or .astimezone()"
            )
        since = value - _EPOCH
        ns = (since.days * 86400 + since.seconds) * 1_000_000_000 + since.microseconds * 1_000
        return ns + int(getattr(value, "nanosecond", 0))  # pandas.Timestamp has them
    if isinstance(value, str):
        return _text_ns(value, name, now_ns)
    if isinstance(value, float) or (_np is not None and isinstance(value, _np.floating)):
        raise TypeError(
            f"{name}: a float cannot hold every nanosecond; use an int with a unit, or a datetime"
        )
    raise TypeError(
        f"{name} must be a datetime, datetime64, RFC 3339 text or an int with a unit, "
        f"not {type(value).__name__}"
    )


def time_ms(
    value: Time, unit: Optional[str] = None, *, name: str = "time", now_ns: Optional[int] = None
) -> int:
    """Read a point in time as Unix milliseconds, rounded down."""
    return time_ns(value, unit, name=name, now_ns=now_ns) // 1_000_000


def now() -> int:
    """Return the time now in nanoseconds."""
    return _clock.time_ns()


def datetime_of(ms: int) -> dt.datetime:
    """Make an aware datetime in UTC from Unix milliseconds."""
    return _EPOCH + dt.timedelta(milliseconds=ms)


def _in_range(ns: int, value: object, name: str) -> int:
    if not -(2**63) <= ns < 2**63:
        raise InvalidArgumentError(
            f"{name}: {value} is outside the years 1678 to 2262; is its unit right?"
        )
    return ns


def _datetime64_ns(value: Any, name: str) -> int:
    if _np.isnat(value):
        raise InvalidArgumentError(f"{name} is NaT")
    unit = _np.datetime_data(value.dtype)[0]
    if unit in UNITS:
        count = _np.datetime_data(value.dtype)[1]
        return _in_range(int(value.astype("int64")) * count * UNITS[unit], value, name)
    return _in_range(int(value.astype("datetime64[s]").astype("int64")) * UNITS["s"], value, name)


def _text_ns(text: str, name: str, now_ns: Optional[int]) -> int:
    stripped = text.strip()
    reference = now() if now_ns is None else now_ns
    if stripped == "now":
        return reference
    if stripped.startswith("now-"):
        stripped = stripped[3:]
    if len(stripped) > 1 and stripped[0] == "-" and stripped[-1].isalpha():
        return _in_range(reference - duration_ns(stripped[1:], name), text, name)
    match = _RFC3339.fullmatch(stripped)
    if match is None:
        raise InvalidArgumentError(
            f'{name}: "{text}" is neither RFC 3339 with a time zone, nor "now", nor "-1h"'
        )
    year, month, day, hour, minute, second, fraction, zone = match.groups()
    offset = 0
    if zone not in ("Z", "z"):
        digits = zone[1:].replace(":", "")
        offset = (int(digits[:2]) * 60 + int(digits[2:])) * (-60 if zone[0] == "-" else 60)
    try:
        whole = dt.datetime(
            int(year), int(month), int(day), int(hour), int(minute), int(second or 0),
            tzinfo=dt.timezone.utc,
        )
    except ValueError as error:
        raise InvalidArgumentError(f'{name}: "{text}": {error}') from None
    since = whole - _EPOCH
    seconds = since.days * 86400 + since.seconds - offset
    return _in_range(seconds * 1_000_000_000 + int((fraction or "0").ljust(9, "0")), text, name)


def unit_ns_of(unit: Optional[str]) -> int:
    """Return the nanoseconds of a unit; 0 for none."""
    if unit is None:
        return 0
    if unit not in UNITS:
        raise InvalidArgumentError(f'unit must be "s", "ms", "us" or "ns", not {unit!r}')
    return UNITS[unit]


class Times(NamedTuple):
    """Times as integers of one unit: milliseconds are ``ticks * multiply // divide``."""

    ticks: Any  # a buffer of int64
    unit_ns: int

    @property
    def multiply(self) -> int:
        return max(1, self.unit_ns // 1_000_000)

    @property
    def divide(self) -> int:
        return max(1, 1_000_000 // self.unit_ns)

    def in_ns(self, name: str) -> List[int]:
        """Return the times as nanoseconds."""
        return [_in_range(int(tick) * self.unit_ns, tick, name) for tick in self.ticks]


def is_sequence(value: object) -> bool:
    """Tell columns from single values; text is a value."""
    return hasattr(value, "__len__") and not isinstance(value, (str, bytes, dict))


def column(value: Any) -> Any:
    """Turn pandas, polars and Arrow columns into NumPy arrays; leave the rest."""
    if _np is None or isinstance(value, (_np.ndarray, list, tuple, array)):
        return value
    dtype: Any = getattr(value, "dtype", None)
    if getattr(dtype, "tz", None) is not None:  # pandas: keep datetime64
        zoned = value.dt if hasattr(value, "dt") else value  # a series, or an index
        value = zoned.tz_convert("UTC")
        value = (value.dt if hasattr(value, "dt") else value).tz_localize(None)
    if hasattr(dtype, "na_value") and getattr(dtype, "kind", "") in "iufb":  # pandas: nullable numbers
        if value.hasnans:
            return value.to_numpy(dtype=_np.float64, na_value=_np.nan)
        return value.to_numpy(dtype=dtype.numpy_dtype)
    if hasattr(value, "to_numpy"):
        try:
            return value.to_numpy(zero_copy_only=False)
        except TypeError:
            return value.to_numpy()
    return value


def integers(values: Any, name: str) -> Any:
    """Return a buffer of int64 over ``values``, which must be integers."""
    values = column(values)
    if _np is not None and isinstance(values, _np.ndarray):
        if values.ndim != 1:
            raise InvalidArgumentError(f"{name} must have one dimension, not {values.ndim}")
        if values.dtype.kind == "O":
            values = list(values)
        elif values.dtype.kind not in "iu":
            raise TypeError(f"{name} must be integers, not {values.dtype}; times must be exact")
        else:
            if values.dtype.kind == "u" and values.size and int(values.max()) >= 2**63:
                raise InvalidArgumentError(f"{name}: {int(values.max())} is over the largest int64")
            return _np.ascontiguousarray(values, dtype=_np.int64)
    if isinstance(values, array) and values.typecode == "q":
        return values
    out = array("q")
    for row, value in enumerate(values):
        if isinstance(value, bool) or not hasattr(value, "__index__"):
            raise TypeError(
                f"{name}, row {row}: times must be integers, not {type(value).__name__}"
            )
        try:
            out.append(value.__index__())
        except OverflowError:
            raise InvalidArgumentError(f"{name}, row {row}: {value} does not fit an int64") from None
    return out


def floats(values: Any, name: str) -> Any:
    """Return a buffer of float64 over ``values``, which must be numbers."""
    values = column(values)
    if _np is not None and isinstance(values, _np.ndarray):
        if values.ndim != 1:
            raise InvalidArgumentError(f"{name} must have one dimension, not {values.ndim}")
        if values.dtype.kind in "iufb":
            return _np.ascontiguousarray(values, dtype=_np.float64)
        if values.dtype.kind != "O":
            raise TypeError(f"{name} must be numbers, not {values.dtype}")
        values = list(values)
    if isinstance(values, array) and values.typecode == "d":
        return values
    out = array("d")
    for row, value in enumerate(values):
        if isinstance(value, (str, bytes)) or not hasattr(value, "__float__"):
            raise TypeError(f"{name}, row {row}: must be a number, not {type(value).__name__}")
        try:
            out.append(value.__float__())
        except OverflowError:
            raise InvalidArgumentError(f"{name}, row {row}: {value} does not fit a float") from None
    return out


def times(value: Any, unit: Optional[str], name: str) -> Times:
    """Read a column of times, or one time."""
    unit_ns_of(unit)
    if isinstance(value, Times):
        return value
    value = column(value)
    if not is_sequence(value):
        return Times(array("q", [time_ns(value, unit, name=name)]), 1)
    if _np is not None and isinstance(value, _np.ndarray) and value.dtype.kind == "M":
        base, count = _np.datetime_data(value.dtype)
        if base not in UNITS or count != 1:
            value = value.astype("datetime64[s]")
            base = "s"
        if value.ndim != 1:
            raise InvalidArgumentError(f"{name} must have one dimension, not {value.ndim}")
        if _np.isnat(value).any():
            raise InvalidArgumentError(f"{name}, row {int(_np.isnat(value).argmax())}: NaT")
        return Times(_np.ascontiguousarray(value).view(_np.int64), UNITS[base])
    if unit is not None:
        return Times(integers(value, name), UNITS[unit])
    if _np is not None and isinstance(value, _np.ndarray) and value.dtype.kind != "O":
        raise TypeError(
            f"{name} must be datetime64, or integers with a unit (time_ns=, time_ms=, time_s=), "
            f"not {value.dtype}"
        )
    if isinstance(value, array):
        raise TypeError(f"{name}: integers need a unit: time_ns=, time_us=, time_ms= or time_s=")
    return Times(
        array("q", [time_ns(one, None, name=f"{name}, row {row}") for row, one in enumerate(value)]),
        1,
    )


def read_times(given: Mapping[str, Any]) -> Times:
    """Read the one of ``time``, ``time_ns``, ``time_us``, ``time_ms``, ``time_s`` that is given."""
    named = [(key, value) for key, value in given.items() if value is not None]
    if len(named) != 1:
        raise TypeError(f"give one of {', '.join(given)}")
    key, value = named[0]
    return times(value, None if key == "time" else key[len("time_"):], key)
