"""The command line: one group per step, and the round."""
