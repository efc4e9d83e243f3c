"""A web server of a folder in a process of its own: pages that list folders, and parts of files, as servers have them.

python web_folder.py FOLDER [--no-pages] [--no-parts]
"""

import os
import re
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class Handler(SimpleHTTPRequestHandler):
    pages, parts = True, True

    def list_directory(self, path):
        if self.pages:
            return super().list_directory(path)
        self.send_error(403)
        return None

    def do_GET(self):
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        path = Path(self.translate_path(self.path))
        if not (self.parts and wanted and path.is_file()):
            super().do_GET()
            return
        content = path.read_bytes()
        start, end = int(wanted[1]), min(int(wanted[2] or len(content)), len(content) - 1)
        self.send_response(206)
        self.send_header("Content-Range", f"bytes {start}-{end}/{len(content)}")
        self.send_header("Content-Length", str(end + 1 - start))
        self.end_headers()
        self.wfile.write(content[start : end + 1])

    def log_message(self, *_):
        pass


@contextmanager
def web_folder(folder: Path, *flags: str) -> Generator[str]:
    """The URL of a folder while a process serves it."""
    command = [sys.executable, __file__, str(folder), *flags]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        finally:
            process.kill()


if __name__ == "__main__":
    os.chdir(sys.argv[1])
    Handler.pages, Handler.parts = "--no-pages" not in sys.argv, "--no-parts" not in sys.argv
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    print(server.server_port, flush=True)
    server.serve_forever()
