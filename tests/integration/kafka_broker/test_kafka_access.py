"""Who is let in to a real Kafka with TLS and passwords, and what the others are told."""

from __future__ import annotations

import contextlib
import threading
import uuid
from typing import TYPE_CHECKING

import pytest

from retrograde.cli.topology import free_ports
from retrograde.runtime.adapters import kafka_client, open_broker
from retrograde.runtime.errors import InvalidInputError, RetrogradeError, UnavailableError
from tests.servers import PASSWORD, USER

if TYPE_CHECKING:
    from pathlib import Path

    from retrograde.cli.servers.kafka_server import KafkaServer
    from tests.certificates import Certificates

pytestmark = pytest.mark.kafka


class Access:
    """Files of a client, and URLs that name them."""

    def __init__(self, folder: Path, certificates: Certificates, server: KafkaServer) -> None:
        self.folder = folder
        self.certificates = certificates
        self.server = server
        self.write("user", USER + "\n")
        self.write("password", PASSWORD + "\n")

    def write(self, name: str, text: str) -> None:
        (self.folder / name).write_text(text)

    def by_password(self, file: str = "password", authority: str = "authority.pem") -> str:
        files = f"username_file={self.folder}/user&password_file={self.folder}/{file}"
        return f"kafka://{self.server.password_address}?ca_file={self.certificates.file(authority)}&{files}"

    def by_certificate(self, name: str = "client") -> str:
        own = f"cert_file={self.certificates.file(name + '.pem')}&key_file={self.certificates.file(name + '.key')}"
        return f"kafka://{self.server.certificate_address}?ca_file={self.certificates.authority}&{own}"


@pytest.fixture
def access(tmp_path: Path, certificates: Certificates, secure_kafka: KafkaServer) -> Access:
    return Access(tmp_path, certificates, secure_kafka)


def refused(url: str) -> RetrogradeError:
    """The error of opening `url`: one line, which leaves no thread behind. With less patience than production has."""
    before = set(threading.enumerate())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kafka_client, "BOOTSTRAP_SECONDS", 2.0)
        with pytest.raises(RetrogradeError) as caught:
            open_broker(url)
    assert "\n" not in str(caught.value)
    assert PASSWORD not in str(caught.value)
    for thread in set(threading.enumerate()) - before:
        thread.join(30)
        assert not thread.is_alive()
    return caught.value


@pytest.mark.parametrize("way", ["by_password", "by_certificate"])
def test_right_credentials_let_in(access: Access, way: str) -> None:
    """With TLS and a SCRAM password, or with TLS and a client certificate, a message goes through."""
    topic = f"t.{uuid.uuid4().hex}"
    with contextlib.closing(open_broker(getattr(access, way)())) as broker:
        broker.create_topic(topic, 1)
        broker.publish(topic, "k", b"v")
        with contextlib.closing(broker.consumer(topic, "g")) as consumer:
            (message,) = consumer.poll(60)
            consumer.commit(message)
        assert (message.value, broker.lag(topic, "g")) == (b"v", 0)


def test_a_wrong_password_is_bad_input(access: Access) -> None:
    """The error names the parameters to look at."""
    access.write("wrong", "guessed")
    error = refused(access.by_password("wrong"))
    assert isinstance(error, InvalidInputError)
    assert "refuses the user or the password" in str(error)
    assert "password_file" in str(error)


def test_a_wrong_mechanism_is_bad_input(access: Access) -> None:
    """One that the broker does not offer is named."""
    error = refused(access.by_password() + "&mechanism=SCRAM-SHA-512")
    assert isinstance(error, InvalidInputError)
    assert "mechanism SCRAM-SHA-512 is not offered by" in str(error)
    assert "it offers SCRAM-SHA-256" in str(error)


def test_a_wrong_authority_is_bad_input(access: Access) -> None:
    """A certificate that ca_file did not sign is not trusted."""
    error = refused(access.by_password(authority="stranger.pem"))
    assert isinstance(error, InvalidInputError)
    assert "is not trusted" in str(error)
    assert "see ca_file" in str(error)


def test_a_certificate_for_another_host_is_bad_input(access: Access) -> None:
    """The server's certificate names 127.0.0.1 and not localhost."""
    error = refused(access.by_password().replace("127.0.0.1", "localhost"))
    assert isinstance(error, InvalidInputError)
    assert "not valid for 'localhost'" in str(error)


def test_a_client_certificate_nobody_knows_is_bad_input(access: Access) -> None:
    """A certificate of another authority is refused, and so is none at all."""
    for url in (access.by_certificate("stranger"), access.by_certificate().partition("&cert_file")[0]):
        error = refused(url)
        assert isinstance(error, InvalidInputError)
        assert "see cert_file" in str(error)


def test_a_broker_with_tls_asked_without_is_bad_input(access: Access) -> None:
    """The fix is named."""
    error = refused(f"kafka://{access.server.password_address}")
    assert isinstance(error, InvalidInputError)
    assert "speaks TLS; add ca_file" in str(error)


def test_a_broker_without_tls_asked_with_it_is_bad_input(access: Access) -> None:
    """The fix is named."""
    error = refused(f"kafka://{access.server.address}?ca_file={access.certificates.authority}")
    assert isinstance(error, InvalidInputError)
    assert "speaks no TLS" in str(error)


@pytest.mark.parametrize("name", ["ca_file", "username_file", "password_file"])
def test_a_missing_file_is_named(access: Access, name: str) -> None:
    """Parameter and path are in the error."""
    given = access.by_password().partition(f"{name}=")
    url = f"{given[0]}{name}={access.folder}/gone&{given[2].partition('&')[2]}".rstrip("&")
    error = refused(url)
    assert isinstance(error, InvalidInputError)
    assert f"{name} {access.folder}/gone cannot be read: No such file" in str(error)


def test_a_file_that_holds_something_else_is_named(access: Access) -> None:
    """No PEM where one is needed, no line where one is needed."""
    access.write("empty", "\n")
    assert "password_file" in str(refused(access.by_password("empty")))
    url = access.by_password().replace(str(access.certificates.authority), f"{access.folder}/user")
    assert f"ca_file {access.folder}/user holds no usable PEM" in str(refused(url))


def test_nobody_there_is_unavailable() -> None:
    """A port where nobody listens and a host that is none: each says so."""
    (port,) = free_ports(1)
    error = refused(f"kafka://127.0.0.1:{port}")
    assert isinstance(error, UnavailableError)
    assert f"nobody answers at 127.0.0.1:{port}" in str(error)
    error = refused("kafka://no-such-host.invalid:9092")
    assert isinstance(error, UnavailableError)
    assert "host 'no-such-host.invalid' is unknown" in str(error)


def test_one_address_of_several_is_enough(kafka_server: KafkaServer) -> None:
    """A bootstrap address where nobody listens is passed over."""
    (port,) = free_ports(1)
    open_broker(f"kafka://127.0.0.1:{port},{kafka_server.address}").close()
