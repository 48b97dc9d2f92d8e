import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from searchitect.errors import DataError, UsageError
from searchitect.nets import build
from searchitect.spaces import auto
from searchitect.training import Preprocess, Recipe, fit, load, predict, prepare
from searchitect.training.every_place import EveryPlace, targets
from searchitect.training.ragged import MOST_TOKENS
from searchitect.training.split import split

Y = np.arange(40) % 2


def texts(n: int = 40) -> list[list[int]]:
    """Rows of 3 to 7 tokens; even rows hold token 4, odd rows token 9."""
    return [[1 + i % 3] * (2 + i % 5) + [4 if i % 2 == 0 else 9] for i in range(n)]


def array(padding: int, left: bool = False) -> np.ndarray:
    x = np.full((40, 7), padding)
    for i, row in enumerate(texts()):
        x[i, slice(7 - len(row), None) if left else slice(len(row))] = row
    return x


def test_lists_of_different_length_are_texts():
    raw = load((texts(), Y))
    assert (raw.kind, raw.shape, raw.vocabulary, raw.padding) == ("text", (7,), 10, -1)
    assert raw.x[0].tolist() == [1, 1, 4, -1, -1, -1, -1]
    assert "40 texts of up to 7 tokens; shorter rows are padded" in raw.notes[0]


@pytest.mark.parametrize("left", [False, True])
@pytest.mark.parametrize("padding", [0, 12])
def test_the_id_of_padding_is_found_at_either_end(padding, left):
    raw = load((array(padding, left), Y), layout="NL")
    assert raw.padding == padding
    assert f"id {padding} is padding" in raw.notes[0]
    assert ((raw.x < 0) == (array(padding, left) == padding)).all()


def test_padding_can_be_named_and_denied():
    assert load((array(0), Y), layout="NL:0").padding == 0
    assert (load((array(0), Y), layout="NL:none").x >= 0).all()
    assert (load((array(3), Y), layout="NL:4").x[0::2] < 0).any()
    inside = array(0)
    inside[:, 0] = 0  # an id that is used inside rows too is none
    assert load((inside, Y), layout="NL").padding is None
    with pytest.raises(UsageError, match="after NL: comes the id"):
        load((array(0), Y), layout="NL:x")


def test_whole_numbers_without_a_word_are_still_a_table():
    assert load((array(0), Y)).kind == "table"


def test_longer_rows_are_cut_and_that_is_said():
    long = [*texts(39), [1] * (MOST_TOKENS + 5)]
    raw = load((long, Y))
    assert raw.shape == (MOST_TOKENS,)
    assert f"1 rows are longer than {MOST_TOKENS} tokens" in " ".join(raw.notes)


@pytest.mark.parametrize(
    ("x", "words"),
    [([[1, 2], [1.5]] * 20, None), ([["a", "b"], ["c"]] * 20, "not numbers"),
     ([[1, 2], [2**23]] * 20, "without gaps"), ([], "empty|rows")],
)  # fmt: skip
def test_what_is_no_text(x, words):
    if words is None:
        assert load((x, Y)).kind == "sequence"
        return
    with pytest.raises(DataError, match=words):
        load((x, Y[: len(x)]))
    with pytest.raises(DataError, match="no token ids"):
        load((np.full((40, 3), 0.5), Y), layout="NL")


def test_rows_for_prediction_are_read_as_training_rows_were():
    raw = load((array(0), Y), layout="NL")
    fixed = Preprocess.from_json(Preprocess.fit(raw, np.arange(40)).to_json())
    direct = fixed.apply(raw.x)
    assert direct.dtype == torch.float32
    assert direct[0].tolist() == [2, 2, 5, 0, 0, 0, 0]
    assert torch.equal(fixed.apply(fixed.read(texts())), direct)  # lists
    assert torch.equal(fixed.apply(fixed.read(array(0))), direct)  # arrays, 0 is padding again
    assert torch.equal(fixed.apply(fixed.read(np.pad(array(0), ((0, 0), (0, 3))))), direct)  # longer ones are cut
    assert torch.equal(fixed.apply(fixed.read(array(0)[:, :5]))[:, :5], direct[:, :5])
    assert fixed.apply(fixed.read([[3, 10, 4]]))[0].tolist() == [4, 0, 5, 0, 0, 0, 0]  # 10 was never seen


def test_a_network_learns_texts():
    raw = load((texts(), Y), test=(texts(8), Y[:8]))
    space, why = auto(raw.kind, raw.shape, len(raw), 60, raw.vocabulary)
    assert why.startswith("transformer, widths from ")
    data, _ = prepare(raw, np.arange(40), "test")
    model = build(space, space.architecture(space.baseline), raw.shape, outputs=2)
    assert fit(model, data, Recipe(batch_size=20, lr=0.01), epochs=6, seed=0).metrics["accuracy"] == 1.0


def stream(n: int = 1000) -> np.ndarray:
    """A stream whose next token is known: 0 1 2 ... 6 0 1 2 ..."""
    return np.arange(n) % 7


def test_a_stream_is_cut_into_windows_in_the_order_of_time():
    raw = load(stream(), layout="S:10", test=stream(105))
    assert (raw.kind, raw.shape, raw.vocabulary, raw.outputs, raw.ordered) == ("stream", (10,), 7, 7, True)
    assert len(raw) == 99
    assert raw.x[1].tolist() == [3, 4, 5, 6, 0, 1, 2, 3, 4, 5]
    assert raw.y[:2].tolist() == [3, 6]
    assert len(raw.test[1]) == 10
    assert raw.classes == tuple("0123456")
    assert "1,000 tokens, cut into 99 windows of 10" in raw.notes[0]
    parts = split(load(stream(), layout="S:10"), 0)
    assert parts.train.max() < parts.validation.min() < parts.test.min()


def test_ids_that_follow_no_window_are_classes_all_the_same():
    ids = np.zeros(100, int)
    ids[5] = 8
    raw = load(ids, layout="S:10")
    assert (raw.outputs, raw.vocabulary) == (9, 9)
    split(raw, 0)


@pytest.mark.parametrize(
    ("ids", "layout", "words"),
    [(np.zeros((3, 4), int), "S", "one long row"), (np.arange(20) % 3, "S:30", "need more"),
     (np.arange(20) / 2, "S", "one long row"), (np.arange(-5, 200), "S:8", "no id below zero"),
     (np.arange(20), "S:x", "length of a window")],
)  # fmt: skip
def test_what_is_no_stream(ids, layout, words):
    with pytest.raises((DataError, UsageError), match=words):
        load(ids, layout=layout)


def test_every_place_counts_in_the_loss():
    x = torch.tensor([[1.0, 2.0, 3.0], [3.0, 0.0, 9.0]])  # tokens 0 1 2; then one, padding, one that is no class
    y = torch.tensor([1, 0])
    assert targets(x, y, 4).tolist() == [[1, 2, 1], [-100, -100, 0]]

    class Each(nn.Module):
        def __init__(self):
            super().__init__()
            self.table = nn.Embedding(10, 4)
            self.head = Head()

        def forward(self, x):
            return self.head(self.table(x.long()))

    class Head(nn.Module):
        def forward(self, x):
            return x[:, -1]

        def each_place(self, x):
            return x

    model = Each()
    every = EveryPlace(model, True)
    assert every.loss(y, 0.0, None) is None
    with every.epoch():
        model(x)
        scores = model.table(x.long())
        terms = [F.cross_entropy(scores[b, i][None], torch.tensor([t])) for b, i, t in
                 ((0, 0, 1), (0, 1, 2), (0, 2, 1), (1, 2, 0))]  # fmt: skip
        assert torch.allclose(every.loss(y, 0.0, None), torch.stack(terms).mean())
        assert every.loss(y, 0.0, None) is None  # once for each pass
        model(x)
        weighed = torch.stack([2 * t for t in terms[:3]] + [0 * terms[3]]).sum() / 4
        assert torch.allclose(every.loss(y, 0.0, torch.tensor([2.0, 0.0])), weighed)
    model(x)
    assert every.loss(y, 0.0, None) is None  # no hook is left


def test_a_decoder_learns_a_stream_and_is_measured_after_each_window():
    raw = load(stream(700), layout="S:10", test=stream(201))
    space, why = auto(raw.kind, raw.shape, len(raw), 60, raw.vocabulary)
    assert why.startswith("gpt, widths from ")
    data, fixed = prepare(raw, np.arange(len(raw)), "test")
    model = build(space, space.architecture(space.baseline), raw.shape, outputs=7)
    result = fit(model, data, Recipe(batch_size=16, lr=0.01), epochs=6, seed=0)
    assert result.metrics["loss"] < 0.1  # nats a token
    assert result.metrics["accuracy"] == 1.0
    assert fixed.decode_y(predict(model, fixed.apply(fixed.read([[1, 2, 3, 4, 5, 6, 0, 1, 2, 3]])))).tolist() == ["4"]


def test_tokens_are_not_mixed():
    raw = load((texts(), Y))
    data, _ = prepare(raw, np.arange(40))
    with pytest.raises(UsageError, match="these rows are tokens"):
        fit(nn.Linear(7, 2), data, Recipe(augment="mixup"), epochs=1, seed=0)


def sequences(rng: np.random.Generator, n: int = 20, channels: int = 2) -> list[np.ndarray]:
    return [rng.normal(size=(3 + i % 4, channels)).astype(np.float32) for i in range(n)]


def test_sequences_of_different_length_get_a_channel_that_says_where_data_are():
    rows = sequences(np.random.default_rng(0))
    raw = load((rows, Y[:20]))
    assert (raw.kind, raw.shape) == ("sequence", (3, 6))
    for i, row in enumerate(rows):
        assert np.array_equal(raw.x[i, :2, : len(row)], row.T)
        assert (raw.x[i, :, len(row) :] == 0).all()
        assert (raw.x[i, 2, : len(row)] == 1).all()
    assert "3 to 6 steps" in raw.notes[0]
    assert np.array_equal(load(([r.T for r in rows], Y[:20])).x, raw.x)
    assert np.array_equal(load(([r.T for r in rows], Y[:20]), layout="NCT").x, raw.x)


def test_raw_audio_is_a_sequence_and_predicts_from_lists():
    audio = [np.arange(-4, 4 + i % 3, dtype=np.int16) for i in range(20)]  # below zero: no token ids
    raw = load((audio, Y[:20]), test=([np.arange(-4, 9, dtype=np.int16)] * 2, Y[:2]), layout="NT")
    assert (raw.kind, raw.shape) == ("sequence", (2, 10))
    assert load((audio, Y[:20])).shape == (2, 10)
    fixed = Preprocess.fit(raw, np.arange(20))
    assert torch.equal(fixed.apply(fixed.read(audio)), fixed.apply(raw.x))
    assert fixed.read([audio[0], audio[2], np.arange(-4, 30, dtype=np.int16)]).shape == (3, 2, 10)


@pytest.mark.parametrize(
    ("rows", "words"),
    [([np.zeros((2, 3)), np.zeros((3, 4))] * 5, "different numbers of channels: 2, 3"),
     ([np.zeros((2, 3, 1)), np.zeros((3, 3, 1))] * 5, "no sequences"),
     ([np.array([1.0, np.nan]), np.array([1.0])] * 5, "NaN")],
)  # fmt: skip
def test_uneven_rows_that_cannot_be_used(rows, words):
    with pytest.raises(DataError, match=words):
        load((rows, Y[:10]))
