-- A place in line.

-- What somebody is told who has a place: it, as they were told before.
local function again(p, user, position, head, generation, known)
  local line, ordinal = string.match(known or '', '^(%d+)%.(%d+)$')
  if not line then
    local live, _, _, of = get_user(p, user)
    if live == position then line, ordinal = place_in_line(p, position, of) end
  end
  return {'again', position, head, generation, line or 0, ordinal or 0}
end

-- The user's live place as its id names it: position, 0 for none; generation; line and ordinal, 0 where not known.
-- KEYS m; ARGV user key
local function place(keys, args)
  local m = keys[1]
  local v = redis.call('HMGET', m, 'state', 'generation')
  if not v[1] or v[1] == 'lost' then return {0, 0, 0, 0} end
  local live, _, _, of = get_user(prefix(m), args[1])
  if live == 0 then return {0, 0, 0, 0} end
  local line, ordinal = place_in_line(prefix(m), live, of)
  return {live, tonumber(v[2]), tonumber(line), tonumber(ordinal)}
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
  local named, is_same, known = recall(p, user, user, generation, args[5], wish_from_anywhere(args[3]))
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
  remember_call(p, user, user, generation, args[5], wish_from_anywhere(args[3]), place)
  return {word, position, head, generation, line ~= '' and line or 0, ordinal}
end
