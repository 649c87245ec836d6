"""A record as one page that needs nothing else: words, tables, and charts of our own."""
