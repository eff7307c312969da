"""What the agent makes of a bad line: packets that get lost, a cut that nobody tells of, a router that forgets."""
