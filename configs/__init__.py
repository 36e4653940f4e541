"""Configurations of training: `get_config(variants)` in each file.

Installed, they are `colorjax.configs`, where `--config=configs/lcad.py` finds what is not in the
current folder.
"""
