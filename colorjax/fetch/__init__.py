"""Published weights, from where they are to be had, as releases in the cache."""
