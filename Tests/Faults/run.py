"""Runs the fault tests: real processes, real sockets, and an audit after each fault.

    .venv/bin/python Tests/Faults/run.py [--rows 2,5,7] [--points confirm.settle,…] [--seed N] [--repeat N]
                                         [--selection SECONDS] [--jobs N] [--sabotage] [--only TEXT] [--list]

Everything that is random comes from the seed, which is printed first. Exit code 0 if all passed.
"""

import argparse
import collections
import queue
import random
import shutil
import signal
import sys
import threading
import time
import traceback

import rows_clocks
import rows_cluster
import rows_crowd
import rows_forgotten
import rows_hooks
import rows_large
import rows_network
import rows_older
import rows_person
import rows_postgres
import rows_provider
import rows_redis
import rows_restore
import rows_return
import rows_search
import rows_wishes
import rows_workers
import sabotage
from buyers import seeded
from cases import ROWS, SABOTAGES
from judge import run_audit
from points import generated
from servers import ROOT, Machinery, Stack, end_all

# Imported for the cases that they register.
THEMES = (
    rows_clocks, rows_cluster, rows_crowd, rows_forgotten, rows_hooks, rows_large, rows_network, rows_older, rows_person,
    rows_postgres, rows_provider, rows_redis, rows_restore, rows_return, rows_search, rows_wishes, rows_workers, sabotage,
)
# Seconds; what takes longer is for the whole run.
LONGEST_SELECTED = 40
RESULTS = ROOT / "test-results" / "faults"
# Each leaves an event or two that workers look at, and load whenever a partition changes hands: with a hundred and fifty
# of them a case takes twice as long.
CASES_PER_STACK = 25


class Bench:
    """What one line of cases, run one after another, works with."""

    def __init__(self, machinery):
        self.machinery = machinery
        self.stack = None
        self.uses = 0
        self.extra = []

    def renew(self):
        """Before a case: a shared stack that has seen many is replaced. Returns what its last audit found."""
        return self.close() if self.stack and self.uses >= CASES_PER_STACK else []

    def shared_stack(self):
        """A stack for cases that leave it healthy."""
        if self.stack is None:
            self.stack = Stack(self.machinery).up()
            self.uses = 0
        self.uses += 1
        return self.stack

    def new_stack(self, **options):
        """A stack for one case, which may break it; removed after it."""
        stack = Stack(self.machinery, **options)
        self.extra.append(stack)
        return stack

    def tidy(self, keep_logs=None, is_healthy=True):
        """After a case: its own stacks go, and the shared one too if it may be broken."""
        broken = list(self.extra)
        self.extra = []
        if not is_healthy and self.stack:
            broken.append(self.stack)
            self.stack = None
        for stack in broken:
            if keep_logs and stack.logs.exists():
                shutil.copytree(stack.logs, keep_logs / stack.name, dirs_exist_ok=True)
            stack.down()

    def close(self):
        """At the end everything that is on the shared stack is looked at once more. Returns the findings."""
        findings, logs = [], None
        try:
            if self.stack:
                findings = run_audit(self.stack)[1]
        except Exception as problem:
            findings = [f"the last audit failed: {problem}"]
        if findings:
            logs = RESULTS / f"last-audit-{self.stack.name}"
            logs.mkdir(parents=True, exist_ok=True)
            (logs / "problems.txt").write_text("\n".join(findings))
        self.tidy(logs, is_healthy=False)
        return findings


class Run:
    def __init__(self, options, cases):
        self.options, self.cases = options, cases
        self.machinery = Machinery()
        self.todo = queue.Queue()
        self.rows = collections.defaultdict(lambda: collections.Counter())
        self.failed = []
        self.passed = 0
        self.lock = threading.Lock()
        self.started = time.monotonic()
        self.is_stopping = False

    def run(self):
        number = 0
        for repetition in range(self.options.repeat):
            for case in self.cases:
                self.todo.put((number, repetition, case))
                number += 1
        self.total = number
        threads = [threading.Thread(target=self.work, daemon=True) for _ in range(self.options.jobs)]
        for thread in threads:
            thread.start()
        # Joined with a limit, so that a signal is noticed.
        while any(thread.is_alive() for thread in threads):
            time.sleep(0.2)

    def work(self):
        bench = Bench(self.machinery)
        while not self.is_stopping:
            if self.options.selection and time.monotonic() - self.started > self.options.selection:
                break
            try:
                number, repetition, case = self.todo.get_nowait()
            except queue.Empty:
                break
            self.note(bench.renew())
            self.carry_out(bench, number, repetition, case)
        self.note(bench.close())

    def note(self, findings):
        """What the last audit of a stack found."""
        if not findings or self.is_stopping:
            return
        with self.lock:
            self.failed.append(("the last audit of a stack", findings))
            say("the last audit of a stack: FAILED")
            for finding in findings[:10]:
                say(f"    {finding}")

    def carry_out(self, bench, number, repetition, case):
        started = time.monotonic()
        rng = seeded(self.options.seed, repetition, case.row, case.name)
        problems, verdict, details = [], None, ""
        try:
            verdict = case.run(bench, rng)
            problems = verdict.violations
        except Exception as problem:
            if self.is_stopping:
                return
            problems = [f"{type(problem).__name__}: {problem}"]
            details = traceback.format_exc()
        logs = None
        if problems:
            logs = RESULTS / f"{self.options.seed}-{number}-{case.name.replace(' ', '-').replace('/', '-')}"
            logs.mkdir(parents=True, exist_ok=True)
            (logs / "problems.txt").write_text("\n".join([*problems, details]))
        try:
            bench.tidy(logs, is_healthy=not problems)
        except Exception as problem:
            problems = problems + [f"tidying up failed: {problem}"]
        seconds = time.monotonic() - started
        with self.lock:
            figures = self.rows[case.row]
            figures["runs"] += 1
            figures["milliseconds"] += int(seconds * 1000)
            if verdict:
                for name in ("requests", "accepted", "sold", "captured"):
                    figures[name] += getattr(verdict, name)
            figures["violations"] += len(problems)
            if problems:
                self.failed.append((str(case), problems))
            else:
                self.passed += 1
            done = self.passed + len(self.failed)
            told = f"{verdict.requests} requests, {verdict.sold} sold" if verdict else ""
            outcome = "FAILED" if problems else "ok"
            say(f"[{done}/{self.total}] {case}: {outcome}, {seconds:.1f} s, {told}")
            for note in verdict.notes if verdict else []:
                say(f"    {note}")
            for finding in (verdict.caught if verdict else [])[:3]:
                say(f"    noticed: {finding[:300]}")
            for problem in problems[:10]:
                say("    " + problem.replace("\n", "\n    ")[:600])
            if logs:
                say(f"    logs: {logs}")

    def report(self):
        say("")
        say("| row | runs | requests | accepted | sold | captured | s/run | violations |")
        say("|---|---|---|---|---|---|---|---|")
        for number in sorted(self.rows):
            f = self.rows[number]
            columns = [number or "sabotages, noticed"]
            columns += [f"{f[name]:,}" for name in ("runs", "requests", "accepted", "sold", "captured")]
            columns += [f"{f['milliseconds'] / 1000 / f['runs']:.1f}", f["violations"]]
            say(f"| {' | '.join(map(str, columns))} |")
        say(f"seed {self.options.seed}, {time.monotonic() - self.started:.0f} s")
        for name, problems in self.failed:
            say(f"FAILED {name}: {problems[0].splitlines()[0][:300]}")


def say(text):
    print(text, flush=True)


def chosen_cases(options):
    points = set(options.points.split(",")) if options.points else None
    cases = [] if options.sabotage else generated(points)
    if not points and not options.sabotage:
        cases += [case for number in sorted(ROWS) for case in ROWS[number]]
    if options.rows:
        wanted = {int(number) for number in options.rows.split(",")}
        cases = [case for case in cases if case.row in wanted]
    if not (options.rows or points):
        cases += SABOTAGES.values()
    if options.only:
        words = options.only.split(",")
        cases = [case for case in cases if any(word in case.name for word in words)]
    return selection(cases, options.seed) if options.selection else cases


def selection(cases, seed):
    """Of each row something, in an order that the seed chooses; the time decides how far it goes."""
    rng = random.Random(seed)
    by_row = collections.defaultdict(list)
    for case in cases:
        if case.cost <= LONGEST_SELECTED:
            by_row[case.row].append(case)
    for group in by_row.values():
        rng.shuffle(group)
    rows = list(by_row)
    order = []
    while any(by_row.values()):
        rng.shuffle(rows)
        order += [by_row[number].pop() for number in rows if by_row[number]]
    return order


def main():
    parser = argparse.ArgumentParser(description="Runs the fault tests.")
    parser.add_argument("--rows", help="only these rows, such as 2,5,7")
    parser.add_argument("--points", help="only these fault points")
    parser.add_argument("--only", help="only cases with one of these words, parted by commas, in their name")
    parser.add_argument("--seed", type=int, default=int(time.time()) % 1_000_000)
    parser.add_argument("--repeat", type=int, default=1, help="how often, each time with another seed")
    parser.add_argument("--selection", type=int, default=0, help="begin no more cases after so many seconds")
    parser.add_argument("--jobs", type=int, default=4, help="how many stacks side by side")
    parser.add_argument("--sabotage", action="store_true", help="break protections on purpose; passes if it is seen")
    parser.add_argument("--list", action="store_true", help="only name the cases")
    options = parser.parse_args()
    cases = chosen_cases(options)
    if options.list:
        for case in cases:
            say(str(case))
        return 0

    def interrupted(number, frame):
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupted)
    signal.signal(signal.SIGINT, interrupted)
    say(f"seed {options.seed}: {len(cases)} cases x {options.repeat}, {options.jobs} side by side")
    run = Run(options, cases)
    try:
        run.run()
    except KeyboardInterrupt:
        run.is_stopping = True
        end_all()
        say("interrupted")
        return 130
    run.report()
    end_all()
    say(f"{run.passed} passed, {len(run.failed)} failed")
    return 1 if run.failed or not run.passed else 0


if __name__ == "__main__":
    sys.exit(main())
