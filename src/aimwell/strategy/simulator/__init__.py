"""The market simulator: whole rounds with a policy, in memory, on a crowd like the workspace's own. All simulated."""
