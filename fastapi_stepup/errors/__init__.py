"""The error tree, and what each error tells a client.

```text
ConfigurationError (ValueError)    the program is set up wrong; raised at construction
StepUpError (starlette HTTPException)
├── Unauthenticated          401   no credentials
├── InvalidRequest           400   two tokens, or an unreadable Authorization field
├── InvalidToken             401   bad, expired, foreign or refresh token
├── StepUpRequired           401   a session that is not stepped up, too old, or by another factor
├── ImpersonationRefused     403   an impersonated session where step-up is asked
├── CrossSiteRequest         403   a cookie without same-origin evidence
│   └── PageOriginRequired   403   a passkey step-up without the origin of a page
├── KeysUnavailable          503   no usable key set
├── RevocationUnavailable    503   the application's own revocation check failed
├── StepUpBusy               409   a one-time step-up that another request holds
├── OneTimeUnavailable       503   the store of one-time step-ups failed
└── HelperRouteError               answers of the helper routes only
    ├── InvalidBody            422   ├── SubjectMismatch        403
    ├── UnsupportedMediaType   415   ├── DeliveryUnavailable    400
    ├── BodyTooLarge           413   ├── TooManyAttempts        429
    ├── RefreshTokenRequired   400   ├── DescopeUnavailable     503
    ├── OTPRejected            400   ├── DescopeError           502
    ├── OTPExpired             400   ├── NoStepUpMethod         403
    ├── OTPExhausted           400   ├── ProviderRejected       400
    └── LinkRejected           400   └── PasskeyRejected        400
```

A client sees fixed text from these modules; no request data is ever reflected.
"""

from fastapi_stepup.errors.base import (
    MAX_RETRY_AFTER,
    PROBLEM_TYPE_PREFIX,
    ConfigurationError,
    Problem,
    StepUpError,
)
from fastapi_stepup.errors.helper_routes import (
    BodyTooLarge,
    DeliveryUnavailable,
    DescopeError,
    DescopeUnavailable,
    HelperRouteError,
    InvalidBody,
    LinkRejected,
    NoStepUpMethod,
    OTPExhausted,
    OTPExpired,
    OTPRejected,
    PasskeyRejected,
    ProviderRejected,
    RefreshTokenRequired,
    SubjectMismatch,
    TooManyAttempts,
    UnsupportedMediaType,
)
from fastapi_stepup.errors.reasons import (
    FailureReason,
    RejectReason,
)
from fastapi_stepup.errors.session import (
    CrossSiteRequest,
    ImpersonationRefused,
    InvalidRequest,
    InvalidToken,
    KeysUnavailable,
    OneTimeUnavailable,
    PageOriginRequired,
    RevocationUnavailable,
    StepUpBusy,
    StepUpRequired,
    Unauthenticated,
)

__all__ = [
    "MAX_RETRY_AFTER",
    "PROBLEM_TYPE_PREFIX",
    "BodyTooLarge",
    "ConfigurationError",
    "CrossSiteRequest",
    "DeliveryUnavailable",
    "DescopeError",
    "DescopeUnavailable",
    "FailureReason",
    "HelperRouteError",
    "ImpersonationRefused",
    "InvalidBody",
    "InvalidRequest",
    "InvalidToken",
    "KeysUnavailable",
    "LinkRejected",
    "NoStepUpMethod",
    "OTPExhausted",
    "OTPExpired",
    "OTPRejected",
    "OneTimeUnavailable",
    "PageOriginRequired",
    "PasskeyRejected",
    "Problem",
    "ProviderRejected",
    "RefreshTokenRequired",
    "RejectReason",
    "RevocationUnavailable",
    "StepUpBusy",
    "StepUpError",
    "StepUpRequired",
    "SubjectMismatch",
    "TooManyAttempts",
    "Unauthenticated",
    "UnsupportedMediaType",
]
