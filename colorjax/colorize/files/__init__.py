"""One photograph as a file: its pixels, what its file says beside them, and the result written."""
