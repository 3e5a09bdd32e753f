import numpy as np
import pytest

from nlhf.errors import InputError
from tabular.preferences import load_preferences, load_reference

NAMES = ["rock", "paper", "scissors"]


@pytest.mark.parametrize(
    "text",
    [
        "name,probability\nscissors,0.2\nrock,0.5\npaper,0.3\n",
        "Name;Probability\nrock;0.5\n\npaper;0.3\nscissors;0.2",
        "0.5,0.3,0.2\n",
        "0.5\t0.3\t0.2",
        "0.5\n0.3\n0.2\n",
    ],
)
def test_references_in_text(tmp_path, text):
    path = tmp_path / "reference.csv"
    path.write_text(text)
    log_ref = load_reference(path, NAMES)
    assert log_ref.shape == (3,)
    np.testing.assert_allclose(log_ref, np.log([0.5, 0.3, 0.2]), rtol=1e-15)


def test_references_in_arrays(tmp_path, shared):
    weights = np.array([0.5, 0.3, 0.2])
    np.save(tmp_path / "r.npy", weights[:, None])
    np.savez(tmp_path / "r.npz", reference=weights, other=weights[::-1])
    np.savez(tmp_path / "named.npz", reference=weights[::-1], names=NAMES[::-1])
    np.testing.assert_allclose(load_reference(tmp_path / "r.npy", NAMES), np.log(weights), rtol=1e-15)
    np.testing.assert_allclose(load_reference(tmp_path / "r.npz", NAMES), np.log(weights), rtol=1e-15)
    np.testing.assert_allclose(load_reference(tmp_path / "named.npz", NAMES), np.log(weights), rtol=1e-15)
    other = load_reference(tmp_path / "r.npz", NAMES, key="other")
    np.testing.assert_allclose(other, np.log(weights[::-1]), rtol=1e-15)
    game = shared / "data/games/soccer10.npz"
    table = load_preferences(game)
    log_ref = load_reference(game, table.names, key="qre_uniform_tau1.0")
    np.testing.assert_allclose(np.exp(log_ref), np.load(game)["qre_uniform_tau1.0"], rtol=1e-14)
    with pytest.raises(InputError, match=r"'agent\d+' is 0; give it a small mass, or remove that action"):
        load_reference(game, table.names, key="nash")
    np.testing.assert_array_equal(load_reference("uniform", NAMES), np.full(3, -np.log(3)))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0.5,0.5,0\n", "'scissors' is 0; give it a small mass, or remove that action"),
        ("0.5,0.6,-0.1\n", "'scissors' is -0.1"),
        ("0.5,nan,0.5\n", "'paper' is nan"),
        ("inf,0.5,0.5\n", "'rock' is inf"),
        ("0.5,0.3,0.20001\n", "sum to 1.00001, not 1"),
        ("0.5,0.5\n", "holds 2 probabilities, but the game has 3"),
        ("0.5\n0.3\n0.1\n0.1\n", ":4: more numbers than the 3 actions"),
        ("0.5,0.3,0.2\n0.5,0.3,0.2\n", ":2: a second row"),
        ("0.5,0.3,x\n", ":1: 'x' is not a number"),
        ("name,probability\nrock,0.5\nrock,0.3\n", ":3: the name 'rock' stands twice"),
        ("name,probability\nrock,0.5\nlizard,0.3\n", ":3: the name 'lizard' is not an action"),
        ("name,probability\nrock,0.5\npaper,0.5\n", "'scissors' of the game is missing"),
        ("name,probability\nrock,0.5\npaper\n", ":3: found 1 cells"),
        ("name,probability\nrock,half\n", ":2: 'half' is not a number"),
        ("rock,0.5\npaper,0.3\nscissors,0.2\n", ":1: 'rock' is not a number"),
        ("\n\n", "holds only blank lines"),
    ],
)
def test_bad_references_are_refused(tmp_path, text, message):
    path = tmp_path / "reference.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=message) as caught:
        load_reference(path, NAMES)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_bad_reference_arrays_are_refused(tmp_path):
    for array, message in (
        (np.eye(3), r"shape \(3, 3\), but a reference is a vector"),
        (np.array(["a", "b", "c"]), "real numbers are needed"),
        (np.array([0.5, 0.5]), "holds 2 probabilities"),
        (np.array(1.0), r"shape \(\)"),
    ):
        np.save(tmp_path / "r.npy", array)
        with pytest.raises(InputError, match=message):
            load_reference(tmp_path / "r.npy", NAMES)
    np.savez(tmp_path / "r.npz", reference=np.full(3, 1 / 3), names=["a", "b", "c"])
    with pytest.raises(InputError, match="'a' is not an action of the game"):
        load_reference(tmp_path / "r.npz", NAMES)
    with pytest.raises(InputError, match="has no array 'prior'"):
        load_reference(tmp_path / "r.npz", NAMES, key="prior")
    (tmp_path / "r.pkl").write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    with pytest.raises(InputError, match=r"the kind '\.pkl' is not known"):
        load_reference(tmp_path / "r.pkl", NAMES)
    with pytest.raises(InputError, match="no such file"):
        load_reference(tmp_path / "absent.csv", NAMES)


def test_reference_off_by_rounding_is_normalised_with_a_warning(tmp_path):
    path = tmp_path / "reference.csv"
    path.write_text("0.3333333,0.3333333,0.3333333\n")
    with pytest.warns(UserWarning, match="each was divided by the sum"):
        log_ref = load_reference(path, NAMES)
    np.testing.assert_allclose(log_ref, -np.log(3), rtol=1e-15)
