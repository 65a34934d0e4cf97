"""The commands and their options; what they do is in a module each."""

import sys
from collections.abc import Callable
from typing import Annotated, Final, NoReturn

import typer

from fastapi_stepup.cli import check as checking, inspect as inspecting, routes as listing
from fastapi_stepup.cli.loading import LoadingFailed
from fastapi_stepup.cli.output import Report, show
from fastapi_stepup.errors import ConfigurationError

FOUND: Final = 1
WRONG_USAGE: Final = 2

app: Final = typer.Typer(
    name="fastapi-stepup",
    help="See what is guarded, why a token is rejected, and whether a set-up works.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,  # it would print local variables
)

Target = Annotated[
    str, typer.Argument(metavar="APP", help="`module:app`, or a file as `fastapi dev` takes it.")
]
AsJSON = Annotated[bool, typer.Option("--json", help="Print JSON.")]
ProjectID = Annotated[
    str | None, typer.Option(envvar="DESCOPE_PROJECT_ID", help="The Descope project.")
]
BaseURL = Annotated[
    str | None, typer.Option(envvar="DESCOPE_BASE_URI", help="Another host of Descope's API.")
]


@app.command()
def routes(
    target: Target,
    *,
    fail_on_open: Annotated[
        bool, typer.Option("--fail-on-open", help="Exit with 1 if an open route changes state.")
    ] = False,
    fail_on_any_open: Annotated[
        bool, typer.Option("--fail-on-open-all", help="Exit with 1 if any route is open.")
    ] = False,
    as_json: AsJSON = False,
) -> None:
    """List each route with what it asks for."""
    report = _or_usage(lambda: listing.list_routes(target))
    show(report, as_json=as_json)
    failing = listing.open_routes(report, mutating=not fail_on_any_open)
    if failing and (fail_on_open or fail_on_any_open):
        raise typer.Exit(FOUND)


@app.command()
def inspect(
    source: Annotated[str, typer.Argument(metavar="-", help="`-`: read standard input.")] = "-",
    *,
    project_id: ProjectID = None,
    base_url: BaseURL = None,
    issuer: Annotated[list[str] | None, typer.Option(help="A further issuer.")] = None,
    audience: Annotated[list[str] | None, typer.Option(help="An accepted audience.")] = None,
    policy: Annotated[
        list[str] | None, typer.Option(help='As "max_age=5m amr=webauthn,totp".')
    ] = None,
    show_claims: Annotated[bool, typer.Option(help="Show the values of claims.")] = False,
    as_json: AsJSON = False,
) -> None:
    """Say what a session token is worth, and why it is rejected. Reads standard input."""
    if source != "-":
        _end("The token comes from standard input: an argument stays in the shell's history.")
    token = sys.stdin.read().strip()
    report = _or_usage(
        lambda: inspecting.inspect_token(
            token,
            project_id=project_id,
            base_url=base_url,
            issuers=tuple(issuer or ()),
            audience=tuple(audience or ()) or None,
            policies=tuple(policy or ()),
            show_claims=show_claims,
        )
    )
    show(report, as_json=as_json)
    if report.found:
        raise typer.Exit(FOUND)


@app.command()
def check(
    target: Annotated[str | None, typer.Argument(metavar="[APP]", help="As for `routes`.")] = None,
    *,
    project_id: ProjectID = None,
    base_url: BaseURL = None,
    redis_url: Annotated[str | None, typer.Option(help="The Redis of the limits.")] = None,
    as_json: AsJSON = False,
) -> None:
    """Check project, keys, clock, Redis, and with APP its policies and routes."""
    report = _or_usage(
        lambda: checking.check_setup(
            target, project_id=project_id, base_url=base_url, redis_url=redis_url
        )
    )
    show(report, as_json=as_json)
    if report.found:
        raise typer.Exit(FOUND)


@app.command(
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
    add_help_option=False,
)
def emulator(context: typer.Context) -> None:
    """Serve the Descope emulator, as `python -m fastapi_stepup.testing` does."""
    from fastapi_stepup.testing.__main__ import main  # noqa: PLC0415  # only this command needs it

    raise typer.Exit(main(context.args))


def _or_usage(make: Callable[[], Report]) -> Report:
    """Return what *make* makes, or end with a sentence that says what to write."""
    try:
        return make()
    except (LoadingFailed, ConfigurationError) as error:
        return _end(str(error))


def _end(message: str) -> NoReturn:
    typer.echo(message, err=True)
    raise typer.Exit(WRONG_USAGE)
