"""Step 3 of a round: what customers are worth, what they will buy, and what our actions change about it."""
