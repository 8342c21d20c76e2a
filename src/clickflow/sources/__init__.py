"""Where a log comes from: a folder a kind of source, `source.kind`, whose `fetch` gives the raw files."""
