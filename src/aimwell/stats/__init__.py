"""Statistics as pure functions of aggregates or arrays: intervals, tests, power, adjustment.

Nothing here knows a table, a customer or a campaign. Every file is one noun.
"""
