"""`python -m crawler` is `dht-crawler`."""

import sys

from crawler.cli import main

if __name__ == "__main__":
    sys.exit(main())
