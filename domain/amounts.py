"""Amounts as people write and read them: `120 GiB`, `50 GB`, `84 %`; and refusals that name the unit that is wanted.

Read from `capacity.yaml` and from the form of `what_if`; written in charts, remarks and pages.
"""

import math
import re

from domain.errors import ConfigError

_FACTORS = {
    "": 1.0,
    "B": 1.0,
    **{f"{letter}B": 1000.0**place for place, letter in enumerate("kMGTP", start=1)},
    **{f"{letter}iB": 1024.0**place for place, letter in enumerate("KMGTP", start=1)},
}
_BINARY = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")
_AMOUNT = re.compile(r"\s*([-+]?\d[\d_]*(?:\.\d+)?(?:[eE][-+]?\d+)?)\s*([A-Za-z%/]*)\s*")


def read_amount(text: float | str, unit: str) -> float:
    """Read an amount in a resource's unit; bytes may come as `kB` to `PB` or `KiB` to `PiB`.

    Raises: ConfigError naming the unit that is wanted.
    """
    if isinstance(text, int | float):
        return _finite(float(text), text)
    found = _AMOUNT.fullmatch(text)
    if not found:
        raise ConfigError(f"'{text[:40]}' is no amount. Write a number, or a number with {_wanted(unit)}.")
    number, suffix = float(found[1].replace("_", "")), found[2]
    if unit == "bytes" and suffix in _FACTORS:
        return _finite(number * _FACTORS[suffix], text)
    if unit == "ratio" and suffix == "%":
        return number / 100
    if suffix and suffix != unit:
        raise ConfigError(f"'{text[:40]}' is in another unit than {unit or 'a plain number'}. Write {_wanted(unit)}.")
    return _finite(number, text)


def _finite(number: float, text: object) -> float:
    if not math.isfinite(number):
        raise ConfigError(f"'{text}' is no amount. Write a number.")
    return number


def _wanted(unit: str) -> str:
    return {"bytes": "KiB, MiB, GiB or TiB (kB, MB, GB, TB for powers of ten)", "ratio": "%"}.get(unit, unit or "none")


def binary_place(value: float) -> int:
    """Which of B, KiB, … suits a value."""
    return min(int(math.log(value, 1024)), len(_BINARY) - 1) if value >= 1 else 0


def write_value(value: float, unit: str) -> str:
    """Write a value with its unit, as people read it: `1.5 GiB`, `84 %`, `0.4 cores`."""
    if unit == "bytes":
        place = binary_place(abs(value))
        return f"{_digits(value / 1024.0**place)} {_BINARY[place]}" if value else "0 B"
    if unit == "ratio":
        return f"{_digits(100 * value)} %"
    return f"{_digits(value)} {unit}".rstrip()


def _digits(value: float) -> str:
    """Three digits, and never a power of ten: 1,010 and not 1.01e+03."""
    if abs(value) >= 999.5:
        return f"{value:,.0f}"
    return f"{value:.3g}" if abs(value) >= 0.001 or not value else f"{value:.5f}".rstrip("0").rstrip(".")
