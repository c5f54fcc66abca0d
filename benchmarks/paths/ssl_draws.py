"""ssl: each draw of OpenSSL passes a hook."""

from benchmarks.case import Case

HANDSHAKE = """
import os, ssl, subprocess, tempfile
with tempfile.TemporaryDirectory() as folder:
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
         "-keyout", f"{folder}/key", "-out", f"{folder}/cert", "-subj", "/CN=localhost", "-days", "2"],
        check=True, capture_output=True,
    )
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(f"{folder}/cert", f"{folder}/key")
client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
client.check_hostname, client.verify_mode = False, ssl.CERT_NONE

def shake():
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [client.wrap_bio(back, there), server.wrap_bio(there, back, server_side=True)]
    while ends:
        for end in ends[:]:
            try:
                end.do_handshake()
                ends.remove(end)
            except ssl.SSLWantReadError:
                pass
"""

CASES = [
    Case("ssl.RAND_bytes(16)", "draw(16)", "from ssl import RAND_bytes as draw", ratio=1.02, counted=True),
    Case("TLS 1.3 handshake, both ends in memory", "shake()", HANDSHAKE, ratio=1.01),
]
