"""The bytes of files, wherever they are: local, on the web, in object stores."""
