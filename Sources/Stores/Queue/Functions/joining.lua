-- A place in line.

-- What somebody is told who has a place: it, as they were told before.
local function again(s, user, position, known)
  local line, ordinal = string.match(known or '', '^(%d+)%.(%d+)$')
  if not line then
    local live, _, _, of = get_user(s.p, user)
    if live == position then line, ordinal = place_in_line(s.p, position, of) end
  end
  return {'again', position, line or 0, ordinal or 0}
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

-- What a call that gives out places needs of the event, read once for all of them; nil where there is no line. `came` are
-- those who joined and are not in what is written yet, `lines` where they stand, by their wish.
local function open_line(m)
  local v = redis.call('HMGET', m, 'state', 'generation', 'tail', 'head', 'queue_limit', 'per_user_limit',
    'sold_out', 'sold_out_up_to', 'closed_up_to', 'idle', 'restoring_until', 'split', 'waiting')
  if not v[1] or v[1] == 'lost' then return nil end
  return {m = m, p = prefix(m), is_open = v[1] == 'open' or v[1] == 'paused', is_closed = v[1] == 'closed',
    generation = v[2], tail = tonumber(v[3]), head = v[4], queue_limit = tonumber(v[5]), limit = tonumber(v[6]),
    is_sold_out = v[7] == '1', sold_out_up_to = tonumber(v[8]), closed_up_to = tonumber(v[9]), is_idle = v[10] == '1',
    restoring_until = v[11], is_split = v[12], waiting = tonumber(v[13] or ''), came = 0, lines = {}}
end

-- Writes what those who joined have changed for all. Until then nobody else may look at it.
local function write_line(s)
  if s.came == 0 then return end
  local numbers = {}
  for wish, line in pairs(s.lines) do
    if line.more > 0 then redis.call('HINCRBY', s.p .. 'k', wish, line.more) end
    numbers[#numbers + 1] = line.number
  end
  if #numbers > 0 then redis.call('SADD', s.p .. 'ka', unpack(numbers)) end
  if s.is_idle then
    redis.call('HSET', s.m, 'tail', s.tail, 'waiting', s.waiting, 'idle', '0')
    wake_owner(s.m)
  else
    redis.call('HSET', s.m, 'tail', s.tail, 'waiting', s.waiting)
  end
  s.came, s.lines, s.is_idle = 0, {}, false
end

-- As `stand_in_line` says it, which is asked once for all who have the same wish.
local function stand(s, wish)
  local line = s.lines[wish]
  if line then
    line.ordinal, line.more = line.ordinal + 1, line.more + 1
  else
    local number, ordinal = stand_in_line(s.m, s.p, wish, 1)
    if not number then return nil end
    line = {number = number, ordinal = ordinal, more = 0}
    s.lines[wish] = line
  end
  return line.number, line.ordinal
end

-- Gives a user a place in the line, or says why not. What stands behind the word, by word: of `queued`, `rejoined` and
-- `again` position, line and ordinal; of `limit` how many they own and may; of `restoring` milliseconds.
local function join(s, user, quantity, payload, name, key, lost_place)
  local m, p, content = s.m, s.p, nil
  quantity = tonumber(quantity)
  if key ~= '' then
    content = wish_from_anywhere(payload)
    local named, is_same, known = recall(p, user, user, s.generation, key, content)
    if named then
      if not is_same then return {'mismatch'} end
      return again(s, user, named, known)
    end
  end
  local live, owned, left, line, refused = get_user(p, user)
  if live > 0 then
    local in_mass = live <= s.sold_out_up_to or live <= s.closed_up_to
    if in_mass or end_of_line(p, line, live) then
      -- Ended together with everyone in line, without a write of its own.
      local r = get_record(p, live)
      if in_mass and (not r or r.state == 'B') then
        live = 0
      elseif not in_mass and not r then
        -- Others are told of it, with what the line is by now.
        write_line(s)
        if not s.is_open or owned + quantity > s.limit
          or not answer_end(m, p, {user, quantity, payload, name}, live, line)
        then
          live = 0
        end
      end
    end
  end
  if live > 0 then return again(s, user, live) end
  if not s.is_open then return {s.is_closed and 'closed' or 'not_open'} end
  if s.is_sold_out then return {'sold_out'} end
  if owned + quantity > s.limit then return {'limit', owned, s.limit} end
  if left >= MAX_LEFT then return {'too_often'} end
  if refused >= MAX_REFUSED then return {'too_often', 'refused'} end
  local word, position, ordinal = 'queued', s.tail + 1, 0
  line = ''
  if s.restoring_until then
    -- A server of a version that does not know of it sends no place at all, not even an empty one.
    if not lost_place then return {'full'} end
    local answer = restore_place(m, {user, quantity, payload, name}, tonumber(lost_place), s.tail, s.restoring_until,
      s.queue_limit)
    if answer[1] ~= 'rejoined' then return answer end
    word, position, line, ordinal = 'rejoined', answer[2], answer[3], answer[2]
    s.tail = math.max(s.tail, position)
  else
    -- Not tail - head: those who have left keep their positions, but wait no longer.
    if not s.is_split or not s.waiting then s.waiting = redis.call('XLEN', p .. 'q') end
    if s.waiting >= s.queue_limit then return {'full'} end
    if s.is_split then
      local wish = wish_of(payload)
      line, ordinal = stand(s, wish)
      if not line then return {'full'} end
      file_in_line(p, line, position, ordinal, wish, payload, name)
      s.waiting = s.waiting + 1
    else
      redis.call('XADD', p .. 'q', position .. '-0', 'r', payload, 'u', name)
    end
    s.tail, s.came = position, s.came + 1
  end
  put_user(p, user, position, owned, left, line, refused)
  if key ~= '' then
    local at = line ~= '' and position .. '.' .. line .. '.' .. ordinal or position
    remember_call(p, user, user, s.generation, key, content, at)
  end
  return {word, position, line ~= '' and line or 0, ordinal}
end

-- KEYS m; ARGV user key, quantity, payload, user, idempotency key or '', place in a life that was lost or ''. What the
-- version before calls, one by one: generation and head stand behind the position.
local function enqueue(keys, args)
  local s = open_line(keys[1])
  if not s then return {'missing'} end
  local answer = join(s, unpack(args))
  write_line(s)
  if #answer == 4 then return {answer[1], answer[2], s.head, s.generation, answer[3], answer[4]} end
  return answer
end

-- KEYS m; ARGV 6 for each, as of `enqueue`. Gives places to many, in this order, and what is the same for all is done once.
-- Answers a line of words with generation and head, and one for each; or `missing`. Who cannot be dealt with, as what is
-- kept of them is nothing that one could read, is told so alone.
local function enqueue_many(keys, args)
  local s = open_line(keys[1])
  if not s then return 'missing' end
  local lines = {'ok ' .. s.generation .. ' ' .. s.head}
  for i = 1, #args, 6 do
    local is_done, answer = pcall(join, s, unpack(args, i, i + 5))
    if is_done then
      lines[#lines + 1] = table.concat(answer, ' ')
    else
      local why = string.gsub(tostring(type(answer) == 'table' and answer.err or answer), '%c', ' ')
      lines[#lines + 1] = 'error ' .. string.sub(why, 1, 200)
    end
  end
  write_line(s)
  return table.concat(lines, '\n')
end
