from __future__ import annotations

import socket

import pytest

from ganlib.stack import port_numbers as ports
from ganlib.stack.port_numbers import RAY_PORTS, USUAL, choose, is_free


@pytest.fixture
def taken():
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_a_port_with_a_listener_is_not_free(taken):
    assert not is_free(taken)


def test_a_port_with_a_listener_on_every_address_is_not_free():
    with socket.create_server(("0.0.0.0", 0)) as server:
        assert not is_free(server.getsockname()[1])


def test_a_port_whose_connection_still_lingers_is_free():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        client = socket.create_connection(("127.0.0.1", port))
        accepted, _ = server.accept()
        accepted.close()
        client.close()
    assert is_free(port)


def test_usual_ports_are_taken_where_they_are_free():
    chosen = choose(list(USUAL), mode="usual", before={}, kept={})
    for name, port in USUAL.items():
        assert (chosen[name] == port) == is_free(port)


def test_free_mode_takes_no_usual_port_even_when_it_was_chosen_before():
    chosen = choose(list(USUAL), mode="free", before=USUAL, kept={})
    assert not set(chosen.values()) & set(USUAL.values())


def test_the_port_chosen_before_is_preferred():
    first = choose(["s3", *RAY_PORTS], mode="free", before={}, kept={})
    assert choose(["s3", *RAY_PORTS], mode="free", before=first, kept={}) == first


def test_a_port_chosen_before_that_is_taken_now_gives_way(taken):
    chosen = choose(["mlflow"], mode="usual", before={"mlflow": taken}, kept={})
    assert chosen["mlflow"] != taken
    assert is_free(chosen["mlflow"])


def test_a_running_service_keeps_its_port(taken):
    assert choose(["s3"], mode="free", before={}, kept={"s3": taken})["s3"] == taken


def test_no_port_is_given_twice():
    names = [name for service in ports.OF_SERVICE.values() for name in service]
    port = choose(["s3"], mode="free", before={}, kept={})["s3"]
    chosen = choose(names, mode="free", before=dict.fromkeys(names, port), kept={})
    assert len(set(chosen.values())) == len(names) == len(USUAL) + len(RAY_PORTS)
