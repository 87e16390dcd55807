"""Step 1, goals 目标: what marketing is for, measured how, from where to where, by when, for how much."""
