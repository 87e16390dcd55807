"""Step 6, evaluation 评估: what a plan caused, what it was worth, and what the next round learns from it."""
