-- Acquires the lease, where it is free and nobody has asked for it for longer, and gives the groups that the caller has
-- not seen. KEYS: 3 the lease, 4 and 5 since when each instance waits for it, and when it last asked.
-- ARGV: 5 the name of this lease, 6 how long it lasts at most (ms), 7 the instance, 8 how long an instance that no longer
-- asks keeps its place (ms), 9 bytes past which the journal takes no more.
local status = journal_status()
if status ~= 'ok' then
  return {status}
end
if expired(ARGV[10]) then
  return {'expired'}
end
if tonumber(held[6]) > tonumber(ARGV[9]) then
  return {'full'}
end
local LEASE, WAITING, ASKED = KEYS[3], KEYS[4], KEYS[5]
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
redis.call('ZADD', WAITING, 'NX', now, ARGV[7])
redis.call('ZADD', ASKED, now, ARGV[7])
for _, gone in ipairs(redis.call('ZRANGEBYSCORE', ASKED, '-inf', now - tonumber(ARGV[8]))) do
  redis.call('ZREM', WAITING, gone)
  redis.call('ZREM', ASKED, gone)
end
local holder = redis.call('GET', LEASE)
if holder ~= ARGV[5] then
  if holder or redis.call('ZRANGE', WAITING, 0, 0)[1] ~= ARGV[7] then
    return {'busy'}
  end
  redis.call('SET', LEASE, ARGV[5], 'PX', ARGV[6])
end
redis.call('ZREM', WAITING, ARGV[7])
redis.call('ZREM', ASKED, ARGV[7])
return read_result('')
