"""A photograph to a photograph: reading, batching by bucket, colouring, recombining, writing.

Rooms within, each importing only those before it: `chroma` (arrays of colour), `files` (a
photograph on disk), `words` (what prompts say); then the model's batches and the photographs on
their way, the library's face, `film`, and `command`, which nothing here imports but `__main__`.
"""
