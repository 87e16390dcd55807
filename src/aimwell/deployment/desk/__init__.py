"""The desk: what people do by hand: calls, answers that must be read, visits; and what came of it."""
