"""A webhook receiver that verifies signatures: `TOCSIN_SECRET=whsec_... python examples/receiver.py`."""

import json
import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from standardwebhooks.webhooks import Webhook, WebhookVerificationError

webhook = Webhook(os.environ["TOCSIN_SECRET"])
seen: set[str] = set()  # keep it in a database: a delivery may come again after your restart


class Receiver(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = self.rfile.read(min(int(self.headers.get("Content-Length", 0)), 1_000_000))
        try:
            webhook.verify(body, {name.lower(): value for name, value in self.headers.items()}, json_parse=False)
        except (WebhookVerificationError, ValueError):
            self.send_response(401)
            self.end_headers()
            return
        event = json.loads(body)
        if self.headers["webhook-id"] not in seen:  # at least once: the same id may come twice
            seen.add(self.headers["webhook-id"])
            data = event["data"]
            print(event["type"], data.get("severity"), data.get("key") or data.get("message"), flush=True)
        self.send_response(204)  # only now: what you could not keep must be sent again
        self.end_headers()


ThreadingHTTPServer(("127.0.0.1", int(os.environ.get("PORT", "9000"))), Receiver).serve_forever()
