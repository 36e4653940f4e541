"""Training stages: what is learned, from what, with which loss."""
