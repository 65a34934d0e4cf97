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
CREATE TABLE IF NOT EXISTS refunds (
    reference TEXT PRIMARY KEY REFERENCES orders,
    refunded_at INTEGER NOT NULL,
    refunded_by TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS addresses (
    subject TEXT PRIMARY KEY,
    address TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS orders_of_a_subject ON orders (subject, placed_at);
CREATE INDEX IF NOT EXISTS lines_of_an_order ON order_lines (reference);
"""


class EmptyCart(LookupError):
    """There is nothing to order."""


class UnknownOrder(LookupError):
    """The subject has no order of that reference; another's order counts as none."""


class AlreadyRefunded(Exception):
    """The order was paid back before."""


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
    """An order as it was placed, by whom, and when it was paid back, if it was."""

    reference: str
    subject: str
    address: str | None
    placed_at: datetime
    refunded_at: datetime | None
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

    def remember_address(self, subject: str, address: str) -> None:
        """Keep the address that *subject* signed in with, so that people see it and no id."""
        with self._connection() as connection:
            connection.execute(
                "INSERT INTO addresses (subject, address) VALUES (?, ?)"
                " ON CONFLICT DO UPDATE SET address = excluded.address",
                (subject, address),
            )

    def address(self, subject: str) -> str | None:
        """Return the address that *subject* signed in with last, if the shop saw it."""
        with self._connection() as connection:
            found = connection.execute(
                "SELECT address FROM addresses WHERE subject = ?", (subject,)
            ).fetchone()
        return None if found is None else str(found[0])

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
        return self._orders(subject)

    def every_order(self) -> list[Order]:
        """Return the orders of all, newest first."""
        return self._orders(None)

    def refund(self, reference: str, *, by: str) -> Order:
        """Note that an order was paid back, by the member of staff with the subject *by*.

        Raises:
            UnknownOrder: There is none of that reference.
            AlreadyRefunded: It was paid back before.
        """
        with self._connection() as connection:
            found = connection.execute(
                "SELECT subject FROM orders WHERE reference = ?", (reference,)
            ).fetchone()
            if found is None:
                raise UnknownOrder
            noted = connection.execute(
                "INSERT OR IGNORE INTO refunds (reference, refunded_at, refunded_by)"
                " VALUES (?, ?, ?)",
                (reference, int(time.time()), by),
            )
            if not noted.rowcount:
                raise AlreadyRefunded
        return self.order(found[0], reference)

    def _orders(self, subject: str | None) -> list[Order]:
        with self._connection() as connection:
            orders = connection.execute(
                "SELECT reference, orders.subject, address, placed_at, refunded_at"
                " FROM orders LEFT JOIN refunds USING (reference)"
                " LEFT JOIN addresses USING (subject)"
                " WHERE orders.subject = coalesce(?, orders.subject)"
                " ORDER BY placed_at DESC, orders.rowid DESC",
                (subject,),
            ).fetchall()
            return [
                Order(
                    reference,
                    owner,
                    address,
                    _moment(placed_at),
                    None if refunded_at is None else _moment(refunded_at),
                    tuple(
                        OrderLine(*line)
                        for line in connection.execute(
                            "SELECT shirt, caption, size, quantity, price FROM order_lines"
                            " WHERE reference = ? ORDER BY rowid",
                            (reference,),
                        )
                    ),
                )
                for reference, owner, address, placed_at, refunded_at in orders
            ]


def _moment(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _lines(rows: list[tuple[str, str, int]]) -> list[CartLine]:
    lines = [
        CartLine(SHIRTS[shirt], Size(size), quantity)
        for shirt, size, quantity in rows
        if shirt in SHIRTS
    ]
    return sorted(lines, key=lambda line: (line.shirt.slug, SIZES.index(line.size)))
