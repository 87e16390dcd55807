"""What every room shares: text, errors, ids, money, time, seeds and the tables that the steps hand over."""
