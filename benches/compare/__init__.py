"""The agent and its peers' upload loop, compared on one Garage server."""
