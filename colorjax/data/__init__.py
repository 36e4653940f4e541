"""From files to NumPy batches; never imports jax."""
