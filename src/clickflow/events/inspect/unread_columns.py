"""What columns that are not read say of a file's rows, and a log would be wrong without."""

from collections.abc import Iterator, Sequence

import pyarrow.compute as pc

from clickflow.events.inspect.matched_columns import Column, Mapped
from clickflow.events.inspect.words import plain, type_named


def _names(text: str) -> frozenset[str]:
    return frozenset(map(plain, text.split()))


STATES = _names(
    """status state order_status order_state financial_status payment_status payment_state transaction_status
    invoice_status zustand bestellstatus auftragsstatus zahlungsstatus statut etat estado estado_pedido 订单状态
    支付状态 状态"""
)
"""What a column is called that says what became of an order."""
UNDONE = _names(
    """voided void failed failure declined denied rejected expired unpaid chargeback charged_back abandoned
    trash deleted partially_refunded fehlgeschlagen abgelehnt abgebrochen échoué refusé anulado rechazado
    fallido 已取消 已退款 已关闭 交易关闭 未支付"""
)
"""Besides the names of `cancel`, states in which nothing was sold."""
UNDOING = _names(
    """cancelled_at canceled_at cancellation_date refunded_at refund_date returned_at return_date voided_at
    deleted_at stornodatum storniert_am annule_le cancelado_en"""
)
"""What a column is called that has a time where nothing was sold in the end."""
MARKS = _names(
    """exclude_hit is_excluded excluded is_bot bot is_robot robot is_crawler crawler is_spider spider br_is_bot
    is_test test test_order is_test_order is_internal internal is_staff is_employee is_fraud fraud is_spam
    spam is_deleted deleted is_cancelled is_canceled cancelled canceled is_refunded refunded is_returned
    is_duplicate storniert 是否取消 是否退款"""
)
"""What a column is called that marks rows which do not count."""
YES = frozenset(("1", "true", "t", "yes", "y", "x", "ja", "wahr", "oui", "vrai", "si", "sí", "是"))
COUNTS = _names(
    """event_count events_count total_events number_of_events hits hit_count hits_count count cnt occurrences
    frequency click_count view_count page_view_count num_events ereignisanzahl 事件数 次数"""
)
"""What a column is called that says how many events a row stands for."""
AMOUNTS = _names(
    """amount total revenue value turnover net_amount gross_amount line_total line_amount total_price total_amount
    order_value subtotal sales net_sales sum betrag gesamt umsatz summe gesamtbetrag montant total_ttc total_ht
    importe valor 金额 总金额"""
)
"""What a column is called that holds the money of a row."""
NEGATIVE = r"^[^\d.,+-]{0,4}(?:-[^\d]{0,4}\d|\(\d)|^[^-]*\d-$"
"""Also in brackets, as books have it, and with the minus behind."""


def sayings(columns: Sequence[Column], mapping: Mapped) -> Iterator[str]:
    """What is not sure because of columns that nothing was made of."""
    taken = set(mapping.columns.values())
    for column in columns:
        if column.name in taken or not len(column.filled):
            continue
        name = plain(column.name.rpartition(".")[2])
        if name in STATES:
            states = {value: n for value, n in column.counts.items() if _undone(value)}
            if states:
                some = ", ".join(f"{value!r} {n:,}" for value, n in list(states.items())[:4])
                yield (
                    f"{column.name} says of rows that nothing was sold in the end ({some}): it is not read, and they "
                    "are taken like all others; leave them out of the export, or write their type into a column"
                )
        elif name in UNDOING and column.share < 1:
            yield (
                f"{column.name} is filled in {len(column.filled):,} rows: it is not read, and they are taken like all "
                "others; leave them out of the export, or write their type into a column"
            )
        elif name in MARKS and column.distinct <= 20:
            marked = sum(n for value, n in column.counts.items() if _yes(name, value))
            if marked:
                yield (
                    f"{column.name} marks {marked:,} of the {column.rows:,} rows: it is not read, and they are taken "
                    "like all others; leave them out of the export"
                )
        elif name in AMOUNTS and column.numeric > 0.5:
            below = pc.sum(pc.match_substring_regex(column.filled, NEGATIVE)).as_py() or 0
            if 0 < below < 0.5 * len(column.filled):
                yield (
                    f"{column.name} is below zero in {below:,} rows, as of what was given back: it is not read, and "
                    "they are taken like all others; leave them out of the export, or write their type into a column"
                )
        elif name in COUNTS and column.numeric > 0.99:
            more = sum(n for value, n in column.counts.items() if value.strip("0. ") not in ("", "1"))
            if more > 0.05 * column.rows:
                yield (
                    f"{column.name} says how many events a row stands for: it is not read, and each row is taken for "
                    "one; where they are several, export the events themselves"
                )


def _undone(state: str) -> bool:
    return plain(state) in UNDONE or type_named(state) == "cancel"


def _yes(name: str, value: str) -> bool:
    """Whether a value marks a row; of Adobe's `exclude_hit` every number but 0 does."""
    if name == "excludehit":
        return value.strip("0.") != ""
    return value.casefold() in YES or value in ("1.0",)
