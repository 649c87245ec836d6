"""A/B with and without MTP: prompts, rounds, what they add up to, records and pages."""
