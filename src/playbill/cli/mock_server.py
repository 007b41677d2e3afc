"""`playbill mock-server`: a server that speaks the services' APIs, to rehearse a run without spending."""

from __future__ import annotations

import click

from playbill.backends.errors import BackendUnavailable, ParameterError

__all__ = ["mock_server"]


@click.command("mock-server")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=8765, show_default=True, type=click.IntRange(0, 65535), help="0 takes a free one.")
@click.option("--answer", metavar="TEXT", help="Answer to everything; without it the last user message is echoed.")
@click.option("--latency", default="0", metavar="S[:S]", help="Seconds that an answer takes, or two ends to draw from.")
@click.option("--chunk-seconds", default=0.0, metavar="S", help="Pause between the chunks of a stream.")
@click.option(
    "--fault",
    "faults",
    multiple=True,
    metavar="KIND[@S]=SHARE",
    help="A share of requests that fails, as 429@2=0.1; repeatable. An unknown kind lists all.",
)
@click.option("--rate", metavar="N", type=float, help="Requests a second; more get 429.")
@click.option("--concurrency", metavar="N", type=click.IntRange(min=1), help="Requests at once; more get 429.")
@click.option("--seed", default=0, show_default=True, help="Of the draws.")
@click.option("--api-key", metavar="KEY", help="Refuse all other keys.")
@click.option("--lenient", is_flag=True, help="Take what the named models and their services are known to refuse.")
@click.option("--service", metavar="NAME", help="Imitate this service on OpenAI's wire, as groq or mistral.")
@click.option("--serve-model", "names", multiple=True, metavar="NAME", help="Know only these models; repeatable.")
def mock_server(
    host: str,
    port: int,
    answer: str | None,
    latency: str,
    chunk_seconds: float,
    faults: tuple[str, ...],
    rate: float | None,
    concurrency: int | None,
    seed: int,
    api_key: str | None,
    names: tuple[str, ...],
    lenient: bool,
    service: str | None,
) -> None:
    """Serve OpenAI's, Anthropic's and Google's wires on this machine, until Ctrl-C.

    \b
    playbill mock-server --latency 0.5 --fault 429=0.1 --fault 500=0.05
    playbill run dialogues.jsonl -m '{"model_name": "any", "backend": "ollama", "base_url": "http://127.0.0.1:8765/v1"}'
    """
    try:
        from playbill.mock_services import MockOptions, echo, serve_forever
    except ImportError as e:
        raise BackendUnavailable(f'the mock server needs h11: pip install "playbill[serve]" ({e})') from e
    options = MockOptions(
        host=host,
        port=port,
        seed=seed,
        latency=_latency(latency),
        chunk_seconds=chunk_seconds,
        faults=dict(map(_fault, faults)),
        requests_per_second=rate,
        concurrency=concurrency,
        api_key=api_key,
        models=names,
        lenient=lenient,
        service=service,
    )
    log = serve_forever(options, echo if answer is None else answer, _announce)
    for outcome, count in sorted(log.counts.items()):
        click.echo(f"{count:8} {outcome}")


def _announce(url: str) -> None:
    click.echo(f"base_url for openai_compatible: {url}/v1", err=True)
    click.echo(f"base_url for anthropic and google: {url}", err=True)


def _latency(text: str) -> float | tuple[float, float]:
    low, colon, high = text.partition(":")
    try:
        return (float(low), float(high)) if colon else float(low)
    except ValueError:
        raise ParameterError(f"--latency {text}: give seconds, as 0.5, or two ends, as 0.2:1.5") from None


def _fault(text: str) -> tuple[str, float]:
    kind, equals, share = text.rpartition("=")
    try:
        return (kind, float(share)) if equals else (text, 1.0)
    except ValueError:
        raise ParameterError(f"--fault {text}: after '=' comes a share of requests, as in 429@2=0.1") from None
