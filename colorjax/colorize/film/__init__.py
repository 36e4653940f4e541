"""Frames of a film: the model colours some, and their colours are carried along the motion."""
