"""For tests: a certificate that vouches for itself, for two days from now."""

import subprocess

import pytest


def make(folder, name):
    """Writes folder/certificate and folder/key; `name` is "IP:..." or "DNS:..."."""
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-noenc",
        "-days",
        "2",
    ]
    command += ["-subj", "/CN=test", "-addext", f"subjectAltName={name}"]
    command += ["-keyout", f"{folder}/key", "-out", f"{folder}/certificate"]
    try:
        subprocess.run(command, check=True, capture_output=True, timeout=60)
    except FileNotFoundError:
        pytest.skip("no openssl here, to make a certificate")
    return folder
