"""Runs one driver: ``python -m peers NAME``, with this folder's parent on the module path."""

import sys
from importlib import import_module

from peers import driver

if __name__ == "__main__":
    driver.choose_port()  # Before the import: the systems' modules need the address then.
    driver.serve(import_module(f"peers.{sys.argv[1]}").Driver)
