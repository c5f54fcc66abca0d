"""An ordinary application, without a line about clones: answers each line on its standard input with an order."""

import json
import random
import string
import sys
import tempfile
import uuid

vouchers = random.Random()


def order() -> dict[str, str]:
    return {
        "id": str(uuid.uuid4()),
        "number": f"{random.getrandbits(64):016x}",
        "voucher": "".join(vouchers.choices(string.ascii_uppercase, k=16)),
        "file": tempfile.mktemp(prefix="order-"),
    }


if __name__ == "__main__":
    for _ in sys.stdin:
        print(json.dumps(order()), flush=True)
