"""From facts and a machine to numbers: memory by part, context, n-max, placement. Pure."""
