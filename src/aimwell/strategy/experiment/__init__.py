"""Test design: who gets which arm, what can be seen, how long it takes, when to stop, and what it costs."""
