"""The optimiser for many customers: what ``strategy.problem`` asks, as compact arrays and compiled passes."""
