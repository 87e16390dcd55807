"""One file per section of the report, in the order of the method."""
