"""GGUF headers to typed facts: bounds-checked, without numpy, never the tensor data."""
