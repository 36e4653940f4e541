"""Profiles: a window of every process's steps, and on demand."""

import socket
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from colorjax.errors import UserError
from colorjax.train import tracking


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("", 0))
        return int(probe.getsockname()[1])


def test_a_profile_can_be_asked_for_at_the_port_of_a_process(monkeypatch, capsys) -> None:
    port = free_port()
    monkeypatch.setattr(jax, "process_index", lambda: 1)
    tracking.serve_profiles(port - 1)
    try:
        with socket.create_connection(("localhost", port), timeout=10):
            pass
    finally:
        jax.profiler.stop_server()
    assert f"profiles of process 1 can be taken at port {port}" in capsys.readouterr().out


def test_ports_that_cannot_be_had_are_told() -> None:
    tracking.serve_profiles(0)
    with socket.socket() as taken:
        taken.bind(("", 0))
        taken.listen()
        with pytest.raises(UserError, match="profiler_port: port .* cannot be had .*take another"):
            tracking.serve_profiles(taken.getsockname()[1])
    for port in (80, 70000):
        with pytest.raises(UserError, match="the ports from 1024 to 65535 can be taken"):
            tracking.serve_profiles(port)


@pytest.mark.parametrize(("count", "folder"), [(1, "profile"), (3, "profile/process_2")])
def test_every_process_has_a_folder_of_its_own(count, folder, monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setattr(jax, "process_count", lambda: count)
    monkeypatch.setattr(jax, "process_index", lambda: count - 1)
    trace = tracking.Trace(tmp_path / "profile", 0, tracking.Watch(2, 1))
    for step in (1, 2, 3):
        trace.before(step)
        trace.after(step, jnp.ones(()) * step)
    (made,) = {path.parents[3] for path in (tmp_path).rglob("*.xplane.pb")}
    assert made == tmp_path / folder
