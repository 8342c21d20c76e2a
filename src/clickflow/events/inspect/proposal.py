"""The block `source` of params.yaml that a file seems to need, with its reasons and doubts."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from clickflow.events.contract import EVENT_TYPES
from clickflow.events.folders import format_of
from clickflow.events.inspect.form import Look
from clickflow.events.inspect.matched_columns import (
    Column,
    Mapped,
    amounts,
    columns_of,
    mapped,
    order_choices,
    placeholders,
    suspicions,
)
from clickflow.events.inspect.time_forms import Clock, could_be_order
from clickflow.events.inspect.unread_columns import sayings
from clickflow.events.inspect.words import column_named, order_named, time_of_sale, type_named
from clickflow.events.presets import ANY_TYPE, PRESETS, Layout
from clickflow.events.storage import UTF8
from clickflow.events.times import MOST_SESSION

IGNORE = "ignore"
NUMBERED = {"1": "view", "2": "favourite", "3": "cart", "4": "purchase"}
"""Types as numbers, as Alibaba's logs have them."""
OF_SALES = ("quantity", "price")


@dataclass(frozen=True, kw_only=True)
class Proposal:
    """`values`: keys of `source` that are to be other than in a params.yaml that says nothing; `columns`: a line each
    on the file's columns (name, canonical or "", why); `types`: type, how often, canonical; `order`: columns that could
    order the steps of one moment; `doubts` in words.
    """

    values: Mapping[str, Any]
    columns: tuple[tuple[str, str, str], ...]
    types: tuple[tuple[str, int, str], ...]
    order: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()


def propose(look: Look, nulls: Mapping[str, Sequence[str]], con: Any) -> Proposal:
    """What a file seems to need. `nulls` are those of params.yaml."""
    columns = columns_of(look, nulls.get("*", ()))
    mapping = mapped(look, columns, con)
    doubts = [*look.form.doubts, *mapping.doubts]
    values: dict[str, Any] = {}
    form = look.form
    preset = preset_of(look, columns, mapping)
    layout = next(iter(PRESETS[preset])) if preset else Layout()
    if preset:
        values["preset"] = preset
    values |= _of_form(look, layout, preset, doubts)
    if preset and layout.header:
        # the columns of a preset without a header have its names
        names = dict(zip(form.names, layout.header, strict=False))
        mapping.columns = {c: names.get(f, f) for c, f in mapping.columns.items()}
    elif not form.header:
        values["header"] = []
    types, counts = _types(columns, mapping, layout, form.names, doubts)
    time_format = mapping.clock.time_format if mapping.clock else None
    if preset:
        mapping.columns = dict(layout.columns)
        field_of = dict(zip(layout.header, form.names, strict=False)) if layout.header else {}
        by_name = {column.name: column for column in columns}
        column = by_name.get(field_of.get(layout.columns["event_time"], layout.columns["event_time"]))
        if (
            column is not None
            and mapping.clock is None
            and could_be_order(column.filled, con)
            and "session_id" in layout.columns
        ):
            time_format = "order"
            doubts.append(f"{column.name} is no clock but an order: hours, gaps and ages will mean nothing")
        if time_format != layout.time_format and (mapping.clock or time_format == "order"):
            values["time_format"] = time_format
    else:
        if "order" not in mapping.columns and "event_time" not in mapping.columns:
            _order_alone(look, columns, mapping, values, doubts, con)
        if time_format is not None:
            values["time_format"] = time_format
        values["columns"] = dict(mapping.columns)
    if types:
        values["event_types"] = types
    money, unsure = amounts(columns, mapping, typed=form.format == "parquet") if not preset else ({}, [])
    values |= money
    doubts += unsure
    nobody = placeholders(columns, mapping)
    if nobody:
        values["nulls"] = {**{name: list(texts) for name, texts in nulls.items()}, **nobody}
        for canonical, texts in nobody.items():
            doubts.append(f"{canonical}: {', '.join(map(repr, texts))} stand for nothing, by `nulls`")
    doubts += suspicions(columns, mapping)
    doubts += sayings(columns, mapping)
    _absent(mapping, doubts)
    if mapping.clock:
        doubts += _of_clock(mapping.clock)
    if preset:
        doubts = [doubt for doubt in doubts if "by its values alone" not in doubt and "has no header" not in doubt]
    back = {field: canonical for canonical, field in mapping.columns.items()}
    if preset and layout.header:
        back = {own: back[theirs] for own, theirs in zip(form.names, layout.header, strict=False) if theirs in back}
    why = {c.name: mapping.why.get(c.name, f"of the preset {preset}" if c.name in back else _left(c)) for c in columns}
    lines = tuple((c.name, back.get(c.name, ""), why[c.name]) for c in columns)
    order = tuple(order_choices(columns, mapping))
    return Proposal(values=values, columns=lines, types=counts, order=order, doubts=tuple(dict.fromkeys(doubts)))


def _of_form(look: Look, layout: Layout, preset: str | None, doubts: list[str]) -> dict[str, Any]:
    """How the file is packed, where that is not what its name or the preset says."""
    form, values = look.form, dict[str, Any]()
    if form.format != (layout.format or format_of(look.name)):
        values["format"] = form.format
    if form.nested and not preset:
        values["explode"] = form.nested
        doubts.append(f"every element of {form.nested} is taken for an event of its own")
    usual = {"csv": ",", "tsv": "\t"}.get(form.format)
    if form.delimiter is not None and form.delimiter != usual:
        values["delimiter"] = form.delimiter
    if form.encoding != UTF8:
        values["encoding"] = form.encoding
    return values


def _of_clock(clock: Clock) -> Iterator[str]:
    """What times leave unsure."""
    if clock.zoned < 1:
        some = f"{1 - clock.zoned:.0%} of its times carry" if clock.zoned else "its times carry"
        yield f"{some} no zone: they are read as UTC, unless source.timezone says another"
    if clock.date_only:
        yield "its times are dates alone: steps of one day have no order but that of the file"


def _left(column: Column) -> str:
    few = ", ".join(list(column.counts)[:3])
    return f"not used; such as {few[:60]}" if few else "not used; it is empty"


def _absent(mapping: Mapped, doubts: list[str]) -> None:
    needs = {
        "event_time": "no column is a time that can be read: set source.columns.event_time and source.time_format",
        "item_id": "no column is an item: events that need one will be refused; name it in source.columns.item_id",
    }
    doubts += [text for column, text in needs.items() if column not in mapping.columns]
    if not {"user_id", "session_id"} & set(mapping.columns):
        doubts.append("no column is a user or a session: name one in source.columns")


def _order_alone(
    look: Look, columns: Sequence[Column], mapping: Mapped, values: dict[str, Any], doubts: list[str], con: Any
) -> None:
    """A column that is called a time and counts steps, where there is a session."""
    del look
    if "session_id" not in mapping.columns:
        return
    sessions = next(column for column in columns if column.name == mapping.columns["session_id"])
    if not could_be_order(sessions.filled, con, most=MOST_SESSION):
        return
    for column in columns:
        meant = column_named(column.name)
        if meant and meant[0] == "event_time" and could_be_order(column.filled, con):
            mapping.take("event_time", column, "by its name; small whole numbers, an order and no clock")
            values["time_format"] = "order"
            doubts.append(f"{column.name} is no clock but an order: hours, gaps and ages will mean nothing")
            return


def _types(
    columns: Sequence[Column], mapping: Mapped, layout: Layout, names: tuple[str, ...], doubts: list[str]
) -> tuple[dict[str, str], tuple[tuple[str, int, str], ...]]:
    """`event_types` beyond the layout's, and every type with its count and what becomes of it."""
    own = mapping.columns.get("event_type")
    if layout.header and own in layout.header:
        own = names[layout.header.index(own)]
    column = next((each for each in columns if each.name == own), None)
    if column is None:
        if ANY_TYPE in layout.event_types:
            return {}, ()
        sales = [c for c in OF_SALES if c in mapping.columns]
        session = mapping.columns.get("session_id")
        bought = bool(sales) and ("quantity" in sales or (session is not None and order_named(session)))
        time = mapping.columns.get("event_time", "")
        of_time = not bought and time_of_sale(time)
        every = "purchase" if bought or of_time else "view"
        why = f"its time is {time}" if of_time else "nothing speaks for purchases"
        why = f"it has {' and '.join(sales)}" if bought else why
        doubts.append(f"no column is a type: every row is taken for a {every}, {why}")
        return {ANY_TYPE: every}, ()
    lower = {name.lower(): kind for name, kind in layout.event_types.items()}
    numbered = set(column.counts) <= set(NUMBERED)
    extra: dict[str, str] = {}
    lines = []
    for value, count in column.counts.items():
        kind: str | None = lower.get(value.lower()) or (value.lower() if value.lower() in EVENT_TYPES else None)
        if kind is None:
            kind = NUMBERED[value] if numbered else type_named(value) or IGNORE
            extra[value] = kind
        lines.append((value, count, kind))
    if numbered:
        doubts.append(
            "the types are numbers: 1 view, 2 favourite, 3 cart, 4 purchase is usual; look whether it is so here"
        )
    ignored = [value for value, kind in extra.items() if kind == IGNORE]
    if ignored:
        doubts.append(f"types that mean nothing here are ignored: {', '.join(map(repr, ignored))}")
    if column.distinct > len(column.counts):
        doubts.append(f"{column.distinct - len(column.counts)} rarer types are not listed")
    return extra, tuple(lines)


def preset_of(look: Look, columns: Sequence[Column], mapping: Mapped) -> str | None:
    """The preset whose layout a file has to the letter."""
    form = look.form
    by_place = list(columns)
    for name, layouts in PRESETS.items():
        for layout in layouts:
            if layout.format != form.format or bool(layout.nested) != bool(form.nested):
                continue
            if name == "recbole" and not form.typed:
                continue
            if layout.header is None:
                if form.header and set(layout.columns.values()) <= set(form.names):
                    return name
            elif not form.header and len(layout.header) == len(form.names) and _fits(name, layout, by_place, mapping):
                return name
    return None


def _fits(name: str, layout: Layout, columns: Sequence[Column], mapping: Mapped) -> bool:
    """Whether the values of a file without a header are those of a layout without one."""
    assert layout.header is not None
    at = {field: columns[place] for place, field in enumerate(layout.header)}
    time = at[layout.columns["event_time"]]
    if (
        mapping.columns.get("event_time") != time.name
        or not mapping.clock
        or mapping.clock.time_format != layout.time_format
    ):
        return False
    if "event_type" in layout.columns:
        return set(at[layout.columns["event_type"]].counts) <= set(layout.event_types)
    return name == "yoochoose" and layout.header.index("session") == 0
