"""Where the corpus comes from: packages, and chats that are made."""
