"""The container's command, by another user, where nothing but a temporary folder can be written."""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from colorjax.serve import __main__ as serve

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "launch" / "Dockerfile").read_text().replace("\\\n", " ")
# In a mount namespace of its own: everything read-only, an empty /tmp, and no way to be root again.
READ_ONLY = """
mount -t tmpfs tmpfs /tmp && mount -o remount,ro,bind / || exit 77
cd / && exec setpriv --reuid=65534 --regid=65534 --clear-groups --no-new-privs "$@"
"""


def instruction(name: str) -> list[str]:
    """The JSON of the last instruction of a name."""
    return json.loads(re.findall(rf"^{name} [^\[\n]*(\[.*\])$", DOCKERFILE, re.M)[-1])


def test_the_command_is_one_that_the_service_takes(monkeypatch) -> None:
    monkeypatch.delenv(serve.TOKEN, raising=False)
    assert instruction("ENTRYPOINT") == ["python", "-m"]
    module, *words = instruction("CMD")
    args = serve.parse(words)
    assert module == "colorjax.serve" and serve.check(args) is None
    assert f"EXPOSE {args.port}\n" in DOCKERFILE and f":{args.port}/readyz" in DOCKERFILE
    assert re.findall(r"^USER (.*)$", DOCKERFILE, re.M) == ["1000"]


@pytest.mark.proof
def test_it_serves_where_nothing_can_be_written() -> None:
    if os.geteuid() or not all(map(shutil.which, ("unshare", "setpriv"))):
        pytest.skip("only root can make another user's namespace")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", *instruction("CMD"), f"--port={port}"]
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("JAX_COMP", "XDG_"))}
    process = subprocess.Popen(
        ["unshare", "--mount", "sh", "-c", READ_ONLY, "sh", *command],
        env=kept | {"HOME": "/nonexistent", "PYTHONPATH": str(ROOT), "TMPDIR": "/tmp"},
        stderr=subprocess.PIPE,
        text=True,
    )
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(600):
            if process.poll() is not None:
                break
            try:
                if httpx.get(f"{address}/readyz", trust_env=False).status_code == 200:
                    break
            except httpx.TransportError:
                time.sleep(0.2)
        if process.poll() in (77, 126, 127) or "Permission denied" in _said(process):
            pytest.skip("there may be no such namespace here, or others cannot read this folder")
        assert process.poll() is None, _said(process)
        owner = Path(f"/proc/{process.pid}").stat().st_uid
        assert owner == 65534 and "colorjax" in httpx.get(address, trust_env=False).text
        script = instruction("HEALTHCHECK")[1:]
        script[-1] = script[-1].replace("7860", str(port))
        plain = {k: v for k, v in os.environ.items() if not k.lower().endswith("_proxy")}
        assert subprocess.run([sys.executable, *script], env=plain).returncode == 0
        answer = httpx.post(  # through a temporary file
            f"{address}/v1/images/edits", files={"image": b"text"}, trust_env=False
        )
        assert answer.status_code == 400 and "not a picture" in answer.text
    finally:
        process.terminate()
        process.communicate(timeout=60)


def _said(process: subprocess.Popen) -> str:
    if process.poll() is None or process.stderr is None:
        return ""
    return process.stderr.read()
