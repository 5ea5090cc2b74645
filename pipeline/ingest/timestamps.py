"""Event times as people, programs and feeds write them.

ISO 8601 and epoch numbers come first and fast: they are read tens of thousands of times a second. Everything
else goes through a short list of patterns, each anchored at both ends and run on at most 64 characters, so
that no text makes reading slow.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from zoneinfo import ZoneInfo

from pipeline.errors import BrokenItem
from pipeline.instants import DAY_US, EARLIEST_US, LATEST_US, to_datetime

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_EPOCH_WITHOUT_ZONE = datetime(1970, 1, 1)
_LONGEST = 64
_CLOCK = r"(?P<hour>\d{1,2}):(?P<minute>\d\d)(?::(?P<second>\d\d)(?:[.,](?P<fraction>\d+))?)?"
_ZONE = r"\s*(?P<zone>Z|UTC?|GMT|[ECMP][SD]T|(?:UTC|GMT)?[+-]\d\d:?(?:\d\d)?)?"
_WEEKDAY = r"(?:(?:mon|tues?|wed(?:nes)?|thu(?:rs?)?|fri|sat(?:ur)?|sun)(?:day)?[.,]*\s+)?"
_MONTHS = (
    *("january", "february", "march", "april", "may", "june", "july"),
    *("august", "september", "october", "november", "december"),
)
_MONTH_NUMBERS = {name[:n]: i for i, name in enumerate(_MONTHS, 1) for n in (3, len(name))} | {"sept": 9}
_MONTH = r"(?P<name>[a-z]{3,9})"

#: RFC 2822 section 4.3 gives these names a meaning; no other abbreviation has one that all agree on.
_ZONE_HOURS = {"EST": -5, "EDT": -4, "CST": -6, "CDT": -5, "MST": -7, "MDT": -6, "PST": -8, "PDT": -7}

_NUMERIC = [
    # 2016-09-28 04:30:31 · 2005-06-03-15.42.53.276129 · 2016/9/27:20:30:31.455 · 2005.06.03
    r"(?P<year>\d{4})(?P<gap>[-/.])(?P<month>\d{1,2})(?P=gap)(?P<day>\d{1,2})(?:[T\s_:-]\s*"
    r"(?P<hour>\d{1,2})[:.](?P<minute>\d\d)(?:[:.](?P<second>\d\d)(?:[.,:](?P<fraction>\d+))?)?)?" + _ZONE,
    # 2009-04: its first day
    r"(?P<year>\d{4})-(?P<month>\d\d)",
    # 17/06/09 20:10:40
    r"(?P<short>\d\d)/(?P<month>\d\d)/(?P<day>\d\d)\s" + _CLOCK,
    # 081109 203807
    r"(?P<short>\d\d)(?P<month>\d\d)(?P<day>\d\d)\s(?P<hour>\d\d)(?P<minute>\d\d)(?P<second>\d\d)",
    # 03-17 16:13:38.811
    r"(?P<month>\d\d)-(?P<day>\d\d)\s" + _CLOCK,
]
_NAMED = [
    # Jun 14 15:16:02 · Sun Dec 04 04:47:44 2005 · Dec 4, 2005
    rf"{_WEEKDAY}{_MONTH}\.?\s+(?P<day>\d{{1,2}})(?:,?\s+(?P<year>\d{{4}}))?(?:,?\s+{_CLOCK})?{_ZONE}"
    r"(?:\s+(?P<last>\d{4}))?",
    # Tue, 04 Dec 2005 04:47:44 +0000 · 04/Dec/2005:04:47:44 +0000 · 22 January 1996
    rf"{_WEEKDAY}(?P<day>\d{{1,2}})(?P<gap>[\s/-]){_MONTH}(?P=gap)(?P<year>\d{{4}}|(?P<short>\d\d))"
    rf"(?:[\s:,T]+{_CLOCK})?{_ZONE}",
]
_SHAPES = {
    "digit first": [re.compile(shape, re.IGNORECASE | re.ASCII) for shape in (*_NUMERIC, _NAMED[1])],
    "letter first": [re.compile(shape, re.IGNORECASE | re.ASCII) for shape in _NAMED],
}
_DIGITS = re.compile(r"(\d{1,20})(?:[.,](\d*))?", re.ASCII)
_COMPACT = re.compile(r"\d{8}(?:\d{6})?|\d{8}T\d{4,6}.*", re.ASCII)


def parse_time(value: str | int | float, *, received_us: int, zone: ZoneInfo | None) -> int:
    """The instant that `value` names, in microseconds since 1970 UTC.

    Numbers (and texts of digits) are seconds, milliseconds, microseconds or nanoseconds since 1970, told apart
    by their size; a text of 8 or 14 digits is a date, one of 4 a year. A time without a zone is local to `zone`
    (None: UTC). One without a year gets the latest year that puts it at most a day after `received_us`. A date
    is its first instant. Fractions are cut to microseconds.

    Raises BrokenItem, with what was seen, for anything else and for instants outside EARLIEST_US..LATEST_US.
    """
    if type(value) is str:
        if value[4:5] == "-" and len(value) > 9:
            try:
                moment = datetime.fromisoformat(value)
            except ValueError:
                return _read_text(value, received_us, zone)
            return _instant(moment, zone, value)
        return _read_text(value, received_us, zone)
    if type(value) is int or type(value) is float:
        return _since_epoch(value)
    raise BrokenItem(f"a time must be text or a number, not {type(value).__name__}")


def _unreadable(value: object) -> BrokenItem:
    return BrokenItem(f"not a time that Tocsin can read: {str(value)[:40]!r}")


def _instant(moment: datetime, zone: tzinfo | None, value: object) -> int:
    try:
        if moment.tzinfo is not None:
            since = moment - _EPOCH
        elif zone is None:
            since = moment - _EPOCH_WITHOUT_ZONE
        else:
            since = moment.replace(tzinfo=zone) - _EPOCH
    except OverflowError:  # the first and last day of what datetime can hold
        raise _unreadable(value) from None
    return _checked(since.days * DAY_US + since.seconds * 1_000_000 + since.microseconds, value)


def _checked(instant_us: int, value: object) -> int:
    if EARLIEST_US <= instant_us <= LATEST_US:
        return instant_us
    raise BrokenItem(f"a time outside the years 1900 to 2200: {str(value)[:40]!r}")


def _since_epoch(value: int | float) -> int:
    if not 0 <= value < 1e20:  # also what is no number
        seen = f"{value:.6g}" if type(value) is float else "one below 0 or beyond 2200"
        raise BrokenItem(f"a time must be a number of seconds since 1970, not {seen}")
    if value < 1e11:
        return _checked(round(value * 1_000_000), value)
    if value < 1e14:
        return _checked(round(value * 1000), value)
    return _checked(int(value) if value < 1e17 else int(value) // 1000, value)


def _read_text(given: str, received_us: int, zone: ZoneInfo | None) -> int:
    if len(given) > _LONGEST:
        raise _unreadable(given)
    value = given.strip(" \t\r\n[],;\"'")
    digits = _DIGITS.fullmatch(value)
    if digits:
        return _read_digits(digits, zone)
    try:
        if len(value) > 6 and (value[4] in "-W" or _COMPACT.fullmatch(value)):
            return _instant(datetime.fromisoformat(value.upper()), zone, given)
    except ValueError:
        pass  # one of the shapes, or nothing
    for shape in _SHAPES["letter first" if value[:1].isalpha() else "digit first"]:
        found = shape.fullmatch(value)
        if found:
            parts = found.groupdict()
            try:
                return _from_parts(parts, received_us, _zone_of(parts.get("zone"), zone), given)
            except (ValueError, OverflowError):
                break  # 30 February
    raise _unreadable(given)


def _read_digits(digits: re.Match[str], zone: ZoneInfo | None) -> int:
    text, fraction = digits.groups()
    if fraction is None and len(text) in (4, 8, 14):
        try:
            day = datetime(int(text[:4]), int(text[4:6] or 1), int(text[6:8] or 1))
            clock = text[8:]
            if clock:
                day = day.replace(hour=int(clock[:2]), minute=int(clock[2:4]), second=int(clock[4:]))
            return _instant(day, zone, text)
        except ValueError:
            pass  # a number of seconds after all, or beyond every year
    if not fraction:
        return _since_epoch(int(text))
    whole = int(text)
    scale = 1_000_000 if whole < 10**11 else 1000 if whole < 10**14 else 1
    return _checked(_since_epoch(whole) + int((fraction + "000000")[:6]) * scale // 1_000_000, text)


def _zone_of(name: str | None, zone: ZoneInfo | None) -> tzinfo:
    if not name:
        return zone or UTC
    name = name.upper()
    if name in _ZONE_HOURS:
        return timezone(timedelta(hours=_ZONE_HOURS[name]))
    offset = name.removeprefix("UTC").removeprefix("GMT").replace(":", "")
    if offset in ("", "Z", "UT"):
        return UTC
    minutes = int(offset[1:3]) * 60 + int(offset[3:] or 0)
    return timezone(timedelta(minutes=-minutes if offset[0] == "-" else minutes))


def _from_parts(parts: dict[str, str | None], received_us: int, zone: tzinfo, given: str) -> int:
    """The instant of a matched shape. Raises ValueError when there is no such day or hour."""
    month = int(parts.get("month") or _MONTH_NUMBERS.get((parts.get("name") or "").lower(), 0))
    day = int(parts.get("day") or 1)
    second = int(parts.get("second") or 0)
    # A leap second (RFC 3339 section 5.6 allows :60) is the first instant of the next minute.
    leap = timedelta(seconds=1) if second == 60 else timedelta()
    hour, minute = int(parts.get("hour") or 0), int(parts.get("minute") or 0)
    clock = (hour, minute, min(second, 59) if leap else second, int(((parts.get("fraction") or "") + "000000")[:6]))
    year = parts.get("year") or parts.get("last")
    if parts.get("short"):
        short = int(parts["short"] or 0)
        return _instant(
            datetime(short + (2000 if short < 50 else 1900), month, day, *clock, tzinfo=zone) + leap, zone, given
        )
    if year:
        return _instant(datetime(int(year), month, day, *clock, tzinfo=zone) + leap, zone, given)
    if parts.get("hour") is None:
        raise ValueError("a day of no year")
    latest = to_datetime(received_us + DAY_US)
    newest = to_datetime(received_us + 2 * DAY_US).year  # the zone may be a day ahead of UTC
    for candidate in range(newest, newest - 10, -1):  # 29 February comes every 4 years, around 1900 and 2100 in 8
        try:
            moment = datetime(candidate, month, day, *clock, tzinfo=zone) + leap
        except ValueError:
            continue
        if moment <= latest:
            return _instant(moment, zone, given)
    raise ValueError("no such day")
