-- A line that Redis lost is built up again by those who were in it.

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
    local user, place, word = args[i], args[i + 4]
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
