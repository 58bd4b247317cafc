"""What an insert run needs beside its pipeline: what changed since the last one, and the list of rejected images."""
