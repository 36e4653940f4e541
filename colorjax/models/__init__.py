"""Linen modules: no config files, no mesh, no input or output."""
