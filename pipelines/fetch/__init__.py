"""Read the bytes of files that are local, on the web or in object stores."""
