"""Sealing, signing and the installation key."""

from __future__ import annotations

import concurrent.futures
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from k8s_execution.ports.sealer import Sealer
from k8s_execution.runtime.sealing import KEY_FILE, KeyRefused, KeySealer, installation_key

KEY = bytes(range(32))
ID = "a" * 26
SECRETS = st.dictionaries(
    st.text(min_size=1, max_size=20), st.text(st.characters(exclude_categories=["Cs"])), max_size=5
)


@given(SECRETS)
def test_sealed_secrets_open_again(secrets: dict[str, str]) -> None:
    """Whatever text they hold, also by another process with the same key."""
    assert KeySealer(KEY).open(ID, KeySealer(KEY).seal(ID, secrets)) == secrets


def test_a_sealed_secret_is_not_readable_and_never_twice_the_same() -> None:
    """A fresh nonce each time."""
    sealer = KeySealer(KEY)
    first, second = sealer.seal(ID, {"TOKEN": "hunter22"}), sealer.seal(ID, {"TOKEN": "hunter22"})
    assert b"hunter22" not in first
    assert b"TOKEN" not in first
    assert first != second


@given(st.data())
def test_altered_bytes_do_not_open(data: st.DataObject) -> None:
    """Any flipped bit, in nonce, text or tag."""
    sealed = bytearray(KeySealer(KEY).seal(ID, {"A": "value"}))
    sealed[data.draw(st.integers(0, len(sealed) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(ValueError, match="do not open"):
        KeySealer(KEY).open(ID, bytes(sealed))


@pytest.mark.parametrize("length", [0, 4, 12, 20, 27])
def test_cut_bytes_do_not_open(length: int) -> None:
    """However short."""
    sealed = KeySealer(KEY).seal(ID, {"A": "value"})
    with pytest.raises(ValueError, match="do not open"):
        KeySealer(KEY).open(ID, sealed[:length])


def test_another_executions_secrets_do_not_open() -> None:
    """They are bound to the execution."""
    sealed = KeySealer(KEY).seal(ID, {"A": "value"})
    with pytest.raises(ValueError, match="do not open"):
        KeySealer(KEY).open("b" * 26, sealed)


def test_another_keys_secrets_do_not_open() -> None:
    """A data folder with another installation's key."""
    with pytest.raises(ValueError, match="do not open"):
        KeySealer(bytes(32)).open(ID, KeySealer(KEY).seal(ID, {"A": "value"}))


def test_a_signature_is_deterministic_and_16_bytes() -> None:
    """Replicas with one key sign alike."""
    assert KeySealer(KEY).sign("page", b"1") == KeySealer(KEY).sign("page", b"1")
    assert len(KeySealer(KEY).sign("page", b"1")) == 16


def test_a_signature_depends_on_key_purpose_and_payload() -> None:
    """And on where the purpose ends."""
    sealer = KeySealer(KEY)
    signed = {
        sealer.sign("page", b"1"),
        sealer.sign("page", b"2"),
        sealer.sign("pag", b"e1"),
        sealer.sign("page1", b""),
        KeySealer(bytes(32)).sign("page", b"1"),
    }
    assert len(signed) == 5


def test_the_key_is_made_once_for_this_user_only(tmp_path: Path) -> None:
    """32 bytes, 0600, nothing left beside it; the same at the next start."""
    key = installation_key(tmp_path)
    assert len(key) == 32
    assert installation_key(tmp_path) == key
    assert [p.name for p in tmp_path.iterdir()] == [KEY_FILE]
    assert oct((tmp_path / KEY_FILE).stat().st_mode & 0o777) == "0o600"


def test_a_key_by_setting_is_not_written(tmp_path: Path) -> None:
    """It lives where the installation keeps its secrets."""
    assert installation_key(tmp_path, KEY.hex()) == KEY
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("setting", ["abc", "zz" * 32, "00" * 31, "00" * 33])
def test_a_wrong_key_is_refused_without_showing_it(tmp_path: Path, setting: str) -> None:
    """The message names the setting and the rule only."""
    with pytest.raises(KeyRefused, match="K8S_EXECUTION_KEY must hold 64 hexadecimal digits") as refused:
        installation_key(tmp_path, setting)
    assert setting not in str(refused.value)


def test_a_damaged_key_file_is_refused(tmp_path: Path) -> None:
    """It is not replaced: what was sealed with it would be lost."""
    (tmp_path / KEY_FILE).write_text("")
    with pytest.raises(KeyRefused, match=KEY_FILE):
        installation_key(tmp_path)


def test_many_at_once_get_one_key(tmp_path: Path) -> None:
    """The first one's."""
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        keys = set(pool.map(lambda _: installation_key(tmp_path), range(32)))
    assert len(keys) == 1
    assert [p.name for p in tmp_path.iterdir()] == [KEY_FILE]


def test_the_cipher_is_loaded_only_for_secrets() -> None:
    """Most runs have none; the library costs memory."""
    program = (
        "import sys; from k8s_execution.runtime.sealing import KeySealer; s = KeySealer(bytes(32)); s.sign('a', b'');"
        "assert 'cryptography' not in sys.modules; s.seal('a', {}); assert 'cryptography' in sys.modules"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_it_fulfils_the_port() -> None:
    """Checked by mypy."""
    port: Sealer = KeySealer(KEY)
    assert port.sign("a", b"")
