"""`python -m semiseg`, also under torchrun: `torchrun --nproc-per-node 4 -m semiseg train RECIPE`."""

import sys

from semiseg.cli import main

if __name__ == "__main__":
    sys.exit(main())
