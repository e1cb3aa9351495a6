-- What every script of the shared journal begins with (contract §6; `journal.py` says what the journal is).
--
-- KEYS: 1 what is known of the journal, 2 its groups of changes. ARGV: 1 the term that the caller's state comes
-- from, 2 the last group that is in it, 3 whether Redis now keeps every write through a restart (1 or 0), 4 how many
-- groups to give at most.
--
-- The journal is lost once Redis may have forgotten any of it: it is gone, it belongs to a Redis process that did not
-- keep every write, or it ends before what the caller has seen. Then somebody has to begin a new term.

local META, GROUPS = KEYS[1], KEYS[2]
local process = string.match(redis.call('INFO', 'server'), 'run_id:(%w+)')
local held = redis.call('HMGET', META,
  'founded', 'process', 'durable', 'position', 'strict', 'bytes', 'snapshot', 'snapshot_bytes')

local function intact()
  return held[1] and (held[2] == process or (held[3] == '1' and ARGV[3] == '1'))
end

local function journal_status()
  if not intact() then
    return 'lost'
  end
  if held[1] ~= ARGV[1] then
    return 'other'
  end
  if tonumber(held[4]) < tonumber(ARGV[2]) then
    return 'lost'
  end
  if held[2] ~= process or held[3] ~= ARGV[3] then
    redis.call('HSET', META, 'process', process, 'durable', ARGV[3])
  end
  if tonumber(held[7]) > tonumber(ARGV[2]) then
    return 'trimmed'
  end
  return 'ok'
end

-- Whoever asked waits no longer, and has said that nothing was done: this Redis stood still meanwhile.
local function expired(deadline_us)
  local time = redis.call('TIME')
  return tonumber(time[1]) * 1000000 + tonumber(time[2]) > tonumber(deadline_us)
end

local function append(group, by)
  local position = string.format('%.0f', redis.call('HINCRBY', META, 'position', 1))
  redis.call('XADD', GROUPS, position .. '-0', 'group', group, 'by', by)
  redis.call('HINCRBY', META, 'bytes', #group)
  return position
end

local function read_result(own)
  local now = redis.call('HMGET', META, 'position', 'strict', 'bytes', 'snapshot_bytes')
  local groups = redis.call('XRANGE', GROUPS, '(' .. ARGV[2] .. '-0', '+', 'COUNT', ARGV[4])
  return {'ok', now[1], now[2], now[3], now[4], own, groups}
end
