"""One-time codes by RFC 6238 (TOTP): seeds, provisioning, and which time step a code belongs to.

Both approver registers use it; the clock is handed in so that tests need not wait.
"""

import hmac
from datetime import datetime

from pyotp import random_base32
from pyotp.totp import TOTP

STEP_S = 30
SKEW_STEPS = 1
"""How many steps a clock may be wrong either way."""


def new_seed() -> str:
    """Make a seed of 160 random bits, in base 32."""
    return random_base32()


def provisioning_uri(seed: str, name: str) -> str:
    """Write what an authenticator application scans. It holds the seed: show it once, never log it."""
    return TOTP(seed, interval=STEP_S).provisioning_uri(name=name, issuer_name="Slipway")


def code_at(seed: str, step: int) -> str:
    """The code of one time step: what the authenticator of the seed's owner shows then."""
    return TOTP(seed, interval=STEP_S).generate_otp(step)


def matching_step(seed: str, code: str, *, now: datetime) -> int | None:
    """Find the time step whose code this is, within the allowed skew; None where there is none."""
    current = int(now.timestamp()) // STEP_S
    totp = TOTP(seed, interval=STEP_S)
    found = None
    for step in range(current - SKEW_STEPS, current + SKEW_STEPS + 1):
        # every step is compared, so that the time taken tells nothing
        if hmac.compare_digest(totp.generate_otp(step).encode(), code.encode()):
            found = step
    return found
