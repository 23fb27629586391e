# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sectors are enciphered as the standards say, with each library and with and without numpy."""
from __future__ import annotations

import pytest

from qimg.crypto import blocks, sectors
from qimg.crypto.passphrases import merge_key, split_key
from qimg.errors import MissingPackageError

DATA = bytes(range(256)) * 8


@pytest.fixture(params=["cryptography", "libcrypto"])
def library(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = {"cryptography": blocks._with_cryptography, "libcrypto": blocks._with_libcrypto}[request.param]
    if not blocks._works(engine):
        pytest.skip("this library is not here")
    monkeypatch.setattr(blocks, "_engine", engine)


@pytest.fixture(params=["numpy", "integers"])
def arithmetic(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "integers":
        monkeypatch.setattr(sectors, "_numpy", lambda: None)
    elif sectors._numpy() is None:
        pytest.skip("numpy is not here")


@pytest.mark.usefixtures("library", "arithmetic")
class TestSectors:
    def test_xts_gives_the_bytes_of_ieee_1619(self) -> None:
        """Vector 4 of the standard: a sector of 512 bytes, number 0."""
        key = bytes.fromhex("2718281828459045235360287471352631415926535897932384626433832795")
        enciphered = sectors.SectorCipher("xts", "plain64", None, key).encrypt(0, DATA[:512])
        assert enciphered[:32].hex() == "27a7479befa1d476489f308cd4cfa6e2a96e4bbe3208ff25287dd3819616e89c"

    @pytest.mark.parametrize("mode", ["xts", "cbc", "ctr", "ecb"])
    @pytest.mark.parametrize("ivgen", ["plain64", "plain", "essiv"])
    def test_sectors_come_back_one_by_one_and_together(self, mode: str, ivgen: str) -> None:
        cipher = sectors.SectorCipher(mode, ivgen, "sha256", bytes(range(64 if mode == "xts" else 32)))
        together = cipher.encrypt(0xFFFFFFFE, DATA)
        assert cipher.decrypt(0xFFFFFFFE, together) == DATA
        alone = [cipher.encrypt(0xFFFFFFFE + index, DATA[index * 512 : index * 512 + 512]) for index in range(4)]
        assert b"".join(alone) == together


def test_tweaks_are_the_same_by_numpy_and_by_integers() -> None:
    numpy = pytest.importorskip("numpy")
    first = bytes(range(256)) + b"\xff" * 16
    assert sectors._tweaks_by_numpy(numpy, first) == sectors._tweaks_by_integers(first)


def test_without_a_library_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "_engine", None)
    monkeypatch.setattr(blocks, "_works", lambda candidate: False)
    with pytest.raises(MissingPackageError, match="install the Python package 'cryptography'"):
        blocks.encryptor(bytes(32))


@pytest.mark.parametrize("hash_name", ["sha1", "sha256", "sha512"])
@pytest.mark.parametrize("length", [16, 24, 32, 64])
def test_a_split_key_is_merged_from_all_its_stripes_only(hash_name: str, length: int) -> None:
    key = bytes(range(length))
    material = bytearray(split_key(hash_name, key, 50))
    assert len(material) == 50 * length
    assert merge_key(hash_name, bytes(material), 50) == key
    material[0] ^= 1
    assert merge_key(hash_name, bytes(material), 50) != key
