"""Row 27: people who play against the sale with what they wish for. Everybody else is served as if they were not there.

Nobody lets go before those are: holds last longer than a case, so that who is blocked never comes to an end.
"""

import concurrent.futures
import itertools
import time

from buyers import TERMINAL, VISA, Caller, Sale, token
from cases import row
from judge import judge
from scenes import expect, repeatedly
from servers import until

HOLD_SECONDS = 120
# Until when ordinary buyers have what they came for.
PATIENCE = 60
WISHES = 1_000


class Player:
    """Somebody with an account who asks for whatever they like, and looks at nothing else."""

    def __init__(self, sale, number):
        self.sale, self.caller = sale, Caller(sale.urls, token(sale.stack, f"player-{sale.salt}-{number}"))
        self.request = None

    def ask(self, **wish):
        """The status and, where there is a place, its state; else the code."""
        status, answer = self.caller.until_answered(
            "POST", "/api/ticket/reserve", {"event_id": self.sale.event, **wish}, time.monotonic() + PATIENCE
        )
        if status in (200, 202):
            self.request = answer["request_id"]
        return status, (answer or {}).get("code")

    def look(self):
        status, answer = self.caller.until_answered(
            "GET", f"/api/request/{self.request}", deadline=time.monotonic() + PATIENCE
        )
        expect(status == 200, f"a place that was given is answered {status} {answer}")
        return answer

    def await_state(self, *states):
        last = {}

        def is_there():
            last.update(self.look())
            return last["state"] in states

        until(is_there, PATIENCE, f"{states} of a player, who is {last}")
        return last

    def cancel(self):
        status, answer = self.caller.until_answered(
            "DELETE", f"/api/request/{self.request}", deadline=time.monotonic() + PATIENCE
        )
        expect(status in (200, 409), f"cancel was answered {status} {answer}")


def house(bench, rng, sections, **fields):
    """A sale whose first section is held, by as many as have a seat there. Returns it and them."""
    stack = bench.new_stack().up()
    sale = Sale(
        stack, rng, seats=sum(count(each) for each in sections), hold_seconds=HOLD_SECONDS, sections=sections, **fields
    )
    sale.await_open()
    holders = [Player(sale, f"holder-{number}") for number in range(count(sections[0]))]
    for holder in holders:
        expect(holder.ask(quantity=1, section=sections[0]["name"])[0] == 202, "a holder has no place")
        holder.await_state("reserved")
    return sale, holders


def count(section):
    return section.get("capacity") or sum(each["seats"] for each in section["rows"])


def places(name, capacity):
    return {"name": name, "price": 2500, "capacity": capacity}


def tickets(sale, section):
    return [
        ticket
        for (ticket,) in sale.stack.sql(
            "SELECT t.id FROM ticket t JOIN section s ON s.event_id = t.event_id AND s.id = t.section_id "
            "WHERE t.event_id = %s AND s.name = %s ORDER BY t.id",
            sale.event,
            section,
        )
    ]


def all_at_once(players, act):
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        return list(pool.map(act, players))


def expect_served(sale, buyers, spread=0.0):
    """Everybody who plays fair has what they came for."""
    sale.start(seconds=PATIENCE, spread=spread).finish(PATIENCE + 10)
    late = [buyer for buyer in buyers if buyer.final != "purchased"]
    expect(not late, f"{len(late)} of {len(buyers)} were not served: {late and late[0]}")


def verdict_of(sale, players):
    """Players have places that no buyer knows of, so places are not counted here."""
    for player in players:
        if player.request and player.look()["state"] not in TERMINAL:
            player.cancel()
    verdict = judge(sale, lost=True)
    for buyer in sale.buyers:
        verdict.violations += [f"I4 {buyer}: {problem}" for problem in buyer.problems]
    verdict.requests += sum(player.caller.calls for player in players)
    return verdict


@row(27, cost=25)
def exact_seats_across_sections(bench, rng):
    """A held seat of one section and a free one of each other one, while somebody waits for the first."""
    sale, holders = house(bench, rng, [places("S1", 4), *(places(f"S{number}", 12) for number in (2, 3, 4))])
    waiting = Player(sale, "waiting")
    waiting.ask(quantity=1, section="S1")
    waiting.await_state("standby")
    # The last of each, which others come to last.
    wish = [rng.choice(tickets(sale, "S1")), *(tickets(sale, f"S{number}")[-1] for number in (2, 3, 4))]
    crafted = [Player(sale, f"crafted-{number}") for number in range(20)]
    all_at_once(crafted, lambda player: player.ask(ticket_ids=wish))
    for player in crafted:
        told = player.await_state("rejected")
        expect(told["reason"] == "seats_taken", f"told {told}")
    # Those who go anywhere fit into each section beside those who want it.
    buyers = [sale.add("buy", section=section) for section in ("S2", "S3", "S4") for _ in range(9)]
    buyers += [sale.add("buy") for _ in range(3)]
    expect_served(sale, buyers)
    expect(waiting.look()["state"] == "standby", "who waits for a held section does not wait any more")
    holders[0].cancel()
    waiting.await_state("reserved")
    return verdict_of(sale, [*holders, waiting, *crafted])


@row(27, cost=25)
def adjacency_that_no_row_has(bench, rng):
    """Four side by side where rows have three, of many accounts; and where the one row of four is held."""
    rows = [{"row": chr(ord("A") + number), "seats": 3} for number in range(12)]
    sale, holders = house(
        bench, rng, [{"name": "Box", "price": 2500, "rows": [{"row": "A", "seats": 4}]},
                     {"name": "Stalls", "price": 2500, "rows": rows}],
    )  # fmt: skip
    crafted = [Player(sale, f"crafted-{number}") for number in range(30)]
    all_at_once(crafted, lambda player: player.ask(quantity=4, adjacent=True, section="Stalls"))
    # That of the box may come back, so who is content with it waits.
    waiting = Player(sale, "waiting")
    waiting.ask(quantity=4, adjacent=True)
    for player in crafted:
        told = player.await_state("rejected")
        expect(told["reason"] == "not_together", f"told {told}")
    waiting.await_state("standby")
    buyers = [sale.add("buy", quantity=rng.choice((1, 2)), section=rng.choice((None, "Stalls"))) for _ in range(18)]
    expect_served(sale, buyers)
    for holder in holders:
        holder.cancel()
    told = waiting.await_state("reserved")
    expect(len({ticket["row"] for ticket in told["tickets"]}) == 1, f"not side by side: {told}")
    return verdict_of(sale, [*holders, waiting, *crafted])


def a_thousand_wishes(bench, rng, break_something=lambda stack: None):
    """A thousand people want one section that is held; others want the rest of the house."""
    sale, holders = house(bench, rng, [places("VIP", 4), places("Floor", 60)])
    break_something(sale.stack)
    crowd = [Player(sale, f"fan-{number}") for number in range(WISHES)]
    all_at_once(crowd, lambda player: player.ask(quantity=1, section="VIP"))
    crowd[-1].await_state("standby", "queued")
    buyers = [sale.add("buy", section=section) for section in ("Floor", None) for _ in range(25)]
    expect_served(sale, buyers)
    first = min(crowd, key=lambda player: player.look()["position"])
    holders[0].cancel()
    first.await_state("reserved")
    held = [player for player in crowd if player.look()["state"] == "reserved"]
    expect(held == [first], "of those who want the same not the first was served, or others were, too")
    return verdict_of(sale, [*holders, first])


@row(27, cost=40)
def a_thousand_wishes_for_one_held_section(bench, rng):
    return a_thousand_wishes(bench, rng)


@row(27, cost=30)
def hold_cancel_hold_by_many_accounts(bench, rng):
    """Accounts take seats, give them back and take others, over and over, while others come to buy."""
    stack = bench.new_stack().up()
    sale = Sale(stack, rng, seats=40, hold_seconds=HOLD_SECONDS)
    sale.await_open()
    players = [Player(sale, f"player-{number}") for number in range(12)]

    def taking_and_giving_back(own):
        turns = itertools.cycle(own)

        def act():
            player = next(turns)
            status, code = player.ask(quantity=2)
            if status in (200, 202):
                player.await_state("reserved", *TERMINAL)
                player.cancel()
            else:
                expect(code in ("too_often", "sold_out"), f"told {status} {code}")

        return act

    buyers = [sale.add(plan) for plan in ("buy", "pay") for _ in range(16)]
    with (
        repeatedly(taking_and_giving_back(players[::2]), lambda: 0.01),
        repeatedly(taking_and_giving_back(players[1::2]), lambda: 0.01),
    ):
        expect_served(sale, buyers, spread=4)
    verdict = verdict_of(sale, players)
    # What they gave back is to be had: all of it.
    rest = [sale.add("buy") for _ in range(40 - len(buyers))]
    expect_served(sale, rest)
    return verdict


@row(27, cost=20)
def one_account_wishes_and_wishes(bench, rng):
    """What comes to nothing at once may be wished for again, so often and no more; it costs the others nothing."""
    sale, holders = house(bench, rng, [places("S1", 4), places("S2", 30)])
    player, taken = Player(sale, "player"), tickets(sale, "S1")[0]
    told = set()

    def wish():
        status, code = player.ask(ticket_ids=[taken])
        told.add(code if status >= 400 else player.await_state("rejected")["reason"])

    buyers = [sale.add("buy", section=section) for section in ("S2", None) for _ in range(10)]
    with repeatedly(wish, lambda: 0.01):
        expect_served(sale, buyers, spread=4)
    expect(told <= {"seats_taken", "too_often"} and told, f"told {told}")
    # It is no bar to what can be had.
    player.ask(quantity=1, section="S2", payment_method=VISA)
    player.await_state("purchased")
    return verdict_of(sale, holders)
