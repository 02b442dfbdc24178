"""From an out-of-memory error of torch to the operation: the message, the requests of a run, and what fits."""
