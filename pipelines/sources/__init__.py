"""What is to be indexed: a CSV of paths or a folder, read in chunks, checked whole before any work is done."""
