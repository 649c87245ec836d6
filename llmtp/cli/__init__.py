"""The terminal: commands, options, the error boundary, and what is drawn. No logic."""
