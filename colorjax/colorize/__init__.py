"""A photograph to a photograph: reading, batching by bucket, colouring, recombining, writing."""
