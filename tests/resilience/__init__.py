"""Crashes at random moments and bad lines, observed by independent tools."""
