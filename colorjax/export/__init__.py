"""A whole colorizer as one file, which runs without the code of its networks."""
