"""The five fields of a crontab: reads ``*/15``, ``8-17`` or ``mon-fri`` into numbers, and says in words what they mean.

1. The grammar is Celery's: numbers and names, ranges that may go round the end (``fri-mon``), ``*``, steps behind ``/``,
   several of these with commas; or a number, or any collection of numbers.
2. What would never be meant is refused here and not left to be found at night: ``*/0``, an empty list, 31 February.

The crontab libraries on the package index read other grammars: with them 7 is a Sunday, ``fri-mon`` is an error, or a
task with both a day of the month and a day of the week runs on either, where Celery asks for both.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping

from pmtq.exceptions import ParseException

Spec = int | str | Iterable[int | str]
"""What a field may be given as."""

DAYS = ("Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday")
MONTHS = (
    *("January", "February", "March", "April", "May", "June", "July"),
    *("August", "September", "October", "November", "December"),
)
_LONGEST = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
"""The days of each month, in a leap year."""
_SHORTEST_NAME = 3
_PART = re.compile(r"(?:(?P<all>\*)|(?P<first>\w+)(?:-(?P<last>\w+))?)(?:/(?P<step>\w*))?")
_FEW = 4
"""So many times of a day are listed one by one when a crontab is put into words."""


class crontab_parser:  # noqa: N801  (Celery's name)
    """Reads one field whose numbers begin with ``min_``, and of which there are ``max_``."""

    def __init__(
        self, max_: int = 60, min_: int = 0, name: str = "", names: Collection[str] = (*DAYS, *MONTHS)
    ) -> None:
        """Take the numbers; ``name`` is what messages call the field, ``names`` the words that stand for numbers."""
        self.max_, self.min_ = max_, min_
        self._name = name or "this field"
        self._names = {
            word.lower(): number % 7 if word in DAYS else number for word, number in _numbered(names).items()
        }

    def parse(self, spec: Spec) -> set[int]:
        """Return the numbers that ``spec`` means; raises ``ParseException``, a ``ValueError``."""
        if isinstance(spec, str):
            return {number for part in spec.split(",") for number in self._part(part.strip())}
        if isinstance(spec, bool | bytes) or not isinstance(spec, int | Iterable):
            raise self._refused(spec, f"is a {type(spec).__name__}", "Write a number, a text such as '*/15', or a list")
        found = {number for one in ([spec] if isinstance(spec, int) else spec) for number in self._part(str(one))}
        if not found:
            raise self._refused(spec, "is empty, so that it would never run", "Write '*' for always")
        return found

    def _part(self, part: str) -> Collection[int]:
        match = _PART.fullmatch(part)
        if match is None:
            raise self._refused(part, "is none of 5, 5-10, *, */2 or 5-10/2", "Put commas between several of these")
        step = self._step(match["step"], part)
        if match["all"]:
            return range(self.min_, self.min_ + self.max_)[::step]
        if match["last"] is None and match["step"] is not None:
            last = self.min_ + self.max_ - 1
            raise self._refused(part, "has a step and no range", f"Write {match['first']}-{last}/{match['step']}")
        first = self._number(match["first"], part)
        last = self._number(match["last"] or match["first"], part)
        if last < first:
            return [*range(first, self.min_ + self.max_), *range(self.min_, last + 1)][::step]
        return range(first, last + 1)[::step]

    def _step(self, text: str | None, part: str) -> int:
        if text is None:
            return 1
        if not text.isdecimal() or not int(text):
            raise self._refused(part, "has no step behind its slash", "Write a number above 0 there: */2")
        return int(text)

    def _number(self, text: str, part: str) -> int:
        word = text.lower()
        if word.isdecimal():
            number = int(word)
        else:
            near = [known for known in self._names if len(word) >= _SHORTEST_NAME and known.startswith(word)]
            if not near:
                words = f" or one of {', '.join(name[:3] for name in self._names)}" if self._names else ""
                raise self._refused(part, f"has {text!r} in it", f"Write numbers{words}")
            number = self._names[near[0]]
        last = self.min_ + self.max_ - 1
        if not self.min_ <= number <= last:
            sunday = " Sunday is 0." if (self.max_, number) == (7, 7) else ""
            raise self._refused(part, f"has {number} in it", f"It goes from {self.min_} to {last}.{sunday}")
        return number

    def _refused(self, value: object, why: str, remedy: str) -> ParseException:
        return ParseException(f"{self._name}={value!r} is no part of a crontab: it {why}. {remedy}")


def _numbered(names: Collection[str]) -> Mapping[str, int]:
    """Return the numbers that names of days (from 0) or of months (from 1) stand for."""
    return {name: DAYS.index(name) if name in DAYS else MONTHS.index(name) + 1 for name in names}


PARSERS = {
    "minute": crontab_parser(60, 0, "minute", ()),
    "hour": crontab_parser(24, 0, "hour", ()),
    "day_of_month": crontab_parser(31, 1, "day_of_month", ()),
    "month_of_year": crontab_parser(12, 1, "month_of_year", MONTHS),
    "day_of_week": crontab_parser(7, 0, "day_of_week", DAYS),
}
"""By name, in the order of a line of ``crontab(5)``."""


def as_text(spec: Spec) -> str:
    """Return a field as it stands in a line of ``crontab(5)``, without blanks."""
    if isinstance(spec, int | str):
        return "".join(str(spec).split())
    return ",".join(map(str, sorted(spec, key=str) if isinstance(spec, set | frozenset) else spec))


def require_a_date(days: Collection[int], months: Collection[int]) -> None:
    """Raise ``ParseException`` if none of the months ever has one of the days."""
    if min(days) > max(_LONGEST[month - 1] for month in months):
        shown = ", ".join(MONTHS[month - 1] for month in sorted(months))
        raise ParseException(
            f"this crontab would never run: there is no day {min(days)} in {shown}. Leave one of the two out"
        )


def in_words(fields: Mapping[str, str], numbers: Mapping[str, Collection[int]]) -> str:
    """Say what a crontab means: ``at 07:00 on Monday to Friday``.

    ``fields`` are the texts of the fields by name, ``numbers`` what they stand for.
    """
    words = _time_in_words(fields, numbers)
    if len(numbers["day_of_week"]) < len(DAYS):
        words += f" on {_listed(numbers['day_of_week'], DAYS)}"
    if fields["day_of_month"] != "*":
        words += f"{' if it is' if ' on ' in words else ' on'} day {fields['day_of_month']} of the month"
    if len(numbers["month_of_year"]) < len(MONTHS):
        words += f" in {_listed([month - 1 for month in numbers['month_of_year']], MONTHS)}"
    return words


def _time_in_words(fields: Mapping[str, str], numbers: Mapping[str, Collection[int]]) -> str:
    minute, hour = fields["minute"], fields["hour"]
    minutes, hours = sorted(numbers["minute"]), sorted(numbers["hour"])
    if len(minutes) * len(hours) <= _FEW:
        return f"at {', '.join(f'{one:02}:{other:02}' for one in hours for other in minutes)}"
    each = "every minute" if len(minutes) == 60 else f"at minute {minute}"
    if (step := re.fullmatch(r"\*/(\d+)", minute)) and 60 % int(step[1]) == 0:
        each = f"every {step[1]} minutes"
    if len(hours) == 24:
        return each if each.startswith("every") else f"{each} of every hour"
    return f"{each} of hour {hour}"


def _listed(numbers: Iterable[int], names: Collection[str]) -> str:
    """Return the names of the numbers, which begin with 0; three or more in a row as ``Monday to Friday``."""
    found, all_names = sorted(numbers), list(names)
    if len(found) > 2 and found[-1] - found[0] == len(found) - 1:
        return f"{all_names[found[0]]} to {all_names[found[-1]]}"
    return ", ".join(all_names[number] for number in found)
