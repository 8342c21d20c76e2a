"""Exports of shops' tools and public data sets by name: their files, and what must come of them."""

from export_form import Export
from export_ids import IDS
from export_meanings import MEANINGS
from export_spreadsheets import SPREADSHEETS
from export_tools import TOOLS

EXPORTS: dict[str, Export] = {**TOOLS, **SPREADSHEETS, **IDS, **MEANINGS}
