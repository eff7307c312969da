"""Uploads that are killed at random moments, and an independent look at what came of them: `scripts/crash`."""
