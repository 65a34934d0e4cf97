"""Carts and orders in one SQLite file.

Every call opens and closes its own connection, so the store works from any thread; every value
reaches SQL as a parameter.
"""

import secrets
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from examples.tee_hee_tees.catalogue import MAX_QUANTITY, SHIRTS, Shirt, Size

SIZES: Final = tuple(Size)
SCHEMA: Final = f"""
CREATE TABLE IF NOT EXISTS cart (
    subject TEXT NOT NULL,
    shirt TEXT NOT NULL,
    size TEXT NOT NULL,
    quantity INTEGER NOT NULL CHECK (quantity BETWEEN 1 AND {MAX_QUANTITY}),
    PRIMARY KEY (subject, shirt, size)
);
CREATE TABLE IF NOT EXISTS orders (
    reference TEXT PRIMARY KEY,
    subject TEXT NOT NULL,
    placed_at INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS order_lines (
    reference TEXT NOT NULL REFERENCES orders,
    shirt TEXT NOT NULL,
    caption TEXT NOT NULL,
    size TEXT NOT NULL,
    quantity INTEGER NOT NULL,
    price INTEGER NOT NULL
);
CREATE INDEX IF NOT EXISTS orders_of_a_subject ON orders (subject, placed_at);
CREATE INDEX IF NOT EXISTS lines_of_an_order ON order_lines (reference);
"""


class EmptyCart(LookupError):
    """There is nothing to order."""


class UnknownOrder(LookupError):
    """The subject has no order of that reference; another's order counts as none."""


@dataclass(frozen=True, slots=True)
class CartLine:
    """So many shirts of one size."""

    shirt: Shirt
    size: Size
    quantity: int

    @property
    def total(self) -> int:
        """The line's price in cents, by the catalogue of this moment."""
        return self.shirt.price * self.quantity


@dataclass(frozen=True, slots=True)
class OrderLine:
    """What was bought, at the price that held when the order was placed."""

    shirt: str
    caption: str
    size: str
    quantity: int
    price: int

    @property
    def total(self) -> int:
        """The line's price in cents."""
        return self.price * self.quantity


@dataclass(frozen=True, slots=True)
class Order:
    """An order as it was placed."""

    reference: str
    placed_at: datetime
    lines: tuple[OrderLine, ...]

    @property
    def total(self) -> int:
        """The whole price in cents."""
        return sum(line.total for line in self.lines)


class Store:
    """The carts and orders of every shopper, told apart by the `sub` of their session.

    Args:
        path: The database file; created with its tables where it is missing.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with self._connection() as connection:
            connection.executescript(SCHEMA)

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        connection = sqlite3.connect(self.path, isolation_level="IMMEDIATE")
        try:
            with connection:
                yield connection
        finally:
            connection.close()

    def cart(self, subject: str) -> list[CartLine]:
        """Return what *subject* has in the cart; shirts that left the catalogue are left out."""
        with self._connection() as connection:
            rows = connection.execute(
                "SELECT shirt, size, quantity FROM cart WHERE subject = ?", (subject,)
            ).fetchall()
        return _lines(rows)

    def add(self, subject: str, shirt: Shirt, size: Size, quantity: int) -> None:
        """Put *quantity* more of a shirt into the cart, up to `MAX_QUANTITY` in all."""
        with self._connection() as connection:
            connection.execute(
                "INSERT INTO cart (subject, shirt, size, quantity) VALUES (?, ?, ?, ?)"
                " ON CONFLICT DO UPDATE SET quantity = min(quantity + excluded.quantity, ?)",
                (subject, shirt.slug, size, quantity, MAX_QUANTITY),
            )

    def change(self, subject: str, shirt: Shirt, size: Size, quantity: int) -> None:
        """Set the quantity of a line that is in the cart; 0 takes the line out."""
        with self._connection() as connection:
            if quantity:
                connection.execute(
                    "UPDATE cart SET quantity = ? WHERE subject = ? AND shirt = ? AND size = ?",
                    (quantity, subject, shirt.slug, size),
                )
            else:
                connection.execute(
                    "DELETE FROM cart WHERE subject = ? AND shirt = ? AND size = ?",
                    (subject, shirt.slug, size),
                )

    def place_order(self, subject: str) -> Order:
        """Turn the cart into an order, in one transaction: two clicks never order twice.

        Raises:
            EmptyCart: Nothing is in the cart.
        """
        reference = f"TH-{secrets.token_hex(4).upper()}"
        with self._connection() as connection:
            rows = connection.execute(
                "DELETE FROM cart WHERE subject = ? RETURNING shirt, size, quantity", (subject,)
            ).fetchall()
            lines = _lines(rows)
            if not lines:
                raise EmptyCart
            connection.execute(
                "INSERT INTO orders (reference, subject, placed_at) VALUES (?, ?, ?)",
                (reference, subject, int(time.time())),
            )
            connection.executemany(
                "INSERT INTO order_lines (reference, shirt, caption, size, quantity, price)"
                " VALUES (?, ?, ?, ?, ?, ?)",
                [
                    (
                        reference,
                        line.shirt.slug,
                        line.shirt.caption,
                        line.size,
                        line.quantity,
                        line.shirt.price,
                    )
                    for line in lines
                ],
            )
        return self.order(subject, reference)

    def order(self, subject: str, reference: str) -> Order:
        """Return one order of *subject*.

        Raises:
            UnknownOrder: *subject* placed no order of that reference.
        """
        for order in self.orders(subject):
            if order.reference == reference:
                return order
        raise UnknownOrder

    def orders(self, subject: str) -> list[Order]:
        """Return the orders of *subject*, newest first."""
        with self._connection() as connection:
            orders = connection.execute(
                "SELECT reference, placed_at FROM orders WHERE subject = ?"
                " ORDER BY placed_at DESC, rowid DESC",
                (subject,),
            ).fetchall()
            return [
                Order(
                    reference,
                    datetime.fromtimestamp(placed_at, UTC),
                    tuple(
                        OrderLine(*line)
                        for line in connection.execute(
                            "SELECT shirt, caption, size, quantity, price FROM order_lines"
                            " WHERE reference = ? ORDER BY rowid",
                            (reference,),
                        )
                    ),
                )
                for reference, placed_at in orders
            ]


def _lines(rows: list[tuple[str, str, int]]) -> list[CartLine]:
    lines = [
        CartLine(SHIRTS[shirt], Size(size), quantity)
        for shirt, size, quantity in rows
        if shirt in SHIRTS
    ]
    return sorted(lines, key=lambda line: (line.shirt.slug, SIZES.index(line.size)))
