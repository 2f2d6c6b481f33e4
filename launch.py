"""Sets the WebUI up if need be and starts it; `webui.sh` and `webui.bat` find a Python for this."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent

if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))  # Python leaves it out with PYTHONSAFEPATH and with -I

    from modules.launch.bootstrap import main

    sys.exit(main(sys.argv[1:], ROOT))
