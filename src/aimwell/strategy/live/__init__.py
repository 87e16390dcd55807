"""The live twin of the plan: one decision at a time, at the plan's prices, from the same budgets."""
