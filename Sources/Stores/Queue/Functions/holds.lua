-- The tick: holds end, and the owner hears what happened.

-- Places that one call brings back into the line, and news that one call hands over: some milliseconds.
local PLACES_AT_ONCE = 1000

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
  local to = #due > 0 and listener(m)
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
      if to then
        tell(to, 'x', pos, r.user, r.tickets, r.amount, '', r.place, '',
          r.state == 'D' and 'declined' or is_cancelled and 'event_cancelled' or 'expired', r.try)
      end
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
    redis.call('LLEN', p .. 'ended'), redis.call('HEXISTS', m, 'restoring_until'), redis.call('HLEN', p .. 'h'),
    redis.call('HLEN', p .. 'late')}
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
