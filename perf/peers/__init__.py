"""What a user would pick instead of zqueue, measured side by side with it."""
