"""Automated journeys 自动化旅程: per-customer flows started by an event, a segment, a schedule or a date."""
