"""Sets the MTU of a pod's networks up to a limit, and adds a nameserver to their results.

Settings: {"maxMtu": 9000, "nameserver": "10.0.0.53"}. The pod's annotation is example.com/mtu.
"""

import json

from componentize_py_types import Err
from wit_world.imports import log, settings
from wit_world.imports.types import (
    Attachment,
    Denial,
    Outcome,
    Plan,
    Request,
    Verdict,
    Verdict_Accept,
    Verdict_Deny,
)

ANNOTATION = "example.com/mtu"


def read(text: str) -> tuple[int, str]:
    """Parse the settings, or raise what is wrong with them."""
    given = json.loads(text) or {}
    for key in given.keys() - {"maxMtu", "nameserver"}:
        raise ValueError(f'unknown key "{key}"')
    match given:
        case {"maxMtu": int(max_mtu), "nameserver": str(nameserver)}:
            return max_mtu, nameserver
    raise ValueError("expected maxMtu, a whole number, and nameserver, an address")


def deny(code: int, message: str) -> Verdict:
    return Verdict_Deny(Denial(code, message, None))


# Export an interface as a class of its functions.
class Configure:
    def configure(self, given: str) -> None:
        try:
            read(given)
        except ValueError as error:
            raise Err(str(error)) from None


class BeforeAdd:
    def before_add(self, request: Request, attachment: Attachment, _: Plan) -> Verdict:
        max_mtu, _ = read(settings.get())
        wanted = request.annotation(ANNOTATION)
        if wanted is None or attachment.is_default():
            return Verdict_Accept()
        if not wanted.isdecimal() or int(wanted) > max_mtu:
            return deny(110, f"{ANNOTATION}: {wanted} is more than {max_mtu}")
        try:
            attachment.set_mtu(int(wanted))
        except Err as refused:
            return deny(111, f"{ANNOTATION}: {refused.value.message}")
        log.log(log.Level.INFO, f"{attachment.network()} gets an MTU of {wanted}")
        return Verdict_Accept()


class AfterAdd:
    def after_add(self, _: Request, attachment: Attachment, outcome: Outcome) -> Verdict:
        if attachment.is_default():
            return Verdict_Accept()
        _, nameserver = read(settings.get())
        dns = outcome.dns()
        dns.nameservers.append(nameserver)
        outcome.set_dns(dns)
        outcome.tag("mtu", attachment.conf_get("/mtu") or "unset")
        return Verdict_Accept()
