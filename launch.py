"""Sets the WebUI up if need be and starts it; `webui.sh` and `webui.bat` find a Python for this."""

import sys
from pathlib import Path

from modules.launch.bootstrap import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], Path(__file__).resolve().parent))
