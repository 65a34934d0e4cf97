# The Descope emulator for tests of any language:
#   docker build -t descope-emulator . && docker run -p 127.0.0.1:8085:8085 descope-emulator
# It signs in anyone who asks, so it belongs on no network that others reach.
FROM python:3.14-slim AS base
WORKDIR /app
COPY pyproject.toml README.md LICENSE ./
COPY fastapi_stepup ./fastapi_stepup
RUN pip install --no-cache-dir '.[demo,redis]' && useradd --create-home app
USER app

# The shop: docker build --target shop .
FROM base AS shop
COPY examples ./examples
ENV SHOP_DATABASE=/tmp/shop.sqlite3
EXPOSE 8000
CMD ["python", "-m", "uvicorn", "examples.two_workers:create_worker", "--factory", "--workers", "2", "--host", "0.0.0.0"]

FROM base AS emulator
EXPOSE 8085
CMD ["python", "-m", "fastapi_stepup.testing", "--host", "0.0.0.0", "--expose"]
