"""The scripts of ``shoal.queue.line``. Lists of a wrong type count as empty."""

from __future__ import annotations

_COMMON = """
local line, base = KEYS[1], KEYS[2]

local function list_of(level, source)
  if source ~= '' then return base .. ':' .. level .. ':' .. source end
  return level == 'normal' and base or base .. ':' .. level
end

local function length(list)
  local found = redis.pcall('LLEN', list)
  return type(found) == 'number' and found or 0
end

local function share_of(level, source)
  local share = redis.call('HGET', line .. ':' .. level .. ':shares', source) or '1:0'
  local weight, most = string.match(share, '^(%d+):(%d+)$')
  return math.max(1, tonumber(weight) or 1), tonumber(most) or 0
end

-- The virtual time of a source: what it had when it last waited, but never behind the clock.
local function due_of(level, source, tag)
  local now = tonumber(redis.call('HGET', line .. ':clock', level) or 0) or 0
  local idle = tonumber(redis.call('ZSCORE', line .. ':' .. level .. ':idle', source) or 0)
  return math.max(tag, now, idle)
end
"""

# KEYS: line, RQ's list, intermediate list; ARGV: of how many starts one is low.
TAKE = (
    _COMMON
    + """
local transit, low_every = KEYS[3], tonumber(ARGV[1])

local function exact(number) return string.format('%.17g', number) end

local function start(list, level)
  if level == 'low' or redis.call('ZCARD', line .. ':low') == 0 then
    redis.call('HSET', line .. ':clock', 'since_low', 0)
  else
    redis.call('HINCRBY', line .. ':clock', 'since_low', 1)
  end
  return redis.call('LMOVE', list, transit, 'LEFT', 'RIGHT')
end

local function rest(level, source, tag)  -- it has nothing more to do, or is at its limit
  redis.call('ZREM', line .. ':' .. level, source)
  redis.call('ZADD', line .. ':' .. level .. ':idle', exact(tag), source)
end

local function forget(level, source, list)
  redis.call('HDEL', line .. ':' .. level .. ':shares', source)
  if list ~= base then redis.call('SREM', 'rq:queues', list) end
end

local function serve(level)
  local sources = line .. ':' .. level
  while true do
    local first = redis.call('ZRANGE', sources, 0, 0, 'WITHSCORES')
    if #first == 0 then return false end
    local source, tag = first[1], tonumber(first[2])
    local list, due = list_of(level, source), due_of(level, source, tag)
    local weight, most = share_of(level, source)
    local running = line .. ':running:' .. source
    if length(list) == 0 then
      rest(level, source, due)
      forget(level, source, list)
    elseif due > tag then
      redis.call('ZADD', sources, exact(due), source)
    elseif most > 0 and redis.call('SCARD', running) >= most then
      rest(level, source, due)
    else
      local id = start(list, level)
      if most > 0 then
        redis.call('SADD', running, id)
        redis.call('SADD', line .. ':limited', source)
      end
      redis.call('HSET', line .. ':clock', level, exact(due))
      redis.call('ZREMRANGEBYSCORE', sources .. ':idle', '-inf', exact(due))
      if length(list) == 0 then
        rest(level, source, due + 1 / weight)
        forget(level, source, list)
      else
        redis.call('ZADD', sources, exact(due + 1 / weight), source)
      end
      return id
    end
  end
end

local head = redis.pcall('LINDEX', base, 0)
if type(head) == 'string' then
  if redis.call('SREM', line .. ':front', head) == 1 then return start(base, 'front') end
  redis.call('ZADD', line .. ':normal', 'NX', 0, '')  -- an earlier release does not
end
local levels = {'high', 'normal', 'low'}
local since_low = tonumber(redis.call('HGET', line .. ':clock', 'since_low') or 0) or 0
if since_low >= low_every - 1 then levels = {'low', 'high', 'normal'} end
for _, level in ipairs(levels) do
  local id = serve(level)
  if id then return id end
end
redis.call('DEL', line .. ':wake', line .. ':clock')
for _, level in ipairs(levels) do redis.call('DEL', line .. ':' .. level .. ':idle') end
return false
"""
)

# KEYS: line, RQ's list; ARGV: level, source, id, whether it goes first, of how many starts one is
# low.
AHEAD = (
    _COMMON
    + """
local level, source, id, low_every = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[5])
local front = redis.call('SCARD', line .. ':front')
if ARGV[4] ~= '' then return redis.call('LPOS', base, id) or 0 end

local function waiting(list)
  return math.max(0, length(list) - (list == base and front or 0))
end

local function sources_of(level)
  local found = {}
  if level == 'normal' then found[''] = 0 end  -- it is there without having been taken from
  local scores = redis.call('ZRANGE', line .. ':' .. level, 0, -1, 'WITHSCORES')
  for i = 1, #scores, 2 do found[scores[i]] = tonumber(scores[i + 1]) end
  return found
end

local before = front
for _, each in ipairs({'high', 'normal'}) do
  if each == level then break end
  for other in pairs(sources_of(each)) do before = before + waiting(list_of(each, other)) end
end
local own = list_of(level, source)
local place = redis.call('LPOS', own, id) or 0
if own == base then place = math.max(0, place - front) end
local tag = due_of(level, source, tonumber(redis.call('ZSCORE', line .. ':' .. level, source) or 0))
local turn = tag + place / share_of(level, source)
local equal = place
for other, its_tag in pairs(sources_of(level)) do
  if other ~= source then
    local due, weight = due_of(level, other, its_tag), share_of(level, other)
    local turns = math.max(0, math.ceil((turn - due) * weight))
    equal = equal + math.min(turns, waiting(list_of(level, other)))
  end
end
local all = before + equal
if level == 'low' then all = math.min(all, front + low_every * (equal + 1) - 1) end
return all
"""
)

# KEYS: lists; ARGV: the prefix of the records' keys.
OLDEST = """
local oldest = false
for _, list in ipairs(KEYS) do
  local id = redis.pcall('LINDEX', list, 0)
  local at = type(id) == 'string' and redis.pcall('HGET', ARGV[1] .. id, 'queued_at')
  local since = type(at) == 'string' and tonumber(at)
  if since and (not oldest or since < oldest) then oldest = since end
end
return oldest and string.format('%.17g', oldest)
"""

# KEYS: line; ARGV: a source, an id, all levels.
RELEASE = """
local line, source = KEYS[1], ARGV[1]
if redis.call('SREM', line .. ':running:' .. source, ARGV[2]) == 1 then
  for i = 3, #ARGV do redis.call('ZADD', line .. ':' .. ARGV[i], 'NX', 0, source) end
  redis.call('RPUSH', line .. ':wake', '')
end
"""

# KEYS: line, RQ's list; ARGV: all levels.
HELD = (
    _COMMON
    + """
local waiting, most = {}, {}
for _, level in ipairs(ARGV) do
  local sources = redis.call('HKEYS', line .. ':' .. level .. ':shares')
  for _, source in ipairs(sources) do
    local _, limit = share_of(level, source)
    if limit > 0 then
      waiting[source] = (waiting[source] or 0) + length(list_of(level, source))
      most[source] = math.max(most[source] or 0, limit)
    end
  end
end
local held = 0
for source, count in pairs(waiting) do
  local free = most[source] - redis.call('SCARD', line .. ':running:' .. source)
  held = held + math.max(0, count - math.max(0, free))
end
return held
"""
)

# KEYS: line, leases, intermediate list; ARGV: a source, all levels.
HEAL = """
local line, leases, transit, source = KEYS[1], KEYS[2], KEYS[3], ARGV[1]
local running = line .. ':running:' .. source
local freed = false
for _, id in ipairs(redis.call('SMEMBERS', running)) do
  if not redis.call('ZSCORE', leases, id) and not redis.call('LPOS', transit, id) then
    redis.call('SREM', running, id)
    freed = true
  end
end
if freed then
  for i = 2, #ARGV do redis.call('ZADD', line .. ':' .. ARGV[i], 'NX', 0, source) end
  redis.call('RPUSH', line .. ':wake', '')
end
if redis.call('SCARD', running) == 0 then redis.call('SREM', line .. ':limited', source) end
"""

# KEYS: a list; ARGV: an id, and the commands to run if the list had it.
MOVE = """
if redis.call('LREM', KEYS[1], 0, ARGV[1]) > 0 then
  for _, command in ipairs(cjson.decode(ARGV[2])) do redis.call(unpack(command)) end
end
"""
