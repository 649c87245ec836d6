"""Which files a model reference means."""
