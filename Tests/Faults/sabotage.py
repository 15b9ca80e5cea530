"""Breaks one protection at a time on purpose, and shows that the judge notices.

Nothing in the program helps with this: what is broken is the test's own database, its own Redis, or the network in
between. The same scenes run unbroken among the rows, where they must come to nothing.
"""

import re
import uuid

from buyers import Sale
from cases import sabotage
from judge import Verdict, judge
from proxy import DOWN, Proxy, UP
from rows_forgotten import Copied, forgotten, shown
from rows_older import Standby, sold_again
from rows_person import buy_again
from rows_redis import authorised_and_forgotten, forget_lives, seat_sold_again
from rows_return import lost_twice, return_stack
from rows_wishes import a_thousand_wishes
from rows_workers import library_code, zombie_scene
from scenes import end_in_time, expect, hold_to_the_end, troubled_sale
from servers import Failure, until


@sabotage("without the unique constraint")
def without_the_unique_constraint(bench, rng):
    """A ticket may be claimed twice: a payment from before a loss of Redis meets one from after it.

    The life of the line, which stands before the constraint and would hide that it is gone, is not noted.
    """
    stack = bench.new_stack().up()
    forget_lives(stack)
    stack.sql("ALTER TABLE claim DROP CONSTRAINT claim_pkey")
    verdict, _ = seat_sold_again(stack, rng, while_paying=True)
    return verdict


@sabotage("without the count of tickets by user")
def without_the_count_by_user(bench, rng):
    """Nothing counts in PostgreSQL what one user has bought, and Redis has forgotten it."""
    stack = bench.new_stack().up()
    stack.sql("DROP TRIGGER purchase_begun ON purchase")
    verdict, _ = buy_again(stack, rng)
    return verdict


@sabotage("without the epoch check")
def without_the_epoch_check(bench, rng):
    """Redis believes everyone who says that they own a partition: an owner that slept writes down old decisions."""
    stack = bench.new_stack().up()
    client = stack.redis.client
    code = library_code(client)
    # The same version: the roles leave it alone.
    broken, count = re.subn(r"(local function is_owner\(m, \w+\))", r"\1 if true then return true end", code)
    expect(count == 1, "the epoch check was not found")
    client.execute_command("FUNCTION", "LOAD", "REPLACE", broken)
    verdict, _ = zombie_scene(stack, rng, must_be_refused=False)
    return verdict


@sabotage("without the idempotency key")
def without_the_idempotency_key(bench, rng):
    """Every attempt has a key of its own on its way to the provider, who is silent after half of the effects."""
    stack = bench.new_stack().up(workers=())
    proxy = Proxy(stack.payment_port)

    def other_key(match):
        # As long as the true one, so that nothing else of the request changes.
        return match[1] + uuid.uuid4().hex.encode()[: len(match[2])].ljust(len(match[2]), b"x")

    def watch(way, data):
        return re.sub(rb"(?i)(idempotency-key: *)([^\r\n]+)", other_key, data) if way == UP else data

    proxy.watch = watch
    stack.start("worker-b", "worker", payment_url=f"http://127.0.0.1:{proxy.port}")
    stack.set_provider(timeout_after_rate=0.5, hang_ms=200, seed=rng.randrange(1_000_000))
    try:
        return troubled_sale(stack, rng, lambda sale: None, buyers=12, seats=12, plans=("buy", "pay"))
    finally:
        proxy.close()


@sabotage("with entries acknowledged too early")
def acknowledged_too_early(bench, rng):
    """Entries of the confirmation stream count as done when they are taken; the worker that took some is killed."""
    stack = bench.new_stack().up(workers=())
    proxy = Proxy(stack.redis.port)

    def watch(way, data):
        # One argument more makes Redis forget who took an entry.
        if way == UP and b"XREADGROUP" in data:
            data = data.replace(b"*9\r\n$10\r\nXREADGROUP", b"*10\r\n$10\r\nXREADGROUP")
            data = data.replace(b"$7\r\nSTREAMS\r\n", b"$5\r\nNOACK\r\n$7\r\nSTREAMS\r\n")
        return data

    proxy.watch = watch
    early = {"redis_url": f"redis://127.0.0.1:{proxy.port}/0"}
    sick = stack.start("sick-worker", "worker", fault="confirm.intent:before:kill:1", **early)
    try:
        until(lambda: len(stack.partitions_of(sick)) == 16, what="the worker's partitions")
        sale = Sale(stack, rng, seats=6, hold_seconds=4)
        sale.await_open()
        sale.crowd(6, ("buy", "pay"), (1,)).start(seconds=25)
        until(lambda: not sick.alive, what="the kill")
        stack.start("worker-b", "worker", **early)
        sale.finish(40)
        return judge(sale)
    finally:
        proxy.close()


@sabotage("without the intent's row")
def without_the_intent(bench, rng):
    """The payment's intent is gone with its transaction: nothing remembers an authorisation that Redis forgot."""
    stack = bench.new_stack().up()
    stack.sql(
        "CREATE FUNCTION forget_intent() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        "DELETE FROM claim WHERE event_id = NEW.event_id AND generation = NEW.generation AND position = NEW.position; "
        "DELETE FROM purchase WHERE event_id = NEW.event_id AND generation = NEW.generation "
        "AND position = NEW.position AND state = 'paying'; RETURN NULL; END $$"
    )
    stack.sql(
        "CREATE CONSTRAINT TRIGGER forget_intent AFTER INSERT ON purchase DEFERRABLE INITIALLY DEFERRED "
        "FOR EACH ROW EXECUTE FUNCTION forget_intent()"
    )
    verdict, _ = authorised_and_forgotten(stack, rng)
    return verdict


@sabotage("without the memory of what was sold", cost=60)
def without_the_memory_of_what_was_sold(bench, rng):
    """Redis notes no ticket as sold, and the provider's list says that nothing was captured.

    So nobody notices that PostgreSQL has lost purchases: their seats are sold again.
    """
    stack = bench.new_stack(own_postgres=True)
    older = Standby(stack)
    stack.up(workers=())
    client = stack.redis.client
    broken, functions = re.subn(
        r"(local function (?:note_sold|set_sold)\([^)]*\))", r"\1 if true then return {'ok'} end", library_code(client)
    )
    broken, calls = re.subn(r"all_at_once\('BITFIELD', p \.\. 'o', sold, 4\)", "", broken)
    expect((functions, calls) == (2, 1), "what notes sold tickets was not found")
    client.execute_command("FUNCTION", "LOAD", "REPLACE", broken)
    proxy = Proxy(stack.payment_port)

    def watch(way, data):
        # Of the same length.
        return data.replace(b'"succeeded"', b'"cancelled"') if way == DOWN and b'"object":"list"' in data else data

    proxy.watch = watch
    try:
        return sold_again(stack, rng, older, payment_url=f"http://127.0.0.1:{proxy.port}")
    finally:
        proxy.close()


def noticed(scene):
    """What a scene that says itself what is wrong found."""
    verdict = Verdict()
    try:
        scene()
    except Failure as found:
        verdict.violations.append(f"I10 {found}")
    return verdict


@sabotage("without the watch on Redis's clock")
def without_the_watch_on_the_clock(bench, rng):
    """No step is taken for one: holds end an hour early, or late."""
    stack = bench.new_stack(has_clocks=True).up()
    client = stack.redis.client
    broken, count = re.subn(r"local STEP_MS = \d+", "local STEP_MS = 1e15", library_code(client))
    expect(count == 1, "the length of a step was not found")
    client.execute_command("FUNCTION", "LOAD", "REPLACE", broken)
    sale = hold_to_the_end(stack, rng)
    stack.clocks["redis"].set(rng.choice([-3_600, 3_600]))
    return noticed(lambda: end_in_time(sale))


@sabotage("without whoever ends holds beside the loops")
def without_the_end_of_holds(bench, rng):
    """PartitionStreams alone end holds, as they did once, and one of them waits for PostgreSQL."""
    stack = bench.new_stack(own_postgres=True).up()
    client = stack.redis.client
    broken, count = re.subn(
        r"(local function end_holds_of\(keys, args\))", r"\1 if true then return {'ok', now_ms(keys[1]), '0'} end",
        library_code(client),
    )  # fmt: skip
    expect(count == 1, "what ends holds was not found")
    broken, count = re.subn("if not expected then released", "if true then released", broken)
    expect(count == 1, "the tick of the loops was not found")
    client.execute_command("FUNCTION", "LOAD", "REPLACE", broken)
    sale = hold_to_the_end(stack, rng)
    with stack.postgres.process.standing_still():
        client.client_kill_filter(_type="normal", skipme=True)
        return noticed(lambda: end_in_time(sale))


@sabotage("without the notes of ends", cost=70)
def without_the_notes_of_ends(bench, rng):
    """PostgreSQL forgets at once who had left a line: when that is lost, they are in it again."""
    stack = return_stack(bench)
    stack.sql("CREATE FUNCTION forget_end() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$")
    stack.sql(
        "CREATE TRIGGER forget_end BEFORE INSERT OR UPDATE ON request_end FOR EACH ROW EXECUTE FUNCTION forget_end()"
    )
    return lost_twice(stack, rng, crowd=200)


@sabotage("without the comparison of records and purchases", cost=60)
def without_the_comparison(bench, rng):
    """Redis comes back without its last seconds, and nobody puts right there what PostgreSQL knows."""
    function = "local function repair(keys, args)"
    return without_memory(bench, rng, "told", function, f"{function} if true then return {{'ok'}} end")


@sabotage("without what the owner remembers", cost=60)
def without_what_the_owner_remembers(bench, rng):
    """Holds that only the owner knows of are not given back: those who let the seats go get them once more."""
    removal = "is_there = redis.call('XDEL', p .. 'q:' .. line, pos .."
    return without_memory(bench, rng, "cancelled", removal, removal.replace("= ", "= args[i] ~= 'A' and ", 1))


@sabotage("without what buyers show", cost=60)
def without_what_buyers_show(bench, rng):
    """Holds that nobody but their buyers remembers are lost."""
    with Copied(bench) as redis:
        client = redis.stack.redis.client
        broken, count = re.subn(
            r"(local function show_holds\(keys, args\))",
            r"\1 if true then local none = {'ok'} for i = 1, #args, 6 do none[#none + 1] = 0 end return none end",
            library_code(client),
        )  # fmt: skip
        expect(count == 1, "what takes in what is shown was not found")
        client.execute_command("FUNCTION", "LOAD", "REPLACE", broken)
        return shown(redis, rng)


@sabotage("without a line for each wish", cost=70)
def without_a_line_for_each_wish(bench, rng):
    """Whatever they want, all stand in one line: who cannot be served keeps everybody behind waiting."""

    def put_into_one_line(stack):
        client = stack.redis.client
        broken, count = re.subn(
            r"(local function wish_of\(payload\))", r"\1 if true then return '1' end", library_code(client)
        )
        expect(count == 1, "what tells wishes apart was not found")
        client.execute_command("FUNCTION", "LOAD", "REPLACE", broken)

    try:
        return a_thousand_wishes(bench, rng, put_into_one_line)
    except Failure as finding:
        expect("were not served" in str(finding) or "the first" in str(finding), str(finding))
        return Verdict(violations=[str(finding)])


def without_memory(bench, rng, state, words, others):
    """The functions are changed and keep their version, so that the roles leave them alone."""
    with Copied(bench) as redis:
        client = redis.stack.redis.client
        code = library_code(client)
        expect(code.count(words) == 1, "what should be broken was not found")
        client.execute_command("FUNCTION", "LOAD", "REPLACE", code.replace(words, others))
        try:
            return forgotten(redis, rng, state, together=False, before="line", is_noted=False)
        except Failure as finding:
            # Nobody waits for ever for what was promised.
            expect("records that say" in str(finding) or "not (" in str(finding), str(finding))
            return Verdict(violations=[str(finding)])
