"""``python -m zqueue`` is the same as ``zqueue``."""

from .cli import main

if __name__ == "__main__":
    main()
