from __future__ import annotations

from fastapi import FastAPI
from fastapi.testclient import TestClient

from modules.api.security.guard import add_guards
from modules.api.security.throttle import FREE_ATTEMPTS, MAX_WAIT_S, Throttle
from modules.core.credentials import Credential

ME = Credential("me", "right")


def test_each_wrong_password_after_the_first_few_doubles_the_wait():
    now = [0.0]
    throttle = Throttle(0.5, lambda: now[0])
    for _ in range(FREE_ATTEMPTS):
        throttle.add_failure("10.0.0.1")
    assert throttle.wait_s("10.0.0.1") == 0
    waits: list[float] = []
    for _ in range(10):
        throttle.add_failure("10.0.0.1")
        waits.append(throttle.wait_s("10.0.0.1"))
    assert waits == [1, 2, 4, 8, 16, 32, MAX_WAIT_S, MAX_WAIT_S, MAX_WAIT_S, MAX_WAIT_S]
    assert throttle.wait_s("10.0.0.2") == 0
    now[0] = 61.0
    assert throttle.wait_s("10.0.0.1") == 0
    now[0] = 3600.0
    throttle.add_failure("10.0.0.1")
    assert throttle.wait_s("10.0.0.1") == 0


def test_addresses_of_one_ipv6_network_are_one_client():
    throttle = Throttle(0.5, lambda: 0.0)
    for number in range(20):
        throttle.add_failure(f"2001:db8::{number:x}")
    assert throttle.wait_s("2001:db8::ffff") > 0
    assert throttle.wait_s("2001:db8:0:1::1") == 0


def test_clients_are_forgotten_before_they_fill_the_memory():
    throttle = Throttle(0.5, lambda: 0.0)
    for number in range(10_500):
        throttle.add_failure(f"client {number}")
    assert len(throttle._failures) == 10_000  # pyright: ignore[reportPrivateUsage]


def test_guesses_are_refused_unchecked_until_the_wait_is_over():
    app = FastAPI()

    @app.get("/")
    def page() -> str:
        return "page"

    guarded = add_guards(app, [ME], hosts=None, wrong_password_delay_s=0.01)
    client = TestClient(guarded, base_url="http://127.0.0.1")
    guesses = [client.get("/", auth=("me", str(n))).status_code for n in range(FREE_ATTEMPTS + 12)]
    assert guesses[: FREE_ATTEMPTS + 1] == [401] * (FREE_ATTEMPTS + 1)
    assert 429 in guesses
    while (answer := client.get("/", auth=("me", "wrong"))).status_code != 401:
        pass
    answer = client.get("/", auth=("me", "right"))
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "1")
    assert answer.text == "Too many wrong passwords; try again in 1 s."
    assert client.get("/").status_code == 401  # a browser that asks for the first time


def test_an_open_server_ignores_passwords():
    client = TestClient(add_guards(FastAPI(), hosts=None), base_url="http://127.0.0.1")
    for _ in range(FREE_ATTEMPTS + 5):
        assert client.get("/", auth=("me", "x")).status_code == 404
