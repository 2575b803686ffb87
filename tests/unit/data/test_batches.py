from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ganlib.data.batches import TrainingBatches
from ganlib.data.order import WindowedOrder
from ganlib.data.pictures import Pictures
from ganlib.errors import ConfigError, DataError

ORDER = [4, 3, 0, 7, 9, 2, 5, 6, 1, 8]
FLIPS = "1101001001000111"


def numbered(count: int, pieces: int = 1) -> Pictures:
    """Pictures whose label and first pixel tell which they are; the second pixel is always 0."""
    images = torch.zeros(count, 1, 1, 2, dtype=torch.uint8)
    images[:, 0, 0, 0] = torch.arange(1, count + 1)
    return Pictures(images.tensor_split(pieces), torch.arange(count))


def batches(pictures: Pictures, **options: object) -> TrainingBatches:
    given = {"seed": 0, "batch_size": 8, "rank": 0, "world_size": 1, "device": "cpu", **options}
    return TrainingBatches(pictures, **given)  # type: ignore[arg-type]


@settings(deadline=None, max_examples=60)
@given(
    count=st.integers(1, 40),
    share=st.integers(1, 7),
    workers=st.sampled_from([2, 3, 4]),
    seed=st.integers(-5, 2**70),
    step=st.integers(0, 50),
    flip=st.booleans(),
    pieces=st.integers(1, 3),
)
def test_any_number_of_workers_sees_the_same_global_batch(
    count: int, share: int, workers: int, seed: int, step: int, flip: bool, pieces: int
) -> None:
    size = share * workers
    alone = batches(numbered(count), seed=seed, batch_size=size, flip=flip)(step)
    shares = [
        batches(
            numbered(count, min(pieces, count)),
            seed=seed,
            batch_size=size,
            rank=rank,
            world_size=workers,
            flip=flip,
        )(step)
        for rank in range(workers)
    ]
    assert all(len(part.images) == share for part in shares)
    assert torch.equal(torch.cat([part.images for part in shares]), alone.images)
    assert torch.equal(torch.cat([part.labels for part in shares]), alone.labels)


@settings(deadline=None, max_examples=40)
@given(count=st.integers(1, 30), size=st.integers(1, 70), seed=st.integers(0, 2**32))
def test_every_epoch_shows_every_picture_once(count: int, size: int, seed: int) -> None:
    source = batches(numbered(count), seed=seed, batch_size=size)
    steps = -(-3 * count // size)
    stream = torch.cat([source(step).labels for step in range(steps)])
    for epoch in range(3):
        assert stream[epoch * count : (epoch + 1) * count].sort().values.tolist() == list(range(count))


def test_steps_can_be_asked_for_in_any_order() -> None:
    source = batches(numbered(30), flip=True)
    forward = [source(step).images for step in range(12)]
    for step in (11, 0, 5, 3, 11):
        assert torch.equal(source(step).images, forward[step])
        assert torch.equal(batches(numbered(30), flip=True)(step).images, forward[step])


def test_epochs_and_seeds_differ_in_their_order() -> None:
    source = batches(numbered(64), batch_size=64)
    assert not torch.equal(source(0).labels, source(1).labels)
    assert not torch.equal(source(0).labels, batches(numbered(64), batch_size=64, seed=1)(0).labels)


def test_the_order_stays_what_it_was() -> None:
    """A run that resumes under a newer version of the code must go on with the same pictures."""
    assert batches(numbered(10), batch_size=10, seed=7)(0).labels.tolist() == ORDER
    flips = batches(numbered(10), batch_size=16, seed=7, flip=True)(0).images[:, 0, 0, 0] == 0
    assert "".join("01"[flip] for flip in flips.tolist()) == FLIPS


def test_half_of_the_pictures_are_mirrored_and_none_without_flip() -> None:
    source = batches(numbered(50), batch_size=1000, flip=True)
    images = source(0).images
    mirrored = images[:, 0, 0, 0] == 0
    assert 430 < int(mirrored.sum()) < 570
    assert torch.equal(images.amax(-1).flatten().long(), source(0).labels + 1)
    assert not torch.equal(mirrored, source(1).images[:, 0, 0, 0] == 0)
    assert bool((batches(numbered(50), batch_size=1000)(0).images[:, 0, 0, 0] > 0).all())


def test_batches_are_uint8_of_the_pictures_shape() -> None:
    batch = batches(numbered(5), batch_size=4)(0)
    assert (batch.images.dtype, batch.labels.dtype) == (torch.uint8, torch.int64)
    assert batch.images.shape == (4, 1, 1, 2)


def test_a_batch_is_a_copy() -> None:
    pictures = numbered(6)
    batches(pictures, batch_size=6)(0).images.zero_()
    assert pictures.images.sum() == 21


def test_a_batch_that_workers_cannot_share_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"64 pictures cannot be shared by 3 workers.*batch_size"):
        batches(numbered(5), batch_size=64, world_size=3)
    with pytest.raises(ConfigError, match="rank is 2"):
        batches(numbered(5), rank=2, world_size=2)
    with pytest.raises(DataError, match="no pictures to train on"):
        batches(Pictures([torch.empty(0, 1, 2, 2, dtype=torch.uint8)], torch.empty(0, dtype=torch.int64)))
    with pytest.raises(ValueError, match="step is -1"):
        batches(numbered(5))(-1)


def test_on_the_cpu_pictures_stay_where_they_are() -> None:
    assert not batches(numbered(5)).resident


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_on_a_gpu_batches_are_the_same() -> None:
    there = batches(numbered(30), device="cuda", flip=True)
    assert there.resident
    for step in range(5):
        assert torch.equal(there(step).images.cpu(), batches(numbered(30), flip=True)(step).images)


def test_workers_share_a_windowed_order_as_any_other() -> None:
    def order() -> WindowedOrder:
        return WindowedOrder([7, 5, 8], 3, 2)

    alone = [batches(numbered(20, 4), batch_size=6, order=order())(step).labels for step in range(9)]
    for step in (0, 4, 8):
        shares = [
            batches(numbered(20), batch_size=6, rank=rank, world_size=3, order=order())(step).labels
            for rank in range(3)
        ]
        assert torch.equal(torch.cat(shares), alone[step])
