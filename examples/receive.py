"""Receives callbacks: checks who sends them and prints what they say, one line of JSON for each.

    STEPSTREAM_WEBHOOK_SECRET=whsec_... python3 receive.py PORT

The form is that of https://www.standardwebhooks.com. Port 0 takes one that is free; the first line says which.
"""

import base64
import hashlib
import hmac
import os
import sys
import time
from http.server import BaseHTTPRequestHandler, HTTPServer

SECRETS = [base64.b64decode(secret.strip().removeprefix("whsec_"))
           for secret in os.environ["STEPSTREAM_WEBHOOK_SECRET"].split(",")]
FIVE_MINUTES = 300
LONGEST = 1 << 20
seen = set()


def is_ours(headers, body):
    """Whether somebody who has a secret of ours has signed it, and lately."""
    stamp = headers["webhook-timestamp"]
    if abs(time.time() - int(stamp)) > FIVE_MINUTES:
        return False
    signed = b".".join([headers["webhook-id"].encode(), stamp.encode(), body])
    wanted = ["v1," + base64.b64encode(hmac.new(secret, signed, hashlib.sha256).digest()).decode() for secret in SECRETS]
    given = headers["webhook-signature"].split()
    return any(hmac.compare_digest(one, other) for one in wanted for other in given)


class Receiver(BaseHTTPRequestHandler):
    def do_POST(self):
        try:
            body = self.rfile.read(min(int(self.headers["content-length"]), LONGEST))
            ours = is_ours(self.headers, body)
        except (AttributeError, TypeError, ValueError):
            ours = False
        self.send_response(204 if ours else 401)
        self.end_headers()
        # It comes at least once, each time under the same id.
        if ours and self.headers["webhook-id"] not in seen:
            seen.add(self.headers["webhook-id"])
            print(body.decode(), flush=True)

    def log_message(self, *_):
        pass


if __name__ == "__main__":
    server = HTTPServer(("127.0.0.1", int(sys.argv[1])), Receiver)
    print(f"http://127.0.0.1:{server.server_port}/done", flush=True)
    server.serve_forever()
