"""`python -m whetstone doctor`, the same as `whetstone doctor`."""

import sys

from whetstone.doctor import main

if __name__ == "__main__":
    sys.exit(main())
