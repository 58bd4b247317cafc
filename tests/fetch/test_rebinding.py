"""A name server that gives another address at each request, on an isolated network."""

from __future__ import annotations

import shutil
import subprocess
import sys

import pytest

from tests.support.program import ROOT, program_env

PUBLIC = "93.184.215.14"  # on this network it is an address of its only machine
ISOLATED = ["unshare", "--user", "--map-root-user", "--mount", "--net"]
ENTER = f"""
set -e
ip link set lo up
ip address add {PUBLIC}/32 dev lo
echo "nameserver 127.0.0.1" > "$2"
mount --bind "$2" /etc/resolv.conf
exec "$0" -c "$1"
"""
# The page at each address shows that address.
CODE = f"""
import http.server, socket, struct, threading
from pipelines.errors import UnreadableImage
from pipelines.fetch.read import read_file

answers, asked = ["{PUBLIC}", "127.0.0.1", "{PUBLIC}"], []
names = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
names.bind(("127.0.0.1", 53))

def resolve():
    while True:
        query, client = names.recvfrom(512)
        end = query.index(0, 12) + 5
        is_ipv4 = query[end - 4 : end - 2] == b"\\0\\1"
        head = query[:2] + b"\\x81\\x80\\0\\1" + (b"\\0\\1" if is_ipv4 else b"\\0\\0") + bytes(4) + query[12:end]
        if is_ipv4:
            asked.append(answers[min(len(asked), len(answers) - 1)])
            head += b"\\xc0\\x0c\\0\\1\\0\\1" + struct.pack(">IH", 0, 4) + socket.inet_aton(asked[-1])
        names.sendto(head, client)

class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = self.connection.getsockname()[0].encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass

threading.Thread(target=resolve, daemon=True).start()
server = http.server.ThreadingHTTPServer(("0.0.0.0", 8000), Page)
threading.Thread(target=server.serve_forever, daemon=True).start()
for _ in range(3):
    try:
        print(read_file("http://rebinding.example:8000/").decode())
    except UnreadableImage as error:
        print(error)
print(asked)
"""


def test_a_name_server_that_rebinds_leads_to_no_private_address(tmp_path_factory: pytest.TempPathFactory) -> None:
    if shutil.which("ip") is None or shutil.which("unshare") is None or subprocess.run([*ISOLATED, "true"]).returncode:
        pytest.skip("a network of its own needs ip, unshare and user namespaces")
    resolv = tmp_path_factory.mktemp("resolver") / "resolv.conf"
    done = subprocess.run(
        [*ISOLATED, "bash", "-c", ENTER, sys.executable, CODE, resolv], cwd=ROOT, env=program_env(),
        capture_output=True, text=True, timeout=100,
    )  # fmt: skip
    refused = "rebinding.example (127.0.0.1) is a private address; --allow-private-urls lets it be fetched"
    assert done.stdout.splitlines() == [PUBLIC, refused, PUBLIC, str([PUBLIC, "127.0.0.1", PUBLIC])], done.stderr
