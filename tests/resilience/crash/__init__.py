"""Uploads killed at random moments, and an independent check of the results: `scripts/crash`."""
