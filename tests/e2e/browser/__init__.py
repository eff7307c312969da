"""What a person sees and does: a real browser on Home Assistant's own frontend."""
