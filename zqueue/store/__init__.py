"""Where entries survive: segment files in a data dir. It knows nothing of brokers."""
