"`python -m anchoral` is the `anchoral` command."
import sys

from anchoral.cli import main

if __name__ == "__main__":
    sys.exit(main())
