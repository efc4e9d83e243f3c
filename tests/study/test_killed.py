"""A server that is killed loses no answer that it acknowledged."""

import signal
import socket
import subprocess
import sys
import time
from uuid import uuid4

import httpx

from studies import make_study
from xmcgan.study.storage import read_answers, sqlite_url


def test_killed_after_an_answer(tmp_path):
    study = make_study(tmp_path, captions=3, criteria=("realism",))
    token = (study / "links.txt").read_text().split()[0].rsplit("/", 1)[1]
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = subprocess.Popen([sys.executable, "-m", "xmcgan", "study", "serve", str(study), "--port", str(port)])
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
            until = time.monotonic() + 60
            while time.monotonic() < until:
                try:
                    client.get("/health")
                    break
                except httpx.TransportError:
                    time.sleep(0.1)
            client.post(f"/api/a/{token}/consent")
            step = client.post(f"/api/a/{token}/introduced", json={"criterion": "realism"}).json()
            body = {
                "key": step["task"]["key"],
                "client_key": uuid4().hex,
                "ranking": [[0], [1], [2], [3]],
                "seconds": 1,
            }
            assert client.post(f"/api/a/{token}/answer", json=body).status_code == 200
            server.send_signal(signal.SIGKILL)
    finally:
        server.kill()
        server.wait()
    (answer,) = read_answers(sqlite_url(study))[1]
    assert [group[0] for group in answer.ranking] == list(answer.shown_order)
