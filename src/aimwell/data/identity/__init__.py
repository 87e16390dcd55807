"""Which customer records are one person: found by identifiers and by likeness, kept as a log, undone at will."""
