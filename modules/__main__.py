"""`python -m modules`: the server, inside the environment that launch.py has made."""

import sys

from modules.app import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
