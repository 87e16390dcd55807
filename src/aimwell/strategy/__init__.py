"""Step 4 战略: offers and actions, the optimiser with its certificate, the frontier, and the experiment's design."""
