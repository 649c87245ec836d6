"""GGUF headers to typed facts: bounds-checked, without numpy; reads at most 1 MiB too far."""
