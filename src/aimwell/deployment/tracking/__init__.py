"""Signed links, opens and clicks with machines kept apart, the unsubscribe page and the preference centre."""
