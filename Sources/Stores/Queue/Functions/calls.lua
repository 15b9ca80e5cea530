-- Idempotency keys.

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

-- Whether the buyer has agreed to other seats with the payment that is under way: beside what its call came with, which
-- only some have a key for. It names the place and the life of its line: another place's attempts count from 1, too.
local function agreement_field(r) return r.user .. r.try .. 'y' end
local function remember_agreement(p, r, place)
  local hash = key_bucket(p, r.user)
  redis.call('HSET', hash, agreement_field(r), place)
  redis.call('PEXPIRE', hash, IDEMPOTENCY_MS)
end
local function has_agreed(p, r, place)
  return redis.call('HGET', key_bucket(p, r.user), agreement_field(r)) == place
end
