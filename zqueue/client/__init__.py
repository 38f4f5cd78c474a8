"""The client: what sends tasks and receives their results."""
