"""The event contract, sources, ingest, quarantine, pseudonyms and the simulator."""
