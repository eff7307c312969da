"""Crashes at random moments and bad lines, with tools that look from outside."""
