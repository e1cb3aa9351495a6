-- Elects who begins the next term of a lost journal: of the instances that ask within a while, the one whose state
-- knows most.
-- KEYS: 3 what each candidate knows. ARGV: 5 the instance, 6 what its state knows (greater words know more), 7 how long
-- candidates are waited for (ms), 8 how long the one that was elected has (s).
-- Gives: `intact` when the journal is not lost, `wait`, or `elected` to the one that is to begin the term.
if intact() and held[1] == ARGV[1] and tonumber(held[4]) < tonumber(ARGV[2]) then
  redis.call('DEL', META)
elseif intact() then
  return {'intact'}
end
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
redis.call('HSETNX', KEYS[3], ' since', now)
if not redis.call('HGET', KEYS[3], ' chosen') then
  redis.call('EXPIRE', KEYS[3], ARGV[8])
  redis.call('HSET', KEYS[3], ARGV[5], ARGV[6])
  if now - tonumber(redis.call('HGET', KEYS[3], ' since')) < tonumber(ARGV[7]) then
    return {'wait'}
  end
  local chosen, most = '', ''
  local candidates = redis.call('HGETALL', KEYS[3])
  for at = 1, #candidates, 2 do
    local name, knows = candidates[at], candidates[at + 1]
    if name ~= ' since' and (knows > most or (knows == most and name > chosen)) then
      chosen, most = name, knows
    end
  end
  redis.call('HSET', KEYS[3], ' chosen', chosen)
end
if redis.call('HGET', KEYS[3], ' chosen') == ARGV[5] then
  return {'elected'}
end
return {'wait'}
