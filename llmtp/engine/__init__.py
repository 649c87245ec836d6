"""What llmtp asks of any engine; below, each of them."""
