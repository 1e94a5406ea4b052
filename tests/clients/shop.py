"""A shop's web server, whose pages a browser opens."""

import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from configs.settings import PROJECT_DIR

TYPESCRIPT = PROJECT_DIR / "clients" / "typescript"


class Shop:
    """A web server of a shop, on an origin of its own. Its pages are `pages`, and the folder `dist` of the client."""

    def __init__(self) -> None:
        next_page = "<!doctype html><title>Next</title>the next page"
        self.pages = {"/next.html": next_page, "/product.html": next_page}
        shop = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_: Any) -> None:
                pass

            def do_GET(self) -> None:
                name = self.path.partition("?")[0]
                file = TYPESCRIPT / name.lstrip("/")
                is_script = re.fullmatch(r"/dist/\w+\.js", name) is not None and file.is_file()
                body = file.read_bytes() if is_script else shop.pages.get(name, "").encode()
                self.send_response(200 if body else 204)
                self.send_header("content-type", "text/javascript" if is_script else "text/html")
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.origin = f"http://127.0.0.1:{self.server.server_port}"
