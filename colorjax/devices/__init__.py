"""Processes, meshes and chips: how a program is laid over devices, whatever it computes."""
