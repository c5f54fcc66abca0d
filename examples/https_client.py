"""Asks https_server.py a few times, each time over a new TLS connection.

    python examples/https_client.py https://localhost:PORT CERTIFICATE [--times 3]

Look at: the node stays the same; session and trace differ in each answer. Start the client by `snapsafe run` if it may
be cloned, too: then its side of each TLS handshake differs in every clone.
"""

import argparse
import ssl
import sys
import urllib.request


def main():
    parser = argparse.ArgumentParser(description="Asks https_server.py a few times.")
    parser.add_argument("address", help="what the server printed first")
    parser.add_argument("certificate", help="what the server printed second: the file to trust it by")
    parser.add_argument("--times", type=int, default=3)
    options = parser.parse_args()
    try:
        tls = ssl.create_default_context(cafile=options.certificate)
        for _ in range(options.times):
            with urllib.request.urlopen(options.address, timeout=10, context=tls) as answer:
                print(answer.read().decode(), flush=True)
    except (OSError, ValueError) as error:  # OSError: urllib's and ssl's errors as well
        sys.exit(
            f"https_client.py: {options.address}: {error}; is https_server.py running, and is this its certificate?"
        )


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
