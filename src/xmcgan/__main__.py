"""``python -m xmcgan``, and ``torchrun -m xmcgan``: the command line."""

import sys

from xmcgan.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
