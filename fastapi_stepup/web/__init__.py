"""Entry points of FastAPI and Starlette apps."""
