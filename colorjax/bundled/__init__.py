"""The small model that comes with the package."""
