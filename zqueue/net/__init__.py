"""Where the world is touched: sockets, signals, the collector. Knows nothing of tasks."""
