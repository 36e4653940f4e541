"""A release as hubs want it: a folder with its files, as they are, and a model card."""
