"""The making of the pair that ships as `demo`."""
