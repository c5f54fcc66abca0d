import pytest

from snapsafe_rt.source import selection

pytestmark = pytest.mark.any_python


def test_parse():
    found, problems = selection.parse(" vmclock:/dev/vmclock0, ,sysgenid:/dev/sysgenid,vmclock:/a:b ")
    assert [candidate.name for candidate in found] == [
        "vmclock:/dev/vmclock0",
        "sysgenid:/dev/sysgenid",
        "vmclock:/a:b",
    ]
    assert problems == []


@pytest.mark.parametrize("text", ["vmclock", "vmclock:", "vmclock:x", "device:/dev/vmclock0", "vmclock:/a\0b", "", ","])
def test_parse_names_what_is_wrong(text):
    found, problems = selection.parse(text)
    assert not found
    assert len(problems) == 1


def test_best_prefers_devices_then_markers_then_files(monkeypatch):
    ranks = {"/file": 2, "/marker": 1, "/device": 0, "/second": 0, "/none": None}

    def examine(candidate):
        candidate.rank = ranks[candidate.path]

    monkeypatch.setattr(selection.Candidate, "examine", examine)

    def chosen(text):
        best = selection.best(selection.parse(text)[0])
        return best and best.path

    assert chosen("vmclock:/file,vmclock:/none,vmclock:/marker,sysgenid:/device,vmclock:/second") == "/device"
    assert chosen("vmclock:/file,vmclock:/marker") == "/marker"
    assert chosen("vmclock:/file") == "/file"
    assert chosen("vmclock:/none") is None


def test_activate_refuses_what_is_no_list():
    from snapsafe_rt import activate

    for wrong in (1, b"vmclock:/x", ["vmclock:/x", 2], {"vmclock:/x"}):
        with pytest.raises(TypeError, match="sources must be a string or a list of strings"):
            activate(wrong)
    for wrong in ("", "vmclock:relative", ["nothing"]):
        with pytest.raises(ValueError, match="source"):
            activate(wrong)
