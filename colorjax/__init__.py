"""Text-guided image colorization in JAX: L-CAD and Diffusing Colors."""

__version__ = "0.1.0"
