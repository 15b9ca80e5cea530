/* The protocol by which requests become purchases, small enough to be checked whole. README.md says what is in it.
 *
 * One ticket, REQUESTS buyers, who all want the same: one class of wishes. What becomes of several classes in one line
 * is in line.pml. A step is one call to one server; between any two steps every other process may act,
 * so a process that is stopped (SIGSTOP, a slow network) needs no modelling of its own. Each kind of mishap has a
 * budget; with all of them spent the rest must come to an end, which is how P3 is checked: no execution is infinite
 * (`pan -l` without any progress label), and in every last state every request has ended.
 *
 * Seeded bugs, one at a time by -D: NO_UNIQUE NO_EPOCH KEY_PER_ATTEMPT ACK_BEFORE_COMMIT NO_INTENT
 * CAPTURE_BEFORE_COMMIT VOID_ON_UNKNOWN EXPIRE_WHILE_PAYING NO_OUTBOX_WORKER NO_TICK SECOND_ANSWER.
 */
#ifndef REQUESTS
#define REQUESTS 2
#endif
#ifndef CRASHES
#define CRASHES 1
#endif
#ifndef STALLS
#define STALLS 1   /* work taken over from a confirmer that lives: it was slow or stopped */
#endif
#ifndef UNKNOWNS
#define UNKNOWNS 1 /* calls that had their effect, and whose answer was lost */
#endif
#ifndef STEALS
#define STEALS 1   /* leases that run out while their owner lives: a zombie */
#endif
#ifndef LOSSES
#define LOSSES 1   /* Redis comes back empty */
#endif
#ifndef CARDS
#define CARDS 1    /* payment methods that a buyer tries */
#endif
#ifdef KEY_PER_ATTEMPT
#define KEYS 4
#else
#define KEYS CARDS
#endif

#define N (REQUESTS + 1)
#define PAY(r, k) pay[(r) * (KEYS + 1) + (k)]
#define CANCEL(r, k) cancelEntry[(r) * (KEYS + 1) + (k)]

/* States of a request in Redis; what comes after FIRST_TERMINAL is final. */
#define OUTSIDE 0
#define QUEUED 1
#define STANDBY 2
#define RESERVED 3
#define CONFIRMING 4
#define DECLINED 5
#define PURCHASED 6
#define EXPIRED 7
#define SOLD_OUT 8
#define CANCELLED 9
#define LOST 10      /* gone with Redis; its signed id says so */
#define REFUSED 11   /* never accepted: the sale was sold out */
#define isTerminal(s) ((s) >= PURCHASED)
#define isHold(s) ((s) == RESERVED || (s) == CONFIRMING || (s) == DECLINED)

/* States of a purchase in PostgreSQL. */
#define ABSENT 0
#define PAYING 1
#define SOLD 2
#define REFUSED_CARD 3
#define VOID 4

/* States of a payment at the provider. */
#define AUTHORISED 1
#define CAPTURED 2
#define CANCELED 3
#define CARD_DECLINED 4

/* What the owner of the seat map believes of the ticket. */
#define FREE 0
#define HELD 1
#define GONE 2

/* --- Redis --- */
byte state[N];
byte tries[N];
bit due[N];         /* the hold's deadline has passed */
byte lock;          /* request that locks the ticket; 0: nobody */
byte entry[N];      /* confirm stream: 0 none, 1 not delivered or abandoned, 2 + w: being carried out by w */
byte entryTry[N];
byte head, tail;
byte redisEpoch;
byte lease;         /* 0: free, else owner + 1 */
bit soldOut;
chan feedback = [3] of { byte };
#define TOLD_SOLD 1
#define TOLD_RELEASED 2
#define TOLD_LOST 3

/* --- PostgreSQL --- */
byte purchase[N];
byte purchaseTry[N];
byte purchasePay[N];
byte claim;         /* request that claims the ticket: the primary key allows one */
byte epoch;
bit captureEntry[N];
bit cancelEntry[N * (KEYS + 1)];

/* --- the provider --- */
byte pay[N * (KEYS + 1)];

/* --- bookkeeping of the model --- */
byte crashes = CRASHES, stalls = STALLS, unknowns = UNKNOWNS, steals = STEALS, losses = LOSSES;
byte working[2];    /* request that each confirmer carries out */
byte sales;         /* purchases that are sold */
byte belief;        /* of the owner with the newest epoch */
#ifdef KEY_PER_ATTEMPT
byte calls[N];
#endif
#define hadLoss (losses != LOSSES)

inline check(number, condition) {
  if
  :: (condition) -> skip
  :: else -> printf("VIOLATED P%d\n", number); assert(false)
  fi
}

/* P3: a terminal state is never left. A loss of Redis is not a transition: it writes `state` itself. */
inline become(r, s) {
  check(3, !isTerminal(state[r]));
  state[r] = s
}

inline paidByOthers(r, answer) {
  answer = 0; i = 1;
  do
  :: i < N -> answer = answer || (i != r && (state[i] == CONFIRMING || purchase[i] == PAYING)); i++
  :: else -> break
  od
}

inline earlierWaits(r, answer) {
  answer = 0; i = 1;
  do
  :: i < r -> answer = answer || state[i] == QUEUED || state[i] == STANDBY; i++
  :: else -> break
  od
}

/* --- A buyer ------------------------------------------------------------------------------------------------- */
proctype Buyer(byte r) {
  /* The order of arrival is the order of numbers: buyers are alike. */
  atomic {
    (tail == r - 1 || soldOut);
    if
    :: soldOut -> state[r] = REFUSED
    :: else -> tail = r; state[r] = QUEUED
    fi
  }
end_waiting:
  do
  :: atomic {
       (state[r] == RESERVED || state[r] == DECLINED) && !due[r] && tries[r] < CARDS && (lock == 0 || lock == r) ->
       lock = r; tries[r]++; become(r, CONFIRMING); entry[r] = 1; entryTry[r] = tries[r]
     }
#ifdef CANCELS
  :: atomic {
       state[r] == RESERVED || state[r] == DECLINED ->
       if :: lock == r -> lock = 0 :: else fi;
       become(r, CANCELLED); feedback ! TOLD_RELEASED
     }
  :: atomic { state[r] == QUEUED || state[r] == STANDBY -> become(r, CANCELLED) }
#endif
  :: isTerminal(state[r]) -> break
  od
}

/* --- Time, and what may befall Redis and leases ----------------------------------------------------------------- */
proctype Clock() {
  byte r;
end_ticking:
  do
  :: atomic { isHold(state[1]) && !due[1] -> r = 1; goto pass }
  :: atomic { isHold(state[2]) && !due[2] -> r = 2; goto pass }
#if REQUESTS > 2
  :: atomic { isHold(state[3]) && !due[3] -> r = 3; goto pass }
#endif
  :: atomic { steals > 0 && lease != 0 -> steals--; lease = 0 }
  :: steals > 0 -> steals = 0
  od;
pass:
  atomic {
    due[r] = 1;
    /* The lock's TTL; a lock of a payment under way has none. */
    if
    :: lock == r && state[r] != CONFIRMING -> lock = 0
#ifdef EXPIRE_WHILE_PAYING
    :: lock == r && state[r] == CONFIRMING -> lock = 0; state[r] = RESERVED
#endif
    :: else
    fi;
    r = 0;
    goto end_ticking
  }
}

proctype Loss() {
  byte i;
  if
  :: losses == 0
  :: losses > 0 -> skip
  :: atomic {
       losses > 0 -> losses--;
       i = 1;
       do
       :: i < N ->
          if :: state[i] != OUTSIDE && state[i] != REFUSED && !isTerminal(state[i]) -> state[i] = LOST :: else fi;
          tries[i] = 0; due[i] = 0; entry[i] = 0; entryTry[i] = 0; i++
       :: else -> break
       od;
       i = 0; lock = 0; redisEpoch = 0; lease = 0; soldOut = 0; head = tail;
       do :: feedback ? _ :: empty(feedback) -> break od
     }
  fi
}

/* --- The grant loop ------------------------------------------------------------------------------------------- */
#ifdef NO_EPOCH
#define isOwner() (true)
#else
#define isOwner() (redisEpoch == mine)
#endif
#define dueHold(r) (due[r] && (state[r] == RESERVED || state[r] == DECLINED))
#if REQUESTS > 2
#define noStandby() (state[1] != STANDBY && state[2] != STANDBY && state[3] != STANDBY)
#define someDue() (dueHold(1) || dueHold(2) || dueHold(3))
#else
#define noStandby() (state[1] != STANDBY && state[2] != STANDBY)
#define someDue() (dueHold(1) || dueHold(2))
#endif

#define believe(b) memory = b; if :: mine == epoch -> belief = b :: else fi

/* One call grants and checks the lock: SET NX for all tickets, or nothing at all is written. */
inline give(r) {
  if
  :: lock != 0 -> foreign = 1; n = 0; goto load
  :: else
  fi;
  if :: r > head -> head = r :: else fi;
  /* P4: nobody of the class who came earlier is still waiting; P6: not while somebody pays; and never what is sold. */
  earlierWaits(r, yes); check(4, !yes);
  if
  :: !hadLoss -> paidByOthers(r, yes); check(6, !yes); check(6, sales == 0)
  :: else
  fi;
  i = 0; yes = 0;
  lock = r; become(r, RESERVED); believe(HELD)
}

inline end_hold(r) {
  if :: lock == r -> lock = 0 :: else fi;
  become(r, EXPIRED); believe(FREE)
}

/* Of the loop with the seat map; `mine` is its epoch. */
proctype Owner(byte w) {
  byte mine, memory, i, n;
  bit yes, foreign, orphan;
end_idle:
  atomic { lease == 0 -> lease = w + 1 }
  atomic { epoch++; mine = epoch }
  if
  :: atomic { redisEpoch <= mine -> redisEpoch = mine }
  :: atomic { redisEpoch > mine -> mine = 0; goto end_idle }
  :: atomic { crashes > 0 -> crashes--; goto crashed }
  fi;
load:
  /* Redis's holds first, PostgreSQL after: what is sold in between is held or sold here, never free. */
  if
  :: atomic {
       isOwner() ->
       do :: feedback ? _ :: empty(feedback) -> break od;
       memory = FREE; i = 1;
       do
       :: i < N -> if :: isHold(state[i]) -> memory = HELD :: else fi; i++
       :: else -> break
       od;
       i = 0;
       if :: foreign && memory == FREE -> memory = HELD :: else fi
     }
  :: atomic { !(isOwner()) -> goto replaced }
  :: atomic { crashes > 0 -> crashes--; goto crashed }
  fi;
  atomic {
    orphan = 0;
    if
    :: sales > 0 -> memory = GONE
    :: sales == 0 && claim != 0 -> if :: memory == FREE -> orphan = 1 :: else fi; memory = HELD
    :: else
    fi;
    believe(memory)
  }
end_serving:
  do
  :: atomic { (head < tail || nempty(feedback) || someDue()) && crashes > 0 -> crashes--; goto crashed }
  :: atomic { !(isOwner()) -> goto replaced }

  /* Those who were passed over first, then the next in line. */
  :: atomic { isOwner() && memory == FREE && state[1] == STANDBY -> give(1) }
  :: atomic { isOwner() && memory == FREE && state[1] != STANDBY && state[2] == STANDBY -> give(2) }
#if REQUESTS > 2
  :: atomic {
       isOwner() && memory == FREE && state[1] != STANDBY && state[2] != STANDBY && state[3] == STANDBY -> give(3)
     }
#endif
  :: atomic { isOwner() && memory == FREE && noStandby() && head < tail ->
       n = head + 1;
       if :: state[n] == QUEUED -> give(n) :: else -> head = n fi;
       n = 0
     }
  :: atomic { isOwner() && memory == HELD && head < tail ->
       /* Passed over. In Redis head and stream say so, and no record; here it is a state. */
       head++;
       if :: state[head] == QUEUED -> become(head, STANDBY) :: else fi
     }
  :: atomic { isOwner() && memory == GONE && !soldOut ->
       soldOut = 1; head = tail; i = 1;
       do
       :: i < N ->
          if
          :: state[i] == QUEUED || state[i] == STANDBY -> check(4, sales > 0); become(i, SOLD_OUT)
          :: else
          fi;
          i++
       :: else -> break
       od;
       i = 0
     }

  /* The tick: holds that are over, and what happened to tickets. */
#ifndef NO_TICK
  :: atomic { isOwner() && dueHold(1) -> end_hold(1) }
  :: atomic { isOwner() && dueHold(2) -> end_hold(2) }
#if REQUESTS > 2
  :: atomic { isOwner() && dueHold(3) -> end_hold(3) }
#endif
#endif
  :: atomic { isOwner() && feedback ? [TOLD_SOLD] -> feedback ? TOLD_SOLD; believe(GONE) }
  :: atomic { isOwner() && feedback ? [TOLD_RELEASED] -> feedback ? TOLD_RELEASED; believe(FREE) }
  :: atomic { isOwner() && feedback ? [TOLD_LOST] -> feedback ? TOLD_LOST; goto load }

  /* Claims of payments that Redis forgot have ended; locks that nobody explained are gone. */
  :: atomic { orphan && (claim == 0 || sales > 0) -> goto load }
  :: atomic { foreign && lock == 0 -> foreign = 0; goto load }
  od;
crashed:
  atomic {
    if :: lease == w + 1 -> lease = 0 :: else fi
  }
replaced:
  atomic {
    if :: lease == w + 1 -> lease = 0 :: else fi;
    mine = 0; memory = 0; foreign = 0; orphan = 0; n = 0;
    goto end_idle
  }
}

/* --- The confirmation stream ------------------------------------------------------------------------------------------- */
#ifdef ACK_BEFORE_COMMIT
#define TAKEN(w) 0
#else
#define TAKEN(w) (2 + (w))
#endif
#define canTake(r) (entry[r] == 1 || (entry[r] == 3 - w && stalls > 0))
/* Begun in PostgreSQL and not ended for a minute: nobody works on it, or somebody very slow does. */
#define isStalled(r) (purchase[r] == PAYING && entry[r] == 0 && working[w] != (r) && (working[1 - w] != (r) || stalls > 0))

inline take(n) {
  if :: entry[n] > 1 -> stalls-- :: else fi;
  r = n; t = entryTry[n]; entry[n] = TAKEN(w); working[w] = n; goto attempt
}

inline takeStalled(n) {
  if :: working[1 - w] == n -> stalls-- :: else fi;
  r = n; t = purchaseTry[n]; working[w] = n; goto attempt
}

/* The answer was lost: whoever asked begins again, and finds out what was done. */
#define lostAnswer unknowns > 0 -> unknowns--; goto attempt

inline readStanding() {
  standing = purchase[r]; standingTry = purchaseTry[r]; standingPay = purchasePay[r];
#ifdef NO_UNIQUE
  owns = true
#else
  owns = (claim == r)
#endif
}

proctype Confirmer(byte w) {
  byte r, t, k, standing, standingTry, standingPay, outcome, ending;
  bit owns, authorised;
end_idle:
  do
  :: atomic { canTake(1) -> take(1) }
  :: atomic { canTake(2) -> take(2) }
  :: atomic { isStalled(1) -> takeStalled(1) }
  :: atomic { isStalled(2) -> takeStalled(2) }
#if REQUESTS > 2
  :: atomic { canTake(3) -> take(3) }
  :: atomic { isStalled(3) -> takeStalled(3) }
#endif
  od;

attempt:
#ifndef NO_INTENT
  /* PostgreSQL, one transaction: intent and claim. */
  atomic {
    if
    :: crashes > 0 -> crashes--; goto crashed
    :: true ->
       if
       :: purchase[r] == ABSENT || (purchase[r] == REFUSED_CARD && purchaseTry[r] < t) ->
          purchase[r] = PAYING; purchaseTry[r] = t; purchasePay[r] = 0
       :: else
       fi;
       if
       :: purchase[r] == PAYING && purchaseTry[r] == t && claim == 0 -> claim = r
       :: else
       fi;
       readStanding();
       if :: lostAnswer :: true fi
    fi
  }
  atomic {
    authorised = 0; k = 0;
    if
    :: standing == SOLD -> ending = PURCHASED; goto finish
    :: standing == VOID -> ending = EXPIRED; goto finish
    :: standing == REFUSED_CARD && standingTry >= t -> ending = DECLINED; goto finish
    :: standing == REFUSED_CARD && standingTry < t -> ending = 0; goto finish
    :: standing == PAYING && standingTry != t -> ending = 0; goto finish
    :: standing == PAYING && standingTry == t && !owns -> outcome = VOID; goto settle
    :: standing == PAYING && standingTry == t && owns
    fi
  }
#endif

  /* The provider: what it answered to a key it answers again. */
  atomic {
    if
    :: crashes > 0 -> crashes--; goto crashed
    :: true ->
#ifdef KEY_PER_ATTEMPT
       if :: calls[r] < KEYS -> calls[r]++ :: else fi;
       k = calls[r];
#else
       k = t;
#endif
       if
       :: PAY(r, k) == 0 -> PAY(r, k) = AUTHORISED
       :: PAY(r, k) == 0 -> PAY(r, k) = CARD_DECLINED
       :: PAY(r, k) != 0
       fi;
       authorised = (PAY(r, k) != CARD_DECLINED);
       if :: authorised -> outcome = SOLD :: else -> outcome = REFUSED_CARD fi;
       if :: lostAnswer :: true fi
    fi
  }
#ifdef CAPTURE_BEFORE_COMMIT
  atomic {
    if
    :: authorised && PAY(r, k) == AUTHORISED -> check(2, purchase[r] == SOLD); PAY(r, k) = CAPTURED
    :: else
    fi;
    if :: crashes > 0 -> crashes--; goto crashed :: true fi
  }
#endif

settle:
  /* PostgreSQL, one transaction: the outcome, the claims, the capture that is due. This commit is the truth. */
  atomic {
    if
    :: crashes > 0 -> crashes--; goto crashed
    :: true ->
#ifdef NO_INTENT
       if
       :: purchase[r] == ABSENT && (claim == 0 || outcome != SOLD) -> purchase[r] = PAYING; purchaseTry[r] = t; claim = r
       :: purchase[r] == ABSENT && claim != 0 && outcome == SOLD -> purchase[r] = PAYING; purchaseTry[r] = t; outcome = VOID
       :: purchase[r] == REFUSED_CARD && purchaseTry[r] < t -> purchase[r] = PAYING; purchaseTry[r] = t; claim = r
       :: else
       fi;
#endif
       if
       :: purchase[r] == PAYING && purchaseTry[r] == t ->
          purchase[r] = outcome;
          if
          :: outcome == SOLD ->
             purchasePay[r] = k; captureEntry[r] = 1; sales++;
             /* P1: a ticket is sold at most once. */
             check(1, sales <= 1)
          :: outcome != SOLD && claim == r -> claim = 0
          :: else
          fi
       :: else
       fi;
       readStanding();
       if
       :: unknowns > 0 ->
          unknowns--;
#ifdef VOID_ON_UNKNOWN
          if :: authorised && PAY(r, k) == AUTHORISED -> PAY(r, k) = CANCELED :: else fi;
#endif
          goto attempt
       :: true
       fi
    fi
  }
  atomic {
    ending = 0; outcome = 0;
    if
    :: standing == SOLD -> ending = PURCHASED; authorised = authorised && standingPay != k
    :: standing == REFUSED_CARD && standingTry == t -> ending = DECLINED
    :: standing == VOID -> ending = EXPIRED
    :: standing == PAYING -> authorised = authorised && standingTry != t
    :: else
    fi;
    if :: !authorised -> goto finish :: else fi
  }
  /* Authorised for nothing: PostgreSQL remembers that it must be cancelled. */
  atomic {
    if
    :: crashes > 0 -> crashes--; goto crashed
    :: true -> CANCEL(r, k) = 1
    fi
  }

finish:
  /* Redis, one call: the state for the poller, the hold, the ack. */
  atomic {
    if
    :: crashes > 0 -> crashes--; goto crashed
    :: true ->
       if
#ifdef SECOND_ANSWER
       :: ending != 0 && tries[r] == t ->
#else
       :: ending != 0 && state[r] == CONFIRMING && tries[r] == t ->
#endif
          if
          :: ending == DECLINED ->
             become(r, DECLINED);
             if :: due[r] && lock == r -> lock = 0 :: else fi
          :: ending != DECLINED ->
             if :: lock == r -> lock = 0 :: else fi;
             become(r, ending);
             if :: ending == PURCHASED -> feedback ! TOLD_SOLD :: else -> feedback ! TOLD_LOST fi
          fi
       :: else
       fi;
       if
       :: entryTry[r] == t ->
          /* I9: what is acknowledged is committed. */
          check(3, purchase[r] != PAYING || purchaseTry[r] != t);
          entry[r] = 0
       :: else
       fi;
       if :: lostAnswer :: true fi
    fi;
    r = 0; t = 0; k = 0; standing = 0; standingTry = 0; standingPay = 0; ending = 0; owns = 0; authorised = 0;
    working[w] = 0; outcome = 0;
    goto end_idle
  }

crashed:
  atomic {
    if :: entry[r] == 2 + w -> entry[r] = 1 :: else fi;
    r = 0; t = 0; k = 0; standing = 0; standingTry = 0; standingPay = 0; ending = 0; owns = 0; authorised = 0;
    working[w] = 0; outcome = 0;
    goto end_idle
  }
}

/* --- The outbox worker: captures and cancellations, until they are done ------------------------------------------------- */
#ifndef NO_OUTBOX_WORKER
inline capture(r) {
  /* P2: nothing is captured without a purchase, and nothing but its payment. */
  check(2, purchase[r] == SOLD);
  k = purchasePay[r];
  check(2, PAY(r, k) == AUTHORISED || PAY(r, k) == CAPTURED);
  PAY(r, k) = CAPTURED;
  if
  :: crashes > 0 -> crashes--   /* done, and not noted */
  :: true -> captureEntry[r] = 0
  fi;
  k = 0
}

inline cancelAll(r) {
  k = 1;
  do
  :: k <= KEYS ->
     if
     :: CANCEL(r, k) ->
        check(2, PAY(r, k) != CAPTURED);
        PAY(r, k) = CANCELED; CANCEL(r, k) = 0
     :: else
     fi;
     k++
  :: else -> break
  od;
  k = 0
}
#define hasCancel(r) (CANCEL(r, 1) || (KEYS > 1 && CANCEL(r, KEYS)) || (KEYS > 2 && (CANCEL(r, 2) || CANCEL(r, KEYS - 1))))

proctype OutboxWorker() {
  byte k;
end_idle:
  do
  :: atomic { captureEntry[1] -> capture(1) }
  :: atomic { captureEntry[2] -> capture(2) }
  :: atomic { hasCancel(1) -> cancelAll(1) }
  :: atomic { hasCancel(2) -> cancelAll(2) }
#if REQUESTS > 2
  :: atomic { captureEntry[3] -> capture(3) }
  :: atomic { hasCancel(3) -> cancelAll(3) }
#endif
  od
}
#endif

/* --- What must be true when nothing more can happen ------------------------------------------------------------- */
proctype Monitor() {
  byte r, k, captures, authorisations;
end_waiting:
  atomic {
    timeout ->
    r = 1;
    do
    :: r < N ->
       captures = 0; authorisations = 0; k = 1;
       do
       :: k <= KEYS ->
          captures = captures + (PAY(r, k) == CAPTURED);
          authorisations = authorisations + (PAY(r, k) == AUTHORISED);
          k++
       :: else -> break
       od;
       /* P2: charged once, exactly if sold; no authorisation is left open. */
       check(2, captures == (purchase[r] == SOLD));
       check(2, authorisations == 0);
       /* P3: ended, and what the buyer is told is what PostgreSQL knows. */
       check(3, isTerminal(state[r]));
       check(3, purchase[r] != PAYING);
       check(3, state[r] != PURCHASED || purchase[r] == SOLD);
       check(3, purchase[r] != SOLD || state[r] == PURCHASED || state[r] == LOST);
       r++
    :: else -> break
    od;
    /* P6: what is not sold can be had again. */
    if
    :: sales == 0 -> check(6, lock == 0); check(6, claim == 0); check(6, belief == FREE)
    :: else -> check(1, sales == 1)
    fi
  }
}

init {
  atomic {
    run Buyer(1); run Buyer(2);
#if REQUESTS > 2
    run Buyer(3);
#endif
    run Clock(); run Loss(); run Owner(0); run Owner(1); run Confirmer(0); run Confirmer(1);
#ifndef NO_OUTBOX_WORKER
    run OutboxWorker();
#endif
    run Monitor()
  }
}
