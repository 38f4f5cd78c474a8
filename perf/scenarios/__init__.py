"""Load scenarios for the HTTP gateway: run.py."""
