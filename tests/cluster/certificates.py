"""A certificate authority of a test's own, and what it signs."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Authority:
    """An authority in a folder: `certificate` is what those who trust it are given."""

    folder: Path

    @property
    def certificate(self) -> Path:
        return self.folder / "ca.pem"

    @classmethod
    def made(cls, folder: Path) -> Authority:
        folder.mkdir()
        authority = cls(folder)
        out = ["-keyout", str(folder / "ca.key"), "-out", str(authority.certificate)]
        _openssl("req", "-x509", *_KEY, *out, "-days", "2", "-subj", "/CN=ours")
        return authority

    def sign(self, name: str) -> tuple[Path, Path]:
        """Return the certificate and the key of a host, or of a client."""
        certificate, key = self.folder / f"{name}.pem", self.folder / f"{name}.key"
        signing = ["-CA", str(self.certificate), "-CAkey", str(self.folder / "ca.key")]
        out = ["-keyout", str(key), "-out", str(certificate)]
        _openssl(
            "req", "-x509", *_KEY, *signing, *out, "-days", "2", "-subj", f"/CN={name}",
            "-addext", f"subjectAltName=DNS:{name}", "-addext", "basicConstraints=critical,CA:FALSE",
        )  # fmt: skip
        return certificate, key


_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")


def _openssl(*arguments: str) -> None:
    subprocess.run(["openssl", *arguments], check=True, capture_output=True)
