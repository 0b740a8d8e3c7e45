"""Runs with nothing installed but varve."""

import varve

with varve.open("obs", retention="14d") as db:
    times = range(1_700_000_000, 1_700_000_900, 15)
    db.metrics.append("requests_total", {"job": "api"}, time_s=times, values=range(0, 1800, 30))
    result = db.query("sum by (job) (increase(requests_total[5m]))", start=1_700_000_600,
                      end=1_700_000_720, unit="s", step="1m", timeout="5s")
    print(result)
    assert [value for series in result for _, value in series] == [600.0] * 3
    assert result.__arrow_c_stream__() is not None
    try:
        db.query("rate(")
    except varve.QueryError as error:
        assert (error.line, error.column) == (1, 6), error
    try:
        result.to_polars()
    except ImportError as error:
        print(error)
