import Foundation
import Onsale

/// The Redis function library: every change of an event's queue is one of these calls, atomic and replicated.
///
/// Keys of an event, all with its partition's hash tag so that they live in one slot (`P` is `{p3}:`, `E` the
/// event's prefix `{p3}:42:`):
///
///     E m        hash    state (`lost`: an older copy of itself, to be removed), generation, head, tail, counts and settings of the event
///     E q:<n>    streams who waits, a line for each kind of wish; an entry's id is "<position>-<ordinal in the line>";
///                        it leaves when it is decided
///     E k        hash    wish, such as `2s7a` (`t`: exact seats) → number of its line · 2³² + how many ever stood in it
///     E kn       hash    number of a line → its wish
///     E km       hash    number of a line → its mark (`LineMark`): "<version>:<position>:<ordinal>:<ends>", the last one
///                        served while some wait whom the head has passed, and how the line ended, if it did
///     E ka       set     numbers of lines with somebody whom the owner has not looked at, and of some without
///     E y        zset    who waits alone: "<payload>\n<user>" by position, after an answer to the end of their line
///     E away     bitmap  positions that have a record or wait alone although their line says otherwise
///     E q        stream  who waits, all in one line: what the version before wrote; the owner splits it
///     E u:<xx>   hashes  user key → "<live position>.<line>:<tickets owned>:<places left behind>:<places that came to
///                        nothing>", in small buckets; zeros at the end are left out
///     E r:<n>    hashes  position → its record, for requests that were decided one by one
///     E x        zset    holds by deadline in ms; infinite while a payment is under way
///     E l:<t>    string  the lock of one ticket, with the hold's deadline as its TTL
///     E b        bitmap  tickets that are not free
///     E o        bitmap  tickets that were sold, in whatever life of the queue: what PostgreSQL must know
///     E gone     zset    what the version before has for `away`
///     E ended    list    requests that ended without a purchase, for the owner to note in PostgreSQL (`ends`)
///     E h        hash    position → "<deadline>|<amount>|<tickets>|<user key>": holds that Redis has forgotten and
///                        somebody shows, for the owner to give back (`show_holds`)
///     E hl       bitmap  positions whose hold was shown, and whose seats are somebody else's
///     E w        zset    places of an earlier life, "<payload>\n<user>" by position: they come first in this one (`restoring_until`)
///     E i:<xx>   hashes  user key → the Idempotency-Key that the user's last place was given out for, user key and try →
///                        that of a payment; "<place> <generation> <key> <digest of what it came with>", where a place
///                        is its position and, of a line, ".<line>.<ordinal>"
///     E s:<place>  string  who writes the event to the search index at that place, or what was written; with a TTL
///     E f        list    what the owner of the seat map must learn: tickets released (r), sold (s), lost (l), who waits alone
///                        (y) or does no more (c)
///     P events   set     events alive in the partition
///     P settings hash    event → version of the settings that its queue has
///     P c        stream  confirmations, for the consumer group of all workers
///     P dead     stream  confirmations that failed too often
///     P lease    string  the owner's name, with a TTL
///     P epoch    string  the owner's fencing number
///     P clock    string  ms that the partition's clock is ahead of Redis's, since that has stepped (`set_clock`)
///     {workers}  zset    workers alive, by when that ends
///     {workers}:library  string  held by whoever loads this library, with a TTL
///
/// Channels: `P n` what notifiers must learn, `P w` events whose owner has something to do, `P k` confirmations.
///
/// A record is `state|try|deadline|amount|tickets|reason|user key`; behind the reason stands `@<line>.<ordinal>`, as the
/// request's id says them, where they are known.
package enum QueueLibrary {
  /// Raised with every change: a server with an older version gets this one, a newer one is left alone, so that
  /// two versions of the program can run side by side. Functions must therefore stay callable by the one before.
  package static let version = 18

  package static let lock = "{workers}:library"

  /// News to the owner that one call of `tick` hands over at most.
  static let newsAtOnce = 2_000

  /// Holds that were shown and wait for the owner, of one event: as many as it can have, of some 150 B each.
  static let shownHolds = Limits.ticketsPerEvent

  /// For so long nobody is granted seats while prices change.
  static let barMilliseconds = 5_000

  package static let source = #"""
    #!lua name=onsale

    local function prefix(m) return string.sub(m, 1, -2) end
    local function partition(m) return string.match(m, '^({[^}]*}:)') end
    local function event(m) return string.match(m, '}:(%d+):m$') end

    local function server_ms()
      local t = redis.call('TIME')
      return tonumber(t[1]) * 1000 + math.floor(tonumber(t[2]) / 1000)
    end

    -- The clock of the partition that the key belongs to: Redis's, but for the steps that its owner has noticed.
    local function now_ms(key)
      return server_ms() + tonumber(redis.call('GET', partition(key) .. 'clock') or '0')
    end

    -- The event's own clock, which all deadlines of its holds are on: the partition's, but for the time for which the sale
    -- has stood still. While it stands still, it does not go on. The second answer says whether it does that now.
    local function event_ms(m, now)
      local v = redis.call('HMGET', m, 'stood', 'stands_since')
      return (tonumber(v[2] or '') or now or now_ms(m)) - (tonumber(v[1] or '') or 0), v[2]
    end

    -- A position is its text: 1234 is field 34 of r:12, 1205 field 5. By text, as formatting numbers is dear.
    local function record_key(p, pos)
      if type(pos) == 'number' then pos = string.format('%.0f', pos) end
      if #pos < 3 then return p .. 'r:0', pos end
      local field = string.sub(pos, -2)
      if string.byte(field) == 48 then field = string.sub(field, 2) end
      return p .. 'r:' .. string.sub(pos, 1, -3), field
    end

    local function get_record(p, pos)
      local key, field = record_key(p, pos)
      local text = redis.call('HGET', key, field)
      if not text then return nil end
      local state, try, deadline, amount, tickets, reason, place, user =
        string.match(text, '^(.)|(%d+)|(%d+)|(%d+)|([%d,]*)|([^|@]*)@?([^|]*)|(.*)$')
      return {state = state, try = tonumber(try), deadline = tonumber(deadline), amount = amount,
              tickets = tickets, reason = reason, user = user, place = place}
    end

    -- `place`: number of the line and ordinal in it, as "<line>.<ordinal>", or ''. It stands behind the reason, where the
    -- version before, which keeps the user's key to the end of the text, does not mind it.
    local function record_text(state, try, deadline, amount, tickets, reason, user, place)
      if place ~= '' then reason = reason .. '@' .. place end
      return state .. '|' .. try .. '|' .. deadline .. '|' .. amount .. '|' .. tickets .. '|' .. reason .. '|' .. user
    end

    local function put_record(p, pos, r)
      local key, field = record_key(p, pos)
      redis.call('HSET', key, field,
        record_text(r.state, r.try, string.format('%.0f', r.deadline), r.amount, r.tickets, r.reason, r.user,
          r.place or ''))
    end

    -- Arguments of one call: the interpreter's stack takes 8,000.
    local AT_ONCE = 4000

    -- One call of the command with `all` that follows the key, `width` of which belong together; several, if they are
    -- many. Each call costs more than what it does.
    local function all_at_once(command, key, all, width)
      local size = AT_ONCE - AT_ONCE % width
      for start = 1, #all, size do
        redis.call(command, key, unpack(all, start, math.min(start + size - 1, #all)))
      end
    end

    local function bucket(p, user) return p .. 'u:' .. string.sub(user, 1, 2) end

    -- The user's live position, or 0; how many tickets they own; how often they gave a place up, by a cancellation or
    -- by letting a hold expire; the number of the line that they stand in, '' where it is not known; how often a place came
    -- to nothing without their doing.
    local function get_user(p, user)
      local text = redis.call('HGET', bucket(p, user), user)
      if not text then return 0, 0, 0, '', 0 end
      local live, line, owned, left, refused = string.match(text, '^(%d+)%.?(%d*):?(%d*):?(%d*):?(%d*)$')
      return tonumber(live), tonumber(owned) or 0, tonumber(left) or 0, line, tonumber(refused) or 0
    end

    local function put_user(p, user, live, owned, left, line, refused)
      local place = line and line ~= '' and live ~= 0 and live .. '.' .. line or live
      if live == 0 and owned == 0 and left == 0 and refused == 0 then
        redis.call('HDEL', bucket(p, user), user)
      elseif refused > 0 then
        redis.call('HSET', bucket(p, user), user, place .. ':' .. owned .. ':' .. left .. ':' .. refused)
      elseif left > 0 then
        redis.call('HSET', bucket(p, user), user, place .. ':' .. owned .. ':' .. left)
      elseif owned > 0 then
        redis.call('HSET', bucket(p, user), user, place .. ':' .. owned)
      else
        redis.call('HSET', bucket(p, user), user, place)
      end
    end

    -- Ends without a purchase that wait to be noted in PostgreSQL. More than so many are forgotten, while no worker is
    -- there: after a loss of Redis they look like places that were lost.
    local MAX_NOTES = 1000000

    -- A position, or `*` and the last one of all lines, or `=`, the number of a line, and its end as in its mark.
    local function note_end(p, what)
      if redis.call('RPUSH', p .. 'ended', what) > MAX_NOTES then redis.call('RPOP', p .. 'ended') end
    end

    -- The user's request `pos` has ended: they may ask again. A newer request of theirs is left alone. `gave_up` where it
    -- was their doing.
    local function let_user_go(p, user, pos, bought, gave_up)
      if bought == 0 then note_end(p, pos) end
      local live, owned, left, line, refused = get_user(p, user)
      if live == tonumber(pos) then live = 0 end
      if gave_up then
        left = left + 1
      elseif bought == 0 then
        refused = refused + 1
      end
      put_user(p, user, live, owned + bought, left, line, refused)
    end

    local function each_ticket(tickets) return string.gmatch(tickets, '%d+') end

    local function count_tickets(tickets)
      local _, n = string.gsub(tickets, '%d+', '')
      return n
    end

    local function mark(p, tickets, bit)
      for t in each_ticket(tickets) do redis.call('SETBIT', p .. 'b', t, bit) end
    end

    -- Deletes the locks that this position holds; a lock of somebody else stays.
    local function unlock(p, pos, tickets)
      for t in each_ticket(tickets) do
        if redis.call('GET', p .. 'l:' .. t) == tostring(pos) then redis.call('DEL', p .. 'l:' .. t) end
      end
    end

    local FIELDS = {'generation', 'state', 'head', 'tail', 'free', 'held', 'sold', 'granted_per_second',
      'sold_out_up_to', 'closed_up_to', 'sold_out', 'version', 'decided_up_to', 'message'}

    -- Tells notifiers: the event's head document, and the positions whose state changed; one that is now in `away` with a
    -- minus; marks of lines, as "=<number>:<mark>"; how many places are in `away`, and wait, as "#<places>:<waiting>"; and
    -- how long the event's clock has stood, since when it does, and whether payments are stopped, as "~<ms>:<since>:<0/1/2>".
    local function announce(m, positions)
      local v = redis.call('HMGET', m, unpack(FIELDS))
      for i = 1, #FIELDS do v[i] = v[i] or '' end
      local more = redis.call('HMGET', m, 'apart', 'waiting', 'stood', 'stands_since', 'stopped')
      positions[#positions + 1] = '#' .. (more[1] or '0') .. ':' .. (more[2] or '0')
      if more[3] or more[4] or more[5] and more[5] ~= '0' then
        positions[#positions + 1] = '~' .. (more[3] or '0') .. ':' .. (more[4] or '') .. ':' .. (more[5] or '0')
      end
      redis.call('PUBLISH', partition(m) .. 'n',
        event(m) .. '\n' .. table.concat(positions, ',') .. '\n' .. table.concat(v, '|'))
    end

    local function wake_owner(m) redis.call('PUBLISH', partition(m) .. 'w', event(m)) end
    local function wake_confirm(m) redis.call('PUBLISH', partition(m) .. 'k', '') end

    -- FENCE is "<epoch>" or "<epoch>:<load>". An owner that loads anew names the load, so that what it sent before,
    -- on a connection that it gave up, is refused should it arrive only now.
    local function is_owner(m, fence)
      local epoch, load = string.match(fence, '^(%d+):?(.*)$')
      return redis.call('GET', partition(m) .. 'epoch') == epoch
        and (load == '' or redis.call('HGET', m, 'load') == load)
    end

    local function add_confirmation(m, pos, r, method, user)
      redis.call('XADD', partition(m) .. 'c', '*', 'e', event(m), 'g', redis.call('HGET', m, 'generation'),
        'p', pos, 't', r.try, 'k', r.tickets, 'a', r.amount, 'm', method, 'u', user, 'l', r.place or '')
    end

    -- An idempotency key names the call it first came with, for a day at least, in one life of the queue: a position says
    -- nothing in another. By user, so that whatever keys somebody makes up take no more than what one has: remembered are
    -- that of the last place, under which it was given out, and those of the payments tried for one.
    local IDEMPOTENCY_MS = 86400000

    local function digest(content) return string.sub(redis.sha1hex(content), 1, 16) end
    local function key_bucket(p, user) return p .. 'i:' .. string.sub(user, 1, 2) end

    -- `place` is the position and, where it stands in a line, ".<line>.<ordinal>".
    local function remember_call(p, user, field, generation, key, content, place)
      if key == '' then return end
      local hash = key_bucket(p, user)
      redis.call('HSET', hash, field, place .. ' ' .. generation .. ' ' .. key .. ' ' .. digest(content))
      redis.call('PEXPIRE', hash, IDEMPOTENCY_MS)
    end

    -- The position that the key came with before, whether what else came with it was the same, and its place in its line,
    -- as a record has it; nil for a new one.
    local function recall(p, user, field, generation, key, content)
      local seen = key ~= '' and redis.call('HGET', key_bucket(p, user), field)
      if not seen then return nil end
      local pos, place, call, came_with = string.match(seen, '^(%d+)%.?([%d.]*) (.*) (%x+)$')
      if call ~= generation .. ' ' .. key then return nil end
      return tonumber(pos), came_with == digest(content), place
    end

    -- How often one user may give up a place of one event, and how often one may come to nothing: each leaves a record
    -- until the event ends.
    local MAX_LEFT, MAX_REFUSED = LEAVES, REFUSALS

    -- A line for each kind of wish: whoever cannot be served keeps nobody waiting but those who want the same.
    local ORDINALS = 4294967296
    local MAX_LINES = $LINES

    -- What the wishes of one line have in common: everything but the most that each may cost (`m` and a number) and a
    -- payment method; exact seats share one.
    local function wish_of(payload)
      local wish = string.match(payload, '^[^ m]*')
      return string.sub(wish, 1, 1) == 't' and 't' or wish
    end

    -- The number of the wish's line and how many have stood in it, with those who come now; nothing if there are too many
    -- lines.
    local function stand_in_line(m, p, wish, newcomers, whatever)
      local value = redis.call('HINCRBY', p .. 'k', wish, newcomers)
      if value >= ORDINALS then return math.floor(value / ORDINALS), value % ORDINALS end
      if redis.call('HLEN', p .. 'k') > MAX_LINES and not whatever then
        redis.call('HDEL', p .. 'k', wish)
        return nil
      end
      local line = redis.call('HINCRBY', m, 'lines', 1)
      redis.call('HINCRBY', p .. 'k', wish, string.format('%.0f', line * ORDINALS))
      redis.call('HSET', p .. 'kn', line, wish)
      return line, newcomers
    end

    local function add_to_line(p, line, position, ordinal, wish, payload, user)
      local id = position .. '-' .. ordinal
      if payload == wish then
        redis.call('XADD', p .. 'q:' .. line, id, 'u', user)
      else
        redis.call('XADD', p .. 'q:' .. line, id, 'r', payload, 'u', user)
      end
      redis.call('SADD', p .. 'ka', line)
    end

    -- The entry of a place in its line, if it waits there.
    local function find_in_line(p, line, pos)
      return line ~= '' and redis.call('XRANGE', p .. 'q:' .. line, pos, pos)[1] or nil
    end

    -- The line and ordinal of a user's live place, as its id says them; 0 and 0 where they are not known, as of a place that
    -- was kept after the end of its line.
    local function place_in_line(p, pos, line)
      local entry = find_in_line(p, line, pos)
      if entry then return line, string.match(entry[1], '-(%d+)$') end
      local r = get_record(p, pos)
      if r then
        local number, ordinal = string.match(r.place, '^(%d+)%.(%d+)$')
        return number or 0, ordinal or 0
      end
      -- Who comes back to a line that was lost has the place behind all who may be before them.
      if line ~= '' and redis.call('ZCOUNT', p .. 'w', pos, pos) > 0 then return line, pos end
      return 0, 0
    end

    -- Takes a place out of its line, or from those who wait alone. False if it is in neither.
    local function leave_line(m, p, pos, line)
      local entry = find_in_line(p, line, pos)
      if entry then
        redis.call('XDEL', p .. 'q:' .. line, entry[1])
        redis.call('HINCRBY', m, 'waiting', -1)
        return true
      end
      if redis.call('ZREMRANGEBYSCORE', p .. 'y', pos, pos) == 1 then return true end
      return redis.call('XDEL', p .. 'q', pos .. '-0') == 1
    end

    -- Nobody waits any more.
    local function clear_lines(m)
      local p = prefix(m)
      local keys = {p .. 'q', p .. 'ka', p .. 'y'}
      for _, line in ipairs(redis.call('HKEYS', p .. 'kn')) do keys[#keys + 1] = p .. 'q:' .. line end
      for start = 1, #keys, AT_ONCE do
        redis.call('UNLINK', unpack(keys, start, math.min(start + AT_ONCE - 1, #keys)))
      end
      redis.call('HSET', m, 'waiting', 0)
    end

    -- Everyone in line ends, told by what is said of the line as a whole. The audit counts whom nothing else is known of.
    local function end_lines(m)
      local v = redis.call('HMGET', m, 'waiting', 'split')
      if v[2] then
        redis.call('HINCRBY', m, 'ended_in_mass', (tonumber(v[1]) or 0) + redis.call('ZCARD', prefix(m) .. 'w'))
      end
      clear_lines(m)
      redis.call('UNLINK', prefix(m) .. 'w', prefix(m) .. 'h')
      redis.call('HDEL', m, 'restoring_until')
    end

    -- Everybody in line is told that everything is sold; not of a sale that is closed, as they were told that.
    local function sell_out(m, head, tail, was_sold_out)
      -- Told twice, as after a lost answer, the head is the tail already and says nothing of who was decided.
      if was_sold_out ~= '1' then redis.call('HSET', m, 'decided_up_to', head) end
      redis.call('HSET', m, 'sold_out', '1', 'sold_out_up_to', tail, 'head', tail)
      note_end(prefix(m), '*' .. tail)
      end_lines(m)
    end

    -- A mark of a line: version, position, ordinal, ends.
    local function get_mark(p, line)
      local text = redis.call('HGET', p .. 'km', line)
      if not text then return '', '', '' end
      local _, position, ordinal, ends = string.match(text, '^(%d*):(%d*):(%d*):(.*)$')
      return position, ordinal, ends
    end

    -- How a place's line ended for it, if it did: until when its user may answer, reason, how many are left.
    local function end_of_line(p, line, position)
      if line == '' then return nil end
      local _, _, ends = get_mark(p, line)
      for up_to, till, left, reason in string.gmatch(ends, '%d+/(%d+)/(%d+)/(%d+)/([%l_]+)') do
        if position <= tonumber(up_to) then return tonumber(till), reason, left end
      end
      return nil
    end

    -- For how long the end of a line may be answered with a smaller or looser wish.
    local ANSWER_MS = $ANSWERED

    -- Ends are kept one by one for as long as they may be answered, those of some seconds as one, and no more than this.
    local ENDS_AS_ONE_MS = 5000
    local MAX_ENDS = 20

    -- The line's ends with one more: of everyone in it after `from` and up to `up_to`; where `from` is 0, nobody was served
    -- since the last. Not of those up to `told`, who ended with everybody before some came back that had been sold.
    local function with_end(ends, from, up_to, reason, left, now, told)
      local list = {}
      for one in string.gmatch(ends, '[^+]+') do list[#list + 1] = one end
      local first, last, till, same = string.match(list[#list] or '', '^(%d+)/(%d+)/(%d+)/(.*)$')
      local words = left .. '/' .. reason
      if from == '0' and same == words and tonumber(till) >= now + ANSWER_MS - ENDS_AS_ONE_MS
        and tonumber(last) >= told
      then
        list[#list] = first .. '/' .. up_to .. '/' .. till .. '/' .. words
      else
        if from == '0' then from = last or '0' end
        if tonumber(from) < told then from = string.format('%.0f', told) end
        list[#list + 1] = from .. '/' .. up_to .. '/' .. string.format('%.0f', now + ANSWER_MS) .. '/' .. words
      end
      -- The oldest can be answered no more, and are told as the one behind them.
      while #list > MAX_ENDS do table.remove(list, 1) end
      return table.concat(list, '+')
    end

    -- Whether who wanted `old` takes less, or is less particular, with `new`.
    local function is_looser(new, old)
      local n, n_section, n_side = string.match(new, '^(%d+)s?(%d*)(a?)$')
      local o, o_section, o_side = string.match(old, '^(%d+)s?(%d*)(a?)$')
      return n and o and new ~= old and tonumber(n) <= tonumber(o) and (n_section == o_section or n_section == '')
        and (n_side == o_side or n_side == '')
    end

    -- How many of an event may wait alone at once: their owner looks at each of them.
    local MAX_ALONE = $ALONE

    -- The user's line has ended, a moment ago, since what it wished for cannot be had; who then wishes for less keeps the
    -- place, once, and waits there alone.
    local function answer_end(m, p, args, live, line)
      local till = end_of_line(p, line, live)
      local old = redis.call('HGET', p .. 'kn', line)
      if not till or now_ms(m) > till or not old or not is_looser(wish_of(args[3]), old) then return false end
      if redis.call('ZCARD', p .. 'y') >= MAX_ALONE then return false end
      redis.call('ZADD', p .. 'y', live, args[3] .. '\n' .. args[4])
      put_record(p, live, {state = 'B', try = 0, deadline = 0, amount = '0', tickets = '', reason = '', user = args[1]})
      redis.call('SETBIT', p .. 'away', live, 1)
      redis.call('HINCRBY', m, 'apart', 1)
      redis.call('HINCRBY', m, 'ended_with_line', -1)
      redis.call('RPUSH', p .. 'f', 'y' .. live)
      wake_owner(m)
      redis.call('HINCRBY', m, 'version', 1)
      announce(m, {'-' .. live})
      return true
    end

    -- Somebody came back: others may be on their way, so the line is theirs for a while longer, up to its longest.
    local function stay_restoring(m, left_until)
      local v = redis.call('HMGET', m, 'restoring_quiet', 'restoring_longest')
      local later = math.min(now_ms(m) + (tonumber(v[1] or '') or 0), tonumber(v[2] or '') or 0)
      if later > tonumber(left_until) then redis.call('HSET', m, 'restoring_until', string.format('%.0f', later)) end
    end

    -- Redis lost the line before this one. Until `restoring_until` only those come in who were in it; they keep their
    -- positions, wait in `w`, and then come before everyone else. Places of those who do not come stay empty.
    local function restore_place(m, args, place, tail, left_until, queue_limit)
      local p = prefix(m)
      local milliseconds = tonumber(left_until) - now_ms(m)
      -- Two had it, or it was given up since: the second of them starts anew.
      if not place or milliseconds <= 0 or redis.call('ZCOUNT', p .. 'w', place, place) > 0 or get_record(p, place) then
        return {'restoring', math.max(0, milliseconds)}
      end
      if redis.call('ZCARD', p .. 'w') >= queue_limit then return {'full'} end
      local line = stand_in_line(m, p, wish_of(args[3]), 0)
      if not line then return {'full'} end
      redis.call('ZADD', p .. 'w', place, args[3] .. '\n' .. args[4])
      tail = math.max(tail, place)
      redis.call('HSET', m, 'tail', tail, 'rejoined_up_to', tail)
      -- They come in any order, so the tail does not tell whether a replica knows of all of them.
      redis.call('HINCRBY', m, 'rejoined', 1)
      stay_restoring(m, left_until)
      return {'rejoined', place, line}
    end

    -- KEYS m; ARGV generation, then 5 for each: user key, quantity, payload, user, place in the life that was lost. Takes
    -- in many who were in the line that Redis lost, as `enqueue` does one of them: what is the same for all is done once.
    -- Answers a word for each, or `over` where nobody comes in this way any more.
    local function rejoin(keys, args)
      local m = keys[1]
      local p = prefix(m)
      local v = redis.call('HMGET', m, 'state', 'generation', 'tail', 'queue_limit', 'per_user_limit', 'sold_out',
        'restoring_until')
      if not v[1] or v[1] == 'lost' then return {'missing'} end
      if v[2] ~= args[1] then return {'moved'} end
      if v[1] ~= 'open' and v[1] ~= 'paused' or v[6] == '1' or not v[7] or now_ms(m) >= tonumber(v[7]) then
        return {'over'}
      end
      local tail, most, limit = tonumber(v[3]), tonumber(v[4]), tonumber(v[5])
      local waiting, came, answer, lines = redis.call('ZCARD', p .. 'w'), 0, {'ok'}, {}
      for i = 2, #args, 5 do
        local user, place, word = args[i], args[i + 4], 'rejoined'
        local live, owned, left, line, refused = get_user(p, user)
        local record, field = record_key(p, place)
        if live > 0 then
          word = 'again ' .. live .. ' ' .. table.concat({place_in_line(p, live, line)}, ' ')
        elseif owned + tonumber(args[i + 1]) > limit then
          word = 'limit ' .. owned .. ' ' .. v[5]
        elseif left >= MAX_LEFT then
          word = 'too_often'
        elseif waiting + came >= most then
          word = 'full'
        -- Two had it, or it was given up since: the second of them starts anew.
        elseif redis.call('ZCOUNT', p .. 'w', place, place) > 0 or redis.call('HEXISTS', record, field) == 1 then
          word = 'taken'
        else
          local wish = wish_of(args[i + 2])
          lines[wish] = lines[wish] or stand_in_line(m, p, wish, 0)
          if lines[wish] then
            word = 'rejoined ' .. lines[wish]
            redis.call('ZADD', p .. 'w', place, args[i + 2] .. '\n' .. args[i + 3])
            put_user(p, user, place, owned, left, lines[wish], refused)
            came, tail = came + 1, math.max(tail, tonumber(place))
          else
            word = 'full'
          end
        end
        answer[#answer + 1] = word
      end
      if came > 0 then
        local last = string.format('%.0f', tail)
        redis.call('HSET', m, 'tail', last, 'rejoined_up_to', last)
        redis.call('HINCRBY', m, 'rejoined', came)
        stay_restoring(m, v[7])
      end
      return answer
    end

    -- When that is over: brings those who came into their lines, in order, at most so many. Returns whether there are more.
    local function restore_line(m, now, limit)
      local p = prefix(m)
      local left_until, is_split = unpack(redis.call('HMGET', m, 'restoring_until', 'split'))
      if not left_until or now < tonumber(left_until) then return false end
      local places = redis.call('ZRANGE', p .. 'w', 0, limit - 1, 'WITHSCORES')
      if left_until ~= '0' then
        -- Over for good, should the clock go back: whoever came now would stand before those who are in line.
        redis.call('HSET', m, 'restoring_until', 0)
        -- Nobody stands before the first of them.
        if #places > 0 then redis.call('HSET', m, 'head', string.format('%.0f', tonumber(places[2]) - 1)) end
      end
      for i = 1, #places, 2 do
        local position = tonumber(places[i + 1])
        local payload, user = string.match(places[i], '^([^\n]*)\n(.*)$')
        if is_split then
          -- They came in any order: nobody knows how many of the same wish stand before them, but not more than in all.
          local wish = wish_of(payload)
          local line, count = stand_in_line(m, p, wish, 0)
          redis.call('HINCRBY', p .. 'k', wish, string.format('%.0f', math.max(0, position - count)))
          local text = string.format('%.0f', position)
          add_to_line(p, line, text, text, wish, payload, user)
        else
          redis.call('XADD', p .. 'q', string.format('%.0f-0', position), 'r', payload, 'u', user)
        end
      end
      if #places > 0 then
        redis.call('ZREMRANGEBYRANK', p .. 'w', 0, #places / 2 - 1)
        if is_split then redis.call('HINCRBY', m, 'waiting', #places / 2) end
      end
      if redis.call('EXISTS', p .. 'w') == 1 then return true end
      redis.call('HDEL', m, 'restoring_until')
      return false
    end

    -- What somebody is told who has a place: it, as they were told before.
    local function again(p, user, position, head, generation, known)
      local line, ordinal = string.match(known or '', '^(%d+)%.(%d+)$')
      if not line then
        local live, _, _, of = get_user(p, user)
        if live == position then line, ordinal = place_in_line(p, position, of) end
      end
      return {'again', position, head, generation, line or 0, ordinal or 0}
    end

    -- KEYS m; ARGV user key, quantity, payload, user, idempotency key or '', place in a life that was lost or ''
    local function enqueue(keys, args)
      local m = keys[1]
      local p = prefix(m)
      local user, quantity = args[1], tonumber(args[2])
      local v = redis.call('HMGET', m, 'state', 'generation', 'tail', 'head', 'queue_limit', 'per_user_limit',
        'sold_out', 'sold_out_up_to', 'closed_up_to', 'idle', 'restoring_until', 'split', 'waiting')
      local state, generation, tail, head = v[1], v[2], tonumber(v[3]), tonumber(v[4])
      if not state or state == 'lost' then return {'missing'} end
      local named, is_same, known = recall(p, user, user, generation, args[5], args[3])
      if named then
        if not is_same then return {'mismatch'} end
        return again(p, user, named, head, generation, known)
      end
      local live, owned, left, line, refused = get_user(p, user)
      if live > 0 then
        local in_mass = live <= tonumber(v[8]) or live <= tonumber(v[9])
        if in_mass or end_of_line(p, line, live) then
          -- Ended together with everyone in line, without a write of its own.
          local r = get_record(p, live)
          if in_mass and (not r or r.state == 'B') then
            live = 0
          elseif not in_mass and not r then
            if (state ~= 'open' and state ~= 'paused') or owned + quantity > tonumber(v[6])
              or not answer_end(m, p, args, live, line)
            then
              live = 0
            end
          end
        end
      end
      if live > 0 then return again(p, user, live, head, generation) end
      if state ~= 'open' and state ~= 'paused' then return {state == 'closed' and 'closed' or 'not_open'} end
      if v[7] == '1' then return {'sold_out'} end
      if owned + quantity > tonumber(v[6]) then return {'limit', owned, v[6]} end
      if left >= MAX_LEFT then return {'too_often'} end
      if refused >= MAX_REFUSED then return {'too_often', 'refused'} end
      local word, position, ordinal = 'queued', tail + 1, 0
      line = ''
      if v[11] then
        -- A server of the version before, which does not know of it, sends no place at all, not even an empty one.
        if not args[6] then return {'full'} end
        local answer = restore_place(m, args, tonumber(args[6]), tail, v[11], tonumber(v[5]))
        if answer[1] ~= 'rejoined' then return answer end
        word, position, line, ordinal = 'rejoined', answer[2], answer[3], answer[2]
      else
        -- Not tail - head: those who have left keep their positions, but wait no longer.
        local waiting = v[12] and tonumber(v[13]) or redis.call('XLEN', p .. 'q')
        if waiting >= tonumber(v[5]) then return {'full'} end
        if v[12] then
          local wish = wish_of(args[3])
          line, ordinal = stand_in_line(m, p, wish, 1)
          if not line then return {'full'} end
          add_to_line(p, line, position, ordinal, wish, args[3], args[4])
          waiting = waiting + 1
        else
          redis.call('XADD', p .. 'q', position .. '-0', 'r', args[3], 'u', args[4])
        end
        if v[10] == '1' then
          redis.call('HSET', m, 'tail', position, 'waiting', waiting, 'idle', '0')
          wake_owner(m)
        else
          redis.call('HSET', m, 'tail', position, 'waiting', waiting)
        end
      end
      put_user(p, user, position, owned, left, line, refused)
      local place = line ~= '' and position .. '.' .. line .. '.' .. ordinal or position
      remember_call(p, user, user, generation, args[5], args[3], place)
      return {word, position, head, generation, line ~= '' and line or 0, ordinal}
    end

    local function append(list, a, b)
      local count = #list
      list[count + 1] = a
      list[count + 2] = b
    end

    -- Positions and their records, in turn: one call for those of one hash that follow each other.
    local function put_records(p, records)
      local key, fields
      for i = 1, #records, 2 do
        local next_key, field = record_key(p, records[i])
        if next_key ~= key then
          if key then redis.call('HSET', key, unpack(fields)) end
          key, fields = next_key, {}
        end
        append(fields, field, records[i + 1])
      end
      if key then redis.call('HSET', key, unpack(fields)) end
    end

    -- The tickets granted by these arguments that are locked: decisions from `first` on, each `width` long, with its tickets
    -- `at` behind its beginning.
    local function find_locks(p, args, first, width, at)
      local tickets, locks = {}, {}
      for i = first, #args, width do
        if args[i] == 'G' or args[i] == 'A' then
          for t in each_ticket(args[i + at]) do
            tickets[#tickets + 1] = t
            locks[#locks + 1] = p .. 'l:' .. t
          end
        end
      end
      local locked = {}
      for start = 1, #locks, AT_ONCE do
        local last = math.min(start + AT_ONCE - 1, #locks)
        -- How many there are says one call, and they are none but after a fault.
        if redis.call('EXISTS', unpack(locks, start, last)) > 0 then
          for i = start, last do
            if redis.call('EXISTS', locks[i]) == 1 then locked[#locked + 1] = tickets[i] end
          end
        end
      end
      return locked
    end

    -- The place has a record, whatever its line says.
    local function set_apart(m, p, pos, changed)
      redis.call('SETBIT', p .. 'away', pos, 1)
      redis.call('HINCRBY', m, 'apart', 1)
      changed[#changed + 1] = '-' .. pos
    end

    -- For so long at most nobody is granted seats while prices change: whoever changes them may die.
    local BAR_MS = $BAR

    -- KEYS m; ARGV a version of the tickets. From now on nothing is granted from a map of an earlier one, for a moment. The
    -- tickets that somebody has until then.
    local function bar_grants(keys, args)
      local m = keys[1]
      if redis.call('EXISTS', m) == 0 or redis.call('HGET', m, 'state') == 'lost' then return {'missing'} end
      redis.call('HSET', m, 'least_map', args[1], 'barred_until', string.format('%.0f', now_ms(m) + BAR_MS))
      return {'ok', redis.call('GET', prefix(m) .. 'b') or ''}
    end

    -- Whether the owner's map is too old to grant from.
    local function is_barred(m)
      local v = redis.call('HMGET', m, 'barred_until', 'least_map', 'map')
      return v[1] and now_ms(m) < tonumber(v[1]) and (tonumber(v[3] or '') or 0) < tonumber(v[2])
    end

    -- What a batch of decisions writes, gathered so that it takes few calls.
    local function gather()
      return {changed = {}, holds = {}, bits = {}, records = {}, buys = false}
    end

    -- Tickets are held for a place from now on, or paid for at once. `hold`: for how long they are locked, or '' while the
    -- event's clock stands still.
    local function grant(m, p, to, hold, deadline, pos, key, user, tickets, amount, method, place)
      for t in each_ticket(tickets) do
        if method == '' and hold ~= '' then
          redis.call('SET', p .. 'l:' .. t, pos, 'PX', hold)
        else
          redis.call('SET', p .. 'l:' .. t, pos)
        end
        append(to.bits, 'SET', 'u1')
        append(to.bits, t, '1')
      end
      if method == '' then
        append(to.holds, deadline, pos)
        append(to.records, pos, record_text('R', '0', deadline, amount, tickets, '', key, place))
      else
        to.buys = true
        append(to.holds, '+inf', pos)
        append(to.records, pos, record_text('C', '1', deadline, amount, tickets, '', key, place))
        add_confirmation(m, pos, {try = 1, tickets = tickets, amount = amount, place = place}, method, user)
      end
    end

    local function write_down(p, from)
      all_at_once('BITFIELD', p .. 'b', from.bits, 4)
      all_at_once('ZADD', p .. 'x', from.holds, 2)
      put_records(p, from.records)
    end

    -- KEYS m; ARGV fence, head, the tail as the owner saw it, sold out (1/0), free, held, sold, granted per second, idle
    -- (1/0), marks of lines ("<line>:<position>:<ordinal>", both empty where nobody waits whom the head has passed; by
    -- commas), lines that end ("<line>/<from>/<left>/<reason>"), then 9 for each decision: kind (G granted, A granted out of
    -- turn, J rejected), position, ordinal, line (0: waits alone), user key, tickets, amount or how many are left, payment method or reason,
    -- user
    local function decide(keys, args)
      local m = keys[1]
      local p = prefix(m)
      if not is_owner(m, args[1]) then return {'stale'} end
      if #args >= 12 and is_barred(m) then return {'conflict', ''} end
      local conflicts = find_locks(p, args, 12, 9, 5)
      if #conflicts > 0 then return {'conflict', table.concat(conflicts, ',')} end
      local v = redis.call('HMGET', m, 'hold_ms', 'state', 'tail', 'head', 'sold_out', 'restoring_until',
        'sold_out_up_to')
      if v[2] == 'lost' then return {'missing'} end
      local hold, state, tail, is_restoring = v[1], v[2], v[3], v[6]
      local now = now_ms(m)
      local clock, stands = event_ms(m, now)
      local deadline = string.format('%.0f', clock + tonumber(hold))
      if stands then hold = '' end
      local to, skipped, gone = gather(), {}, 0
      for i = 12, #args, 9 do
        local pos, line, key = args[i + 1], args[i + 3], args[i + 4]
        local is_there
        if line == '0' then
          is_there = redis.call('ZREMRANGEBYSCORE', p .. 'y', pos, pos) == 1
        else
          is_there = redis.call('XDEL', p .. 'q:' .. line, pos .. '-' .. args[i + 2]) == 1
          if is_there then gone = gone + 1 end
        end
        if not is_there then
          append(skipped, pos)  -- cancelled since the owner read it
        else
          append(to.changed, pos)
          if args[i] == 'A' then set_apart(m, p, pos, to.changed) end
          local place = line ~= '0' and line .. '.' .. args[i + 2] or ''
          if args[i] ~= 'J' then
            grant(m, p, to, hold, deadline, pos, key, args[i + 8], args[i + 5], args[i + 6], args[i + 7], place)
          else
            append(to.records, pos, record_text('J', '0', '0', args[i + 6], '', args[i + 7], key, place))
            let_user_go(p, key, pos, 0)
          end
        end
      end
      write_down(p, to)
      local version = redis.call('HINCRBY', m, 'version', 1)
      local function mark(line, position, ordinal, ends)
        local text = version .. ':' .. position .. ':' .. ordinal .. ':' .. ends
        redis.call('HSET', p .. 'km', line, text)
        append(to.changed, '=' .. line .. ':' .. text)
      end
      for line, position, ordinal in string.gmatch(args[10], '(%d+):(%d*):(%d*)') do
        local _, _, ends = get_mark(p, line)
        mark(line, position, ordinal, ends)
      end
      for line, from, left, reason in string.gmatch(args[11], '(%d+)/(%d+)/(%d+)/([%l_]+)') do
        -- Also those whom the head has not come to: whatever is before them, it is the same for them.
        local _, _, ends = get_mark(p, line)
        local count = redis.call('XLEN', p .. 'q:' .. line)
        gone = gone + count
        redis.call('HINCRBY', m, 'ended_with_line', count)
        redis.call('UNLINK', p .. 'q:' .. line)
        local with = with_end(ends, from, tail, reason, left, now, tonumber(v[7]))
        mark(line, '', '', with)
        note_end(p, '=' .. line .. '/' .. string.match(with, '[^+]+$'))
      end
      -- A close that came since the owner read has moved the head past everyone: it never goes back.
      local head = math.max(tonumber(args[2]), tonumber(v[4]))
      redis.call('HSET', m, 'head', head, 'free', args[5], 'held', args[6], 'sold', args[7],
        'granted_per_second', args[8], 'idle', args[9])
      if gone > 0 then redis.call('HINCRBY', m, 'waiting', -gone) end
      if args[4] == '1' and state ~= 'closed' then
        sell_out(m, head, tail, v[5])
      elseif args[9] == '1' and not is_restoring and tonumber(tail) > tonumber(args[3]) then
        -- Somebody has joined between the owner's read and this call, and has found it not idle.
        redis.call('HSET', m, 'idle', '0')
        wake_owner(m)
      end
      if to.buys then wake_confirm(m) end
      announce(m, to.changed)
      return {'ok', table.concat(skipped, ',')}
    end

    -- KEYS m; ARGV position, at most, numbers of lines that are left out (by commas). The next in line after the position,
    -- over all lines in the order of their positions: the tail, whether nobody is behind them, and id, line, payload or
    -- '', user of each.
    local function read(keys, args)
      local m = keys[1]
      local p = prefix(m)
      local limit, left_out = tonumber(args[2]), {}
      for line in string.gmatch(args[3], '%d+') do left_out[line] = true end
      local tail, is_restoring = unpack(redis.call('HMGET', m, 'tail', 'restoring_until'))
      if not tail then return {'missing'} end
      local from = string.format('%.0f-0', tonumber(args[1]) + 1)
      local lines = {}
      for _, line in ipairs(redis.call('SMEMBERS', p .. 'ka')) do
        if not left_out[line] then lines[#lines + 1] = {line = line, from = from} end
      end
      -- Of each as much as may be needed, were they equally long.
      local share = math.max(1, math.min(limit, math.floor(2 * limit / math.max(1, #lines))))
      local function fill(of)
        of.entries = redis.call('XRANGE', p .. 'q:' .. of.line, of.from, '+', 'COUNT', share)
        of.next = 1
        local last = of.entries[#of.entries]
        if not last then return false end
        of.from = '(' .. last[1]
        of.position = tonumber(string.match(of.entries[1][1], '^%d+'))
        return true
      end
      -- A heap by position, the first at the top.
      local heap = {}
      local function sink(i)
        local of = heap[i]
        while true do
          local child = 2 * i
          if child > #heap then break end
          if child < #heap and heap[child + 1].position < heap[child].position then child = child + 1 end
          if of.position <= heap[child].position then break end
          heap[i] = heap[child]
          i = child
        end
        heap[i] = of
      end
      for _, of in ipairs(lines) do
        if fill(of) then
          heap[#heap + 1] = of
        elseif redis.call('EXISTS', p .. 'q:' .. of.line) == 0 or redis.call('XLEN', p .. 'q:' .. of.line) == 0 then
          redis.call('SREM', p .. 'ka', of.line)
        end
      end
      for i = math.floor(#heap / 2), 1, -1 do sink(i) end
      local found = {}
      while #heap > 0 and #found < 4 * limit do
        local of = heap[1]
        local id, fields = of.entries[of.next][1], of.entries[of.next][2]
        local payload, user = '', fields[2]
        if fields[3] then payload, user = fields[2], fields[4] end
        local n = #found
        found[n + 1], found[n + 2], found[n + 3], found[n + 4] = id, of.line, payload, user
        of.next = of.next + 1
        local following = of.entries[of.next]
        if following then
          of.position = tonumber(string.match(following[1], '^%d+'))
        elseif #of.entries < share or not fill(of) then
          heap[1] = heap[#heap]
          heap[#heap] = nil
        end
        if heap[1] then sink(1) end
      end
      -- Who comes back to a line that was lost is not in it yet, and has a place before the tail.
      return {'ok', tail, #heap == 0 and not is_restoring and 1 or 0, found}
    end

    -- KEYS m; ARGV fence, then position, payload, user, user key of each. Brings those who stand in the one line of the
    -- version before into the lines of their wishes, in order, and forgets who of them stood by. Once nobody is left there,
    -- whoever comes goes to those lines, and the version before serves this event no more. How many are left.
    local function split(keys, args)
      local m = keys[1]
      local p = prefix(m)
      if not is_owner(m, args[1]) then return {'stale'} end
      local v = redis.call('HMGET', m, 'split', 'head', 'state')
      if v[1] or not v[3] or v[3] == 'lost' then return {'ok', 0} end
      for i = 2, #args, 4 do
        local pos, payload, user, key = args[i], args[i + 1], args[i + 2], args[i + 3]
        if redis.call('XDEL', p .. 'q', pos .. '-0') == 1 then
          local wish = wish_of(payload)
          local line, ordinal = stand_in_line(m, p, wish, 1, true)
          add_to_line(p, line, pos, ordinal, wish, payload, user)
          local live, owned, left, _, refused = get_user(p, key)
          if live == tonumber(pos) then put_user(p, key, live, owned, left, line, refused) end
          local r = get_record(p, pos)
          if r and r.state == 'B' then redis.call('HDEL', record_key(p, pos)) end
          if tonumber(pos) <= tonumber(v[2]) and get_mark(p, line) == '' then
            redis.call('HSET', p .. 'km', line, '0:' .. string.format('%.0f', tonumber(pos) - 1) .. ':' .. ordinal - 1 .. ':')
          end
        end
      end
      for _, pos in ipairs(redis.call('ZRANGE', p .. 'gone', 0, 999)) do
        redis.call('SETBIT', p .. 'away', pos, 1)
        redis.call('ZREM', p .. 'gone', pos)
      end
      local rest = redis.call('XLEN', p .. 'q') + redis.call('ZCARD', p .. 'gone')
      if rest == 0 then
        local waiting = 0
        for _, line in ipairs(redis.call('HKEYS', p .. 'kn')) do waiting = waiting + redis.call('XLEN', p .. 'q:' .. line) end
        redis.call('HSET', m, 'split', '1', 'waiting', waiting)
        redis.call('HINCRBY', m, 'apart', 1)
      end
      return {'ok', rest}
    end

    -- KEYS m; ARGV fence, new head, sold out (1/0), free, held, sold, granted per second, idle (1/0), then 7 for
    -- each decision: kind (G granted, B standby, S sold out, J rejected), position, user key, user, tickets,
    -- amount, payment method or reason. Of the version before, for lines that are not split yet.
    local function commit(keys, args)
      local m = keys[1]
      local p = prefix(m)
      if not is_owner(m, args[1]) then return {'stale'} end
      if #args >= 9 and is_barred(m) then return {'conflict', ''} end
      local conflicts = find_locks(p, args, 9, 7, 4)
      if #conflicts > 0 then return {'conflict', table.concat(conflicts, ',')} end
      local v = redis.call('HMGET', m, 'hold_ms', 'state')
      if v[2] == 'lost' then return {'missing'} end
      local hold, queue = v[1], p .. 'q'
      local clock, stands = event_ms(m)
      local deadline = string.format('%.0f', clock + tonumber(hold))
      if stands then hold = '' end
      local to, skipped = gather(), {}
      for i = 9, #args, 7 do
        local kind, pos, user = args[i], args[i + 1], args[i + 2]
        if kind == 'B' then
          -- Its entry stays in the stream until it is decided, for the next owner to find.
          if redis.call('XLEN', queue) > 0 and #redis.call('XRANGE', queue, pos .. '-0', pos .. '-0') == 1 then
            append(to.records, pos, record_text('B', '0', '0', '0', '', '', user, ''))
            append(to.changed, pos)
          else
            append(skipped, pos)
          end
        elseif redis.call('XDEL', queue, pos .. '-0') == 0 then
          append(skipped, pos)  -- cancelled since the owner read it
        else
          append(to.changed, pos)
          if kind == 'G' then
            grant(m, p, to, hold, deadline, pos, user, args[i + 3], args[i + 4], args[i + 5], args[i + 6], '')
          else
            append(to.records, pos, record_text(kind, '0', '0', '0', '', kind == 'J' and args[i + 6] or '', user, ''))
            let_user_go(p, user, pos, 0)
          end
        end
      end
      write_down(p, to)
      local ends = redis.call('HMGET', m, 'tail', 'head', 'state', 'sold_out', 'restoring_until')
      local tail, state, is_restoring = ends[1], ends[3], ends[5]
      -- A close that came since the owner read has moved the head past everyone: it never goes back.
      local head = math.max(tonumber(args[2]), tonumber(ends[2]))
      -- Nobody waits behind the head: those up to the tail have left, and the next to join is the first in line.
      if args[8] == '1' and not is_restoring and #redis.call('XRANGE', p .. 'q', string.format('%.0f-0', head + 1), '+', 'COUNT', 1) == 0 then
        head = tonumber(tail)
      end
      redis.call('HSET', m, 'head', head, 'free', args[4], 'held', args[5], 'sold', args[6],
        'granted_per_second', args[7], 'idle', args[8])
      if args[3] == '1' and state ~= 'closed' then sell_out(m, head, tail, ends[4]) end
      -- Somebody may have joined between the owner's read and this call, and have found it not idle.
      if args[8] == '1' and args[3] ~= '1' and not is_restoring and tonumber(tail) > head then
        redis.call('HSET', m, 'idle', '0')
        wake_owner(m)
      end
      redis.call('HINCRBY', m, 'version', 1)
      if to.buys then wake_confirm(m) end
      announce(m, to.changed)
      return {'ok', table.concat(skipped, ',')}
    end

    -- Places that one call brings back into the line, and news that one call hands over: some milliseconds.
    local PLACES_AT_ONCE = 1000
    local NEWS_AT_ONCE = $NEWS

    -- News whose tickets one call marks as free: some milliseconds. What is beyond them is for the next call.
    local MARKED_AT_ONCE = 2000

    -- Deletes those of these locks, some thousand at most, that are their holders': one of somebody else stays.
    local function delete_own(locks, holders)
      if #locks == 0 then return end
      local own = {}
      for i, holder in ipairs(redis.call('MGET', unpack(locks))) do
        if holder == holders[i] then own[#own + 1] = locks[i] end
      end
      if #own > 0 then redis.call('DEL', unpack(own)) end
    end

    -- Ends holds of the event whose time is over, until so many tickets are free. What all of them need is asked and told
    -- together: fifty thousand may end within a second. Returns the tickets of each, how many that are, and whether there
    -- are more holds to end.
    local function end_holds(m, now, limit)
      local p = prefix(m)
      limit, now = tonumber(limit), string.format('%.0f', (event_ms(m, now)))
      -- Of an event that was cancelled all end that nobody is paying for.
      local is_cancelled = redis.call('HGET', m, 'stopped') == '2'
      if is_cancelled then now = '(+inf' end
      local due = redis.call('ZRANGEBYSCORE', p .. 'x', '-inf', now, 'LIMIT', 0, limit)
      local ended, released, records = {}, {}, {}
      local locks, holders, bits = {}, {}, {}
      for i, pos in ipairs(due) do
        if #locks >= limit then break end
        ended[i] = pos
        local r = get_record(p, pos)
        if r and (r.state == 'R' or r.state == 'D') then
          for t in each_ticket(r.tickets) do
            locks[#locks + 1] = p .. 'l:' .. t
            holders[#locks] = pos
            append(bits, 'SET', 'u1')
            append(bits, t, '0')
          end
          let_user_go(p, r.user, pos, 0, true)
          released[#released + 1] = r.tickets
          append(records, pos, record_text(r.state == 'R' and 'X' or 'd', r.try, string.format('%.0f', r.deadline),
            r.amount, r.tickets, is_cancelled and r.state == 'R' and 'event_cancelled' or r.reason, r.user, r.place))
        end
      end
      local has_more = #ended < #due or #due == limit
      if #ended > 0 then redis.call('ZREM', p .. 'x', unpack(ended)) end
      delete_own(locks, holders)
      all_at_once('BITFIELD', p .. 'b', bits, 4)
      put_records(p, records)
      if #released > 0 then
        redis.call('HINCRBY', m, 'version', 1)
        announce(m, ended)
      end
      return released, #locks, has_more
    end

    -- A clock that is off by more than this has stepped; by less, it is followed.
    local STEP_MS = CLOCK_STEP

    -- KEYS m; ARGV fence, at most, what the caller takes the time to be or ''. Hands over what happened to tickets since
    -- the last call, and whether there is more to do by the next one. Who knows the time has holds ended by
    -- `end_holds_of`; for anyone else they are ended here.
    local function tick(keys, args)
      local m = keys[1]
      local p = prefix(m)
      if not is_owner(m, args[1]) then return {'stale'} end
      local now, expected = now_ms(m), tonumber(args[3] or '')
      -- Of a clock that has stepped only what was true before is believed, until that is put right.
      if expected and math.abs(now - expected) > STEP_MS then now = expected end
      local released, has_more, _ = {}, false, 0
      if not expected then released, _, has_more = end_holds(m, now, args[2]) end
      local waiting = redis.call('LRANGE', p .. 'f', 0, NEWS_AT_ONCE - 1)
      local feedback, marked = {}, 0
      for i, news in ipairs(waiting) do
        if marked >= MARKED_AT_ONCE then break end
        feedback[i] = news
        -- Marked free when it was given back, but a new owner may have written its own bitmap since.
        if string.sub(news, 1, 1) == 'r' then
          mark(p, string.sub(news, 2), 0)
          marked = marked + count_tickets(news)
        end
      end
      if #feedback > 0 then redis.call('LTRIM', p .. 'f', #feedback, -1) end
      has_more = has_more or #feedback < #waiting or #waiting == NEWS_AT_ONCE
      if restore_line(m, now, PLACES_AT_ONCE) then has_more = true end
      local v = redis.call('HMGET', m, 'state', 'rate', 'tail', 'rejoined', 'waiting')
      return {'ok', table.concat(released, ','), feedback, v[1], v[2], v[3],
        redis.call('HGET', partition(m) .. 'settings', event(m)), has_more and 1 or 0, v[4] or 0, v[5] or 0,
        redis.call('LLEN', p .. 'ended'), redis.call('HEXISTS', m, 'restoring_until'), redis.call('HLEN', p .. 'h')}
    end

    -- KEYS m; ARGV fence, how many of the last answer are noted by now, at most. The generation, and those that ended
    -- without a purchase, each as the letter of its record and its position, `*` and the last one of all lines, or `=`, the
    -- number of a line, and its end; `-` for what is no such end.
    local function ends(keys, args)
      local m = keys[1]
      local p = prefix(m)
      if not is_owner(m, args[1]) then return {'stale'} end
      local generation = redis.call('HGET', m, 'generation')
      if not generation then return {'missing'} end
      if args[2] ~= '0' then redis.call('LTRIM', p .. 'ended', args[2], -1) end
      local answer = {'ok', generation}
      for _, what in ipairs(redis.call('LRANGE', p .. 'ended', 0, tonumber(args[3]) - 1)) do
        local r = string.match(what, '^%d') and get_record(p, what)
        answer[#answer + 1] = r and string.find('XdSLJ', r.state, 1, true) and r.state .. what
          or string.match(what, '^[*=].*$') or '-'
      end
      return answer
    end

    -- KEYS m; ARGV epoch, name of this load. What a new owner must know; forgets feedback older than this moment.
    local function load(keys, args)
      local m = keys[1]
      local p = prefix(m)
      if not is_owner(m, args[1]) then return {'stale'} end
      -- Of the version before, which finds nobody in lines that are split: whoever owns the event then is another.
      if redis.call('HGET', m, 'split') then return {'stale'} end
      redis.call('DEL', p .. 'f')
      local v = redis.call('HMGET', m, 'state', 'generation', 'head', 'tail', 'rate', 'sold_out', 'rejoined')
      if not v[1] then return {'missing'} end
      redis.call('HSET', m, 'load', args[2] or '')
      local held = {}
      for _, pos in ipairs(redis.call('ZRANGE', p .. 'x', 0, -1)) do
        local r = get_record(p, pos)
        if r and r.tickets ~= '' then held[#held + 1] = r.tickets end
      end
      return {'ok', v[1], v[2], v[3], v[4], v[5], v[6], table.concat(held, ','), v[7] or 0}
    end

    -- KEYS m; ARGV epoch, name of this load. What a new owner must know but for the holds, which it reads in steps: what
    -- becomes of them from now on is in the feedback; the lines with somebody whom the head has passed, as number,
    -- position, ordinal of the last one served.
    local function take_over(keys, args)
      local m = keys[1]
      local p = prefix(m)
      if not is_owner(m, args[1]) then return {'stale'} end
      redis.call('UNLINK', p .. 'f')
      local v = redis.call('HMGET', m, 'state', 'generation', 'head', 'tail', 'rate', 'sold_out', 'rejoined', 'split')
      if not v[1] then return {'missing'} end
      redis.call('HSET', m, 'load', args[2])
      local lagging, marks = {}, redis.call('HGETALL', p .. 'km')
      for i = 1, #marks, 2 do
        local position, ordinal = string.match(marks[i + 1], '^%d*:(%d+):(%d+):')
        if position then
          append(lagging, marks[i], position)
          append(lagging, ordinal)
        end
      end
      return {'ok', v[1], v[2], v[3], v[4], v[5], v[6], v[7] or 0, v[8] or '', lagging}
    end

    -- After a load the versions go on beyond those that Redis may have lost, of which the search index has seen some: it
    -- takes nothing that is older than what it has. More than any replica lags behind, for each load that may be lost as
    -- well; they last for 12,000 loads at least.
    local LOST_VERSIONS = 10000
    local MAX_LOST_LOADS = 16

    -- How many loads there were since the one that this queue knows of, as far as their epochs and numbers tell.
    local function loads_since(m, fence)
      local epoch, load = string.match(fence, '^(%d+):?(%d*)')
      local known_epoch, known_load = string.match(redis.call('HGET', m, 'mapped') or '', '^(%d+):?(%d*)')
      redis.call('HSET', m, 'mapped', fence)
      local loads = 1
      if known_epoch == epoch then
        loads = (tonumber(load) or 0) - (tonumber(known_load) or 0)
      elseif known_epoch then
        loads = tonumber(epoch) - tonumber(known_epoch)
      end
      return math.max(1, math.min(loads, MAX_LOST_LOADS))
    end

    -- KEYS m; ARGV fence, bitmap, free, held, sold, reopened (1/0), version of the tickets
    local function publish_map(keys, args)
      local m = keys[1]
      if not is_owner(m, args[1]) then return {'stale'} end
      redis.call('SET', prefix(m) .. 'b', args[2])
      redis.call('HSET', m, 'free', args[3], 'held', args[4], 'sold', args[5], 'map', args[7] or '0')
      if args[6] == '1' then
        local tail = redis.call('HGET', m, 'tail')
        redis.call('HSET', m, 'sold_out', '0', 'decided_up_to', tail, 'reopened_up_to', tail)
      end
      redis.call('HINCRBY', m, 'version', LOST_VERSIONS * loads_since(m, args[1]))
      announce(m, {})
      return {'ok'}
    end

    -- A place of an earlier life of the queue says nothing about this one.
    local function is_generation(m, generation)
      local v = redis.call('HMGET', m, 'generation', 'state')
      return v[1] == generation and v[2] ~= 'lost'
    end

    -- Cards that may be tried for one hold: whoever tests stolen ones finds a slower place.
    local MAX_TRIES = ATTEMPTS

    local function are_same(tickets, others)
      local known, count = {}, 0
      for t in each_ticket(tickets) do
        known[t] = true
        count = count + 1
      end
      for t in each_ticket(others) do
        if not known[t] then return false end
        count = count - 1
      end
      return count == 0
    end

    -- KEYS m; ARGV position, user key, payment method or '' for what is free, user, idempotency key or '', generation, the
    -- tickets that the buyer was told of or nothing
    local function confirm(keys, args)
      local m = keys[1]
      local p = prefix(m)
      local pos = args[1]
      if not is_generation(m, args[6]) then return {'missing'} end
      local r = get_record(p, pos)
      if not r then return {'not_reserved'} end
      if r.user ~= args[2] then return {'forbidden'} end
      if r.state == 'C' or r.state == 'P' then return {'ok'} end
      -- A repetition of a call whose card was declined since is not a wish to try again.
      for try = 1, args[5] ~= '' and math.max(1, r.try) or 0 do
        local named, is_same = recall(p, r.user, r.user .. try, args[6], args[5], args[3])
        if named then return {is_same and named == tonumber(pos) and 'ok' or 'mismatch'} end
      end
      if r.state == 'X' or r.state == 'd' then return {'expired'} end
      if r.state ~= 'R' and r.state ~= 'D' then return {'not_reserved'} end
      if event_ms(m) >= r.deadline then return {'expired'} end
      local is_stopped, state = unpack(redis.call('HMGET', m, 'stopped', 'state'))
      -- A sale that is open takes payments, whatever was said before: the version before opens it without a word of that.
      if is_stopped == '2' or is_stopped == '1' and state ~= 'open' then return {state == 'closed' and 'closed' or 'stopped'} end
      if (args[7] or '') ~= '' and not are_same(r.tickets, args[7]) then return {'hold_lost'} end
      if r.try >= MAX_TRIES then return {'too_often'} end
      if args[3] == '' and r.amount ~= '0' then return {'method_required'} end
      for t in each_ticket(r.tickets) do
        local holder = redis.call('GET', p .. 'l:' .. t)
        if holder and holder ~= pos then return {'expired'} end
      end
      for t in each_ticket(r.tickets) do redis.call('SET', p .. 'l:' .. t, pos) end
      r.state, r.try, r.reason = 'C', r.try + 1, ''
      remember_call(p, r.user, r.user .. r.try, args[6], args[5], args[3], pos)
      put_record(p, pos, r)
      redis.call('ZADD', p .. 'x', '+inf', pos)
      add_confirmation(m, pos, r, args[3], args[4])
      wake_confirm(m)
      announce(m, {pos})
      return {'ok'}
    end

    -- KEYS m; ARGV position, try, generation, what the buyer is to do. While their payment is under way.
    local function ask_buyer(keys, args)
      local m = keys[1]
      local p = prefix(m)
      if not is_generation(m, args[3]) then return {'missing'} end
      local r = get_record(p, args[1])
      if not r or r.state ~= 'C' or r.try ~= tonumber(args[2]) then return {'moved'} end
      if r.reason ~= args[4] then
        r.reason = args[4]
        put_record(p, args[1], r)
        announce(m, {args[1]})
      end
      return {'ok'}
    end

    local function add_bits(list, tickets, bit)
      for t in each_ticket(tickets) do
        append(list, 'SET', 'u1')
        append(list, t, bit)
      end
    end

    -- KEYS m; ARGV 6 for each: outcome (P purchased, D declined, X lost, J refused), position, try, reason, entry id or '',
    -- "<generation>", "<generation>:<user key>" or "<generation>:<user key>:<tickets>". Whoever else has the place by now is
    -- not told how it ended.
    local function finish(keys, args)
      local m = keys[1]
      local p = prefix(m)
      local stream = partition(m) .. 'c'
      local changed, ids, sold = {}, {}, {}
      local v = redis.call('HMGET', m, 'generation', 'state')
      -- In a line that is lost nothing is held any more: there an entry only leaves its lane.
      local generation = v[2] ~= 'lost' and v[1]
      local now, stands = event_ms(m)
      for i = 1, #args, 6 do
        local outcome, pos, try, reason, id = args[i], args[i + 1], tonumber(args[i + 2]), args[i + 3], args[i + 4]
        local life, user, bought = string.match(args[i + 5], '^(%d+):?([^:]*):?(.*)$')
        local r = life == generation and get_record(p, pos)
        if r and r.state == 'C' and r.try == try and (user == '' or r.user == user) then
          changed[#changed + 1] = pos
          r.state, r.reason = outcome, reason
          if outcome == 'P' and bought ~= '' and bought ~= r.tickets then
            -- What was bought counts, whatever Redis had forgotten and promised since.
            unlock(p, pos, r.tickets)
            redis.call('RPUSH', p .. 'f', 'l' .. r.tickets)
            r.tickets = bought
          end
          if outcome == 'D' then
            redis.call('ZADD', p .. 'x', string.format('%.0f', r.deadline), pos)
            for t in each_ticket(r.tickets) do
              -- While the clock stands still the lock stays; whoever has it go on again sees to that.
              if not stands then
                redis.call('PEXPIRE', p .. 'l:' .. t, string.format('%.0f', math.max(0, r.deadline - now)))
              end
            end
          else
            redis.call('ZREM', p .. 'x', pos)
            unlock(p, pos, r.tickets)
            let_user_go(p, r.user, pos, outcome == 'P' and count_tickets(r.tickets) or 0)
            if outcome == 'J' then
              -- Nobody else's: they go back to the line.
              mark(p, r.tickets, 0)
              redis.call('RPUSH', p .. 'f', 'r' .. r.tickets)
              wake_owner(m)
            else
              redis.call('RPUSH', p .. 'f', (outcome == 'P' and 's' or 'l') .. r.tickets)
            end
          end
          if outcome == 'P' then add_bits(sold, r.tickets, '1') end
          put_record(p, pos, r)
        end
        if id ~= '' then ids[#ids + 1] = id end
      end
      all_at_once('BITFIELD', p .. 'o', sold, 4)
      -- A group is bounded by what the worker has under way.
      if #ids > 0 then
        redis.call('XACK', stream, 'workers', unpack(ids))
        redis.call('XDEL', stream, unpack(ids))
      end
      if #changed > 0 then announce(m, changed) end
      return {'ok'}
    end

    -- KEYS m; ARGV position, user key, generation
    local function cancel(keys, args)
      local m = keys[1]
      local p = prefix(m)
      local pos, user = args[1], args[2]
      local v = redis.call('HMGET', m, 'head', 'sold_out_up_to', 'closed_up_to', 'tail', 'split')
      if not v[1] or not is_generation(m, args[3]) then return {'missing'} end
      local r = get_record(p, pos)
      if not r or r.state == 'B' then
        if r and r.user ~= user then return {'forbidden'} end
        if tonumber(pos) <= math.max(tonumber(v[2]), tonumber(v[3])) then return {'ended'} end
        -- Whose place it is says the user's own entry: nobody is in line twice.
        local live, _, _, line = get_user(p, user)
        if not r and live ~= tonumber(pos) then
          return {tonumber(pos) <= tonumber(v[4]) and 'forbidden' or 'unknown'}
        end
        if not leave_line(m, p, pos, line) and redis.call('ZREMRANGEBYSCORE', p .. 'w', pos, pos) == 0 then
          return {end_of_line(p, line, live) and 'ended' or 'unknown'}
        end
        put_record(p, pos, {state = 'L', try = 0, deadline = 0, amount = '0', tickets = '', reason = '', user = user})
        let_user_go(p, user, pos, 0, true)
        if r then
          redis.call('RPUSH', p .. 'f', 'c' .. pos)
          wake_owner(m)
        end
        local changed = {pos}
        set_apart(m, p, pos, changed)
        if not v[5] then
          if tonumber(pos) > tonumber(v[1]) then redis.call('ZADD', p .. 'gone', pos, pos) end
          redis.call('ZREMRANGEBYSCORE', p .. 'gone', '-inf', v[1])
        end
        announce(m, changed)
        return {'ok'}
      end
      if r.user ~= user then return {'forbidden'} end
      if r.state == 'L' then return {'ok'} end
      if r.state == 'P' then return {'purchased'} end
      if r.state == 'C' then return {'confirming'} end
      if r.state ~= 'R' and r.state ~= 'D' then return {'ended'} end
      r.state = 'L'
      redis.call('ZREM', p .. 'x', pos)
      unlock(p, pos, r.tickets)
      mark(p, r.tickets, 0)
      let_user_go(p, user, pos, 0, true)
      put_record(p, pos, r)
      redis.call('RPUSH', p .. 'f', 'r' .. r.tickets)
      wake_owner(m)
      announce(m, {pos})
      return {'ok'}
    end

    -- For how long a pause that comes from PostgreSQL may be under way already, by its clock, which may have stepped.
    local TOLD_LATE_MS = 60000

    -- Has the event's clock stand still, or go on. Locks end by Redis's own clock: they are brought in line by `renew_some`.
    -- `before`: for how many ms it should have stood still by now.
    local function keep_clock(m, stands, before)
      local v = redis.call('HMGET', m, 'stood', 'stands_since')
      if stands == (v[2] and true or false) then return end
      local now = now_ms(m)
      if stands then
        redis.call('HSET', m, 'stands_since', string.format('%.0f', now - math.max(0, before)))
      else
        redis.call('HSET', m, 'stood', string.format('%.0f', (tonumber(v[1] or '') or 0) + math.max(0, now - tonumber(v[2]))))
        redis.call('HDEL', m, 'stands_since')
      end
      redis.call('HSET', m, 'locks_from', '0')
    end

    -- KEYS m; ARGV generation, state, queue limit, per-user limit, hold ms, rate or '', message, version of these
    -- settings, create (1/0), for how many ms a line that was lost is restored at least or nothing, for how many after
    -- the last one came back, for how many at most; for how many the sale has stood still before, and has stood still now
    -- or '', by PostgreSQL's account, which counts where Redis has none; whether payments are stopped (1/0, 2 where the
    -- event was cancelled). Older settings than those that are there change nothing.
    local function configure(keys, args)
      local m = keys[1]
      local settings = partition(m) .. 'settings'
      local stood_before = tonumber(args[14] or '') or 0
      if redis.call('EXISTS', m) == 0 then
        if args[9] ~= '1' then
          redis.call('HDEL', settings, event(m))
          return {'missing'}
        end
        redis.call('HSET', m, 'generation', args[1], 'head', 0, 'tail', 0, 'free', 0, 'held', 0, 'sold', 0,
          'granted_per_second', 0, 'sold_out', 0, 'sold_out_up_to', 0, 'closed_up_to', 0, 'decided_up_to', 0, 'version', 0, 'idle', 0,
          'split', 1, 'counts_ends', 1, 'mapped', redis.call('GET', partition(m) .. 'epoch') or '0')
        if (tonumber(args[13] or '') or 0) > 0 then redis.call('HSET', m, 'stood', args[13]) end
        local milliseconds = tonumber(args[10] or '') or 0
        if milliseconds > 0 then
          redis.call('HSET', m, 'restoring_until', string.format('%.0f', now_ms(m) + milliseconds),
            'restoring_quiet', args[11] or '0',
            'restoring_longest', string.format('%.0f', now_ms(m) + (tonumber(args[12] or '') or milliseconds)))
        end
        redis.call('HDEL', settings, event(m))
      elseif redis.call('HGET', m, 'state') == 'lost' then
        return {'missing'}
      else
        -- Told late, and not for the first time after a loss: what lies between is little.
        stood_before = math.min(stood_before, TOLD_LATE_MS)
      end
      redis.call('SADD', partition(m) .. 'events', event(m))
      if tonumber(args[8]) < tonumber(redis.call('HGET', settings, event(m)) or '0') then
        return {'ok', redis.call('HGET', m, 'generation')}
      end
      redis.call('HSET', settings, event(m), args[8])
      redis.call('HSET', m, 'state', args[2], 'queue_limit', args[3], 'per_user_limit', args[4], 'hold_ms', args[5],
        'rate', args[6], 'message', args[7])
      if args[15] then redis.call('HSET', m, 'stopped', args[15]) end
      keep_clock(m, args[2] == 'paused', stood_before)
      if args[2] == 'closed' then
        local tail = redis.call('HGET', m, 'tail')
        local head = redis.call('HGET', m, 'head')
        redis.call('HSET', m, 'closed_up_to', tail, 'head', tail)
        -- A line that was sold out has been decided up to where it was then.
        if tonumber(head) < tonumber(tail) or redis.call('HGET', m, 'sold_out') ~= '1' then
          redis.call('HSET', m, 'decided_up_to', head)
        end
        end_lines(m)
      end
      redis.call('HINCRBY', m, 'version', 1)
      wake_owner(m)
      announce(m, {})
      return {'ok', redis.call('HGET', m, 'generation')}
    end

    local function set_sold(p, tickets, bit)
      local bits = {}
      add_bits(bits, tickets, bit)
      all_at_once('BITFIELD', p .. 'o', bits, 4)
    end

    -- KEYS m; ARGV bitmap of tickets that are sold. What was known as sold stays so.
    local function note_sold(keys, args)
      local m = keys[1]
      if redis.call('EXISTS', m) == 0 then return {'missing'} end
      local o = prefix(m) .. 'o'
      redis.call('SET', o .. ':new', args[1])
      redis.call('BITOP', 'OR', o, o, o .. ':new')
      redis.call('DEL', o .. ':new')
      return {'ok'}
    end

    -- KEYS m; ARGV tickets that are not sold any more, by commas.
    local function drop_sold(keys, args)
      set_sold(prefix(keys[1]), args[1], '0')
      return {'ok'}
    end

    -- KEYS m; ARGV generation and position of a purchase, user key, its tickets since, what they cost, what is said of it,
    -- tickets that were given back, how many tickets the user has. The record tells how many fewer they are; of an earlier
    -- life there is none, and the user's count is at most what is said.
    local function give_back(keys, args)
      local m = keys[1]
      local p = prefix(m)
      local v = redis.call('HMGET', m, 'generation', 'state')
      if not v[1] or v[2] == 'lost' then return {'missing'} end
      local pos, user = args[2], args[3]
      local live, owned, left, line, refused = get_user(p, user)
      if v[1] == args[1] then
        local r = get_record(p, pos)
        -- It is bought, and nobody was told so yet.
        if r and r.user == user and r.state == 'C' then return {'moved'} end
        if r and r.user == user and r.state == 'P' then
          local fewer = count_tickets(r.tickets) - count_tickets(args[4])
          if fewer > 0 then put_user(p, user, live, math.max(0, owned - fewer), left, line, refused) end
          r.tickets, r.amount, r.reason = args[4], args[5], args[6]
          put_record(p, pos, r)
        end
      elseif owned > tonumber(args[8]) then
        put_user(p, user, live, tonumber(args[8]), left, line, refused)
      end
      set_sold(p, args[7], '0')
      redis.call('HINCRBY', m, 'version', 1)
      announce(m, v[1] == args[1] and {pos} or {})
      return {'ok'}
    end

    -- KEYS m; ARGV position, state that the caller saw or '', outcome (P, C, D, an end, I index the hold again), try,
    -- amount, tickets, those of them to be sold again, reason (of C the payment method), user key, of C the user,
    -- "<line>.<ordinal>" or '' where there was no record. A record says what PostgreSQL says: for the audit, and for an
    -- owner that Redis came back to.
    local function repair(keys, args)
      local m = keys[1]
      local p = prefix(m)
      local pos, outcome, tickets, free = args[1], args[3], args[6], args[7]
      if redis.call('EXISTS', m) == 0 then return {'missing'} end
      local r = get_record(p, pos)
      if (r and r.state or '') ~= args[2] then return {'moved'} end
      if outcome == 'P' and r and r.user ~= args[9] then return {'moved'} end
      if outcome == 'I' then
        if not r then return {'moved'} end
        redis.call('ZADD', p .. 'x', r.state == 'C' and '+inf' or string.format('%.0f', r.deadline), pos)
        return {'ok'}
      end
      if outcome == 'C' then
        if r and r.user ~= args[9] then return {'moved'} end
        local live, owned, left, line, refused = get_user(p, args[9])
        leave_line(m, p, pos, live == tonumber(pos) and line or '')
        local deadline = r and r.deadline or 0
        if deadline == 0 then deadline = event_ms(m) + tonumber(redis.call('HGET', m, 'hold_ms')) end
        if r then unlock(p, pos, r.tickets) end
        r = {state = 'C', try = tonumber(args[4]), deadline = deadline, amount = args[5], tickets = tickets, reason = '',
             user = args[9], place = r and r.place ~= '' and r.place or args[11]}
        put_record(p, pos, r)
        put_user(p, args[9], tonumber(pos), owned, left, '', refused)
        redis.call('ZADD', p .. 'x', '+inf', pos)
        for t in each_ticket(tickets) do redis.call('SET', p .. 'l:' .. t, pos) end
        mark(p, tickets, 1)
        add_confirmation(m, pos, r, args[8], args[10])
        wake_confirm(m)
        redis.call('HINCRBY', m, 'version', 1)
        local changed = {pos}
        set_apart(m, p, pos, changed)
        announce(m, changed)
        return {'ok'}
      end
      local bought = outcome == 'P' and count_tickets(tickets) or 0
      if r and r.state == 'P' then bought = bought - count_tickets(r.tickets) end
      local live, owned, _, line = get_user(p, r and r.user or args[9])
      bought = math.max(bought, -owned)
      if r and r.tickets ~= tickets then
        -- Promised after Redis had forgotten those that were bought.
        unlock(p, pos, r.tickets)
      end
      -- Who was told that the card was declined is not told anything else.
      local state = outcome == 'X' and r and r.state == 'D' and 'd' or outcome
      r = {state = state, try = tonumber(args[4]), deadline = r and r.deadline or 0, amount = args[5],
           tickets = tickets, reason = args[8], user = r and r.user or args[9],
           place = r and r.place ~= '' and r.place or args[11]}
      leave_line(m, p, pos, live == tonumber(pos) and line or '')
      put_record(p, pos, r)
      if outcome == 'D' then
        -- The hold goes on until its deadline: the next tick ends it if that has passed.
        redis.call('ZADD', p .. 'x', string.format('%.0f', r.deadline), pos)
        for t in each_ticket(tickets) do
          redis.call('SET', p .. 'l:' .. t, pos, 'NX')
          local clock, stands = event_ms(m)
          if not stands and redis.call('GET', p .. 'l:' .. t) == pos then
            redis.call('PEXPIRE', p .. 'l:' .. t, string.format('%.0f', math.max(0, r.deadline - clock)))
          end
        end
      else
        redis.call('ZREM', p .. 'x', pos)
        unlock(p, pos, tickets)
        let_user_go(p, r.user, pos, bought, state == 'L' or state == 'X' or state == 'd')
        if outcome == 'P' then
          mark(p, tickets, 1)
          set_sold(p, tickets, '1')
          redis.call('RPUSH', p .. 'f', 's' .. tickets)
        elseif free ~= '' then
          mark(p, free, 0)
          set_sold(p, free, '0')
          redis.call('RPUSH', p .. 'f', 'r' .. free)
        end
      end
      redis.call('HINCRBY', m, 'version', 1)
      wake_owner(m)
      local changed = {pos}
      set_apart(m, p, pos, changed)
      announce(m, changed)
      return {'ok'}
    end

    -- KEYS m; ARGV ticket, position, free (1/0)
    local function drop_lock(keys, args)
      local p = prefix(keys[1])
      if redis.call('GET', p .. 'l:' .. args[1]) ~= args[2] then return {'moved'} end
      redis.call('DEL', p .. 'l:' .. args[1])
      if args[3] == '1' then
        redis.call('SETBIT', p .. 'b', args[1], 0)
        redis.call('RPUSH', p .. 'f', 'r' .. args[1])
        wake_owner(keys[1])
      end
      return {'ok'}
    end

    local MAX_SHOWN = $SHOWN

    -- KEYS m; ARGV 6 for each: position, user key, life in which it was granted, deadline, amount, tickets. What was held
    -- for places that Redis has back in line, from whoever remembers: the owner gives the seats back, if they are nobody
    -- else's. For each 1 where it is to decide, 2 where the place is decided, 0 where it is somebody else's, the time of the
    -- hold is over, or the seats are. Of an earlier life only those count who came back into this one with their place.
    local function show_holds(keys, args)
      local m = keys[1]
      local p = prefix(m)
      local v = redis.call('HMGET', m, 'generation', 'state')
      if not v[1] or v[2] == 'lost' then return {'missing'} end
      local now, shown, answer = event_ms(m), redis.call('HLEN', p .. 'h'), {'ok'}
      for i = 1, #args, 6 do
        local pos, user, r = args[i], args[i + 1], get_record(p, args[i])
        local is_waiting = get_user(p, user) == tonumber(pos) and (not r or r.state == 'B')
        local told = r and r.state ~= 'B' and r.user == user and 2 or 0
        if is_waiting and redis.call('HEXISTS', p .. 'h', pos) == 1 then
          told = 1
        elseif is_waiting and shown < MAX_SHOWN and now < tonumber(args[i + 3])
          and redis.call('GETBIT', p .. 'hl', pos) == 0
          and (v[1] == args[i + 2] or redis.call('ZCOUNT', p .. 'w', pos, pos) == 1)
        then
          redis.call('HSET', p .. 'h', pos, table.concat({args[i + 3], args[i + 4], args[i + 5], user}, '|'))
          told, shown = 1, shown + 1
        end
        answer[#answer + 1] = told
      end
      if shown > 0 then wake_owner(m) end
      return answer
    end

    -- KEYS m; ARGV position and user key of each. Where each of them stands in line: id, line, payload, user of its entry,
    -- as `read` has them; four times '' where it does not.
    local function find(keys, args)
      local p = prefix(keys[1])
      local found = {'ok'}
      for i = 1, #args, 2 do
        local pos = args[i]
        local live, _, _, line = get_user(p, args[i + 1])
        local entry = live == tonumber(pos) and find_in_line(p, line, pos)
        local alone = live == tonumber(pos) and not entry and redis.call('ZRANGEBYSCORE', p .. 'y', pos, pos)[1]
        if entry then
          local fields = entry[2]
          append(found, entry[1], line)
          append(found, fields[3] and fields[2] or '', fields[4] or fields[2])
        elseif alone then
          local payload, user = string.match(alone, '^([^\n]*)\n(.*)$')
          append(found, pos .. '-0', 0)
          append(found, payload, user)
        else
          append(found, '', '')
          append(found, '', '')
        end
      end
      return found
    end

    -- KEYS m; ARGV fence, then position and whether its hold was given back (1/0) of each. They are not shown again.
    local function settle_holds(keys, args)
      local m = keys[1]
      local p = prefix(m)
      if not is_owner(m, args[1]) then return {'stale'} end
      local changed = {}
      for i = 2, #args, 2 do
        redis.call('HDEL', p .. 'h', args[i])
        if args[i + 1] == '0' then redis.call('SETBIT', p .. 'hl', args[i], 1) end
        changed[#changed + 1] = args[i]
      end
      announce(m, changed)
      return {'ok'}
    end

    -- KEYS m; ARGV epoch. The head document, once the sale is over for good: nothing of it changes any more.
    local function archivable(keys, args)
      local m = keys[1]
      if not is_owner(m, args[1]) then return {'stale'} end
      local v = redis.call('HMGET', m, unpack(FIELDS))
      if not v[1] then return {'missing'} end
      if v[2] ~= 'closed' or redis.call('ZCARD', prefix(m) .. 'x') > 0 then return {'busy'} end
      for i = 1, #FIELDS do v[i] = v[i] or '' end
      return {'ok', unpack(v)}
    end

    -- Holds that one call lets go of, and about how many tickets of theirs: some milliseconds.
    local HOLDS_AT_ONCE = 100
    local LOCKS_AT_ONCE = 500

    -- Of a line that is lost: deletes the locks of some holds, earliest deadline first. Returns whether there are more.
    local function let_go_of_holds(p)
      local gone, locks, holders = {}, {}, {}
      for i, pos in ipairs(redis.call('ZRANGE', p .. 'x', 0, HOLDS_AT_ONCE - 1)) do
        if #locks >= LOCKS_AT_ONCE then break end
        gone[i] = pos
        local r = get_record(p, pos)
        if r then
          for t in each_ticket(r.tickets) do
            locks[#locks + 1] = p .. 'l:' .. t
            holders[#locks] = pos
          end
        end
      end
      delete_own(locks, holders)
      if #gone > 0 then redis.call('ZREM', p .. 'x', unpack(gone)) end
      return redis.call('EXISTS', p .. 'x') == 1
    end

    -- KEYS m; ARGV generation, fence of the owner or ''. Redis came back with an older state of this queue: positions that
    -- were given out would be given out again. It ends here; its owner removes it, and a new one begins. What is under
    -- payment stays claimed. An owner compares what it loaded with what was sold since, and may have been replaced
    -- between the two by one that sold.
    -- The first call tells everybody. That one, and each that follows, lets go of some of its seats, and says whether there
    -- are more: its owner goes on before it removes what is left.
    local function forsake(keys, args)
      local m = keys[1]
      if (args[2] or '') ~= '' and not is_owner(m, args[2]) then return {'stale'} end
      local v = redis.call('HMGET', m, 'generation', 'state')
      if v[1] ~= args[1] then return {'moved'} end
      local p = prefix(m)
      if v[2] ~= 'lost' then
        redis.call('HSET', m, 'state', 'lost')
        clear_lines(m)
        redis.call('UNLINK', p .. 'w', p .. 'h', p .. 'hl')
        redis.call('HINCRBY', m, 'version', 1)
        wake_owner(m)
        announce(m, {})
      end
      return {'ok', let_go_of_holds(p) and 1 or 0}
    end

    local function is_removable(m, epoch, generation)
      local v = redis.call('HMGET', m, 'generation', 'state')
      return is_owner(m, epoch) and v[1] == generation
        and (v[2] == 'lost' or v[2] == 'closed' and redis.call('ZCARD', prefix(m) .. 'x') == 0)
    end

    -- KEYS m; ARGV epoch, generation, names of the event's keys
    local function remove(keys, args)
      if not is_removable(keys[1], args[1], args[2]) then return {'stale'} end
      local p = prefix(keys[1])
      -- An owner of the version before did not let go of all: no lock stays behind, however long that takes.
      while let_go_of_holds(p) do end
      for i = 3, #args do redis.call('UNLINK', p .. args[i]) end
      return {'ok'}
    end

    -- KEYS m; ARGV epoch, generation. The last step: what says that the queue is here goes, all at once.
    local function leave(keys, args)
      local m = keys[1]
      if not is_removable(m, args[1], args[2]) then return {'stale'} end
      local p = prefix(m)
      -- What was sold is asked for in the next life of a line that is lost, too.
      if redis.call('HGET', m, 'state') == 'closed' then redis.call('UNLINK', p .. 'o') end
      clear_lines(m)
      redis.call('UNLINK', m, p .. 'b', p .. 'f', p .. 'x', p .. 'gone', p .. 'w', p .. 'k', p .. 'kn', p .. 'km', p .. 'away',
        p .. 'ended', p .. 'h', p .. 'hl')
      redis.call('SREM', partition(m) .. 'events', event(m))
      redis.call('HDEL', partition(m) .. 'settings', event(m))
      return {'ok'}
    end

    -- No lease and no claim lasts longer. One that does is of a clock that has gone back since, and may be nobody's.
    local LONGEST_LEASE_MS = LEASE_LIMIT

    -- KEYS lease; ARGV worker, ttl ms. 1 when the worker holds the lease afterwards.
    local function lease(keys, args)
      local holder = redis.call('GET', keys[1])
      if holder and holder ~= args[1] and redis.call('PTTL', keys[1]) <= LONGEST_LEASE_MS then return 0 end
      redis.call('SET', keys[1], args[1], 'PX', args[2])
      return 1
    end

    -- KEYS lease; ARGV worker
    local function release_lease(keys, args)
      if redis.call('GET', keys[1]) ~= args[1] then return 0 end
      redis.call('DEL', keys[1])
      redis.call('PUBLISH', partition(keys[1]) .. 'w', 'lease')
      return 1
    end

    -- KEYS epoch; ARGV epoch. An older one never replaces a newer one.
    local function own(keys, args)
      local current = tonumber(redis.call('GET', keys[1]) or '0')
      if current > tonumber(args[1]) then return 0 end
      redis.call('SET', keys[1], args[1])
      return 1
    end

    -- KEYS stream of confirmations; ARGV ms. Forgets consumers that have nothing pending and were silent for so long. In
    -- one call: with a consumer goes what is pending, and one that is alive may take something at any moment.
    local function forget_consumers(keys, args)
      for _, consumer in ipairs(redis.call('XINFO', 'CONSUMERS', keys[1], 'workers')) do
        local c = {}
        for i = 1, #consumer, 2 do c[consumer[i]] = consumer[i + 1] end
        if c.pending == 0 and c.idle >= tonumber(args[1]) then
          redis.call('XGROUP', 'DELCONSUMER', keys[1], 'workers', c.name)
        end
      end
      return {'ok'}
    end

    -- KEYS workers; ARGV worker, ttl ms. The names of all that are alive.
    local function announce_worker(keys, args)
      local now = server_ms()
      redis.call('ZREMRANGEBYSCORE', keys[1], '-inf', string.format('%.0f', now))
      redis.call('ZREMRANGEBYSCORE', keys[1], string.format('(%.0f', now + LONGEST_LEASE_MS), '+inf')
      redis.call('ZADD', keys[1], string.format('%.0f', now + tonumber(args[2])), args[1])
      return redis.call('ZRANGE', keys[1], 0, -1)
    end

    -- KEYS m; ARGV user key and tickets owned, in turn. What buyers own already of an event whose queue is about to be
    -- made anew.
    local function remember(keys, args)
      if redis.call('EXISTS', keys[1]) == 1 then return {'exists'} end
      local p = prefix(keys[1])
      for i = 1, #args, 2 do put_user(p, args[i], 0, tonumber(args[i + 1]), 0, '', 0) end
      return {'ok'}
    end

    -- KEYS claim; ARGV token, what was written, ms until the next write. 0 when the claim is another's by now.
    local function end_refresh(keys, args)
      local value = redis.call('GET', keys[1])
      if value and value ~= args[1] then return 0 end
      redis.call('SET', keys[1], args[2], 'PX', args[3])
      return 1
    end

    -- KEYS confirmations. The entry that is next to be taken, if there is one: its id, and for how many ms it has waited,
    -- which may be less than nothing after a clock went back.
    local function next_confirmation(keys)
      local last = '0-0'
      local groups = redis.call('EXISTS', keys[1]) == 1 and redis.call('XINFO', 'GROUPS', keys[1]) or {}
      for _, group in ipairs(groups) do
        local of = {}
        for i = 1, #group, 2 do of[group[i]] = group[i + 1] end
        if of.name == 'workers' then last = of['last-delivered-id'] end
      end
      local entry = redis.call('XRANGE', keys[1], '(' .. last, '+', 'COUNT', 1)[1]
      return entry and {entry[1], server_ms() - tonumber(string.match(entry[1], '^%d+'))} or false
    end

    -- A lock lasts as long as the hold that it is for: without an end while the event's clock stands still.
    local function renew_lock(lock, pos, deadline, clock, stands)
      local holder = redis.call('GET', lock)
      if holder and holder ~= pos then return end
      if stands then
        redis.call('SET', lock, pos)
      elseif deadline > clock then
        redis.call('SET', lock, pos, 'PX', string.format('%.0f', deadline - clock))
      end
    end

    -- Holds whose locks one call renews, about: some milliseconds.
    local RENEWED_AT_ONCE = 500

    -- After the event's clock was stopped, or went on again: the locks of some holds, in the order of their deadlines, from
    -- where the call before has left off. Whether there are more.
    local function renew_some(m)
      local from = redis.call('HGET', m, 'locks_from')
      if not from then return false end
      local p = prefix(m)
      local clock, stands = event_ms(m)
      local holds = redis.call('ZRANGEBYSCORE', p .. 'x', from, '(+inf', 'WITHSCORES', 'LIMIT', 0, RENEWED_AT_ONCE)
      for i = 1, #holds, 2 do
        local r = get_record(p, holds[i])
        if r and (r.state == 'R' or r.state == 'D') then
          for t in each_ticket(r.tickets) do renew_lock(p .. 'l:' .. t, holds[i], r.deadline, clock, stands) end
        end
      end
      if #holds < 2 * RENEWED_AT_ONCE then
        redis.call('HDEL', m, 'locks_from')
        return false
      end
      -- Of those that end together some may be left: they are looked at again, unless they are all that there were.
      local last = holds[#holds]
      redis.call('HSET', m, 'locks_from', last == from and '(' .. last or last)
      return true
    end

    -- Events that one call looks at, about.
    local EVENTS_AT_ONCE = 500

    -- KEYS events of a partition; ARGV cursor, at most so many tickets, what the caller takes the time to be or ''. Ends
    -- holds of all events whose time is over, whether or not anybody owns the partition: an owner learns of it from `f`.
    -- Returns the time, and where to go on: '0' when all were looked at. Ends nothing while the clock has stepped.
    local function end_holds_of(keys, args)
      local now, expected, left = now_ms(keys[1]), tonumber(args[3]), tonumber(args[2])
      if expected and math.abs(now - expected) > STEP_MS then return {'stepped', now} end
      local page = redis.call('SSCAN', keys[1], args[1], 'COUNT', EVENTS_AT_ONCE)
      for _, id in ipairs(page[2]) do
        local m = partition(keys[1]) .. id .. ':m'
        local released, count = end_holds(m, now, left)
        for _, tickets in ipairs(released) do redis.call('RPUSH', prefix(m) .. 'f', 'r' .. tickets) end
        if #released > 0 then wake_owner(m) end
        if renew_some(m) then left = 0 end
        left = left - count
        if left <= 0 then return {'more', now, args[1]} end
      end
      return {'ok', now, page[1]}
    end

    -- Entries of the confirm lane that are looked at after a clock went back: more than workers have under way.
    local PENDING_AT_ONCE = 10000

    -- Since when a worker has had an entry is by Redis's clock too: of one that went back it would be long before others
    -- take over what a dead worker has.
    local function renew_pending(stream)
      if redis.call('EXISTS', stream) == 0 or #redis.call('XINFO', 'GROUPS', stream) == 0 then return end
      for _, entry in ipairs(redis.call('XPENDING', stream, 'workers', '-', '+', PENDING_AT_ONCE)) do
        -- Said of one that is in the future, too.
        if entry[3] == 0 then
          redis.call('XCLAIM', stream, 'workers', entry[2], 0, entry[1], 'IDLE', 0, 'RETRYCOUNT', entry[4], 'JUSTID')
        end
      end
    end

    -- A step is noticed by the next tick, so what was granted in the last second may have a deadline of the stepped clock.
    local UNNOTICED_MS = 1000

    -- KEYS events of a partition; ARGV epoch, ms by which the partition's clock is to be put forward, the clock as it was
    -- seen. Redis's clock has stepped the other way: what runs out goes on as if it had not.
    local function set_clock(keys, args)
      local p = partition(keys[1])
      if redis.call('GET', p .. 'epoch') ~= args[1] then return {'stale'} end
      local now, delta = now_ms(keys[1]), tonumber(args[2])
      if math.abs(now - tonumber(args[3])) > STEP_MS then return {'moved', now} end
      local ahead = tonumber(redis.call('GET', p .. 'clock') or '0') + delta
      if math.abs(ahead) < STEP_MS then
        redis.call('DEL', p .. 'clock')
      else
        redis.call('SET', p .. 'clock', string.format('%.0f', ahead))
      end
      for _, id in ipairs(redis.call('SMEMBERS', keys[1])) do
        local e = p .. id .. ':'
        local hold = tonumber(redis.call('HGET', e .. 'm', 'hold_ms') or '0')
        local clock, since = event_ms(e .. 'm', now)
        if since and tonumber(since) > now - UNNOTICED_MS then
          redis.call('HSET', e .. 'm', 'stands_since', string.format('%.0f', tonumber(since) + delta))
        end
        local from, to = clock + hold - UNNOTICED_MS, clock + hold
        for _, pos in ipairs(redis.call('ZRANGEBYSCORE', e .. 'x', string.format('%.0f', from), string.format('%.0f', to))) do
          local r = get_record(e, pos)
          if r then
            r.deadline = r.deadline + delta
            put_record(e, pos, r)
            redis.call('ZADD', e .. 'x', string.format('%.0f', r.deadline), pos)
          end
        end
      end
      renew_pending(p .. 'c')
      return {'ok', now_ms(keys[1])}
    end

    -- KEYS m; ARGV rank of the first hold, at most so many. Gives the locks of holds the time that is left of these, after
    -- the clock has stepped. Returns how many holds there were.
    local function renew_locks(keys, args)
      local m = keys[1]
      local p = prefix(m)
      local first = tonumber(args[1])
      local clock, stands = event_ms(m)
      local holds = redis.call('ZRANGE', p .. 'x', first, first + tonumber(args[2]) - 1, 'WITHSCORES')
      for i = 1, #holds, 2 do
        local r = get_record(p, holds[i])
        if r and (r.state == 'R' or r.state == 'D') then
          for t in each_ticket(r.tickets) do renew_lock(p .. 'l:' .. t, holds[i], r.deadline, clock, stands) end
        end
      end
      return {'ok', #holds / 2}
    end

    redis.register_function('onsale_enqueue', enqueue)
    redis.register_function('onsale_rejoin', rejoin)
    -- All others go on when Redis is out of memory: what they add is bounded by the tickets, or was there in another
    -- form (a line that is restored), and only they end what takes memory.
    local function keeps_going(name, callback)
      redis.register_function{function_name = name, callback = callback, flags = {'allow-oom'}}
    end
    keeps_going('onsale_announce_worker', announce_worker)
    keeps_going('onsale_forget_consumers', forget_consumers)
    keeps_going('onsale_commit', commit)
    keeps_going('onsale_decide', decide)
    keeps_going('onsale_read', read)
    keeps_going('onsale_split', split)
    keeps_going('onsale_take_over', take_over)
    keeps_going('onsale_tick', tick)
    keeps_going('onsale_ends', ends)
    keeps_going('onsale_load', load)
    keeps_going('onsale_publish_map', publish_map)
    keeps_going('onsale_confirm', confirm)
    keeps_going('onsale_ask_buyer', ask_buyer)
    keeps_going('onsale_finish', finish)
    keeps_going('onsale_forsake', forsake)
    keeps_going('onsale_cancel', cancel)
    keeps_going('onsale_show_holds', show_holds)
    keeps_going('onsale_settle_holds', settle_holds)
    redis.register_function{function_name='onsale_find', flags={'no-writes'}, callback=find}
    keeps_going('onsale_configure', configure)
    keeps_going('onsale_archivable', archivable)
    keeps_going('onsale_remove', remove)
    keeps_going('onsale_leave', leave)
    keeps_going('onsale_repair', repair)
    keeps_going('onsale_drop_lock', drop_lock)
    keeps_going('onsale_note_sold', note_sold)
    keeps_going('onsale_drop_sold', drop_sold)
    keeps_going('onsale_bar_grants', bar_grants)
    keeps_going('onsale_give_back', give_back)
    keeps_going('onsale_lease', lease)
    keeps_going('onsale_release_lease', release_lease)
    keeps_going('onsale_own', own)
    keeps_going('onsale_remember', remember)
    keeps_going('onsale_end_refresh', end_refresh)
    keeps_going('onsale_end_holds_of', end_holds_of)
    keeps_going('onsale_set_clock', set_clock)
    keeps_going('onsale_renew_locks', renew_locks)
    redis.register_function{function_name='onsale_next_confirmation', flags={'no-writes'},
      callback=next_confirmation}
    redis.register_function{function_name='onsale_version', flags={'no-writes'},
      callback=function() return VERSION end}
    """#.replacing("VERSION", with: "\(version)").replacing("LEAVES", with: "\(Limits.placesLeft)")
    .replacing("REFUSALS", with: "\(Limits.placesRefused)")
    .replacing("ATTEMPTS", with: "\(Limits.paymentAttempts)")
    .replacing("$NEWS", with: "\(newsAtOnce)").replacing("$LINES", with: "\(Limits.wishesPerEvent)")
    .replacing("$BAR", with: "\(barMilliseconds)").replacing("$SHOWN", with: "\(shownHolds)")
    .replacing("$ALONE", with: "\(Limits.waitingAlone)")
    .replacing("$ANSWERED", with: "\(Limits.endAnswerSeconds * 1000)")
    .replacing("CLOCK_STEP", with: "\(QueueClock.stepMilliseconds)")
    .replacing("LEASE_LIMIT", with: "\(QueueStore.longestLeaseMilliseconds)")
}
