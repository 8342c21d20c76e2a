"""What a good row is, as params.yaml says it."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from clickflow.events import basis, origins
from clickflow.events.checks import Rules
from clickflow.events.forgotten import NOBODY, Forgotten
from clickflow.events.presets import Layout
from clickflow.params.schema import Params


def rules_for(params: Params, key: bytes, people: Forgotten = NOBODY) -> Callable[[Layout], Rules]:
    """What a good row is, for a layout; rows of `people` are neither good nor bad."""
    source = origins.as_read(params.source)
    now = basis.utc(params.source.as_of) if params.source.as_of else datetime.now(UTC)
    latest = now + timedelta(minutes=params.ingest.future_tolerance_minutes)

    def rules(layout: Layout) -> Rules:
        return Rules(
            event_types=layout.event_types,
            nulls=source.nulls,
            decimal=source.decimal,
            thousands=source.thousands,
            currency=source.currency,
            bad_optional=params.ingest.bad_optional,
            time_format=layout.time_format,
            timezone=source.timezone,
            cancel_prefix=layout.cancel_prefix,
            latest=int(latest.timestamp() * 1e6),
            max_text_length=params.ingest.max_text_length,
            require_user=params.ingest.require_user,
            key=key,
            forgotten=people,
        )

    return rules
