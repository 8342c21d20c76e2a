"""The canonical event, sources and readers, ingest, quarantine, pseudonyms."""
