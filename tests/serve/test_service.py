"""Orders of many clients: batches, turns, cancelling, limits, failures."""

import gc
import threading
import time
import weakref
from concurrent.futures import CancelledError

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

import colorjax
from colorjax.colorize.library import PhotoColorizer
from colorjax.errors import UserError
from colorjax.serve.api import application
from colorjax.serve.orders import Full, Limits, Order, describe
from colorjax.serve.service import Service
from tests.serve.conftest import photo


def pixels(result) -> np.ndarray:
    return np.asarray(result.image).astype(int)


def results(*tickets) -> list:
    return [task.future.result(120) for ticket in tickets for task in ticket.tasks]


@pytest.fixture
def gate(photographs, monkeypatch):
    """Holds the model before it computes, and counts the pictures of its batches."""
    kind = type(photographs.colorizer)
    open_, entered, batches, run = threading.Event(), threading.Event(), [], kind._run

    def held(self, name, pictures):
        batches.append(len(pictures.lightness))
        entered.set()
        assert open_.wait(120)
        return run(self, name, pictures)

    monkeypatch.setattr(kind, "_run", held)
    yield open_, entered, batches
    open_.set()


def counted(service: Service, name: str) -> float:
    lines = service.metrics.text().decode().splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith(name + " "))


@pytest.mark.proof
def test_clients_share_batches_and_get_what_the_library_gives(service, photographs, gate) -> None:
    """The first is computed alone, after the window; what comes meanwhile is one batch."""
    open_, entered, batches = gate
    first = service.submit("first", Order(photo(9), "a car"))
    assert entered.wait(60)
    photos = [photo(i, 36 + i, 40) for i in range(4)]
    prompts = [f"a red car {i}" for i in range(4)]
    tickets = [service.submit(str(i), Order(p, prompts[i], 3)) for i, p in enumerate(photos)]
    assert [service.position(ticket) for ticket in tickets] == [0, 1, 2, 3]
    open_.set()
    theirs = results(first, *tickets)[1:]
    assert batches == [1, 4] and counted(service, "colorjax_pictures_total") == 5
    ours = list(photographs.many(photos, prompts, seed=3))
    for one, other in zip(theirs, ours, strict=True):
        np.testing.assert_array_equal(pixels(one), pixels(other))
    alone = photographs(photos[2], prompts[2], seed=3)
    assert np.abs(pixels(theirs[2]) - pixels(alone)).max() <= 1, "another program rounds otherwise"


@pytest.mark.proof
def test_other_settings_are_another_batch_and_variations_are_one(service, gate) -> None:
    open_, entered, batches = gate
    service.submit("first", Order(photo()))
    assert entered.wait(60)
    several = service.submit("a", Order(photo(), "a car", 5, variations=3))
    strict = service.submit("b", Order(photo(), "a car", 5, settings={"guidance_scale": 7.0}))
    open_.set()
    coloured = results(several, strict)
    assert batches == [1, 3, 1]
    assert [result.settings["seed"] for result in coloured] == [5, 6, 7, 5]
    assert coloured[3].settings["guidance_scale"] == 7.0
    assert (pixels(coloured[0]) != pixels(coloured[1])).any()


def test_what_waits_can_be_cancelled_and_what_is_computed_is_dropped(service, gate) -> None:
    open_, entered, batches = gate
    running = service.submit("a", Order(photo()))
    assert entered.wait(60)
    waiting, kept = (service.submit("a", Order(photo(i))) for i in (1, 2))
    service.cancel(waiting)
    assert service.position(kept) == 0 and service.ticket(waiting.name) is None
    service.cancel(running)
    assert running.is_done and describe(running.tasks)[0]["error"] == "cancelled"
    open_.set()
    results(kept)
    assert batches == [1, 1], "the seat of what was cancelled is free"
    with pytest.raises(CancelledError):
        running.tasks[0].future.result()


def test_a_full_queue_refuses_and_a_client_has_its_share(service, gate) -> None:
    open_, entered, _ = gate
    service.submit("a", Order(photo()))
    assert entered.wait(60)
    service.submit("a", Order(photo(), variations=6))
    with pytest.raises(Full) as told:
        service.submit("a", Order(photo(), variations=3))
    assert told.value.seconds >= 1
    service.submit("b", Order(photo(), variations=6))
    with pytest.raises(Full):
        service.submit("c", Order(photo()))
    assert counted(service, "colorjax_rejected_orders_total") == 2
    assert counted(service, "colorjax_waiting_pictures") == 12
    open_.set()


@pytest.mark.parametrize(
    ("order", "words"),
    [
        (Order(np.zeros((2000, 2000), np.uint8)), "more than 1,000,000"),
        (Order(photo(), variations=7), "variations is 7; it must be in 1..6"),
        (Order(photo(), seed=-1), "seed is -1"),
        (Order(photo(), settings={"num_steps": 4}), "num_steps is fixed"),
        (Order(photo(), "red\udcff"), "no text"),
        (Order(photo(), hints=[{"x": 99, "y": 1, "color": "red"}]), "hints"),
    ],
)
def test_mistakes_are_told_and_take_no_seat(order, words, service) -> None:
    with pytest.raises(UserError, match=words):
        service.submit("a", order)
    assert len(service._turns) == 0


def test_after_a_failure_memory_is_free_and_the_service_goes_on(service, photographs) -> None:
    kind = type(photographs.colorizer)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kind, "_run", lambda *_: 1 / 0)
        ticket = service.submit("a", Order(photo()))
        with pytest.raises(UserError, match="division by zero"):
            ticket.tasks[0].future.result(60)
    lightness = weakref.ref(ticket.tasks[0].job.lightness)
    service.cancel(ticket)
    del ticket
    for _ in range(100):
        gc.collect()
        if lightness() is None:
            break
        time.sleep(0.05)
    assert lightness() is None
    assert results(service.submit("a", Order(photo())))[0].image.size == (44, 40)


def test_results_are_kept_as_long_and_as_many_as_there_is_room(photographs) -> None:
    service = Service(photographs, Limits(kept_pixels=2 * 40 * 44, kept_seconds=60.0))
    tickets = []
    for i in range(3):
        tickets.append(service.submit("a", Order(photo(i))))
        results(tickets[-1])
    assert [service.ticket(ticket.name) is None for ticket in tickets] == [True, False, False]
    service.limits = service.limits._replace(kept_seconds=0.0)
    assert service.ticket(tickets[2].name) is None
    assert len({ticket.name for ticket in tickets}) == 3 and len(tickets[0].name) >= 32
    service.close()


def test_closing_finishes_what_waits(photographs, gate) -> None:
    open_, entered, _ = gate
    service = Service(photographs)
    tickets = [service.submit("a", Order(photo(i))) for i in range(3)]
    assert entered.wait(60)
    closing = threading.Thread(target=service.close)
    closing.start()
    while not service.is_closing:
        time.sleep(0.01)
    with pytest.raises(Full):
        service.submit("a", Order(photo()))
    open_.set()
    closing.join(120)
    assert all(ticket.is_done for ticket in tickets) and not closing.is_alive()


@pytest.mark.proof
def test_what_is_drawn_is_not_kept_beyond_its_reading(service: Service, photographs) -> None:
    """A tiny photograph may come with masks and strokes of megapixels: all are let go at once."""
    prompt, mask = "a red car, a blue car", np.ones((500, 400), np.float32)
    layers = np.ones((2, 500, 400), np.float32)
    layers[0, :250] = layers[1, 250:] = 0
    strokes = Image.new("RGBA", (400, 500), (200, 30, 30, 255))
    drawn = {"masks": layers, "hints": strokes, "only_masked": mask}
    ours = photographs(photo(0, 50, 40), prompt, **drawn)
    kept = [weakref.ref(one) for one in drawn.values()]
    ticket = service.submit("a", Order(photo(0, 50, 40), prompt, **drawn))
    (result,) = results(ticket)
    del drawn, mask, layers, strokes
    # The note of what made it is whole all the same.
    assert result._note == ours._note and {"masks", "hints", "only_masked"} <= ours._note.keys()
    del ours
    gc.collect()
    assert [one() for one in kept] == [None] * 3
    # Lightness, colours, the mask and hints' two channels: 7 numbers of each pixel.
    assert service.ticket(ticket.name) is ticket and ticket.pixels == 7 * 50 * 40


def test_the_release_chooses_the_method_where_an_order_does_not(
    photographs, cold_release, monkeypatch
) -> None:
    monkeypatch.setattr(Service, "_work", lambda self: None)  # nothing is computed
    cold = colorjax.load(cold_release, "diffusing_colors")
    both = PhotoColorizer(
        photographs.colorizer, "both", "digest", unprompted=lambda: cold.colorizer
    )
    service = Service(both, others=[cold])

    def method(*order, **more) -> str:
        (task,) = service.submit("client", Order(photo(), *order, **more)).tasks
        return task.batch.colorizer.method.name

    assert method() == "diffusing_colors"
    assert method("a red car") == method(method="lcad") == "lcad"
    assert method(settings={"negative_prompt": "frogs"}) == "lcad"
    with TestClient(application(service), base_url="http://127.0.0.1") as client:
        own, other = client.get("/api/models").json()
    assert (own["method"], own["unprompted"]["method"]) == ("lcad", "diffusing_colors")
    assert "unprompted" not in other
    service.close()


def test_an_order_that_leaves_before_its_batch_ends_nothing_else(photographs) -> None:
    """It leaves in the window in which others might have joined it, and others come later."""
    service = Service(photographs, Limits(window=1.0))
    gone = service.submit("gone", Order(photo(0), "a car"))
    time.sleep(0.3)  # until it is waited for others
    service.cancel(gone)
    time.sleep(0.3)
    assert service._thread.is_alive()
    (result,) = results(service.submit("other", Order(photo(1), "a car")))
    assert result.error is None
    service.close(60.0)
    assert not service._thread.is_alive()
