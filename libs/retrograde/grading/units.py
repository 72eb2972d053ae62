r"""Units of measurement: their names, what they measure, and how they convert.

A unit is a size in base units and the powers of its base dimensions. "m/s", "meters per second" and "m s^{-1}" are one
unit; "km" and "m" differ by a factor of 1000; "kg" and "m" do not compare. Currencies and counted things convert to
nothing: they carry a name of their own only where mistaking them would matter (dollars and cents do).
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

Dimensions = tuple[tuple[str, int], ...]  # (dimension, power), sorted, no power 0


@dataclass(frozen=True, slots=True)
class Unit:
    """`size` base units of `dimensions`; `is_sure` if nothing but a unit can be meant ("cm", not "m")."""

    size: Fraction
    dimensions: Dimensions
    is_sure: bool = True

    def times(self, other: Unit, power: int) -> Unit:
        """This unit times the `power`-th power of `other`."""
        powers = dict(self.dimensions)
        for dimension, exponent in other.dimensions:
            powers[dimension] = powers.get(dimension, 0) + exponent * power
        kept = tuple(sorted((name, exponent) for name, exponent in powers.items() if exponent))
        return Unit(self.size * other.size**power, kept, self.is_sure or other.is_sure)


NO_UNIT = Unit(Fraction(1), (), is_sure=False)
MAX_POWER = 6

_METRIC = {"k": 3, "c": -2, "m": -3, "d": -1, "u": -6, "μ": -6, "µ": -6, "n": -9, "M": 6, "G": 9, "h": 2, "p": -12}
_LONG_METRIC = {
    "kilo": 3, "centi": -2, "milli": -3, "deci": -1, "micro": -6, "nano": -9, "mega": 6, "giga": 9, "hecto": 2,
}  # fmt: skip
# symbol, long names, size, dimensions; the long names take an "s", and metric ones take prefixes
_METRIC_UNITS: tuple[tuple[str, str, str, dict[str, int]], ...] = (
    ("m", "meter metre", "1", {"length": 1}),
    ("g", "gram gramme", "1/1000", {"mass": 1}),
    ("s", "second", "1", {"time": 1}),
    ("L", "liter litre", "1/1000", {"length": 3}),
    ("l", "", "1/1000", {"length": 3}),
    ("N", "newton", "1", {"mass": 1, "length": 1, "time": -2}),
    ("J", "joule", "1", {"mass": 1, "length": 2, "time": -2}),
    ("W", "watt", "1", {"mass": 1, "length": 2, "time": -3}),
    ("Wh", "watthour", "3600", {"mass": 1, "length": 2, "time": -2}),
    ("Pa", "pascal", "1", {"mass": 1, "length": -1, "time": -2}),
    ("Hz", "hertz", "1", {"time": -1}),
    ("V", "volt", "1", {"mass": 1, "length": 2, "time": -3, "current": -1}),
    ("A", "ampere amp", "1", {"current": 1}),
    ("C", "coulomb", "1", {"current": 1, "time": 1}),
    ("F", "farad", "1", {"mass": -1, "length": -2, "time": 4, "current": 2}),
    ("T", "tesla", "1", {"mass": 1, "time": -2, "current": -1}),
    ("H", "henry", "1", {"mass": 1, "length": 2, "time": -2, "current": -2}),
    ("Ω", "ohm", "1", {"mass": 1, "length": 2, "time": -3, "current": -2}),
    ("mol", "mole", "1", {"amount": 1}),
    ("M", "molar", "1000", {"amount": 1, "length": -3}),
    ("K", "kelvin", "1", {"temperature": 1}),
    ("eV", "electronvolt", "1602176634/10000000000000000000000000000", {"mass": 1, "length": 2, "time": -2}),
    ("cal", "calorie", "4184/1000", {"mass": 1, "length": 2, "time": -2}),
)
_PLAIN_UNITS: tuple[tuple[str, str, dict[str, int]], ...] = (
    ("min mins minute minutes", "60", {"time": 1}),
    ("h hr hrs hour hours", "3600", {"time": 1}),
    ("sec secs", "1", {"time": 1}),
    ("d day days", "86400", {"time": 1}),
    ("week weeks wk wks", "604800", {"time": 1}),
    ("month months", "1", {"month": 1}),
    ("year years yr yrs", "12", {"month": 1}),
    ("decade decades", "120", {"month": 1}),
    ("century centuries", "1200", {"month": 1}),
    ("in inch inches", "254/10000", {"length": 1}),
    ("ft foot feet", "3048/10000", {"length": 1}),
    ("yd yds yard yards", "9144/10000", {"length": 1}),
    ("mi mile miles", "1609344/1000", {"length": 1}),
    ("ha hectare hectares", "10000", {"length": 2}),
    ("acre acres", "40468564224/10000000", {"length": 2}),
    ("oz ounce ounces", "28349523125/1000000000000", {"mass": 1}),
    ("lb lbs pound pounds", "45359237/100000000", {"mass": 1}),
    ("tonne tonnes ton tons", "1000", {"mass": 1}),
    ("gallon gallons gal", "3785411784/1000000000000", {"length": 3}),
    ("quart quarts qt", "946352946/1000000000000", {"length": 3}),
    ("pint pints pt", "473176473/1000000000000", {"length": 3}),
    ("cup cups", "2365882365/10000000000000", {"length": 3}),
    ("mph", "44704/100000", {"length": 1, "time": -1}),
    ("kph kmh", "5/18", {"length": 1, "time": -1}),
    ("atm atmosphere atmospheres", "101325", {"mass": 1, "length": -1, "time": -2}),
    ("bar bars", "100000", {"mass": 1, "length": -1, "time": -2}),
    ("°C celsius", "1", {"celsius": 1}),
    ("°F fahrenheit", "1", {"fahrenheit": 1}),
    ("dollar dollars usd", "100", {"money": 1}),
    ("cent cents ¢", "1", {"money": 1}),
    ("euro euros", "1", {"euro": 1}),
    ("sterling", "1", {"sterling": 1}),
    ("dozen dozens", "12", {}),
    ("radian radians rad rads", "1", {}),
    ("bit bits", "1", {"bit": 1}),
    ("byte bytes", "8", {"bit": 1}),
    ("amu", "1", {"atomic_mass": 1}),
)
_UNSURE = frozenset("m g s L l N J W V A C F T H M K h d in min bar cup mol cal".split())  # noqa: SIM905


def _unit(size: str, dimensions: dict[str, int], *, is_sure: bool = True) -> Unit:
    return Unit(Fraction(size), tuple(sorted(dimensions.items())), is_sure)


def _metric(symbol: str, names: str, unit: Unit) -> dict[str, Unit]:
    """A metric unit under its symbol and names, with all prefixes."""
    found = {}
    for prefix, power in {"": 0, **_METRIC}.items():
        is_sure = bool(prefix) or symbol not in _UNSURE
        found[prefix + symbol] = Unit(unit.size * Fraction(10) ** power, unit.dimensions, is_sure)
    for name in names.split():
        for prefix, power in {"": 0, **_LONG_METRIC}.items():
            scaled = Unit(unit.size * Fraction(10) ** power, unit.dimensions)
            found[prefix + name] = found[f"{prefix}{name}s"] = scaled
    return found


def _table() -> dict[str, Unit]:
    table: dict[str, Unit] = {}
    for symbol, names, size, dimensions in _METRIC_UNITS:
        table |= _metric(symbol, names, _unit(size, dimensions))
    for spellings, size, dimensions in _PLAIN_UNITS:
        for spelling in spellings.split():
            table[spelling] = _unit(size, dimensions, is_sure=spelling not in _UNSURE)
    return table | {
        "hertz": table["Hz"],
        "henries": table["H"],
        "cc": table["cm"].times(NO_UNIT, 1).times(table["cm"], 2),
    }


UNITS = _table()
SQUARES = {"square": 2, "sq": 2, "cubic": 3, "cu": 3}  # the power of the unit that follows
MONEY = {"dollar": "dollar", "euro": "euro", "pound": "sterling"}  # the signs of currencies
POWERS = {"squared": 2, "cubed": 3}  # the power of the unit before


def unit_called(name: str) -> Unit | None:
    """The unit of this name: symbols as written, words in any case."""
    return UNITS.get(name) or (UNITS.get(name.lower()) if len(name) > 2 else None)  # noqa: PLR2004 - no symbol
