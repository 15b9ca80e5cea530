"""Organizers who give back, and remember what they were told."""

import time
import uuid

from servers import Failure, until


class Refunds:
    """Refunds of one sale, or of several that follow each other."""

    def __init__(self, sale):
        self.sale = sale
        # What was asked for: sale, id of the refund, its tickets.
        self.asked = []
        self._requests = set()

    def ask(self, most, seats=None, parts=False):
        """Gives back purchases of those who have bought meanwhile, each once."""
        sale = self.sale
        for buyer in list(sale.buyers):
            if most <= 0:
                return
            if buyer.final != "purchased" or buyer.request in self._requests:
                continue
            self._requests.add(buyer.request)
            body = {"request_id": buyer.request, "seats": seats or sale.rng.choice(("release", "block"))}
            if parts and len(buyer.tickets) > 1:
                body["ticket_ids"] = list(buyer.tickets[:1])
            # With one key for all repetitions: whatever gets lost, it is one refund.
            status, answer = sale.organizer.until_answered(
                "POST", f"/api/admin/events/{sale.event}/refunds", body, time.monotonic() + 30,
                {"Idempotency-Key": uuid.uuid4().hex},
            )  # fmt: skip
            if status not in (200, 202):
                raise Failure(f"a refund was answered {status} {answer}")
            self.asked.append((sale, answer["id"], answer["ticket_ids"]))
            most -= 1

    def state(self, sale, refund):
        status, answer = sale.organizer.until_answered(
            "GET", f"/api/admin/events/{sale.event}/refunds/{refund}", deadline=time.monotonic() + 30
        )
        return answer["state"] if status == 200 else None

    def await_ends(self, seconds=60):
        """Each succeeds, and everybody who must know of it was told."""
        for sale, refund, _ in self.asked:
            until(lambda: self.state(sale, refund) == "succeeded", seconds, f"the end of refund {refund}")  # noqa: B023
        events = sorted({sale.event for sale, _, _ in self.asked})
        until(
            lambda: not self.sale.stack.sql(
                "SELECT 1 FROM refund WHERE event_id = ANY (%s) AND available_at IS NOT NULL", events
            ),
            seconds, "everybody to be told of refunds",
        )  # fmt: skip
