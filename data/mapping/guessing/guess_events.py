"""Which column of a table of events holds what, guessed from names and contents of a sample.

What the user's map says is taken as it stands, and only the rest is guessed.
"""

from typing import Any

import numpy as np

from configs.event_types import EventType, EventTypes
from data.dataset import DataError
from data.fields.times import EARLIEST_S
from data.mapping.conversions import OBJECT, ids, numbers
from data.mapping.guessing.event_words import are_types, constant_type, flags_of_types, open_words, telling_columns
from data.mapping.guessing.guess import Guess, Question, check_columns, named_columns
from data.mapping.guessing.rating_scale import OURS, likely_scales, rating_scale
from data.mapping.names import RATINGS, fit, has_word, our_type, says_seconds
from data.mapping.sample import Sample

ROLES = ("user_id", "item_id", "time", "event_type", "value")
BELOW_0 = (
    "cancellations and returns are best left out of the table, or given a word of their own in a column of event "
    "types, which the map leaves out or gives another type"
)
_MOST = 0.5


def guess_events(sample: Sample, given: dict[str, Any], types: EventTypes, hint: str = "") -> Guess:
    """A guess for the part `interactions` of a map.

    Args:
        given: what the user's map says of it.
        hint: words such as the file's name, which may say what the rows are.

    Raises:
        DataError: the map names a column that is not there.
    """
    check_columns(sample, given, "interactions")
    guess = Guess(dict(given))
    taken = {column for part in given.values() for column in named_columns(part)}
    for role in ("user_id", "item_id"):
        if role not in given:
            column = _by_name(sample, role, taken, guess)
            if column is not None:
                guess.fields[role] = column
                taken.add(column)
    if "time" not in given:
        _guess_time(sample, taken, guess)
    if "event_type" not in given:
        # A column that the map names as the value says what the rows are, too.
        _guess_type(sample, taken, taken - set(named_columns(given.get("value"))), guess, types, hint)
    elif isinstance(given["event_type"], str):
        guess.fields["event_type"] = {"column": given["event_type"]}
    _guess_words(sample, guess, types)
    if "value" not in given:
        _guess_value(sample, taken, guess, types)
    elif given["value"] is None:
        del guess.fields["value"]
    if "value" in guess.fields:
        guess.fields["value"] = _with_decimal(sample, guess.fields["value"])
    _note_negatives(sample, guess, types)
    guess.put_in_order([*ROLES, "read"])
    return guess


def _note_negatives(sample: Sample, guess: Guess, types: EventTypes) -> None:
    """Amounts below 0 that the map does not read, as of a quantity; those of the value are counted at the import."""
    kind = guess.fields.get("event_type")
    if not isinstance(kind, dict) or "purchase" not in _used_types(sample, kind, types):
        return
    used = {column for value in guess.fields.values() for column in named_columns(value)}
    for column in sample.columns:
        if column not in used and fit(column, "value") >= 2 and sample.share_of_numbers(column) > 0.9:
            n = int((sample.numbers(column) < 0).sum())
            if n:
                guess.notes.append(
                    f"{column} is below 0 in {n:,} of the first {sample.table.num_rows:,} rows; {BELOW_0}"
                )


def _with_decimal(sample: Sample, value: Any) -> Any:
    """The value of a map, with the decimal sign of its column. Raises `DataError` where that holds no numbers."""
    told = {"column": value} if isinstance(value, str) else value
    if not isinstance(told, dict) or told.get("column") not in sample.columns:
        return value
    column = told["column"]
    if "decimal" not in told and (sign := sample.decimal(column)):
        value = told = {**told, "decimal": sign}
    found, faults = numbers(sample.table[column], told.get("decimal"))
    if len(faults) > int(np.isfinite(found).sum()):
        raise DataError(
            f"interactions.value: {sample.address}: column {column} does not hold numbers but "
            f"{', '.join(sample.texts(column))}; name another column, say which decimal sign it has, as "
            f'{{column: {column}, decimal: ","}}, or write value: null'
        )
    return value


def _by_name(sample: Sample, role: str, taken: set[str], guess: Guess) -> str | None:
    """The column whose name fits best; a question where there is none, or two fit alike."""
    free = [column for column in sample.columns if column not in taken]
    merits = {c: fit(c, role) for c in free if fit(c, role) >= 2 or sample.share_of_ids(c) > 0}
    best = max(merits.values(), default=0)
    found = [column for column, merit in merits.items() if merit == best]
    if best == 0:
        likely = [c for c in merits if all(fit(c, other) < 2 for other in ROLES if other != role)]
        objects = [column for column in sample.nested if fit(column, role)]
        why = (
            f"{' and '.join(objects)} holds {OBJECT}" if objects else f"no column's name says that it holds the {role}"
        )
        guess.questions.append(Question(role, why, likely if likely or objects else list(merits)))
        return None
    if len(found) > 1:
        guess.questions.append(Question(role, f"{' and '.join(found)} may both be the {role}", found))
        return None
    _check_no_decimals(sample, found[0], role)
    return found[0]


def _check_no_decimals(sample: Sample, column: str, role: str) -> None:
    faults = ids(sample.table[column])[1].values()
    decimals = [why for why in faults if "number with decimals" in why]
    if len(decimals) > _MOST * sample.table.num_rows:
        raise DataError(f"{sample.address}: column {column}: {decimals[0]}; it holds the {role} by its name")


def _guess_time(sample: Sample, taken: set[str], guess: Guess) -> None:
    free = [column for column in sample.columns if column not in taken]
    merits: dict[str, tuple[float, Any]] = {}
    for column in free:
        name = fit(column, "time")
        if sample.share_of_times(column) >= _MOST:
            numeric = sample.share_of_numbers(column) == 1.0
            if name or not numeric:  # a number of that size under another name may be anything
                merits[column] = (name + 1, column)
        elif name and (forms := sample.formats(column)):
            if len(forms) > 1:
                answers = [{"column": column, "format": form} for form in forms]
                guess.questions.append(Question("time", f"dates in {column} can be read in several ways", answers))
                taken.add(column)
                return
            merits[column] = (name + 1, {"column": column, "format": forms[0]})
        elif name and (forms := sample.formats(column, _MOST)):
            why = f"most dates in {column} are of the form {forms[0]}, but {sample.first_misfit(column, forms[0])}"
            answers = [{"column": column, "format": form} for form in forms]
            guess.questions.append(Question("time", why, answers))
            taken.add(column)
            return
        elif name >= 2 and sample.share_of_numbers(column) >= 0.9 and _may_be_order(*sample.span(column)):
            merits[column] = (name * 0.1, {"column": column, "order": True})
    unreadable = [column for column in free if fit(column, "time") >= 2 and sample.texts(column)]
    if not merits and unreadable:
        column = unreadable[0]
        why = (
            f"{column} is called a time, and {', '.join(sample.texts(column))} cannot be read as one from 1990 on; say "
            "its FORMAT, as in %d.%m.%Y %H:%M, or let the order of the rows stand in for time"
        )
        guess.questions.append(Question("time", why, [{"column": column, "format": "FORMAT"}, {"rows": True}]))
        return
    if not merits:
        guess.fields["time"] = {"rows": True}
        guess.notes.append("there is no column of times: the order of the rows stands in for time")
        return
    best = max(merit for merit, _ in merits.values())
    found = [answer for merit, answer in merits.values() if merit == best]
    if len(found) > 1:
        guess.questions.append(Question("time", f"{len(found)} columns may be the time", found))
        return
    guess.fields["time"] = found[0]
    taken.update(named_columns(found[0]))


def _may_be_order(low: float, high: float) -> bool:
    return low >= 0 and high < EARLIEST_S


def _guess_type(
    sample: Sample, taken: set[str], no_value: set[str], guess: Guess, types: EventTypes, hint: str
) -> None:
    found = [
        column
        for column in sample.columns
        if column not in taken
        and fit(column, "event_type") >= 1
        and 0 < sample.distinct(column) <= 30
        and any(our_type(word) for word in sample.texts(column, 30))
    ]
    if len(found) == 1:
        guess.fields["event_type"] = {"column": found[0]}
        taken.add(found[0])
        return
    if len(found) > 1:
        answers = [{"column": column} for column in found]
        guess.questions.append(Question("event_type", f"{' and '.join(found)} may both be the event type", answers))
        return
    constant = constant_type(sample, no_value, hint)
    telling = telling_columns(sample, taken)
    known = [column for column in telling if are_types(sample, column, types)]
    if len(known) == 1:
        guess.fields["event_type"] = {"column": known[0]}
        taken.add(known[0])
        return
    if telling:
        words = " and ".join(f"{column} ({', '.join(sample.texts(column, 20))})" for column in telling)
        guess.questions.append(
            Question(
                "event_type",
                f"{words} may say what happened, and nothing says which word is which type; put for TYPE_1 and so on "
                f"{', '.join(types.by_name)}, or write a constant if all rows are of one type",
                [*(open_words(sample, column) for column in telling), {"constant": constant or "purchase"}],
            )
        )
        return
    flags = flags_of_types(sample, taken) if constant != "rating" else {}
    if flags:
        why = f"{' and '.join(flags)} says yes in some rows and no in others: not every row is the same event"
        answers = [*flags.values(), {"constant": constant or "view"}]
        guess.questions.append(Question("event_type", why, answers))
        return
    if constant is not None:
        guess.fields["event_type"] = {"constant": constant}
        return
    answers = [{"constant": name} for name in ("purchase", "view", "click", "rating")]
    guess.questions.append(Question("event_type", "nothing says what a row is: a purchase, a view, a click?", answers))


def _guess_words(sample: Sample, guess: Guess, types: EventTypes) -> None:
    """Map the words of a column of types to ours, where the map does not."""
    kind = guess.fields.get("event_type")
    if not isinstance(kind, dict) or "column" not in kind:
        return
    own = kind.get("map") or {}
    told = {
        str(word).strip().lower() for words in own.values() for word in (words if isinstance(words, list) else [words])
    }
    told |= {str(word).strip().lower() for word in kind.get("leave_out") or []}
    mapped: dict[str, list[str]] = {name: list(w) if isinstance(w, list) else [w] for name, w in own.items()}
    unknown = []
    for word in sample.texts(kind["column"], 1000):
        if word.lower() in told or word.lower() in types.by_name:
            continue
        if name := our_type(word):
            mapped.setdefault(name, []).append(word)
        else:
            unknown.append(word)
    guess.fields["event_type"] = {**kind, **({"map": mapped} if mapped else {})}
    if unknown:
        shown = unknown[:20]
        as_click = {**guess.fields["event_type"], "map": {**mapped, "click": [*mapped.get("click", []), *shown]}}
        without = {**guess.fields["event_type"], "leave_out": [*(kind.get("leave_out") or []), *shown]}
        guess.questions.append(
            # The example is to leave them out: what a person takes over unseen must not make clicks of refunds.
            Question("event_type", f"it is not clear what {', '.join(shown)} means", [without, as_click])
        )


def _used_types(sample: Sample, kind: dict[str, Any], types: EventTypes) -> list[str]:
    """Our types that the words of the sample stand for, or the one of all rows."""
    if "constant" in kind:
        return [kind["constant"]]
    ours = {str(word).lower(): name for name, words in (kind.get("map") or {}).items() for word in words}
    ours |= {name: name for name in types.by_name if name not in ours}
    words = [word.lower() for word in sample.texts(kind["column"], 1000)]
    return list(dict.fromkeys(ours[word] for word in words if word in ours))


def _guess_value(sample: Sample, taken: set[str], guess: Guess, types: EventTypes) -> None:
    kind = guess.fields.get("event_type")
    if not isinstance(kind, dict):
        return
    used = _used_types(sample, kind, types)
    if not any(name in types.by_name and types[name].value is not None for name in used):
        return
    rating = "rating" in used
    merits: dict[str, int] = {}
    for column in sample.columns:
        if column in taken or sample.share_of_numbers(column) < 0.9:
            continue
        if "watch" in used and not says_seconds(column):
            continue
        right = rating == has_word(column, RATINGS)
        merits[column] = 2 * fit(column, "value") * right + has_word(column, ("sales", "amount"))
    best = max(merits.values(), default=0)
    if best < 2:
        needing = [name for name in used if name in types.by_name and _needs_value(types[name])]
        if needing:
            guess.questions.append(_value_question(sample, taken, kind, types[needing[0]], needing[0]))
        return
    column = next(name for name, merit in merits.items() if merit == best)
    guess.fields["value"] = column
    if used == ["rating"]:
        _guess_scale(sample, column, guess)


def _guess_scale(sample: Sample, column: str, guess: Guess) -> None:
    """The scale of ratings; a question where the numbers are on no usual one."""
    given = sample.numbers(column)
    found = rating_scale(given)
    if found is None:
        del guess.fields["value"]
        why = (
            f"{column} has ratings from {given.min():g} to {given.max():g}, and it is not clear on which scale; name "
            "its lowest and its highest rating, which are brought to 0.5 and 5"
        )
        answers = [{"column": column, "scale": scale} for scale in likely_scales(given)]
        guess.questions.append(Question("value", why, answers or [{"column": column, "scale": ["LOWEST", "HIGHEST"]}]))
        return
    words = f"ratings from {found.low:g} to {found.high:g}"
    if (found.low, found.high) != OURS:
        guess.fields["value"] = {"column": column, "scale": [found.low, found.high]}
        guess.notes.append(f"{words} are brought to 0.5 to 5")
    if found.n_beyond:
        guess.notes.append(f"{words}: {found.n_beyond:,} of the first {len(given):,} lie beyond and are refused")


def _needs_value(kind: EventType) -> bool:
    return kind.value is not None and kind.value.required


def _value_question(sample: Sample, taken: set[str], kind: dict[str, Any], needing: EventType, name: str) -> Question:
    unit = needing.value.unit if needing.value is not None and needing.value.unit else "a number"
    why = f"an event {name} needs a value ({unit}), and no column's name says that it holds it"
    numeric = [column for column in sample.columns if column not in taken and sample.share_of_numbers(column) > 0.9]
    if unit == "seconds" and (others := [column for column in numeric if not says_seconds(column)]):
        why += f"; {' and '.join(others)} says another unit: bring it to seconds before"
        numeric = [column for column in numeric if column not in others]
        if not numeric:
            return Question("value", why, [])
    if numeric or "column" not in kind:
        return Question("value", why, numeric)
    mapped = {**(kind.get("map") or {})}
    words = mapped.pop(name, [name])
    without = {**kind, "leave_out": [*(kind.get("leave_out") or []), *words]}
    without = {key: value for key, value in {**without, "map": mapped}.items() if value}
    return Question("event_type", f"{why}; leave such rows out, or let their word mean another type", [without])
