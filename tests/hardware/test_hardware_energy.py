"""Energy from counters that the tests turn."""

import pytest
from torch import nn

from searchitect.errors import UsageError
from searchitect.hardware import EnergyMeter


def zone(folder, name, now, largest=10_000):
    (folder / name).mkdir()
    (folder / name / "energy_uj").write_text(str(now))
    (folder / name / "max_energy_range_uj").write_text(str(largest))


def test_packages_are_added_up_and_counters_may_begin_again(tmp_path):
    zone(tmp_path, "intel-rapl:0", 9_000)
    zone(tmp_path, "intel-rapl:0:0", 1_000_000)  # a part of the first: counted there
    zone(tmp_path, "amd-rapl:1", 500)
    meter = EnergyMeter(powercap=tmp_path)
    before = meter.read()
    (tmp_path / "intel-rapl:0" / "energy_uj").write_text("2000")  # 3,000 µJ further, over its end
    (tmp_path / "amd-rapl:1" / "energy_uj").write_text("1500")
    assert meter.read() - before == pytest.approx(4.0)
    (tmp_path / "intel-rapl:0" / "energy_uj").write_text("1000")
    assert meter.read() - before == pytest.approx(13.0)


def test_no_counter_is_said_with_what_to_do(tmp_path):
    with pytest.raises(UsageError, match=r"no counter can be read in .*latency_ms or macs"):
        EnergyMeter(powercap=tmp_path)
    (tmp_path / "intel-rapl:0").mkdir()  # not readable: as for users that are not root
    with pytest.raises(UsageError, match="for root only"):
        EnergyMeter(powercap=tmp_path)
    with pytest.raises(UsageError, match="NVML gives no energy of cuda:0 here"):
        EnergyMeter("cuda:0")


def test_what_the_machine_takes_at_rest_is_not_the_networks(tmp_path):
    """10 mJ a second at rest, 3 mJ a pass beside: the counter and the clock are the tests'."""
    zone(tmp_path, "intel-rapl:0", 0)
    meter = EnergyMeter(powercap=tmp_path)
    state = {"now": 0.0, "passes": 0}

    class Network(nn.Linear):
        def forward(self, x):
            state["now"] += 0.02
            state["passes"] += 1
            return super().forward(x)

    def clock():
        state["now"] += 1e-4
        return state["now"]

    meter.read = lambda: 10.0 * state["now"] + 3.0 * state["passes"]

    def rest(seconds):
        state["now"] += seconds

    found = meter.mj(Network(2, 2), (2,), seconds=0.2, clock=clock, rest=rest)
    assert found == pytest.approx(3.0, rel=0.02)
