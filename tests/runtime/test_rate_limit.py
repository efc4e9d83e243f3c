from xmcgan.runtime.rate_limit import RateLimit


def test_a_bucket_refills_and_the_least_recently_used_is_forgotten():
    clock = [0.0]
    limit = RateLimit(2, 1, keys=2, clock=lambda: clock[0])
    assert [limit.take("a") for _ in range(3)] == [0, 0, 1]
    clock[0] = 1.0
    assert [limit.take("a"), limit.take("a")] == [0, 1]
    assert limit.take("b") == 0
    assert limit.take("c") == 0
    assert list(limit.buckets) == ["b", "c"]


def test_what_does_not_fit_takes_nothing():
    clock = [0.0]
    limit = RateLimit(10, 0.5, clock=lambda: clock[0])
    assert limit.take("a", 6) == 0
    assert limit.take("a", 6) == 4  # two more, at half a one a second
    clock[0] = 4.0
    assert limit.take("a", 6) == 0
