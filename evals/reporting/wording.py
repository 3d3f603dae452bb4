"""Write numbers as reviewers read them, units and signs included; a number that is not there is a dash."""

from evals.reporting.gates import Unit

__all__ = [
    "NOTHING",
    "as_bare_points",
    "as_change",
    "as_duration",
    "as_factor",
    "as_measure",
    "as_metric",
    "as_money",
    "as_points",
    "as_share",
]

NOTHING = "–"
_MINUTE, _HOUR = 60, 3_600
_SMALL_P = 0.0001


def as_points(value: float | None) -> str:
    """Return a fraction as signed percentage points."""
    # Rounded first, so that nothing is never "-0.0".
    return NOTHING if value is None else f"{round(100 * value, 1) + 0.0:+.1f} pp"


def as_bare_points(value: float | None) -> str:
    """Return a fraction as signed percentage points, for columns whose head names the unit."""
    return as_points(value).removesuffix(" pp")


def as_share(value: float | None) -> str:
    """Return a fraction as a percentage."""
    return NOTHING if value is None else f"{100 * value:.1f} %"


def as_factor(value: float | None) -> str:
    """Return a ratio."""
    return NOTHING if value is None else f"{value:.3f}"


def as_money(value: float | None) -> str:
    """Return an amount of USD; small ones keep three digits that mean something."""
    if value is None:
        return NOTHING
    return f"${value:,.2f}" if value >= 1 or value == 0 else f"${value:.3g}"


def as_duration(seconds: float | None) -> str:
    """Return a length of time in its two largest units."""
    if seconds is None:
        return NOTHING
    whole = round(seconds)
    if whole < _MINUTE:
        return f"{whole} s"
    if whole < _HOUR:
        return f"{whole // _MINUTE} min {whole % _MINUTE} s"
    return f"{whole // _HOUR} h {whole % _HOUR // _MINUTE} min"


def as_metric(value: float | None, metric: str) -> str:
    """Return a value of `latency_ms` or `cost_usd` with its unit."""
    if metric == "cost_usd":
        return as_money(value)
    return NOTHING if value is None else f"{value:,.0f} ms" if value >= 10 else f"{value:.1f} ms"


def as_measure(value: float | None, unit: Unit) -> str:
    """Return a gate's number in its unit."""
    if value is None:
        return NOTHING
    match unit:
        case "count":
            return f"{value:,.0f}"
        case "p":
            return f"{value:.4f}" if value >= _SMALL_P or value == 0 else f"below {_SMALL_P:.4f}"
        case "share":
            return as_share(value)
        case "pp":
            return as_points(value)
        case "ratio":
            return as_factor(value)
        case "ms":
            return f"{value:+,.0f} ms"
        case "number":
            return f"{value:.2f}"


def as_change(value: float | None, unit: Unit) -> str:
    """Return how much a gate's number moved, with its sign."""
    if value is None:
        return NOTHING
    if unit in {"pp", "share"}:
        return as_points(value)
    if unit == "ms":
        return as_measure(value, unit)
    digits = {"count": 0, "p": 4, "ratio": 3, "number": 2}[unit]
    return f"{round(value, digits) + 0.0:+,.{digits}f}"
