"""A model that colours photographs for many clients, by HTTP."""
