"""The inference process of `mixsd up`: `python -m worker.inference --socket N`.

Standard input is a pipe from whoever started it. When that ends, this process ends as well.
"""

import argparse
import logging
import os
import socket
import sys
import threading

from app.settings import Settings
from worker.inference.serving import serve


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    parser = argparse.ArgumentParser(prog="worker.inference", description=__doc__)
    parser.add_argument("--socket", type=int, required=True, help="Descriptor of a socket that listens.")
    options = parser.parse_args()
    threading.Thread(target=_end_with_parent, name="parent", daemon=True).start()
    serve(Settings(), socket.socket(fileno=options.socket), ends_when_idle=True)


def _end_with_parent() -> None:
    sys.stdin.buffer.read()
    os._exit(0)


if __name__ == "__main__":
    main()
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)  # not sys.exit: threads of libraries must not keep it alive
