"""What an insert run needs besides its pipeline: what changed since the last run, and the list of rejected images."""
