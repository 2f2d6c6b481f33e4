"""`python -m modules`: starts the server inside the environment created by launch.py."""

import gc
import sys

if __name__ == "__main__":
    # Nothing that is imported and built at the start is garbage, and looking for it took a seventh of the time until
    # the page answers. The server turns it on again when it serves.
    gc.disable()
    from modules.app import main

    sys.exit(main(sys.argv[1:]))
