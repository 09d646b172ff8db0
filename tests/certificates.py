"""Certificates for tests: an authority, and what it signs, made by the openssl command."""

import subprocess
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Certificate:
    """Files in PEM."""

    certificate: Path
    key: Path


class Authority:
    """Signs certificates, all for this machine."""

    def __init__(self, folder: Path, name: str = "authority") -> None:
        self._folder = folder
        made = self._key_and(folder / name, ["-x509", "-days", "2", "-subj", f"/CN={name}"])
        self.certificate = made.certificate
        self._key = made.key

    def issue(self, name: str) -> Certificate:
        """Return a certificate of that common name for localhost, valid for a day."""
        base = self._folder / name
        request = self._key_and(base, ["-subj", f"/O=Falaj tests/CN={name}"])
        names = base.with_suffix(".names")
        names.write_text("subjectAltName=DNS:localhost,IP:127.0.0.1", encoding="ascii")
        signed = base.with_suffix(".crt")
        _openssl(
            "x509", "-req", "-in", str(request.certificate), "-CA", str(self.certificate), "-CAkey",
            str(self._key), "-CAcreateserial", "-days", "1", "-extfile", str(names), "-out", str(signed),
        )  # fmt: skip
        return Certificate(signed, request.key)

    @staticmethod
    def _key_and(base: Path, what: list[str]) -> Certificate:
        made = Certificate(base.with_suffix(".pem"), base.with_suffix(".key"))
        curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
        _openssl("req", *curve, "-keyout", str(made.key), "-out", str(made.certificate), *what)
        return made


def _openssl(*arguments: str) -> None:
    subprocess.run(["openssl", *arguments], check=True, capture_output=True)
