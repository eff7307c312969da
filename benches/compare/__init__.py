"""Our way and the peers' loop, side by side against one Garage server."""
