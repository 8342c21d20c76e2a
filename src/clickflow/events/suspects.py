"""Ids that may not mean what they seem: one thing in several spellings, several in one id, a person's address."""

import html
from collections.abc import Iterator
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.compute as pc

FEW, SHARE = 3, 0.01
"""From so many ids, and so large a share of them, on a suspicion is worth a word."""
LOOKED_AT = 10_000
"""Ids with a separator in them that are taken apart."""
SEPARATED = r"^[^|;,]+(?:[|;,][^|;,]+)+$"
PACKED, PACKED_SHARE = r"^[^;|]*(?:[;|][^;|]*){2,}$", 0.9
"""Values with separators between, which most ids have."""
CODED = r"%[0-9A-Fa-f]{2}|&#?[0-9A-Za-z]+;"
QUOTED = r"""^(?:=?".*"|'.*)$"""
DATED = (
    r"(?i)^(?:\d{1,2}[-. ]{1,2}(?:jan|feb|m[aä]r|mrz|apr|ma[iy]|jun|jul|aug|sep|o[ck]t|nov|de[cz])[a-zé]*"
    r"|(?:jan|feb|m[aä]r|mrz|apr|ma[iy]|jun|jul|aug|sep|o[ck]t|nov|de[cz])[a-zé]*[-. ]{1,2}\d{2})\.?$"
)
"""What a spreadsheet makes of `1-3` and `MAR1`."""
GROUPED, SMALL = r"^[1-9]\d{0,2}(?:[,.'’ \x{a0}\x{202f}]\d{3})+$", r"^\d{1,3}$"
"""Numbers whose digits stand in groups, as spreadsheets and reports show them; and those too small for it."""
UNSEEN = r"\p{Cf}"
"""Letters that nobody sees: soft hyphens, marks of the direction of writing."""
PAGE, BEYOND_PAGE = r"^(?:https?://|www\.|/)[^\s]*$", r"^(?:https?://)?(?:www\.)?([^?#]*?)/*(?:[?#].*)?$"
"""Addresses of pages; what they are without their beginning, and without what follows `?` and `#`."""
MOST_OF_PAGE = 10
EXPONENT, DIGITS = r"^\d+[eE]\d+$", r"^\d+$"
ADDRESS = r"[^\s@:/?&=]+@[^\s@]+\.[A-Za-z]{2,}"


def of_spelling(what: str, ids: pa.Array) -> Iterator[str]:
    """Distinct ids that differ by case, by Unicode's forms of a letter, by groups of digits or by zeros in front alone:
    each is another one, and one person, visit or item may be several.
    """
    folded = pc.utf8_lower(pc.utf8_normalize(_decoded(ids), form="NFKC"))
    folded = pc.replace_substring_regex(folded, UNSEEN, "")
    folded = pc.replace_substring_regex(folded, r"""^(?:=?"(.*)"|'([^']*)'?)$""", r"\1\2")
    folded = pc.replace_substring_regex(folded, r"^0*([0-9]+?)(?:\.0)?$", r"\1")
    grouped = pc.match_substring_regex(folded, GROUPED)
    folded = pc.if_else(grouped, pc.replace_substring_regex(folded, r"[^0-9]", ""), folded)
    first = pc.index_in(folded, folded.unique())
    seen = len(folded.unique())
    if len(ids) - seen < max(FEW, SHARE * len(ids)):
        return
    counted = pc.value_counts(first)
    twin = counted.field("values").filter(pc.greater(counted.field("counts"), 1))[0]
    one, other = ids.filter(pc.equal(first, twin)).to_pylist()[:2]
    yield (
        f"{what}: {len(ids):,} ids are {seen:,} where case, forms of letters, groups of digits, quotes and zeros "
        f"in front do not count, such as {one!r} and {other!r}: each is another one; write them in one form"
    )


def of_numbers(what: str, ids: pa.Array) -> Iterator[str]:
    """Distinct ids that are numbers in a form that other files, and other formats, do not have."""
    grouped = _count(ids, GROUPED)
    if grouped >= FEW and grouped + _count(ids, SMALL) >= PACKED_SHARE * len(ids):
        some = ids.filter(pc.match_substring_regex(ids, GROUPED))[0].as_py()
        yield (
            f"{what}: {grouped:,} ids are numbers whose digits stand in groups, such as {some!r}: without them, as "
            "other files may have it, each is another one; write them as plain digits"
        )
    powers = _count(ids, EXPONENT)
    if powers >= FEW and powers + _count(ids, DIGITS) == len(ids):
        some = ids.filter(pc.match_substring_regex(ids, EXPONENT))[0].as_py()
        yield (
            f"{what}: {powers:,} ids are numbers with an exponent, such as {some!r}, and all others whole numbers: "
            "in text they are kept as they stand, in JSON they are their digits; write them as plain digits"
        )


def of_pages(what: str, ids: pa.Array) -> Iterator[str]:
    """Distinct ids that are addresses: by what campaigns and places on a page add to them one page is several."""
    pages = ids.filter(pc.match_substring_regex(ids, PAGE))
    if len(pages) < PACKED_SHARE * len(ids):
        return
    alone = pc.count_distinct(pc.replace_substring_regex(pages, BEYOND_PAGE, r"\1")).as_py()
    # of many more addresses than pages the item stands behind the `?`
    if len(pages) - alone >= max(FEW, SHARE * len(pages)) and MOST_OF_PAGE * alone >= len(pages):
        some = pages.filter(pc.match_substring_regex(pages, r"[?#]|/$"))[0].as_py()
        yield (
            f"{what}: {len(pages):,} ids are addresses of {alone:,} pages where what follows ? and #, and a last "
            f"slash, do not count, such as {some!r}: each is another one; write the page's own name"
        )


def _count(ids: pa.Array, pattern: str) -> int:
    return pc.sum(pc.match_substring_regex(ids, pattern)).as_py() or 0


def of_items(ids: pa.Array | pa.ChunkedArray) -> Iterator[str]:
    """What distinct ids of items leave unsure, a sentence each; none quotes a person's address."""
    if isinstance(ids, pa.ChunkedArray):
        ids = ids.combine_chunks()
    yield from of_spelling("item_id", ids)
    yield from of_numbers("item_id", ids)
    yield from of_pages("item_id", ids)
    separated = pc.and_not(pc.match_substring_regex(ids, SEPARATED), pc.match_substring_regex(ids, GROUPED))
    several = ids.filter(separated)[:LOOKED_AT]
    if len(several):
        parts = pc.split_pattern_regex(several, "[|;,]")
        known = pa.ListArray.from_arrays(parts.offsets, pc.is_in(parts.flatten(), ids).cast(pa.int8()))
        joined = [text for text, each in zip(several.to_pylist(), known.to_pylist(), strict=True) if all(each)]
        if len(joined) >= FEW:
            yield (
                f"item_id: {len(joined):,} ids are several other items in one, such as {joined[0]!r}: each is an item "
                "of its own here; write a row for each item"
            )
    packed = pc.match_substring_regex(ids, PACKED)
    if (count := pc.sum(packed).as_py() or 0) >= max(FEW, PACKED_SHARE * len(ids)):
        yield (
            f"item_id: {count:,} of {len(ids):,} ids hold several values, such as {ids.filter(packed)[0].as_py()!r}: "
            "one item with another price or number is another item here; write each value into a column of its own"
        )
    if (count := pc.sum(pc.match_substring_regex(ids, QUOTED)).as_py() or 0) >= FEW:
        yield (
            f"item_id: {count:,} ids stand in quotes, which are a part of them here: a quote counts where a field "
            'begins with it, without a space before, and only a double one; spreadsheets write ="007" and \'007'
        )
    dated = ids.filter(pc.match_substring_regex(ids, DATED))
    if len(dated) >= FEW:
        yield (
            f"item_id: {len(dated):,} ids look like dates that a spreadsheet made of them, such as "
            f"{dated[0].as_py()!r}: several may have become one; export them again as text"
        )
    yield from of_addresses("item_id", ids)


def _decoded(ids: pa.Array) -> pa.Array:
    """Ids without what a page's address or HTML makes of letters: `shoe%20a`, `a&amp;b`."""
    coded = pc.match_substring_regex(ids, CODED)
    plain = [html.unescape(unquote(text)) for text in ids.filter(coded).to_pylist()]
    return pc.replace_with_mask(ids, coded, pa.array(plain, pa.string())) if plain else ids


def of_addresses(what: str, values: pa.Array) -> Iterator[str]:
    """Whether distinct values, which are no pseudonyms, hold e-mail addresses."""
    count = pc.sum(pc.match_substring_regex(values, ADDRESS)).as_py() or 0
    if count >= FEW:
        yield (
            f"{what}: {count:,} values hold what looks like an e-mail address, and are kept as they stand, no "
            "pseudonyms: take them out of the log, or name the column user_id alone"
        )
