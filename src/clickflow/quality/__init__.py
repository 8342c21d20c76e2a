"""The Great Expectations suites over events, and their runner."""
