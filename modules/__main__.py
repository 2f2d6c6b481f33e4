"""`python -m modules`: starts the server inside the environment created by launch.py."""

import sys

from modules.app import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
