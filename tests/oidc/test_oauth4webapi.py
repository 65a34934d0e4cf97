"""oauth4webapi, an OAuth client library for JavaScript, in front of the guarded app."""

import json
import subprocess
from collections.abc import Callable

from tests.oidc.provider import HERE, needs_oidc_provider
from tests.oidc.stack import Stack


@needs_oidc_provider
def test_client_completes_the_round(stacks: Callable[..., Stack]) -> None:
    """It parses the challenge, asks its issuer for what that names, and is let in."""
    stack = stacks(ENFORCE_ACR="1")
    user = stack.user()
    program = [
        "node",
        str(HERE / "client.mjs"),
        stack.provider.issuer,
        stack.url,
    ]
    with subprocess.Popen(
        program,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as client:
        assert client.stdin
        assert client.stdout
        assert client.stderr
        report = {}
        for line in client.stdout:
            report = json.loads(line)
            if "visit" in report:
                back = user.visit(report["visit"], f"{stack.provider.issuer}/callback")
                client.stdin.write(back + "\n")
                client.stdin.flush()
                user.login = "mfa"
        assert client.stderr.read() == ""

    (challenge,) = report["first"]["challenges"]
    assert report["first"]["status"] == 401
    assert challenge["scheme"] == "bearer"
    assert challenge["parameters"] | {"error_description": ""} == {
        "realm": challenge["parameters"]["realm"],
        "error": "insufficient_user_authentication",
        "error_description": "",
        "acr_values": "mfa",
        "max_age": "300",
    }
    assert report["second"] == {
        "status": 200,
        "body": {"user": "ann", "acr": ["mfa"], "paid": None},
    }
