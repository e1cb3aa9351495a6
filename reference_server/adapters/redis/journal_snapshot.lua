-- Puts a snapshot in the place of the last one and of the groups that are in it; with a new term, of all there was.
-- Asked again, it does nothing again. An older version's journal gets a new term without an election, by whoever has all
-- of it, so that nothing its instances did meanwhile is lost; its nonces are all still there.
-- KEYS: 3 the lease, 4 the candidates, then the new snapshot's parts. ARGV: 2 the last group in the snapshot; 5 the
-- instance, 6 the new term or nothing, 7 what the snapshot's parts are named, 8 its bytes, 9 the bytes of groups
-- that are in it, 10 the digest of what all instances must have alike, 11 the epoch of nonces before which there was no
-- machine, or nothing.
-- Gives: `ok`, or why not.
local replaced = redis.call('HMGET', META, 'parts', 'count')
if replaced[1] == ARGV[7] then
  return {'ok'}
end
for at = 5, #KEYS do
  if redis.call('EXISTS', KEYS[at]) == 0 then
    return {'late'}
  end
end
if ARGV[6] ~= '' then
  local epoch = ARGV[11]
  local was = redis.call('HMGET', META, 'digest', 'nonces')
  if intact() and held[1] == ARGV[1] and held[4] == ARGV[2] and was[1] ~= ARGV[10] then
    epoch = was[2]
  elseif redis.call('HGET', KEYS[4], ' chosen') ~= ARGV[5] then
    return {'late'}
  end
  redis.call('DEL', META, GROUPS, KEYS[3], KEYS[4])
  redis.call('HSET', META, 'founded', ARGV[6], 'process', process, 'durable', ARGV[3], 'position', ARGV[2],
    'strict', ARGV[2], 'bytes', '0', 'digest', ARGV[10], 'nonces', epoch)
else
  local status = journal_status()
  if status ~= 'ok' then
    return {status}
  end
  redis.call('HINCRBY', META, 'bytes', 0 - tonumber(ARGV[9])) -- not its negation: of nothing that is -0, no integer
  redis.call('XTRIM', GROUPS, 'MINID', string.format('%.0f-0', tonumber(ARGV[2]) + 1))
end
for at = 5, #KEYS do
  redis.call('PERSIST', KEYS[at])
end
redis.call('HSET', META, 'snapshot', ARGV[2], 'snapshot_bytes', ARGV[8], 'parts', ARGV[7], 'count', #KEYS - 4)
for at = 1, tonumber(replaced[2] or '0') do
  redis.call('UNLINK', replaced[1] .. ':' .. at)
end
return {'ok'}
