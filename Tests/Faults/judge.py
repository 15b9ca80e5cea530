"""Says whether the promises were kept, once a sale has come to rest.

From three sides: what `onsale audit` finds in PostgreSQL, Redis, the provider's books and the search index; what
the buyers were told; and what the provider says it took.
"""

import collections
import json
import time
from dataclasses import dataclass, field

from buyers import NoAnswer

SETTLE_SECONDS = 25
GRACE_SECONDS = 15


@dataclass
class Verdict:
    """What a run came to."""

    requests: int = 0
    accepted: int = 0
    sold: int = 0
    captured: int = 0
    violations: list = field(default_factory=list)
    # What was measured on the way, in words.
    notes: list = field(default_factory=list)
    # What a sabotage was noticed by.
    caught: list = field(default_factory=list)

    def add(self, other):
        for name in ("requests", "accepted", "sold", "captured", "violations"):
            setattr(self, name, getattr(self, name) + getattr(other, name))


def judge(sale, pending=0, lost=False):
    """The verdict over one sale.

    `pending` is how many buyers may still be in line. With `lost` Redis lost its data on purpose: requests of
    its earlier life may be unknown, and what was bought must still be right.
    """
    verdict = Verdict(requests=sale.requests)
    report = audit(sale, verdict)
    check_ledger(sale, verdict)
    check_buyers(sale, verdict, pending, lost)
    if report and not lost:
        check_counts(sale, report, verdict, pending)
    return verdict


def run_audit(stack, *arguments, settle=SETTLE_SECONDS):
    """The audit's report as JSON, and its findings as text."""
    result = stack.onsale("audit", "--json", "--settle", settle, "--grace", GRACE_SECONDS, *arguments)
    if result.returncode not in (0, 1):
        return None, [f"the audit could not look: {result.stderr[-500:]}"]
    report = json.loads(result.stdout)
    texts = [
        f"{f['breaks']} {f['kind']} event {f['event_id']} position {f.get('position')} ticket {f.get('ticket')}: "
        f"{f['detail']}"
        for f in report["findings"]
        if f["violation"]
    ]
    return report, texts


def audit(sale, verdict):
    report, findings = run_audit(sale.stack, "--event", sale.event)
    verdict.violations += findings
    return report


def check_ledger(sale, verdict):
    """Each request paid at most once, nothing left open, and the sum is that of the purchases."""
    captured = collections.Counter()
    # Captures follow the sale by a moment, and a worker that died leaves them to another's next round.
    deadline = time.monotonic() + SETTLE_SECONDS
    while True:
        payments = sale.stack.payments(sale.event)
        open_payments = [payment for payment in payments if payment["status"] == "requires_capture"]
        if not open_payments or time.monotonic() > deadline:
            break
        time.sleep(0.3)
    for payment in open_payments:
        verdict.violations.append(f"I3 an authorisation is left open: {payment['metadata']}")
    for payment in payments:
        if payment["amount_received"]:
            captured[payment["metadata"]["onsale_reference"].rsplit("-", 1)[0]] += 1
    for reference, times in captured.items():
        if times > 1:
            verdict.violations.append(f"I2 request {reference} was charged {times} times")
    # Of what was given back before it was taken nothing was ever charged.
    rows = sale.stack.sql(
        "SELECT count(*) FILTER (WHERE coalesce(charged, amount) > 0 OR amount = 0 AND charged IS NULL), "
        "coalesce(sum(coalesce(charged, amount)), 0) FROM purchase WHERE event_id = %s AND state = 'sold'", sale.event
    )  # fmt: skip
    count, amount = rows[0]
    total = sum(payment["amount_received"] for payment in payments)
    verdict.sold, verdict.captured = count, total
    if (total, sum(captured.values())) != (amount, count):
        verdict.violations.append(
            f"I2 captured {total} in {sum(captured.values())} payments, sold {count} for {amount}"
        )
    check_refunds(sale, payments, verdict)
    tickets = sale.stack.sql(
        "SELECT t, count(*) FROM purchase, unnest(tickets) t WHERE event_id = %s AND state = 'sold' "
        "GROUP BY t HAVING count(*) > 1",
        sale.event,
    )
    for ticket, times in tickets:
        verdict.violations.append(f"I1 ticket {ticket} was sold {times} times")


def check_refunds(sale, payments, verdict):
    """Each refund gave back its amount once, and no payment more than was taken of it."""
    captured = {payment["id"]: payment["amount_received"] for payment in payments}
    back = [
        refund for refund in sale.stack.refunds()
        if refund["payment_intent"] in captured and refund["status"] != "failed"
    ]  # fmt: skip
    for payment, received in captured.items():
        total = sum(refund["amount"] for refund in back if refund["payment_intent"] == payment)
        if total > received:
            verdict.violations.append(f"I2 {total} of {received} were given back of {payment}")
    names = collections.Counter(refund["metadata"].get("onsale_refund") for refund in back)
    rows = sale.stack.sql(
        "SELECT id::text, amount FROM refund WHERE event_id = %s AND state = 'succeeded' AND provider_id IS NOT NULL "
        "AND who <> 'provider'",
        sale.event,
    )
    for refund, amount in rows:
        given = sum(each["amount"] for each in back if each["metadata"].get("onsale_refund") == refund)
        if (names[refund], given) != (1, amount):
            verdict.violations.append(f"I2 refund {refund} of {amount} gave back {given} in {names[refund]}")


def given_back(sale):
    """The tickets that each user has no more."""
    rows = sale.stack.sql(
        "SELECT p.user_id, unnest(r.tickets) FROM refund r JOIN purchase p USING (event_id, generation, position) "
        "WHERE r.event_id = %s AND (r.state = 'succeeded' OR r.reason = 'returned')", sale.event,
    )  # fmt: skip
    found = collections.defaultdict(set)
    for user, ticket in rows:
        found[user].add(ticket)
    return found


def check_buyers(sale, verdict, pending, lost):
    violations = verdict.violations
    accepted = [buyer for buyer in sale.buyers if buyer.request]
    verdict.accepted = len(accepted)
    # A second look: what was terminal then must be the same now.
    for buyer in accepted:
        if buyer.final in (None, "declined") or not buyer.is_patient:
            continue
        buyer.deadline = time.monotonic() + 10
        try:
            buyer.poll()
        except NoAnswer as problem:
            buyer.problems.append(f"after the sale: {problem}")
    for buyer in sale.buyers:
        if buyer.is_alive():
            violations.append(f"I4 {buyer} still waits")
        if not lost:
            violations += [f"I4 {buyer}: {problem}" for problem in buyer.problems]
    open_ends = [buyer for buyer in accepted if buyer.final is None]
    if len(open_ends) > pending and not lost:
        violations.append(
            f"I8 {len(accepted)} accepted, {len(accepted) - len(open_ends)} ended, {len(open_ends)} open, "
            f"and only {pending} may be: {', '.join(map(str, open_ends[:3]))}"
        )
    check_tickets(sale, violations)
    if not lost:
        check_places(accepted, violations)
        check_order(accepted, violations)


def check_tickets(sale, violations):
    owners = {}
    back = given_back(sale)
    for buyer in sale.purchases:
        if not buyer.tickets and not back[buyer.user]:
            violations.append(f"I4 {buyer} bought nothing")
        for ticket in set(buyer.tickets) - back[buyer.user]:
            if ticket in owners:
                violations.append(f"I1 ticket {ticket} was sold to {owners[ticket]} and to {buyer}")
            owners[ticket] = buyer
    # What the buyer was told is what the books say.
    for buyer in sale.purchases:
        try:
            status, answer = buyer.caller.until_answered("GET", "/api/me/tickets", deadline=time.monotonic() + 10)
        except NoAnswer as problem:
            violations.append(f"I4 {buyer} cannot see the purchase: {problem}")
            continue
        found = sorted(
            ticket["id"] for p in answer["purchases"] if p["event_id"] == sale.event for ticket in p["tickets"]
        )
        if status != 200 or found != sorted(set(buyer.tickets) - back[buyer.user]):
            violations.append(f"I4 {buyer} was told {buyer.tickets}, and the account has {found}")


def check_places(accepted, violations):
    positions = collections.Counter(buyer.position for buyer in accepted)
    for position, times in positions.items():
        if times > 1:
            violations.append(f"I8 position {position} was given to {times} buyers")
    # Whoever had an answer before another asked stands before them; of those who came again, the first time counts.
    by_answer = sorted(accepted, key=lambda buyer: buyer.accepted_at)
    highest, index = 0, 0
    for buyer in sorted(accepted, key=lambda buyer: buyer.asked_at):
        while index < len(by_answer) and by_answer[index].accepted_at < buyer.asked_at:
            highest = max(highest, by_answer[index].first_position)
            index += 1
        if buyer.first_position < highest:
            violations.append(f"I5 {buyer} asked after position {highest} was given out")


def check_order(accepted, violations):
    """Nobody is told an end while somebody behind them with the same wish gets seats."""
    granted = collections.defaultdict(int)
    for buyer in accepted:
        if buyer.was_granted:
            granted[buyer.wish] = max(granted[buyer.wish], buyer.position)
    for buyer in accepted:
        for position, wish, told in set(buyer.ends_of_wishes):
            if granted[wish] > position:
                violations.append(
                    f"I5 {buyer} at {position} was told {told}, and position {granted[wish]} with the same wish got seats"
                )


def check_counts(sale, report, verdict, pending):
    figures = next((event for event in report["events"] if event["event_id"] == sale.event), None)
    if figures is None:
        verdict.violations.append("I8 the audit does not know the event")
        return
    places = {place: buyer for buyer in sale.buyers if buyer.request for place in (buyer.position, *buyer.earlier)}
    if figures["accepted"] != len(places):
        verdict.violations.append(
            f"I8 {figures['accepted']} places were given out, and buyers know of {len(places)}; "
            + "; ".join(strangers(sale, figures["accepted"], places))
        )


def strangers(sale, last, places):
    """Says of places that nobody knows whose they are: of the buyer who has another one under the same name."""
    records = {}
    for position in range(1, last + 1):
        text = sale.stack.redis.client.hget(f"{sale.prefix}r:{position // 100}", str(position % 100))
        records[position] = text.split("|") if text else None
    for position in sorted(set(records) - set(places)):
        record = records[position]
        same = [p for p, other in records.items() if p in places and record and other and other[-1] == record[-1]]
        owner = places[same[0]] if same else "nobody who has a record"
        yield f"{position} is {record and record[0]} and belongs to {owner}"
