/* Who in the line is served, and what the line is told: small enough to be checked whole. README.md says what is in it.
 *
 * Three seats, REQUESTS buyers with wishes of every kind. A step is one call to Redis, or one look at it; between any
 * two steps every other process may act. Mishaps have budgets, as in onsale.pml.
 *
 * Seeded bugs, one at a time by -D: OLD_BLOCKING EXACT_WAITS OVERTAKE_IN_CLASS NO_RESCAN TAKEOVER_FORGETS_LAG LOST_MARK
 * END_WHILE_HELD NO_LATE_END END_ONLY_UP_TO_HEAD END_AS_PLANNED LAST_REASON ANSWER_JUMPS.
 */
#ifndef REQUESTS
#define REQUESTS 4
#endif
#ifndef CRASHES
#define CRASHES 1  /* the owner dies, and another takes over; or an answer is lost, and it loads anew */
#endif
#ifndef LEAVES
#define LEAVES 1   /* buyers who give up while they wait */
#endif
#ifndef ANSWERS
#define ANSWERS 1  /* buyers who ask for less after the end of their wish */
#endif

#define N (REQUESTS + 1)

/* Seats, as bits: one in section A, two side by side in section B. */
#define ALL 7
#define SEAT_A 1
#define SEAT_B1 2
#define SEAT_B2 4
#define BOTH_B 6

/* Wishes. All but exact seats are classes, each with a stream of its own. */
#define IN_A 1
#define IN_B 2
#define ANYWHERE 3
#define TOGETHER 4  /* two, side by side */
#define TWO 5       /* two, wherever they are */
#define EXACT 6     /* the seat of A and the first of B */
#define KINDS 7     /* 0 is nobody's */

#define bit(w) (1 << (w))
#if defined(EXACT_WAITS) || defined(OLD_BLOCKING)
#define canLag(w) (true)
#else
#define canLag(w) ((w) != EXACT)
#endif
#define fits(w, s) (((w) == IN_A && ((s) & SEAT_A)) || ((w) == IN_B && ((s) & BOTH_B)) \
  || ((w) == ANYWHERE && (s)) || ((w) == TOGETHER && ((s) & BOTH_B) == BOTH_B) \
  || ((w) == TWO && ((s) & ((s) - 1))) || ((w) == EXACT && ((s) & 3) == 3))
#define one(s) (((s) & SEAT_A) -> SEAT_A : (((s) & SEAT_B1) -> SEAT_B1 : SEAT_B2))
/* Seats out of `s`, which fits. Two of three leave out the last or, where one is gone, nothing. */
#define pick(w, s) (((w) == IN_A) -> SEAT_A : (((w) == IN_B) -> one((s) & BOTH_B) : (((w) == ANYWHERE) -> one(s) \
  : (((w) == TOGETHER) -> BOTH_B : (((w) == EXACT) -> 3 : (((s) == ALL) -> BOTH_B : (s)))))))

/* What a buyer is told, in the order in which it may follow; from FIRST_END on it is final. Records use the same. */
#define NOTHING 0
#define QUEUED 1
#define STANDBY 2
#define RESERVED 3
#define FIRST_END 4
#define PURCHASED 4
#define EXPIRED 5
#define CANCELLED 6
#define SEATS_TAKEN 7
#define NOT_TOGETHER 8
#define ONLY_N_LEFT 9
#define SECTION_SOLD_OUT 10
#define SOLD_OUT 11
#define UNKNOWN 12
#define ALONE 13    /* of records: waits with a wish of their own, after the end of their class */
#define REFUSED 14  /* never accepted: the sale was sold out */
#define isEndOfWish(t) ((t) >= NOT_TOGETHER && (t) <= SECTION_SOLD_OUT)

/* --- Redis; a request's number is its position --- */
byte wish[N];       /* as the request's id says */
byte loose[N];      /* what they asked for instead; 0: nothing yet */
bit queued[N];      /* is in the stream of its class */
byte record[N];
byte seats[N];      /* of a hold or a purchase */
byte held, sold;
byte head, tail;
byte served[KINDS]; /* the last of the class who got seats */
/* Everybody of the class up to here has ended, unless a record says otherwise: one mark for each reason, in the order
 * in which reasons may follow each other, so that a later end says nothing new to those who have ended. */
byte ended[KINDS * 3];
byte soldOutUpTo;
bit woken;          /* the owner has something to look at */

/* --- bookkeeping of the model --- */
byte crashes = CRASHES, leaves = LEAVES, answers = ANSWERS;
byte told[N];
/* Of one step; nobody's state. */
hidden byte i, word, lag, freeSeats, liveSeats, blocked;

#define wants(r) (loose[r] -> loose[r] : wish[r])
#define waits(r) (queued[r] || (record[r] == ALONE && (r) > soldOutUpTo))
#define endOfClass(w, why) ended[(w) * 3 + (why) - NOT_TOGETHER]
#define endedAs(r, why) (endOfClass(wish[r], why) >= (r))
#define soldOutWith(r) ((r) <= soldOutUpTo)
#ifdef LAST_REASON
#define endOf(r) (soldOutWith(r) -> SOLD_OUT : (endedAs(r, SECTION_SOLD_OUT) -> SECTION_SOLD_OUT \
  : (endedAs(r, ONLY_N_LEFT) -> ONLY_N_LEFT : (endedAs(r, NOT_TOGETHER) -> NOT_TOGETHER : NOTHING))))
#else
#define endOf(r) (endedAs(r, NOT_TOGETHER) -> NOT_TOGETHER : (endedAs(r, ONLY_N_LEFT) -> ONLY_N_LEFT \
  : (endedAs(r, SECTION_SOLD_OUT) -> SECTION_SOLD_OUT : (soldOutWith(r) -> SOLD_OUT : NOTHING))))
#endif
/* Of a wish that `s`, which is free or held, cannot satisfy. */
#define reason(w, s) (((w) == IN_A || (w) == IN_B) -> SECTION_SOLD_OUT \
  : ((w) == TOGETHER && ((s) & ((s) - 1)) -> NOT_TOGETHER : ONLY_N_LEFT))

#define spell(text) #text
#define check(property, condition) \
  if \
  :: (condition) -> skip \
  :: else -> printf(spell(VIOLATED property)); printf("\n"); assert(false) \
  fi

/* --- What pollers are told, after every call: from memory where that says it, else by the record ---------------- */
inline sayByRecord(r, without) {
  word = ((record[r] == NOTHING) -> (without)
    : ((record[r] != ALONE) -> record[r]
    : ((r <= soldOutUpTo) -> SOLD_OUT : ((r > head) -> QUEUED : STANDBY))))
}

inline tell() {
  d_step {
    /* Classes that lag: somebody of theirs was passed over. */
    lag = 0; i = 1;
    do
    :: i <= head -> lag = lag | (queued[i] -> bit(wish[i]) : 0); i++
    :: else -> break
    od;
    i = 1;
    do
    :: i <= tail ->
       if
       /* Servers know who has left the line. */
       :: record[i] == CANCELLED -> word = CANCELLED
       /* Ended with its class, or with the line, unless a record says otherwise. */
       :: record[i] != CANCELLED && endOf(i) -> sayByRecord(i, endOf(i))
       :: record[i] != CANCELLED && !endOf(i) && i > head -> word = QUEUED
       :: else ->
          if
          :: canLag(wish[i]) && (lag & bit(wish[i])) && i > served[wish[i]] -> word = STANDBY
          :: else -> sayByRecord(i, UNKNOWN)
          fi
       fi;
       /* It is true, and never goes back; what has ended stays as it ended. */
       check(P3 (untrue), word != UNKNOWN && (word == QUEUED || word == STANDBY) == waits(i));
       check(P3 (goes back), word >= told[i] && (told[i] < FIRST_END || word == told[i]));
#ifndef OLD_BLOCKING
       check(P4 (exact waits), wish[i] != EXACT || word != STANDBY);
#endif
       told[i] = word;
       i++
    :: else -> break
    od
  }
}

/* --- A buyer, and the clock that ends holds --------------------------------------------------------------------- */
proctype Buyer(byte r) {
  atomic {
    tail == r - 1 || soldOutUpTo > 0;
    if
    :: soldOutUpTo > 0 -> record[r] = REFUSED; told[r] = REFUSED; goto end_waiting
    :: soldOutUpTo == 0 -> wish[r] = IN_A
    :: soldOutUpTo == 0 -> wish[r] = IN_B
    :: soldOutUpTo == 0 -> wish[r] = ANYWHERE
    :: soldOutUpTo == 0 -> wish[r] = TOGETHER
    :: soldOutUpTo == 0 -> wish[r] = EXACT
    fi;
    tail = r; queued[r] = 1; woken = 1;
    tell()
  }
end_waiting:
  do
  :: atomic {
       record[r] == RESERVED ->
       record[r] = PURCHASED; held = held ^ seats[r]; sold = sold | seats[r]; seats[r] = 0; woken = 1;
       tell()
     }
  :: atomic {
       record[r] == RESERVED ->
       record[r] = EXPIRED; held = held ^ seats[r]; seats[r] = 0; woken = 1;
       tell()
     }
  :: atomic {
       leaves > 0 && waits(r) ->
       leaves--; record[r] = CANCELLED; queued[r] = 0; woken = 1;
       tell()
     }
  /* Once; told anew from here on. */
  :: atomic {
       answers > 0 && isEndOfWish(told[r]) && !loose[r] && soldOutUpTo == 0 ->
       answers--;
       if
       :: loose[r] = ANYWHERE
       :: told[r] == NOT_TOGETHER -> loose[r] = TWO
       fi;
       record[r] = ALONE; told[r] = NOTHING; woken = 1;
       tell()
     }
  od
}

/* --- The owner of the seat map ---------------------------------------------------------------------------------- */
#define GRANT 1
#define TAKEN 2
#define PASS 3
#define END_CLASS 4
#define END_ALONE 5
#define SELL_OUT 6

inline end_wish(r) {
  why = reason(wants(r), liveSeats); what = tail;
  kind = (queued[r] -> END_CLASS : END_ALONE)
}

inline grant(r, from) {
  kind = GRANT; what = pick(wants(r), from)
}

/* The next whom nobody has looked at. */
inline look() {
  who = head + 1; upTo = who;
  if
  :: !waits(who) -> kind = PASS
  :: waits(who) && !canLag(wants(who)) ->
     if
     :: fits(EXACT, freeSeats) -> grant(who, freeSeats)
     :: else -> kind = TAKEN
     fi
  :: else ->
     if
     /* Waits behind those of its class, without a record. */
     :: queued[who] && (lagging & bit(wish[who])) -> kind = PASS
     :: else ->
        if
        :: fits(wants(who), freeSeats) -> grant(who, freeSeats)
        :: !fits(wants(who), liveSeats) -> end_wish(who)
        :: else -> kind = PASS; lagging = lagging | (queued[who] -> bit(wish[who]) : 0)
        fi
     fi
  fi
}

#ifdef ANSWER_JUMPS
#define inReach(r) (record[r] == ALONE || (r <= head && queued[r] && (lagging & bit(wish[r]))))
#define LAST_IN_REACH tail
#else
#define inReach(r) (record[r] == ALONE || (queued[r] && (lagging & bit(wish[r]))))
#define LAST_IN_REACH head
#endif

/* Those who were passed over. Of one class the first stands for all, so that this is the earliest of those that lag. */
inline lookBack() {
  i = 1;
  do
  :: kind == 0 && i <= LAST_IN_REACH ->
     if
#ifndef NO_LATE_END
     :: inReach(i) && !fits(wants(i), liveSeats) -> who = i; upTo = head; end_wish(i)
#endif
#ifndef NO_RESCAN
     :: inReach(i) && fits(wants(i), freeSeats) -> who = i; upTo = head; grant(i, freeSeats)
#endif
     :: else
     fi;
     i++
  :: else -> break
  od
}

/* The rule of before: who waits, also for exact seats, blocks the sections that might serve them for everybody behind,
 * and reading stops when everything is blocked. */
#define sections(w) (((w) == IN_A) -> SEAT_A : (((w) == IN_B) -> BOTH_B : ALL))
#define unblocked (freeSeats & (ALL ^ blocked))
inline decideBlocking(r) {
  if
  :: fits(wants(r), unblocked) && (wants(r) != EXACT || !blocked) -> who = r; grant(r, unblocked)
  :: !fits(wants(r), liveSeats) -> who = r; end_wish(r)
  :: else -> blocked = blocked | sections(wants(r))
  fi
}

inline lookBlocking() {
  blocked = 0; i = 1; upTo = head;
  do
  :: kind == 0 && i <= head ->
     if :: waits(i) -> decideBlocking(i) :: else fi;
     i++
  :: else -> break
  od;
  if
  :: kind == 0 && head < tail && blocked != ALL ->
     i = head + 1; upTo = i;
     if :: waits(i) -> decideBlocking(i) :: else fi;
     if :: kind == 0 -> kind = PASS; who = i :: else fi
  :: else
  fi
}

inline plan() {
  d_step {
    freeSeats = ALL ^ (held | sold);
#ifdef END_WHILE_HELD
    liveSeats = freeSeats;
#else
    liveSeats = ALL ^ sold;
#endif
    /* Of a class whose last has left, nobody lags. */
    lag = 0; i = 1;
    do
    :: i <= head -> lag = lag | (queued[i] -> bit(wish[i]) : 0); i++
    :: else -> break
    od;
    lagging = lagging & lag;
    if
    :: soldOutUpTo == 0 && sold == ALL -> kind = SELL_OUT
    :: soldOutUpTo == 0 && sold != ALL ->
#ifdef OVERTAKE_IN_CLASS
       if
       :: head < tail && queued[head + 1] && fits(wish[head + 1], freeSeats) ->
          who = head + 1; upTo = who; grant(who, freeSeats)
       :: else
       fi;
#endif
#ifdef OLD_BLOCKING
       lookBlocking();
#else
       lookBack();
       if :: kind == 0 && head < tail -> look() :: else fi;
#endif
    :: else
    fi;
    if
    :: kind == GRANT ->
       /* Free seats go to the earliest whom they satisfy. */
       i = 1;
       do
       :: i < who -> check(P4 (order), !(waits(i) && fits(wants(i), freeSeats))); i++
       :: else -> break
       od
    :: kind == 0 ->
       /* Until somebody comes, pays or gives up, nothing happens any more: nobody waits for what is free, or for what
        * cannot come. */
       i = 1;
       do
       :: i <= tail ->
          check(P4 (freeze), !(waits(i) && fits(wants(i), freeSeats)));
#ifndef OLD_BLOCKING
          check(P3 (no end), !(waits(i) && !fits(wants(i), liveSeats)));
#endif
          i++
       :: else -> break
       od;
       woken = 0; who = 0; upTo = 0
    :: else
    fi;
    i = 0
  }
}

#if defined(END_ONLY_UP_TO_HEAD)
#define END_UP_TO head
#elif defined(END_AS_PLANNED)
#define END_UP_TO what
#else
#define END_UP_TO tail
#endif

/* One call writes what was planned; who has left meanwhile is skipped. */
inline commit() {
  d_step {
    head = (upTo > head -> upTo : head);
    if
    :: kind == GRANT && waits(who) ->
       /* P4: nobody of the class was told an end before. */
       i = 1;
       do
       :: i < who ->
          check(P4 (ended before), wants(i) != wants(who) || !(isEndOfWish(told[i]) || told[i] == SOLD_OUT)); i++
       :: else -> break
       od;
       record[who] = RESERVED; seats[who] = what; held = held | what;
#ifndef LOST_MARK
       served[wish[who]] = (queued[who] && wish[who] != EXACT -> who : served[wish[who]]);
#endif
       queued[who] = 0
    :: kind == TAKEN && waits(who) -> record[who] = SEATS_TAKEN; queued[who] = 0
    :: kind == END_ALONE && waits(who) -> record[who] = why
    :: kind == END_CLASS ->
       /* The stream goes whole, those beyond the head with it, and those who came since the plan. */
       check(P4 (false end), !fits(wish[who], ALL ^ sold));
       endOfClass(wish[who], why) = END_UP_TO;
       i = 1;
       do
       :: i <= tail -> queued[i] = queued[i] && wish[i] != wish[who]; i++
       :: else -> break
       od
    :: kind == SELL_OUT ->
       check(P4 (false end), sold == ALL);
       soldOutUpTo = tail; head = tail; i = 1;
       do
       :: i <= tail -> queued[i] = 0; i++
       :: else -> break
       od
    :: else
    fi;
    kind = 0; who = 0; what = 0; why = 0; upTo = 0; i = 0
  }
}

/* Knows of those who wait only which classes lag; the few who wait alone are a list in Redis. */
proctype Owner() {
  byte lagging, kind, who, what, why, upTo;
end_serving:
  do
  :: atomic {
       woken ->
       plan();
       if :: kind != 0 -> goto planned :: else fi
     }
  :: atomic { crashes > 0 -> crashes--; goto takeOver }
  od;
planned:
  if
  :: atomic { true -> commit(); tell(); goto end_serving }
  :: atomic { crashes > 0 -> crashes--; goto takeOver }
  fi;
takeOver:
  atomic {
    kind = 0; who = 0; what = 0; why = 0; upTo = 0; lagging = 0; woken = 1;
#ifndef TAKEOVER_FORGETS_LAG
    i = 1;
    do
    :: i <= head -> lagging = lagging | (queued[i] -> bit(wish[i]) : 0); i++
    :: else -> break
    od;
#endif
    goto end_serving
  }
}

/* --- What must be true when nothing more can happen ------------------------------------------------------------- */
proctype Monitor() {
end_waiting:
  atomic {
    timeout ->
    i = 1;
    do
    :: i < N -> check(P3 (no end), told[i] >= FIRST_END); i++
    :: else -> break
    od;
    i = 0
  }
}

init {
  atomic {
    run Buyer(1); run Buyer(2); run Buyer(3);
#if REQUESTS > 3
    run Buyer(4);
#endif
#if REQUESTS > 4
    run Buyer(5);
#endif
    run Owner(); run Monitor()
  }
}
