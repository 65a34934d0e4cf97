"""A bank's API as it may be before it adopts step-up, and after.

Start it: `pip install sqlalchemy && python -m examples.existing_app`

The lines that end in `# step-up` are all that adopting takes; the test also runs the bank without
them. It has routers, a database session per request, a lifespan, an error format, middlewares and
CORS of its own.
"""

import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from decimal import Decimal
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, FastAPI, Header, HTTPException, Request, UploadFile
from fastapi.exceptions import RequestValidationError
from fastapi.middleware.cors import CORSMiddleware
from fastapi.middleware.gzip import GZipMiddleware
from pydantic import BaseModel, Field
from sqlalchemy import ForeignKey, Numeric, String, create_engine, select
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column
from sqlalchemy.pool import StaticPool
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.websockets import WebSocket

from fastapi_stepup import RequireStepUp, StepUpGuard, install, stepup_router  # step-up

guard = StepUpGuard.for_descope("P2LocalEmulatorProject000001")  # step-up
step_up = Depends(RequireStepUp(guard, max_age="5m"))  # step-up

ORIGIN: Final = "https://bank.example"


class Base(DeclarativeBase):
    """Tables."""


class Account(Base):
    """An account of a customer."""

    __tablename__ = "accounts"
    id: Mapped[int] = mapped_column(primary_key=True)
    customer: Mapped[str] = mapped_column(String(40))
    name: Mapped[str] = mapped_column(String(40))
    balance: Mapped[Decimal] = mapped_column(Numeric(12, 2), default=Decimal(100))


class Payee(Base):
    """A person or a firm that a customer pays."""

    __tablename__ = "payees"
    id: Mapped[int] = mapped_column(primary_key=True)
    customer: Mapped[str] = mapped_column(String(40))
    iban: Mapped[str] = mapped_column(String(34))


class Transfer(Base):
    """Money that went to a payee."""

    __tablename__ = "transfers"
    id: Mapped[int] = mapped_column(primary_key=True)
    account_id: Mapped[int] = mapped_column(ForeignKey("accounts.id"))
    payee_id: Mapped[int] = mapped_column(ForeignKey("payees.id"))
    amount: Mapped[Decimal] = mapped_column(Numeric(12, 2))


class NewAccount(BaseModel):
    """What an account is opened with."""

    name: str = Field(min_length=1, max_length=40)


class NewPayee(BaseModel):
    """What a payee is made of."""

    iban: str = Field(pattern="[A-Z]{2}[0-9]{2}[A-Z0-9]{4,30}")


class NewTransfer(BaseModel):
    """What a transfer takes."""

    account_id: int
    payee_id: int
    amount: Decimal = Field(gt=0)


def database(request: Request) -> Iterator[Session]:
    """Give a request its session; commit what it did unless it failed."""
    with Session(request.app.state.engine) as session, session.begin():
        request.app.state.sessions += 1
        yield session


Database = Annotated[Session, Depends(database)]
Customer = Annotated[str, Header(alias="X-Customer")]  # from the bank's gateway


def own(session: Session, kind: Any, number: int, customer: str) -> Any:
    """Return a row of the customer's.

    Raises:
        HTTPException: There is none.
    """
    row = session.get(kind, number)
    if row is None or row.customer != customer:
        raise HTTPException(404, "no such thing")
    return row


accounts = APIRouter(prefix="/accounts", tags=["accounts"])
payees = APIRouter(prefix="/payees", tags=["payees"])
transfers = APIRouter(prefix="/transfers", tags=["transfers"])
cards = APIRouter(prefix="/cards", tags=["cards"])
profile = APIRouter(prefix="/profile", tags=["profile"])
staff = APIRouter(
    prefix="/staff",
    tags=["staff"],
    dependencies=[step_up],  # step-up
)


@accounts.get("")
def list_accounts(session: Database, customer: Customer) -> list[int]:
    """List the customer's accounts."""
    return list(session.scalars(select(Account.id).where(Account.customer == customer)))


@accounts.post("", status_code=201)
def open_account(body: NewAccount, session: Database, customer: Customer) -> int:
    """Open one."""
    account = Account(customer=customer, name=body.name)
    session.add(account)
    session.flush()
    return account.id


@accounts.get("/{number}")
def show_account(number: int, session: Database, customer: Customer) -> dict[str, Any]:
    """Show one."""
    account = own(session, Account, number, customer)
    return {"name": account.name, "balance": str(account.balance)}


@accounts.patch("/{number}")
def rename_account(number: int, body: NewAccount, session: Database, customer: Customer) -> str:
    """Give it another name."""
    account = own(session, Account, number, customer)
    account.name = body.name
    return body.name


@accounts.delete(
    "/{number}",
    status_code=204,
    dependencies=[step_up],  # step-up
)
def close_account(number: int, session: Database, customer: Customer) -> None:
    """Close it."""
    session.delete(own(session, Account, number, customer))


@accounts.get("/{number}/statement")
def statement(number: int, session: Database, customer: Customer) -> StreamingResponse:
    """Stream a statement."""
    account = own(session, Account, number, customer)
    return StreamingResponse(iter(["balance\n", f"{account.balance}\n"]), media_type="text/csv")


@payees.get("")
def list_payees(session: Database, customer: Customer) -> list[str]:
    """List whom the customer pays."""
    return list(session.scalars(select(Payee.iban).where(Payee.customer == customer)))


@payees.post(
    "",
    status_code=201,
    dependencies=[step_up],  # step-up
)
def add_payee(body: NewPayee, session: Database, customer: Customer) -> int:
    """Add one."""
    payee = Payee(customer=customer, iban=body.iban)
    session.add(payee)
    session.flush()
    return payee.id


@payees.get("/{number}")
def show_payee(number: int, session: Database, customer: Customer) -> str:
    """Show one."""
    return str(own(session, Payee, number, customer).iban)


@payees.put(
    "/{number}",
    dependencies=[step_up],  # step-up
)
def change_payee(number: int, body: NewPayee, session: Database, customer: Customer) -> str:
    """Change where the money goes."""
    own(session, Payee, number, customer).iban = body.iban
    return body.iban


@payees.delete(
    "/{number}",
    status_code=204,
    dependencies=[step_up],  # step-up
)
def forget_payee(number: int, session: Database, customer: Customer) -> None:
    """Forget one."""
    session.delete(own(session, Payee, number, customer))


@transfers.get("")
def list_transfers(session: Database, customer: Customer) -> list[str]:
    """List what was paid."""
    mine = select(Transfer.amount).join(Account).where(Account.customer == customer)
    return [str(amount) for amount in session.scalars(mine)]


@transfers.post(
    "",
    status_code=201,
    dependencies=[step_up],  # step-up
)
def transfer(body: NewTransfer, session: Database, customer: Customer) -> dict[str, str]:
    """Pay."""
    account = own(session, Account, body.account_id, customer)
    own(session, Payee, body.payee_id, customer)
    if account.balance < body.amount:
        raise HTTPException(409, "not enough money")
    account.balance -= body.amount
    session.add(Transfer(account_id=account.id, payee_id=body.payee_id, amount=body.amount))
    return {"balance": str(account.balance)}


@transfers.get("/rates/{currency}")
def rate(currency: str) -> str:
    """Say what the euro is worth, to anyone."""
    return f"1.1 {currency}"


def simple(router: APIRouter, method: str, path: str, **options: Any) -> None:
    """Add a route that only says what it did."""

    def endpoint(customer: Customer) -> str:
        return f"{method} {path} for {customer}"

    router.add_api_route(path, endpoint, methods=[method], name=f"{method} {path}", **options)


guarded: dict[str, Any] = {}
guarded["dependencies"] = [step_up]  # step-up
simple(cards, "GET", "")
simple(cards, "POST", "/freeze")
simple(cards, "POST", "/unfreeze", **guarded)
simple(cards, "PUT", "/pin", **guarded)
simple(cards, "PUT", "/limit", **guarded)
simple(profile, "GET", "")
simple(profile, "PATCH", "/language")
simple(profile, "PUT", "/address", **guarded)
simple(profile, "PUT", "/phone", **guarded)
simple(profile, "GET", "/consents")
simple(profile, "POST", "/consents")
simple(staff, "GET", "/customers")
simple(staff, "DELETE", "/customers")
simple(staff, "GET", "/audit")


@profile.post(
    "/documents",
    dependencies=[step_up],  # step-up
)
async def upload(file: UploadFile) -> int:
    """Take a document."""
    return len(await file.read())


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, str]]:
    """Open the database, and what else the bank needs."""
    async with AsyncExitStack() as resources:
        app.state.engine = create_engine(
            "sqlite://", poolclass=StaticPool, connect_args={"check_same_thread": False}
        )
        resources.callback(app.state.engine.dispose)
        Base.metadata.create_all(app.state.engine)
        await resources.enter_async_context(guard)  # step-up
        app.state.sessions = 0
        yield {"branch": "Main Street"}
        app.state.closed = True


async def in_the_banks_format(request: Request, error: Exception) -> Response:
    """Answer errors as the bank does."""
    if isinstance(error, StarletteHTTPException):
        body = {"error": {"status": error.status_code, "message": error.detail}}
        return JSONResponse(body, error.status_code, error.headers)
    if isinstance(error, RequestValidationError):
        return JSONResponse({"error": {"status": 422, "fields": len(error.errors())}}, 422)
    return JSONResponse({"error": {"status": 500, "message": "call us"}}, 500)


app = FastAPI(title="Bank", lifespan=lifespan)
install(app, guard)  # step-up
app.include_router(stepup_router(guard))  # step-up
for kind in (StarletteHTTPException, RequestValidationError, Exception, 401):
    app.add_exception_handler(kind, in_the_banks_format)
for router in (accounts, payees, transfers, cards, profile):
    app.include_router(router, prefix="/api")
app.include_router(staff, prefix="/internal")


@app.get("/health")
def health(request: Request) -> str:
    """Say that all is well."""
    return str(request.state.branch)


@app.get("/api/broken")
def broken() -> None:
    """Fail."""
    raise LookupError


@app.websocket("/api/prices")
async def prices(websocket: WebSocket) -> None:
    """Send a price."""
    await websocket.accept()
    await websocket.send_json({"EUR": "1.1"})
    await websocket.close()


@app.middleware("http")
async def timed(request: Request, call_next: Callable[[Request], Any]) -> Response:
    """Say how long it took."""
    start = time.perf_counter()
    response: Response = await call_next(request)
    response.headers["Server-Timing"] = f"app;dur={time.perf_counter() - start:.3f}"
    return response


app.add_middleware(GZipMiddleware, minimum_size=500)
app.add_middleware(
    CORSMiddleware,
    allow_origins=[ORIGIN],
    allow_methods=["*"],
    allow_headers=["Authorization", "Content-Type", "X-Customer"],
    expose_headers=["Server-Timing"],
)

if __name__ == "__main__":
    from examples.serving import serve

    serve(app, guard)
