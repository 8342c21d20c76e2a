"""Real shop logs are ingested once for all tests, of any worker, that ask for the same by the same params."""

import hashlib
import json

import pytest
from ingest_setup import Outcome, counted

from clickflow.events.ingest import ingest
from clickflow.params.schema import Params
from clickflow.system.paths import Paths
from once import once


def ingested(temporary: pytest.TempPathFactory, params: Params) -> Outcome:
    """What an ingest by these params leaves, to be read; where they differ in anything it is another ingest."""
    name = hashlib.sha256(repr(params).encode()).hexdigest()[:16]
    paths = Paths(once(temporary, f"log-{name}", lambda folder: ingest(params, Paths(folder))))
    return counted(json.loads(paths.ingest_card.read_text(encoding="utf-8")), paths)
