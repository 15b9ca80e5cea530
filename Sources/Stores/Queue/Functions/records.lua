-- What one request, one user and one ticket have, and who is told of a change.

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

-- Of those who only wait, which are nearly all, place and line are one negative number, -(place * PACKED_LINES + line):
-- Redis keeps a number in fewer bytes than its digits. Lines from PACKED_LINES on are written out.

-- The user's live position, or 0; how many tickets they own; how often they gave a place up, by a cancellation or
-- by letting a hold expire; the number of the line that they stand in, '' where it is not known; how often a place came
-- to nothing without their doing.
local function get_user(p, user)
  local text = redis.call('HGET', bucket(p, user), user)
  if not text then return 0, 0, 0, '', 0 end
  local packed = tonumber(string.match(text, '^%-(%d+)$'))
  if packed then return math.floor(packed / PACKED_LINES), 0, 0, tostring(packed % PACKED_LINES), 0 end
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
    local number = place ~= live and tonumber(line)
    if number and number < PACKED_LINES then place = string.format('%.0f', -(live * PACKED_LINES + number)) end
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

-- The books know of more tickets of theirs than was counted here, which has been lost: so many more wishes that they
-- would refuse are refused before anything is held.
local function own_at_least(p, user, tickets)
  local live, owned, left, line, refused = get_user(p, user)
  if owned < tickets then put_user(p, user, live, tickets, left, line, refused) end
end

-- What systems outside are told goes where workers take it from; nil where nobody listens.
local function listener(m)
  local told = partition(m) .. 'told'
  if redis.call('EXISTS', told) == 0 then return nil end
  return {key = told, event = event(m), generation = redis.call('HGET', m, 'generation')}
end

-- `ends`: when the hold ends if nobody pauses the sale, on the clock that everybody goes by. `try`: after which attempt to
-- pay that is; nothing before the first.
local function tell(to, kind, pos, user_key, tickets, amount, ends, place, user, reason, try)
  if redis.call('XLEN', to.key) >= MAX_TOLD then return redis.call('INCR', to.key .. ':lost') end
  redis.call('XADD', to.key, '*', 'k', kind, 'e', to.event, 'g', to.generation, 'p', pos, 'u', user_key, 't', tickets,
    'a', amount, 'd', ends, 'l', place or '', 'i', user, 'r', reason, 'n', try or 0)
end

-- A hold has ended without a purchase.
local function tell_end(m, pos, r, reason)
  local to = listener(m)
  if to then tell(to, 'x', pos, r.user, r.tickets, r.amount, '', r.place, '', reason, r.try) end
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

-- `late`: the payment of an attempt that was given up; `others`: what the buyer has said of other seats, should this one
-- come late: `1` that they will do, `n` that, of seats chosen by name, for which nothing else will.
local function add_confirmation(m, pos, r, method, user, client, late, others)
  redis.call('XADD', partition(m) .. 'c', '*', 'e', event(m), 'g', redis.call('HGET', m, 'generation'),
    'p', pos, 't', r.try, 'k', r.tickets, 'a', r.amount, 'm', method, 'u', user, 'l', r.place or '',
    'c', client or '', 'z', late or '', 'y', others or '')
end
