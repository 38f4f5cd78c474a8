"""The worker host: worker processes that run handlers, and the supervisor of them."""
